"""What the page costs and how well it agrees with Python, measured in Chromium.

    make benchmark-page                       # prints the figures
    make benchmark-page ARGS=--publish        # and writes them, and the screenshot, into this folder

Needs Node.js, npm and Chromium. The server runs on this machine, so that waiting for a network is not in the times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from containerize_deploy.answers import ServiceError, classify_bytes
from containerize_deploy.page import website
from containerize_deploy.scene_model import ModelError, SceneModel, find_model
from data_prep_eda.files import write_text
from train_model.tflite import processor

README, SCREENSHOT = website.PAGE / "README.md", website.PAGE / "screenshot.png"
SAMPLE = website.ROOT / "data_prep_eda" / "sample"
AT_ONCE = 40  # images that are handed to the page at a time

Ask = Callable[..., Any]


def main() -> None:
    """Measures, prints the figures and, with `--publish`, writes them into the README."""
    parser = argparse.ArgumentParser(description="Measure the page in Chromium.")
    add = parser.add_argument
    add(
        "--images",
        type=Path,
        nargs="*",
        default=[],
        help="folders of more images to compare with Python's answers",
    )
    add("--visits", type=int, default=5, help="first visits, of which the median counts (default: 5)")
    add("--model", help=".tflite file or a run's folder; default: this repository's model")
    add("--publish", action="store_true", help=f"write {README.name} and {SCREENSHOT.name}")
    options = parser.parse_args()
    if missing := [str(folder) for folder in options.images if not folder.is_dir()]:
        sys.exit(f"Expected folders of images, found none at {', '.join(missing)}.")
    try:
        report = measure(
            find_model(options.model), [SAMPLE, *options.images], options.visits, options.publish
        )
    except (website.PageError, ModelError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(report)
    if options.publish:
        block = f"<!-- begin measured -->\n{report}\n<!-- end measured -->"
        text = README.read_text(encoding="utf-8")
        pattern = "<!-- begin measured -->.*<!-- end measured -->"
        write_text(README, re.sub(pattern, lambda _: block, text, flags=re.DOTALL))


def measure(path: Path, folders: list[Path], visits: int, picture: bool) -> str:
    """Measures everything; returns Markdown, and replaces the screenshot if a picture is wanted."""
    model = SceneModel(path)
    with tempfile.TemporaryDirectory() as scratch, driven(Path(scratch, "page"), path) as (ask, sent):
        times: dict[str, list[float]] = {"first": [], "later": [], "answer": []}
        for _ in range(visits):
            sent.clear()
            times["first"].append(ask("visit"))
            wire = sum(size for _, size in sent)
            times["answer"].append(
                ask("answers", files=[str(SAMPLE / "coast" / "coast_00.jpg")])["milliseconds"]
            )
            times["later"].append(ask("visit", again=True))
        first, later, answer = (statistics.median(values) for values in times.values())
        rows = [
            ("over the wire, first visit (gzip)", f"{wire / 1e6:.2f} MB"),
            ("ready, first visit", f"{first / 1e3:.2f} s"),
            ("ready, later visits", f"{later / 1e3:.2f} s"),
            ("first answer, 256×256 JPEG", f"{answer:.0f} ms"),
        ]
        photo = Path(scratch, "12.jpg")
        with Image.open(SAMPLE / "mountain" / "mountain_04.jpg") as image:
            image.resize((4000, 3000), Image.Resampling.BICUBIC).save(photo, quality=92)
        answers = [ask("answers", files=[str(photo)])["milliseconds"] for _ in range(3)]
        rows.append(("answer, 12-megapixel JPEG", f"{statistics.median(answers):.0f} ms"))
        rows.append(("answers per second, camera of 640×480", f"{ask('camera', seconds=5):.0f}"))
        browser = ask("version")
        if picture:
            ask("screenshot", path=str(SCREENSHOT))
            with Image.open(SCREENSHOT) as image:
                few_colours = image.convert("RGB").quantize(256)  # a third of the bytes
            few_colours.save(SCREENSHOT, optimize=True)
        table = [agreement(ask, model, folder) for folder in folders]
    return "\n".join(
        [
            f"Measured by `make benchmark-page` on {processor()}, {os.cpu_count()} CPUs, with {browser}; medians, with the "
            "server on the same machine.\n\n| | |\n|---|---:|",
            *(f"| {name} | {value} |" for name, value in rows),
            "\nThe page's answers beside the service's, on the same files:\n",
            "| images | number | same label | same “none of these” | largest difference of a probability |",
            "|---|---:|---:|---:|---:|",
            *table,
        ]
    )


def agreement(ask: Ask, model: SceneModel, folder: Path) -> str:
    """A row of the table: the page's answers beside Python's, for every image in a folder that Python takes."""
    expected = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".avif"}:
            with contextlib.suppress(ServiceError):
                expected[path] = classify_bytes(model, path.read_bytes())
    if not expected:
        raise website.PageError(f"Expected a folder of images, found none in {folder}.")
    labels, scopes, largest = 0, 0, 0.0
    for start in range(0, len(expected), AT_ONCE):
        some = list(expected)[start : start + AT_ONCE]
        for path, here in zip(some, ask("answers", files=list(map(str, some)))["answers"], strict=True):
            there = expected[path]
            labels += here.get("label") == there.label
            scopes += here.get("in_scope") == there.in_scope
            probabilities = here.get("probabilities", dict.fromkeys(model.labels, 0.0))
            largest = max(
                largest, *(abs(probabilities[label] - there.probabilities[label]) for label in model.labels)
            )
    count = len(expected)
    return f"| {folder.name} | {count} | {labels / count:.2%} | {scopes / count:.2%} | {largest:.4f} |"


@contextlib.contextmanager
def driven(site: Path, model: Path) -> Iterator[tuple[Ask, list[tuple[str, int]]]]:
    """The page in a browser, as a function that has `benchmark.mjs` do something, and the list of what was sent.

    Raises:
        PageError: a program is missing.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    node = shutil.which("node")
    if not (chromium and node):
        raise website.PageError("The measurement needs Node.js 20 or later and Chromium on the PATH.")
    packages = website.packages(drivers=True)
    with website.make_server(website.assemble(site, model)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        command = [node, website.PAGE / "benchmark.mjs", packages, chromium, address]
        driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(name: str, **options: Any) -> Any:
            print(json.dumps({"do": name, **options}), file=driver.stdin, flush=True)
            answer = driver.stdout.readline()
            if not answer:
                raise website.PageError(f"The browser's driver ended with status {driver.wait()} at {name}.")
            return json.loads(answer)

        try:
            yield ask, server.sent
        finally:
            driver.kill()
            driver.wait()
            server.shutdown()


if __name__ == "__main__":
    main()
