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
from containerize_deploy.benchmark_serving import image_file
from containerize_deploy.page import website
from containerize_deploy.scene_model import ModelError, SceneModel, find_model
from data_prep_eda.files import write_text
from data_prep_eda.preprocessing import SUFFIXES
from train_model.tflite import processor

README, SCREENSHOT = website.PAGE / "README.md", website.PAGE / "screenshot.png"
SAMPLE = website.ROOT / "data_prep_eda" / "sample"
AT_ONCE = 40  # images that are handed to the page at a time

Ask = Callable[..., Any]


def main() -> None:
    """Measures, prints the figures and, with `--publish`, writes them into the README."""
    parser = argparse.ArgumentParser(description="Measure the page in Chromium.")
    add = parser.add_argument
    add("--images", type=Path, nargs="*", default=[], help="folders of more images, to compare with Python")
    add("--visits", type=int, default=5, help="first visits, of which the median counts (default: 5)")
    add("--model", help=".tflite file or a run's folder; default: this repository's model")
    add("--publish", action="store_true", help=f"write {README.name} and {SCREENSHOT.name}")
    options = parser.parse_args()
    if missing := [str(folder) for folder in options.images if not folder.is_dir()]:
        sys.exit(f"Expected folders of images, found none at {', '.join(missing)}.")
    try:
        folders, path = [SAMPLE, *options.images], find_model(options.model)
        report = measure(path, folders, options.visits, SCREENSHOT if options.publish else None)
    except (website.PageError, ModelError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(report)
    if options.publish:
        before, _, rest = README.read_text(encoding="utf-8").partition("<!-- begin measured -->\n")
        _, end, after = rest.partition("\n<!-- end measured -->")
        write_text(README, f"{before}<!-- begin measured -->\n{report}{end}{after}")


def measure(path: Path, folders: list[Path], visits: int, screenshot: Path | None = None) -> str:
    """Measures everything; returns Markdown, and writes the screenshot if a path is given."""
    model = SceneModel(path)
    with tempfile.TemporaryDirectory() as scratch, driven(Path(scratch, "page"), path) as (ask, sent):
        small, large = SAMPLE / "coast" / "coast_00.jpg", Path(scratch, "12.jpg")
        large.write_bytes(image_file(4000, 3000))

        def milliseconds(image: Path) -> float:
            return ask("answers", files=[str(image)])["milliseconds"]

        columns: list[tuple[float, ...]] = []
        for _ in range(visits):
            sent.clear()
            first = ask("visit")
            wire = sum(size for _, size in sent)
            columns.append((wire, first, milliseconds(small), ask("visit", again=True), milliseconds(large)))
        wire, first, answer, later, answer_large = map(statistics.median, zip(*columns, strict=True))
        browser = ask("version")
        if screenshot:
            ask("screenshot", path=str(screenshot))
            with Image.open(screenshot) as image:
                few_colours = image.convert("RGB").quantize(256)  # a third of the bytes
            few_colours.save(screenshot, optimize=True)
        agreements = [agreement(ask, model, folder) for folder in folders]
    rows = "\n".join(agreements)
    return f"""\
Measured by `make benchmark-page` on {processor()}, {os.cpu_count()} CPUs, with {browser}; medians, with the server on the \
same machine.

| | |
|---|---:|
| over the wire, first visit (gzip) | {wire / 1e6:.2f} MB |
| ready, first visit | {first / 1e3:.2f} s |
| ready, later visits | {later / 1e3:.2f} s |
| first answer, 256×256 JPEG | {answer:.0f} ms |
| answer, 12-megapixel JPEG | {answer_large:.0f} ms |

The page's answers beside the service's, on the same files:

| images | number | same label | same “none of these” | largest difference of a probability |
|---|---:|---:|---:|---:|
{rows}"""


def agreement(ask: Ask, model: SceneModel, folder: Path) -> str:
    """A row of the table: the page's answers beside Python's, for every image in a folder that Python takes."""
    expected = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            with contextlib.suppress(ServiceError):
                expected[str(path)] = classify_bytes(model, path.read_bytes()).to_json()
    if not expected:
        raise website.PageError(f"Expected a folder of images, found none in {folder}.")
    files, answers = list(expected), []
    for start in range(0, len(files), AT_ONCE):
        answers += ask("answers", files=files[start : start + AT_ONCE])["answers"]
    pairs = list(zip(answers, expected.values(), strict=True))
    labels, scopes = (
        sum(here.get(key) == there[key] for here, there in pairs) / len(pairs)
        for key in ("label", "in_scope")
    )
    largest = max(
        abs(here.get("probabilities", {}).get(label, 0) - probability)
        for here, there in pairs
        for label, probability in there["probabilities"].items()
    )
    return f"| {folder.name} | {len(pairs)} | {labels:.2%} | {scopes:.2%} | {largest:.4f} |"


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
