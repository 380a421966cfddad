"""What the page costs and how well it agrees with Python, measured in Chromium.

    make benchmark-page                       # prints the figures
    make benchmark-page ARGS=--publish        # and writes them, and the screenshot, into this folder

Needs Node.js, npm and Chromium. The server runs on this machine, so that waiting for a network is not in the times.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from containerize_deploy.benchmark_serving import image_file
from containerize_deploy.page import website
from containerize_deploy.scene_model import ModelError, find_model
from data_prep_eda.files import write_text
from train_model.tflite import processor

README, SCREENSHOT = website.PAGE / "README.md", website.PAGE / "screenshot.png"
SAMPLE = website.ROOT / "data_prep_eda" / "sample"
VISIT = {"do": "visit"}
AT_ONCE = 40  # images that are handed to the page at a time


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
        model, screenshot = find_model(options.model).resolve(), SCREENSHOT if options.publish else None
        report = measure(model, [SAMPLE, *options.images], options.visits, screenshot)
    except (website.PageError, ModelError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(report)
    if options.publish:
        before, begin, rest = README.read_text(encoding="utf-8").partition("<!-- begin measured -->\n")
        write_text(README, before + begin + report + rest[rest.index("\n<!-- end measured -->") :])


def measure(model: Path, folders: list[Path], visits: int, screenshot: Path | None = None) -> str:
    """Measures everything; returns Markdown, and writes the screenshot if a path is given.

    Raises:
        PageError: a program or a folder's images are missing, or the browser's driver failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        site, large = website.assemble(Path(scratch, "page"), model), Path(scratch, "12.jpg")
        large.write_bytes(image_file(4000, 3000))
        small = SAMPLE / "coast" / "coast_00.jpg"
        quick, slow = ({"do": "answers", "files": [str(path)]} for path in (small, large))
        _, wire = drive(site, [VISIT])
        timed, _ = drive(site, [VISIT, quick, VISIT | {"again": True}, slow] * visits)
        rows = "\n".join(agreement(site, model, folder.resolve()) for folder in folders)
        if screenshot:
            drive(site, [{"do": "screenshot", "path": str(screenshot)}])
            with Image.open(screenshot) as image:
                few_colours = image.convert("RGB").quantize(256)  # a third of the bytes
            few_colours.save(screenshot, optimize=True)
    medians = [statistics.median(step["milliseconds"] for step in timed[n::4]) for n in range(4)]
    return f"""\
Measured by `make benchmark-page` on {processor()}, {os.cpu_count()} CPUs, with {timed[0]["browser"]}; medians, with the server on the \
same machine.

| | |
|---|---:|
| over the wire, first visit (gzip) | {wire / 1e6:.2f} MB |
| ready, first visit | {medians[0] / 1e3:.2f} s |
| ready, later visits | {medians[2] / 1e3:.2f} s |
| first answer, 256×256 JPEG | {medians[1]:.0f} ms |
| answer, 12-megapixel JPEG | {medians[3]:.0f} ms |

The page's answers beside the service's, on the same files:

| images | number | same label | same “none of these” | largest difference of a probability |
|---|---:|---:|---:|---:|
{rows}"""


def agreement(site: Path, model: Path, folder: Path) -> str:
    """A row of the table: the page's answers beside the service's, for every image in a folder that it takes."""
    command = [sys.executable, "-m", "containerize_deploy.classify", "--model", model, "--json", folder]
    given = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=website.ROOT).stdout)
    there = pd.json_normalize([answer for answer in given if "label" in answer])
    if there.empty:
        raise website.PageError(f"Expected a folder of images, found none in {folder}.")
    batches = [[*there["file"][start : start + AT_ONCE]] for start in range(0, len(there), AT_ONCE)]
    (_, *steps), _ = drive(site, [VISIT, *({"do": "answers", "files": files} for files in batches)])
    here = pd.json_normalize([answer for step in steps for answer in step["answers"]])
    here = here.reindex(columns=there.columns)  # which may have failed all
    same = [f"{(here[key] == there[key]).mean():.2%}" for key in ("label", "in_scope")]
    probabilities = there.columns[there.columns.str.startswith("probabilities.")]
    largest = (here[probabilities].fillna(0) - there[probabilities]).abs().max(axis=None)
    return f"| {folder.name} | {len(there)} | {' | '.join(same)} | {largest:.4f} |"


def drive(site: Path, steps: list[dict[str, Any]]) -> tuple[list[Any], int]:
    """What `benchmark.mjs` says of steps in a browser, and how many bytes the server sent; PageError if it can't."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    node = shutil.which("node")
    if not (chromium and node):
        raise website.PageError("The measurement needs Node.js 20 or later and Chromium on the PATH.")
    packages = website.packages(drivers=True)
    with website.make_server(site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        command = [node, website.PAGE / "benchmark.mjs", packages, chromium, address]
        done = subprocess.run(command, input=json.dumps(steps), stdout=subprocess.PIPE, text=True)
        server.shutdown()
    if done.returncode:
        raise website.PageError(f"The browser's driver ended with {done.returncode}, as it says above.")
    return json.loads(done.stdout), sum(server.sent)


if __name__ == "__main__":
    main()
