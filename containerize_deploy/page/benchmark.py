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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from containerize_deploy.answers import ServiceError, classify_bytes
from containerize_deploy.page import website
from containerize_deploy.scene_model import SceneModel
from data_prep_eda.files import write_text
from train_model.tflite import processor

README = website.PAGE / "README.md"
SCREENSHOT = website.PAGE / "screenshot.png"
SAMPLE = website.ROOT / "data_prep_eda" / "sample"

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
AT_ONCE = 40  # images that are handed to the page at a time

Ask = Callable[..., Any]


def main() -> None:
    """Measures, prints the figures and, with `--publish`, writes them into the README."""
    parser = argparse.ArgumentParser(description="Measure the page in Chromium.")
    parser.add_argument(
        "--images",
        type=Path,
        nargs="*",
        default=[],
        help="folders of more images, with subfolders, to compare with Python's answers on (the sample always is)",
    )
    parser.add_argument(
        "--visits", type=int, default=5, help="first visits, of which the median counts (default: 5)"
    )
    parser.add_argument("--publish", action="store_true", help=f"write {README.name} and {SCREENSHOT.name}")
    options = parser.parse_args()
    if missing := [str(folder) for folder in options.images if not folder.is_dir()]:
        sys.exit(f"Expected folders of images, found none at {', '.join(missing)}.")
    try:
        report = measure(options.images, options.visits, SCREENSHOT if options.publish else None)
    except website.PageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(report)
    if options.publish:
        text = README.read_text(encoding="utf-8")
        block = f"<!-- begin measured -->\n{report}\n<!-- end measured -->"
        write_text(
            README,
            re.sub(r"<!-- begin measured -->.*<!-- end measured -->", lambda _: block, text, flags=re.S),
        )


def measure(folders: Sequence[Path], visits: int, screenshot: Path | None) -> str:
    """Measures everything; returns Markdown."""
    with tempfile.TemporaryDirectory() as scratch, driven(Path(scratch) / "page") as (ask, sent):
        ready, again, first = [], [], []
        for _ in range(visits):
            sent.clear()
            ready.append(ask("visit"))
            over_the_wire = sum(size for _, size in sent)
            first.append(ask("answers", files=[str(SAMPLE / "coast" / "coast_00.jpg")])[0]["milliseconds"])
            sent.clear()
            again.append(ask("visit", again=True))
            over_the_wire_again = sum(size for _, size in sent)
        rows = [
            ("over the wire, first visit (gzip)", f"{over_the_wire / 1e6:.2f} MB"),
            ("over the wire, later visits", f"{over_the_wire_again / 1e3:.0f} kB"),
            ("ready, first visit", f"{statistics.median(ready) / 1e3:.2f} s"),
            ("ready, later visits", f"{statistics.median(again) / 1e3:.2f} s"),
            ("first answer, 256×256 JPEG", f"{statistics.median(first):.0f} ms"),
        ]
        for megapixels, size in ((12, (4000, 3000)), (24, (6000, 4000))):
            path = Path(scratch) / f"{megapixels}.jpg"
            with Image.open(SAMPLE / "mountain" / "mountain_04.jpg") as image:
                image.resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
            times = [ask("answers", files=[str(path)])[0]["milliseconds"] for _ in range(3)]
            rows.append((f"answer, {megapixels}-megapixel JPEG", f"{statistics.median(times):.0f} ms"))
        rows.append(("answers per second, camera of 640×480", f"{ask('camera', seconds=5):.0f}"))
        version = ask("version")
        if screenshot:
            ask("screenshot", path=str(screenshot))
            with Image.open(screenshot) as image:
                few_colours = image.convert("RGB").quantize(256)  # a third of the bytes
            few_colours.save(screenshot, optimize=True)
        table = [agreement(ask, folder) for folder in (SAMPLE, *folders)]
    lines = [
        f"Measured by `make benchmark-page` on {processor()}, {os.cpu_count()} CPUs, with {version}; medians, with the "
        "server on the same machine.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "The page's answers beside the service's, on the same files; the page shows tenths of a percent:",
        "",
        "| images | number | same scene | same “none of these” | largest difference of a probability | mean |",
        "|---|---:|---:|---:|---:|---:|",
        *table,
    ]
    return "\n".join(lines)


def agreement(ask: Ask, folder: Path) -> str:
    """A row of the table: the page's answers beside Python's, for every image in a folder that Python takes."""
    model = SceneModel()
    expected = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".avif"}:
            with contextlib.suppress(ServiceError):
                expected[path] = classify_bytes(model, path.read_bytes())
    paths = list(expected)
    scenes = scopes = 0
    differences = []
    for start in range(0, len(paths), AT_ONCE):
        some = paths[start : start + AT_ONCE]
        for path, answer in zip(some, ask("answers", files=[str(path) for path in some]), strict=True):
            there = expected[path]
            here = dict(zip(model.labels, answer["shares"], strict=True))
            scenes += max(here, key=here.get) == there.label
            scopes += (answer["title"] != "None of these") == there.in_scope
            differences.append(max(abs(here[scene] / 100 - there.probabilities[scene]) for scene in here))
    count = len(paths)
    return (
        f"| {folder.name} | {count} | {scenes / count:.2%} | {scopes / count:.2%} | {max(differences):.3f} "
        f"| {np.mean(differences):.4f} |"
    )


@contextlib.contextmanager
def driven(site: Path) -> Iterator[tuple[Ask, list[tuple[str, int]]]]:
    """The page, served, in a browser that does what it is asked.

    Yields:
        A function that has `benchmark.mjs` do something and returns its result, and the list of what the server sent.

    Raises:
        PageError: a program is missing.
    """
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    node = shutil.which("node")
    if not (chromium and node):
        raise website.PageError("The measurement needs Node.js 20 or later and Chromium on the PATH.")
    packages = website.packages(drivers=True)
    server = website.make_server(website.assemble(site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    driver = subprocess.Popen(
        [node, website.PAGE / "benchmark.mjs", packages, chromium, f"http://127.0.0.1:{server.server_port}/"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(name: str, **options: Any) -> Any:
        driver.stdin.write(json.dumps({"do": name, **options}) + "\n")
        driver.stdin.flush()
        answer = driver.stdout.readline()
        if not answer:
            raise website.PageError(f"The browser's driver ended with status {driver.wait()} at {name}.")
        return json.loads(answer)

    try:
        yield ask, server.sent
    finally:
        with contextlib.suppress(BrokenPipeError):
            driver.stdin.close()
        try:
            driver.wait(10)
        except subprocess.TimeoutExpired:
            driver.kill()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
