"""How quick and small the service is, measured beside the original project's in one run.

    make benchmark-serving                                   # all of it, some minutes
    make benchmark-serving ARGS='--only latency start'       # parts
    make benchmark-serving ARGS='--quick'                    # all, with a hundredth of the repetitions

Writes one JSON file (`--out`). Milliseconds depend on the machine; the ratios are what to compare, since both sides
of each take turns in the same run.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import io
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from containerize_deploy.answers import classify_bytes
from containerize_deploy.scene_model import ModelError, SceneModel, find_model
from data_prep_eda.files import write_json
from train_model.tflite import processor

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = Path(__file__).with_name("benchmark_results.json")

SIZES = {"256x256": (256, 256), "1 megapixel": (1152, 864), "12 megapixels": (4000, 3000)}


def main() -> None:
    """Measures what the command line asks for."""
    parts = {part.__name__: part for part in (latency, start, memory, size)}
    parser = argparse.ArgumentParser(description="Measure the service.")
    add = parser.add_argument
    add(
        "--only",
        nargs="+",
        choices=parts,
        default=parts,
        help="parts to measure; the others keep their figures",
    )
    add("--quick", action="store_true", help="a hundredth of the repetitions")
    add("--model", help=".tflite file or a run's folder; default: this repository's model")
    add("--out", type=Path, default=ROOT / "runs" / "benchmark_serving.json")
    add("--publish", action="store_true", help=f"also write {PUBLISHED.name}, which the README shows")
    options = parser.parse_args()
    try:
        os.environ["SCENES_MODEL"] = str(
            find_model(options.model).resolve()
        )  # for every process that is measured
    except ModelError as error:
        sys.exit(str(error))
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    results |= {"machine": f"{processor()}, {os.cpu_count()} CPUs", "python": platform.python_version()}
    for name, measure in parts.items():
        if name in options.only:
            results[name] = measure(share=100 if options.quick else 1)
            print(f"## {name}\n{json.dumps(results[name], indent=1)}", flush=True)
            write_json(options.out, results)
    if options.publish:
        write_json(PUBLISHED, results)
    print(f"Written to {options.out}")


def image_file(size: tuple[int, int], quality: int = 90) -> bytes:
    """A JPEG of a size: an image of the sample, enlarged, with the noise that cameras add."""
    source = ROOT / "data_prep_eda" / "sample" / "coast" / "coast_00.jpg"
    image = Image.open(source).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 4, (size[1], size[0], 1))
    stream = io.BytesIO()
    Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).save(
        stream, "JPEG", quality=quality
    )
    return stream.getvalue()


def in_turns(sides: dict[str, Callable[[], Any]], turns: int) -> dict[str, Any]:
    """Median seconds of each side, which take turns; the first two turns warm caches."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(turns + 2):
        for side, run in sides.items():
            started = time.perf_counter()
            run()
            times[side].append(time.perf_counter() - started)
    return {side: statistics.median(values[2:]) for side, values in times.items()}


def latency(share: int) -> dict[str, Any]:
    """Milliseconds from a JPEG's bytes to the answer, on one thread, this service's and the original's."""
    model = SceneModel(threads=1)
    original, runtime = original_service()
    results: dict[str, Any] = {"original_runtime": runtime, "unit": "ms"}
    for name, pixels in SIZES.items():
        content = image_file(pixels)
        sides = {
            "service": lambda c=content: classify_bytes(model, c),
            "original": lambda c=content: original(c),
        }
        medians = in_turns(sides, max(3, (200 if pixels[0] < 2000 else 66) // share))
        results[name] = {side: {"p50": round(1000 * seconds, 2)} for side, seconds in medians.items()}
        results[name]["times_faster_p50"] = round(medians["original"] / medians["service"], 2)
    return results


def original_service() -> tuple[Callable[[bytes], Any], str]:
    """The original service's path from bytes to probabilities, and its runtime.

    Pillow's whole decode, nearest-neighbour resize and scaling to -1..1 in float32 (as keras-image-helper does), and
    a float32 MobileNet, whose weights don't matter to a stopwatch. Where tflite-runtime cannot be installed, LiteRT
    stands in.
    """
    path = ROOT / ".cache" / "benchmark" / "mobilenet_float32.tflite"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        code = (
            "import sys, keras; from data_prep_eda.files import replacing; from train_model import tflite\n"
            "backbone = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(224, 224, 3))\n"
            "pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)\n"
            "model = keras.Model(backbone.input, keras.layers.Dense(3, activation='softmax')(pooled))\n"
            "with replacing(sys.argv[1]) as part: part.write_bytes(tflite.convert(model, 'float32'))\n"
        )
        subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, cwd=ROOT)
    runtime = "tflite-runtime" if importlib.util.find_spec("tflite_runtime") else "LiteRT, in its place"
    if runtime == "tflite-runtime":
        from tflite_runtime.interpreter import Interpreter
    else:
        from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def classify(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.NEAREST)
        interpreter.set_tensor(entry, (np.asarray(image, dtype=np.float32) / 127.5 - 1.0)[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(exit_)

    return classify, runtime


def python(code: str, *arguments: str, sent: str = "") -> str:
    """What a Python of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, input=sent, text=True, check=True, capture_output=True, cwd=ROOT).stdout


def start(share: int) -> dict[str, Any]:
    """Seconds from starting Python to the first answer, alone and with TensorFlow imported beside it."""
    service = (
        "import sys; from containerize_deploy.lambda_function import lambda_handler; "
        "lambda_handler({'image': sys.stdin.read()}, None)"
    )
    event = base64.b64encode(image_file(SIZES["256x256"])).decode()
    programs = {"service": service, "with_tensorflow": f"import tensorflow; {service}"}
    sides = {name: lambda code=code: python(code, sent=event) for name, code in programs.items()}
    medians = in_turns(sides, max(1, 10 // share))
    results: dict[str, Any] = {name: {"p50": round(seconds, 3)} for name, seconds in medians.items()}
    ratio = medians["with_tensorflow"] / medians["service"]
    return {"unit": "s", **results, "times_faster_p50": round(ratio, 2)}


def memory(share: int) -> dict[str, Any]:
    """Megabytes of the process at rest, and at the peak of ordinary images and of the largest."""
    code = (
        "import json, re, sys\n"
        "from containerize_deploy.lambda_function import MODEL, classify_bytes\n"
        "def now(name):\n"
        "    return round(int(re.search(name + r':\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)\n"
        "rest = now('VmRSS')\n"
        "try: classify_bytes(MODEL, open(sys.argv[1], 'rb').read())\n"
        "except Exception: sys.exit(print('null'))  # an image that is refused\n"
        "print(json.dumps({'at_rest': rest, 'peak': now('VmHWM')}))\n"
    )
    cases = {name: image_file(pixels) for name, pixels in SIZES.items()}
    largest = Image.fromarray(np.zeros((8000, 8000), np.uint8))
    for mode, kind in (("L", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("RGB", "WEBP")):
        stream = io.BytesIO()
        largest.convert(mode).save(
            stream, kind, **({"compress_level": 1} if kind == "PNG" else {"method": 0})
        )
        cases[f"64 megapixels, {kind}, {mode}"] = stream.getvalue()
    results: dict[str, Any] = {"unit": "MB"}
    for name, content in cases.items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            results[name] = json.loads(python(code, file.name).splitlines()[-1])
    return results


def size(share: int) -> dict[str, Any]:
    """Megabytes that the image adds to its base: the steps of the Dockerfile's first stage, in a folder."""
    lines = Path(__file__).with_name("Dockerfile").read_text().replace("\\\n", " ").splitlines()
    default = next(line.partition("=")[2] for line in lines if line.startswith("ARG MODEL="))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        for line in lines:
            if command := re.match("RUN (.*)", line):
                subprocess.run(
                    ["sh", "-c", command[1]], cwd=folder, env=environment, check=True, capture_output=True
                )
            elif copied := re.match("COPY (?!--from)(.*)", line):
                *sources, target = shlex.split(copied[1].replace("${MODEL}", default))
                place = Path(folder, target)
                (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
                for source in sources:
                    shutil.copy(ROOT / source, place)
        task = Path(folder, "task")
        total = sum(path.stat().st_size for path in task.rglob("*") if path.is_file())
        squeezed = subprocess.run(["tar", "-cz", "-C", task, "."], check=True, capture_output=True).stdout
    return {"unit": "MB", "total": round(total / 1e6, 1), "compressed": round(len(squeezed) / 1e6, 1)}


if __name__ == "__main__":
    main()
