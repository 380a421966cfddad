"""Coast, forest or mountain, from the shell: the same code as the service's.

    python -m containerize_deploy.classify photo.jpg holiday/ https://example.org/photo.jpg
    python -m containerize_deploy.classify --json holiday/

A folder stands for every file in it, in sorted order. `--json` prints one array with `file`, `label`,
`probabilities`, `in_scope` and `score` per image, or `file` and `error` where there is none to be had.
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import json
import os
import queue
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from containerize_deploy.answers import ServiceError, classify_bytes, fetch_image
from containerize_deploy.scene_model import ModelError, SceneModel
from containerize_deploy.settings import Policy, SettingsError
from containerize_deploy.test import describe, unreadable
from data_prep_eda.preprocessing import MAX_BYTES


def main(arguments: list[str] | None = None) -> int:
    """Classifies what the command line names.

    Returns:
        0; 1 if some image could not be read, but not with `--json`, where that is part of the answer;
        2 if the model cannot be loaded, or the environment has a setting that means nothing.
    """
    parser = argparse.ArgumentParser(
        prog="python -m containerize_deploy.classify", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image file, folder of them, or http(s) URL"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of a line each")
    options = parser.parse_args(arguments)
    threads = os.cpu_count() or 1
    models: queue.SimpleQueue[SceneModel] = queue.SimpleQueue()
    try:
        policy = Policy.from_environment()
        for _ in range(threads):  # a model answers one image at a time, and costs little to load
            models.put(SceneModel(threads=1))
    except (ModelError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2

    def answer_for(source: str) -> dict[str, Any]:
        model = models.get()
        try:
            return _answer(model, source, policy)
        finally:
            models.put(model)

    failed = False
    # Threads, not processes: Pillow and LiteRT work outside Python's lock.
    with ThreadPoolExecutor(threads) as pool:
        answers = pool.map(answer_for, expand(options.images))
        if options.json:
            print(json.dumps(list(answers), indent=1))
            return 0
        for answer in answers:
            print(f"{answer['file']}: {describe(answer)}", flush=True)
            failed |= "error" in answer
    return int(failed)


def expand(names: list[str]) -> Iterator[str]:
    """Files and URLs as they are; for a folder the files in it and below, sorted, without hidden ones."""
    for name in names:
        if is_url(name) or not os.path.isdir(name):
            yield name
            continue
        folder = Path(name)
        inside = (
            path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink()
        )
        visible = (path for path in inside if not any(part.startswith(".") for part in path.parts))
        yield from (str(folder / path) for path in sorted(visible))


def is_url(name: str) -> bool:
    """Whether a name on the command line is a URL and not a path."""
    return "://" in name


def _answer(model: SceneModel, source: str, policy: Policy) -> dict[str, Any]:
    try:
        content = fetch_image(source, policy) if is_url(source) else _read(source)
        return {"file": source, **classify_bytes(model, content).to_json()}
    except ServiceError as error:
        return {"file": source, **error.to_json()}


def _read(name: str) -> bytes:
    try:
        with open(name, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ServiceError("not_found", unreadable(error)) from None


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # file names are bytes, and not always text
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever read the lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
