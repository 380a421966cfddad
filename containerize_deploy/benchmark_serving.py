"""How quick, small and steady the service is, measured beside the original project's in one run.

    make benchmark-serving                                   # all of it, about ten minutes
    make benchmark-serving ARGS='--only latency start'       # parts
    make benchmark-serving ARGS='--quick'                    # all, with a hundredth of the repetitions

Writes one JSON file (`--out`) and prints it as tables. Milliseconds depend on the machine; the ratios are what to
compare, since both sides of each take turns in the same run.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from data_prep_eda.files import write_json
from train_model.tflite import processor

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = Path(__file__).with_name("benchmark_results.json")

SIZES = {"256x256": (256, 256), "1 megapixel": (1152, 864), "12 megapixels": (4000, 3000)}

PARTS = ("latency", "start", "memory", "size", "soak")


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure the service.")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="parts to measure; the others keep their figures in the file",
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of the repetitions")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmark_serving.json")
    parser.add_argument(
        "--publish", action="store_true", help=f"also write {PUBLISHED.name}, which the README shows"
    )
    options = parser.parse_args()
    share = 100 if options.quick else 1
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    results |= {"machine": f"{processor()}, {os.cpu_count()} CPUs", "python": platform.python_version()}
    measure: dict[str, Callable[[], Any]] = {
        "latency": lambda: latency(rounds=max(3, 200 // share)),
        "start": lambda: start(rounds=max(3, 10 // share)),
        "memory": lambda: memory(),
        "size": lambda: size(),
        "soak": lambda: soak(requests=20_000 // share),
    }
    for part in PARTS:
        if part in options.only:
            print(f"\n## {part}", flush=True)
            results[part] = measure[part]()
            print(json.dumps(results[part], indent=1), flush=True)
            write_json(options.out, results)
    if options.publish:
        write_json(PUBLISHED, results)
    print(f"\nWritten to {options.out}")


def image_file(size: tuple[int, int], quality: int = 90) -> bytes:
    """A JPEG of a size: an image of the sample, enlarged, with the noise that cameras add."""
    source = ROOT / "data_prep_eda" / "sample" / "coast" / "coast_00.jpg"
    image = Image.open(source).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 4, (size[1], size[0], 1))
    pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


# 1. Latency


def latency(rounds: int) -> dict[str, Any]:
    """Milliseconds from a JPEG's bytes to the answer, on one thread, this service's and the original's.

    The original: Pillow's whole decode, nearest-neighbour resize and scaling to -1..1 in float32 (as
    keras-image-helper does), and a float32 model on tflite-runtime. Both models are MobileNet with the same
    number of multiplications. Where tflite-runtime cannot be installed, LiteRT stands in, and the result says so.
    """
    from containerize_deploy.answers import classify_bytes
    from containerize_deploy.scene_model import SceneModel

    model = SceneModel(threads=1)
    original, runtime = _original()
    results: dict[str, Any] = {"original_runtime": runtime, "unit": "ms"}
    for name, size in SIZES.items():
        content = image_file(size)
        turns = rounds if size[0] < 2000 else max(3, rounds // 3)
        sides = {
            "service": lambda c=content: classify_bytes(model, c),
            "original": lambda c=content: original(c),
        }
        times: dict[str, list[float]] = {side: [] for side in sides}
        processor: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(turns + 2):
            for side, run in sides.items():
                started, used = time.perf_counter(), time.process_time()
                run()
                if turn >= 2:  # the first ones warm caches
                    times[side].append(1000 * (time.perf_counter() - started))
                    processor[side].append(1000 * (time.process_time() - used))
        results[name] = {
            side: {**_summary(values), "cpu_p50": round(statistics.median(processor[side]), 2)}
            for side, values in times.items()
        }
        for figure in ("p50", "cpu_p50"):  # the second is the steadier one on a busy machine
            ratio = results[name]["original"][figure] / results[name]["service"][figure]
            results[name][f"times_faster_{figure}"] = round(ratio, 2)
        results[name]["service_steps_p50"] = _steps(model, content, turns)
    return results


def _steps(model: Any, content: bytes, rounds: int) -> dict[str, float]:
    """Where the service's time goes: the steps of `load_image`, and the model; what is left is overhead."""
    steps: dict[str, list[float]] = {"decode": [], "resize": [], "invoke": []}
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (3 * model.size // 2, 3 * model.size // 2))
        width, height = image.size
    for _ in range(rounds):
        marks = [time.perf_counter()]
        image = Image.fromarray(simplejpeg.decode_jpeg(content, min_width=width, min_height=height))
        marks.append(time.perf_counter())
        resized = image.resize((model.size, model.size), Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels = np.asarray(resized)
        marks.append(time.perf_counter())
        model.classify(pixels)
        marks.append(time.perf_counter())
        for step, before, after in zip(steps, marks[:-1], marks[1:], strict=True):
            steps[step].append(1000 * (after - before))
    return {step: round(statistics.median(values), 2) for step, values in steps.items()}


def _original() -> tuple[Callable[[bytes], Any], str]:
    """The original service's path from bytes to probabilities."""
    runtime = "tflite-runtime" if importlib.util.find_spec("tflite_runtime") else "LiteRT, in its place"
    if runtime == "tflite-runtime":
        from tflite_runtime.interpreter import Interpreter
    else:
        from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_path=str(_float32_model()), num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    exit_ = interpreter.get_output_details()[0]["index"]

    def classify(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.NEAREST)
        pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
        interpreter.set_tensor(entry, pixels[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(exit_)

    return classify, runtime


def _float32_model() -> Path:
    """A float32 MobileNet of the original's shape; its weights don't matter to a stopwatch."""
    path = ROOT / ".cache" / "benchmark" / "mobilenet_float32.tflite"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        code = (
            "import sys, keras, tensorflow as tf\n"
            "backbone = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(224, 224, 3))\n"
            "pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)\n"
            "model = keras.Model(backbone.input, keras.layers.Dense(3, activation='softmax')(pooled))\n"
            "model.export(sys.argv[1] + '.saved', format='tf_saved_model', verbose=False,\n"
            "             input_signature=[keras.InputSpec(shape=(1, 224, 224, 3), dtype='float32')])\n"
            "content = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + '.saved').convert()\n"
            "open(sys.argv[1] + '.part', 'wb').write(content)\n"
        )
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, env=quiet)
        path.with_name(path.name + ".part").replace(path)
    return path


# 2. Cold start


def start(rounds: int) -> dict[str, Any]:
    """Seconds from starting Python to the first answer, alone and with TensorFlow imported beside it."""
    service = (
        "import sys; from containerize_deploy.lambda_function import lambda_handler; "
        "lambda_handler({'image': sys.stdin.read()}, None)"
    )
    programs = {"service": service, "with_tensorflow": f"import tensorflow; {service}"}
    event = base64.b64encode(image_file(SIZES["256x256"])).decode()
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    times: dict[str, list[float]] = {name: [] for name in programs}
    processor: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, code in programs.items():
            before, started = os.times(), time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", code],
                input=event,
                text=True,
                check=True,
                capture_output=True,
                cwd=ROOT,
                env=quiet,
            )
            if turn:  # the first one reads the files from disk
                after = os.times()
                times[name].append(time.perf_counter() - started)
                used = (
                    after.children_user
                    + after.children_system
                    - before.children_user
                    - before.children_system
                )
                processor[name].append(used)
    results: dict[str, Any] = {
        name: {
            "p50": round(statistics.median(values), 3),
            "best": round(min(values), 3),
            "cpu_p50": round(statistics.median(processor[name]), 3),
        }
        for name, values in times.items()
    }
    results["times_faster_p50"] = round(results["with_tensorflow"]["p50"] / results["service"]["p50"], 2)
    return {"unit": "s", **results}


# 3. Memory and size


def memory() -> dict[str, Any]:
    """Megabytes of the process at rest, after ordinary requests, and at the peak of large ones."""
    code = (
        "import sys, json\n"
        "from containerize_deploy.lambda_function import lambda_handler, MODEL\n"
        "from containerize_deploy.answers import classify_bytes\n"
        "def now(name):\n"
        "    with open('/proc/self/status') as status:\n"
        "        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))\n"
        "rest = now('VmRSS')\n"
        "classify_bytes(MODEL, open(sys.argv[1], 'rb').read())\n"
        "print(json.dumps({'at_rest': round(rest), 'peak': round(now('VmHWM'))}))\n"
    )
    cases = {name: image_file(size) for name, size in SIZES.items()}
    largest = Image.fromarray(np.zeros((8000, 8000), np.uint8))
    for mode in ("L", "RGBA", "I;16"):
        stream = io.BytesIO()
        largest.convert(mode).save(stream, "PNG", compress_level=1)
        cases[f"64 megapixels, PNG, {mode}"] = stream.getvalue()
    stream = io.BytesIO()
    largest.convert("RGB").save(stream, "WEBP", quality=10, method=0)
    cases["64 megapixels, WebP"] = stream.getvalue()
    results: dict[str, Any] = {"unit": "MB"}
    for name, content in cases.items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            done = subprocess.run(
                [sys.executable, "-c", code, file.name], check=True, capture_output=True, text=True, cwd=ROOT
            )
        results[name] = json.loads(done.stdout.splitlines()[-1])
    return results


def size() -> dict[str, Any]:
    """Megabytes of what the image adds to its base, by following the Dockerfile in a folder, as the tests do."""
    from containerize_deploy.image_build import ImageBuild

    with tempfile.TemporaryDirectory() as folder:
        task = ImageBuild(Path(folder)).task
        sizes: Counter[str] = Counter()
        for path in task.rglob("*"):
            if path.is_file():
                top = path.relative_to(task).parts[0]
                sizes[top.removesuffix(".libs").split("-")[0].replace("pillow", "PIL")] += path.stat().st_size
        squeezed = subprocess.run(["tar", "-cz", "-C", task, "."], check=True, capture_output=True).stdout
    results = {name: round(count / 1e6, 1) for name, count in sizes.most_common(6)}
    return {
        "unit": "MB",
        "total": round(sum(sizes.values()) / 1e6, 1),
        "compressed": round(len(squeezed) / 1e6, 1),
        **results,
    }


# 4. Soak


def soak(requests: int) -> dict[str, Any]:
    """Requests in one process under the real runtime client: no error, memory flat, latency flat."""
    from containerize_deploy.local_runtime import running

    events = [
        {"image": base64.b64encode(image_file(SIZES[name], quality)).decode()}
        for name, quality in (("256x256", 90), ("256x256", 60), ("1 megapixel", 80))
    ]
    events += [{"image": "broken"}, {"url": "http://127.0.0.1/"}, {"images": [events[0]["image"]] * 3}]
    raw = [json.dumps(event).encode() for event in events]
    failures, tenth = 0, max(1, requests // 10)
    times: list[list[float]] = []
    resident: list[float] = []
    with running() as (api, process):
        for number in range(requests):
            kind = number % len(raw)
            started = time.perf_counter()
            answer = json.loads(api.invoke_raw(raw[kind]))
            elapsed = 1000 * (time.perf_counter() - started)
            failures += ("error" in answer) != (kind in (3, 4))
            if number % tenth == 0:
                times.append([])
                resident.append(_resident(process.pid))
            if kind == 0:
                times[-1].append(elapsed)
        resident.append(_resident(process.pid))
    return {
        "requests": requests,
        "wrong_answers": failures,
        "resident_mb": resident,
        "p50_ms_by_tenth": [round(statistics.median(tenth), 1) for tenth in times if tenth],
    }


def _resident(pid: int | str = "self") -> float:
    with open(f"/proc/{pid}/status") as status:
        return round(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")), 1)


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(values), 2),
        "p99": round(float(np.percentile(values, 99)), 2),
        "best": round(min(values), 2),
    }


if __name__ == "__main__":
    main()
