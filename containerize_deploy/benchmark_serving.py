"""How quick and small the service is, measured beside the original project's in one run.

    make benchmark-serving                                   # all of it, some minutes
    make benchmark-serving ARGS='--only latency start'       # some parts; the others keep their figures
    make benchmark-serving ARGS='--quick'                    # all, with a hundredth of the repetitions

Writes one JSON file (`--out`). Milliseconds depend on the machine; the ratios are what to compare.
"""

import argparse
import base64
import io
import json
import multiprocessing
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from containerize_deploy.answers import classify_bytes
from containerize_deploy.scene_model import ModelError, SceneModel, find_model
from data_prep_eda.files import write_json
from train_model import tflite

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = Path(__file__).with_name("benchmark_results.json")

SIZES = {"256x256": (256, 256), "1 megapixel": (1152, 864), "12 megapixels": (4000, 3000)}

# Answers an image, and prints the megabytes that it took.
PROGRAM = """
import json, re, sys
from pathlib import Path
from containerize_deploy.lambda_function import lambda_handler
def megabytes(name):
    return round(int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
rest = megabytes("VmRSS")
assert "label" in lambda_handler({"image": sys.stdin.read()}, None)
print(json.dumps({"at_rest": rest, "peak": megabytes("VmHWM")}))
"""


def main() -> None:
    """Measures what the command line asks for."""
    parts = {part.__name__: part for part in (latency, start, memory, size)}
    parser = argparse.ArgumentParser(description="Measure the service.")
    add = parser.add_argument
    add("--only", nargs="+", choices=parts, default=parts, help="parts to measure")
    add("--quick", action="store_true", help="a hundredth of the repetitions")
    add("--model", help=".tflite file or a run's folder; default: this repository's model")
    add("--out", type=Path, default=ROOT / "runs" / "benchmark_serving.json")
    add("--publish", action="store_true", help=f"also write {PUBLISHED.name}, which the README shows")
    options = parser.parse_args()
    try:  # for every process that is measured
        os.environ["SCENES_MODEL"] = str(find_model(options.model).resolve())
    except ModelError as error:
        sys.exit(str(error))
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    results["machine"] = f"{tflite.processor()}, {os.cpu_count()} CPUs"
    results["python"] = platform.python_version()
    for name in options.only:
        results[name] = parts[name](100 if options.quick else 1)
        print(f"## {name}\n{json.dumps(results[name], indent=1)}", flush=True)
        write_json(options.out, results)
    if options.publish:
        write_json(PUBLISHED, results)
    print(f"Written to {options.out}")


def image_file(width: int, height: int) -> bytes:
    """A JPEG: an image of the sample, enlarged, with the noise that cameras add."""
    image = Image.open(ROOT / "data_prep_eda" / "sample" / "coast" / "coast_00.jpg").convert("RGB")
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 1))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) + noise
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def in_turns(sides: dict[str, Callable[[], Any]], turns: int) -> dict[str, Any]:
    """Median milliseconds of two sides, and how many times faster the first is than the second.

    They take turns; the first two turns warm caches.
    """
    times = [[1000 * timeit.timeit(side, number=1) for side in sides.values()] for _ in range(turns + 2)]
    quick, slow = medians = np.median(times[2:], axis=0).tolist()
    shown = {name: {"p50": round(median, 3)} for name, median in zip(sides, medians, strict=True)}
    return {**shown, "times_faster_p50": round(slow / quick, 2)}


def latency(share: int) -> dict[str, Any]:
    """Milliseconds from a JPEG's bytes to the answer, on one thread, this service's and the original's."""
    runtime = tflite.available_runtimes()[-1]  # tflite-runtime where it is installed
    model, original = SceneModel(), original_service(runtime)
    results: dict[str, Any] = {"original_runtime": runtime, "unit": "ms"}
    for name, pixels in SIZES.items():
        content = image_file(*pixels)
        sides = {"service": partial(classify_bytes, model, content), "original": partial(original, content)}
        results[name] = in_turns(sides, max(3, 200 // share))
    return results


def original_model() -> bytes:
    """A float32 MobileNet, as the original's is; its weights don't matter to a stopwatch."""
    import keras

    return tflite.convert(keras.applications.MobileNet(weights=None, classes=3), "float32")


def original_service(runtime: str) -> Callable[[bytes], np.ndarray]:
    """The original service's path from bytes to probabilities.

    Pillow's whole decode, nearest-neighbour resize and scaling to -1..1 in float32 (as keras-image-helper does).
    """
    # In a process of its own: once TensorFlow is loaded, tflite-runtime fails.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        content = pool.submit(original_model).result()
    interpreter = tflite.load_interpreter(content, runtime)
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def classify(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.NEAREST)
        interpreter.set_tensor(entry, (np.asarray(image, dtype=np.float32) / 127.5 - 1.0)[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(exit_)

    return classify


def run(command: list[str | Path], **options: Any) -> bytes:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def program(content: bytes) -> dict[str, int]:
    """What `PROGRAM` prints of an image file, in a process of its own."""
    printed = run([sys.executable, "-c", PROGRAM], input=base64.b64encode(content), cwd=ROOT)
    return json.loads(printed.splitlines()[-1])


def start(share: int) -> dict[str, Any]:
    """Seconds from starting Python to the first answer."""
    content = image_file(*SIZES["256x256"])
    program(content)  # warms caches
    times = timeit.repeat(partial(program, content), number=1, repeat=max(1, 10 // share))
    return {"unit": "s", "service": {"p50": round(float(np.median(times)), 3)}}


def memory(share: int) -> dict[str, Any]:
    """Megabytes of the process at rest, and at the peak of ordinary images and of the one that takes most."""
    cases = {name: image_file(*pixels) for name, pixels in SIZES.items()}
    stream = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(stream, "WebP", method=0)
    cases["64 megapixels, WebP"] = stream.getvalue()
    return {"unit": "MB", **{name: program(content) for name, content in cases.items()}}


def size(share: int) -> dict[str, Any]:
    """Megabytes that the image adds to its base: the steps of the Dockerfile's first stage, in a folder."""
    recipe = Path(__file__).with_name("Dockerfile").read_text().replace("\\\n", " ")
    recipe = recipe.replace("${MODEL}", re.search("^ARG MODEL=(.*)$", recipe, re.MULTILINE)[1])
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        for step, command in re.findall("^(RUN|COPY) (?!--from)(.*)$", recipe, re.MULTILINE):
            if step == "COPY":
                *sources, target = command.split()
                os.makedirs(os.path.join(folder, os.path.dirname(target)), exist_ok=True)
                command = shlex.join(["cp", *(str(ROOT / source) for source in sources), target])
            run(["sh", "-c", command], cwd=folder, env=environment)
        task = Path(folder, "task")
        total = sum(path.stat().st_size for path in task.rglob("*") if path.is_file())
        squeezed = run(["tar", "-cz", "-C", task, "."])
    return {"unit": "MB", "total": round(total / 1e6, 1), "compressed": round(len(squeezed) / 1e6, 1)}


if __name__ == "__main__":
    main()
