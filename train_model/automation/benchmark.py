"""Measures what this project's way costs, beside its bounds: `make benchmark`.

Each measurement has its own function: the original project's recipe beside this project's, the drawing of views, cost
against the number of images, cost against the number of heads, what papermill adds to a run, what a newcomer waits for,
and, where Keras sees one, a GPU. Prints tables and writes JSON; `--publish` also replaces the copy in the repository and
`benchmark.md`, which shows it.
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import nbformat
import numpy as np
import pandas as pd
from PIL import Image

from data_prep_eda.dataset import REPOSITORY, Dataset, load_dataset
from data_prep_eda.files import write_json, write_text
from data_prep_eda.preprocessing import SCENES, load_image
from train_model.augmentation import AUGMENTATIONS, warp
from train_model.automation.documents import table
from train_model.automation.notebook_run import run_notebook
from train_model.backbones import BACKBONES, load_backbone
from train_model.features import (
    View,
    compute_litert,
    decoded,
    extract_features,
    gpu_available,
    litert_file,
)
from train_model.heads import train_heads
from train_model.metrics import scene_indices
from train_model.tflite import processor

PUBLISHED = Path(__file__).parent / "benchmark_results.json"
PAGE = PUBLISHED.with_name("benchmark.md")
MOBILENET = BACKBONES["mobilenet"]
BATCH = 32
RATES = {
    "none": (0.0001, 0.001, 0.01, 0.1),
    "as_implemented": (0.001, 0.01, 0.1),
}  # the original project's sweeps
ENOUGH = 1000  # images that a measurement is made on; the sample is repeated until there are as many
MOST = 32_768  # images of the largest measurement of growth

Progress = Callable[[str], None]


def median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 4)


# --- The images ---------------------------------------------------------------------------------------


def repeated(images: pd.DataFrame, times: int, folder: Path) -> pd.DataFrame:
    """Copies of images under new names, each a file of its own to the feature cache.

    Args:
        images: rows of a `Dataset`.
        times: copies of each.
        folder: where the copies go.

    Returns:
        The rows `times` over, with the copies' paths.
    """
    rows = []
    for copy in range(times):
        for row in images.to_dict("records"):
            path = folder / f"{copy}-{row['scene']}-{row['name']}"
            # Decoders stop at the end of the image; what follows makes the bytes differ, and so the cache's key.
            path.write_bytes(Path(row["path"]).read_bytes() + copy.to_bytes(4, "big"))
            rows.append(row | {"path": str(path)})
    return pd.DataFrame(rows)


# --- 1. The original recipe and this project's --------------------------------------------------------------


def original_sweep(
    train: pd.DataFrame, validation: pd.DataFrame, augmentation: str, rate: float, epochs: int
) -> dict:
    """One training as the original project wrote it: images through the whole network in every epoch.

    Returns:
        `epoch_seconds`, `epoch_cpu_seconds` and `val_accuracy`, one per epoch.
    """
    import tensorflow  # the recipe's image generator has no public name in Keras 3

    preprocess = keras.applications.mobilenet.preprocess_input
    changes = {
        "none": {},
        "as_implemented": {
            "vertical_flip": True,
            "width_shift_range": 10,
            "height_shift_range": 10,
            "zoom_range": 0.1,
            "rotation_range": 30,
        },
    }
    generator = tensorflow.keras.preprocessing.image.ImageDataGenerator
    flow = {
        "x_col": "path",
        "y_col": "scene",
        "classes": list(SCENES),
        "target_size": (224, 224),
        "batch_size": BATCH,
        "seed": 1,
    }
    images = generator(preprocessing_function=preprocess, **changes[augmentation])
    train_images = images.flow_from_dataframe(train, shuffle=True, **flow)
    validation_images = generator(preprocessing_function=preprocess).flow_from_dataframe(
        validation, shuffle=False, **flow
    )

    inputs = keras.Input((224, 224, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(load_backbone(MOBILENET)(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(len(SCENES))(pooled))
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    clock = _EpochClock()
    history = model.fit(
        train_images, epochs=epochs, validation_data=validation_images, verbose=0, callbacks=[clock]
    ).history
    return {
        "epoch_seconds": clock.seconds,
        "epoch_cpu_seconds": clock.cpu_seconds,
        "val_accuracy": history["val_accuracy"],
    }


class _EpochClock(keras.callbacks.Callback):
    """Seconds of each epoch with its validation; the first also has the graph's tracing."""

    def on_train_begin(self, logs=None):
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.last = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter(), time.process_time()
        self.seconds.append(now[0] - self.last[0])
        self.cpu_seconds.append(now[1] - self.last[1])
        self.last = now


def project_sweep(
    train: pd.DataFrame, validation: pd.DataFrame, augmentation: str, rates: Sequence[float], epochs: int
) -> dict:
    """The same trainings by this project, from an empty cache.

    Returns:
        `seconds` and `cpu_seconds` of all rates together; `parts`: of the seconds, those spent on features (with the
        conversion of the network for LiteRT, which happens once on a machine, beside decoding) and on heads;
        `network_seconds`: what LiteRT's network alone takes for one image; `val_accuracy`: rate to one value per epoch.
    """
    parts = dict.fromkeys(("features", "heads"), 0.0)
    decoded.cache_clear()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)

        def features(paths: pd.Series, view: View | None = None) -> np.ndarray:
            began = time.perf_counter()
            found = extract_features(paths, MOBILENET, view=view, cache=cache, engine="litert")
            parts["features"] += time.perf_counter() - began
            return found

        began, cpu_began = time.perf_counter(), time.process_time()
        plain = features(train["path"]) if augmentation == "none" else None
        heads = train_heads(
            lambda epoch: (
                features(train["path"], View(AUGMENTATIONS[augmentation], 0, epoch))
                if plain is None
                else plain
            ),
            scene_indices(train["scene"]),
            features(validation["path"]),
            scene_indices(validation["scene"]),
            rates,
            epochs=epochs,
            batch_size=BATCH,
        )
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        parts["heads"] = seconds - sum(parts.values())
        network_seconds = time_network(litert_file(MOBILENET, "auto", cache))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "parts": parts,
        "network_seconds": network_seconds,
        "val_accuracy": {
            rate: rows["val_accuracy"].tolist() for rate, rows in heads.history.groupby("learning_rate")
        },
    }


def time_network(network: Path, images: int = 300) -> float:
    """Seconds an image of the LiteRT network alone on all cores, with nothing to read or decode."""
    grey = np.full((224, 224, 3), 127, np.uint8)
    began = time.perf_counter()
    for _ in compute_litert(network, lambda row: grey, list(range(images))):
        pass
    return (time.perf_counter() - began) / images


def measure_recipe(
    dataset: Dataset, augmentation: str, epochs: int, original_epochs: int, say: Progress
) -> dict:
    """The original project's sweep of learning rates, by its own recipe and by this project's, turn by turn.

    The original trains `original_epochs` of the epochs at each rate; the others are counted as its median epoch.
    This project runs its whole sweep after each of the original's rates, so that both meet the same weather.
    """
    train, validation = dataset.split("train"), dataset.split("validation")
    rates = RATES[augmentation]
    original, project = {}, []
    for rate in rates:
        say(f"augmentation {augmentation}, rate {rate:g}: the original's recipe, {original_epochs} epochs")
        original[rate] = original_sweep(train, validation, augmentation, rate, original_epochs)
        say(f"augmentation {augmentation}: this project's, {len(rates)} rates × {epochs} epochs")
        project.append(project_sweep(train, validation, augmentation, rates, epochs))

    def original_total(column: str) -> float:
        curves = [one[column] for one in original.values()]
        later = [seconds for curve in curves for seconds in (curve[1:] or curve)]
        return sum(map(sum, curves)) + len(rates) * (epochs - original_epochs) * statistics.median(later)

    def best(curves: dict[float, list[float]]) -> float:
        """Mean over the rates of the best epoch, among the epochs that both trained."""
        good = [rate for rate in rates if rate >= 0.001]  # 0.0001 is still climbing when it stops
        return round(float(np.mean([max(curves[rate][:original_epochs]) for rate in good])), 4)

    original_seconds, original_cpu = original_total("epoch_seconds"), original_total("epoch_cpu_seconds")
    project_seconds = statistics.median(one["seconds"] for one in project)
    project_cpu = statistics.median(one["cpu_seconds"] for one in project)
    passes = epochs if augmentation != "none" else 1
    network = statistics.median(one["network_seconds"] for one in project)
    floor = (passes * len(train) + len(validation)) * network
    return {
        "train": len(train),
        "validation": len(validation),
        "rates": list(rates),
        "epochs": epochs,
        "original_epochs_trained": original_epochs,
        "original_seconds": round(original_seconds, 2),
        "original_cpu_seconds": round(original_cpu, 2),
        "project_runs": len(project),
        "project_seconds": round(project_seconds, 2),
        "project_seconds_range": [round(f(one["seconds"] for one in project), 2) for f in (min, max)],
        "project_cpu_seconds": round(project_cpu, 2),
        "project_parts": {
            part: round(statistics.median(one["parts"][part] for one in project), 2)
            for part in project[0]["parts"]
        },
        "ratio": round(original_seconds / project_seconds, 1),
        "cpu_ratio": round(original_cpu / project_cpu, 1),
        "original_best_val_accuracy": best({rate: one["val_accuracy"] for rate, one in original.items()}),
        "project_best_val_accuracy": best(project[0]["val_accuracy"]),
        "floor_seconds": round(floor, 2),
        "share_of_floor": round(floor / project_seconds, 2),
    }


# --- 2. Drawing an augmented view ------------------------------------------------------------------------


def measure_views(images: pd.DataFrame, repeats: int, say: Progress) -> dict:
    """Milliseconds per affine change of an image by OpenCV, as this project draws it, and by Pillow, turn by turn.

    Pillow leaves what comes from outside the image black; the pixels inside are compared, level by level.
    """
    pixels = [load_image(path, MOBILENET.input_size) for path in images["path"]]
    angle, shift = np.deg2rad(20), (4, -7)
    linear = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ np.diag([0.9, 1.1])
    middle = np.full(2, MOBILENET.input_size / 2)
    coefficients = tuple(np.column_stack([linear, shift + middle - linear @ middle]).ravel())
    how = (Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    seconds: dict[str, list[float]] = {"opencv": [], "pillow": []}
    ways = {
        "opencv": lambda image: warp(image, np.column_stack([linear, shift])),
        "pillow": lambda image: np.asarray(Image.fromarray(image).transform(image.shape[:2], *how)),
    }
    drawn: dict[str, np.ndarray] = {}
    for repeat in range(repeats):
        for name, way in ways.items():
            say(f"views drawn by {name}, repeat {repeat + 1}")
            began = time.perf_counter()
            found = [way(image) for image in pixels]
            seconds[name].append(time.perf_counter() - began)
            drawn[name] = np.stack(found).astype(np.int16)
    inside = np.asarray(
        Image.new("L", (MOBILENET.input_size,) * 2, 255).transform((MOBILENET.input_size,) * 2, *how)
    )
    difference = np.abs(drawn["opencv"] - drawn["pillow"])[:, inside == 255]
    return {
        "images": len(pixels),
        **{
            f"{name}_milliseconds": round(1000 * statistics.median(s) / len(pixels), 3)
            for name, s in seconds.items()
        },
        "same": round(float((difference == 0).mean()), 4),
        "more_than_one_level": round(float((difference > 1).mean()), 5),
        "largest_difference": int(difference.max()),
    }


# --- 3. Cost against the number of images --------------------------------------------------------------


def _extract_alone(paths: list[str], cache: str, answer: Any) -> None:
    """In a process of its own: seconds and peak memory of extracting features."""
    before = _peak_megabytes()
    began = time.perf_counter()
    extract_features(paths, MOBILENET, cache=Path(cache))
    answer.put((time.perf_counter() - began, before, _peak_megabytes()))


def _peak_megabytes() -> float:
    """Peak resident memory of this process; NaN where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_size(images: pd.DataFrame, repeats: int, say: Progress, most: int = MOST) -> list[dict]:
    """Time and memory of up to `most` images, each number in a fresh process with an empty cache."""
    counts = [most // step for step in (32, 8, 2, 1)]
    context = multiprocessing.get_context("spawn")
    results: dict[int, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        copies = repeated(images, -(-most // len(images)), Path(folder))["path"].tolist()
        for repeat in range(repeats):
            for count in counts:
                say(f"{count} images, repeat {repeat + 1}")
                with tempfile.TemporaryDirectory() as cache:
                    litert_file(MOBILENET, "auto", Path(cache))  # the same few seconds at every size
                    answer = context.Queue()
                    process = context.Process(target=_extract_alone, args=(copies[:count], cache, answer))
                    process.start()
                    results.setdefault(count, []).append(answer.get(timeout=1800))
                    process.join()
    rows = []
    for count, measured in results.items():
        seconds, before, peak = (statistics.median(column) for column in zip(*measured, strict=True))
        rows.append(
            {
                "images": count,
                "seconds": round(seconds, 2),
                "milliseconds_each": round(1000 * seconds / count, 2),
                "megabytes_before": round(before),
                "megabytes_peak": round(peak),
                "megabytes_of_features": round(count * MOBILENET.features * 4 / 2**20),
            }
        )
    return rows


# --- 4. Cost against the number of heads --------------------------------------------------------------------


def measure_heads(images: int, epochs: int, repeats: int, say: Progress) -> list[dict]:
    """Time to train 1, 4, 16 and 64 heads together on features that are there already."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(SCENES), images)
    features = rng.gamma(0.5, 1.0, (images, MOBILENET.features)).astype(
        np.float32
    )  # as sparse as pooled ones
    counts = (1, 4, 16, 64)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for repeat in range(repeats):
        for count in counts:
            say(f"{count} heads, repeat {repeat + 1}")
            began = time.perf_counter()
            train_heads(
                features, labels, features[:100], labels[:100], np.geomspace(1e-4, 0.1, count), epochs=epochs
            )
            seconds[count].append(time.perf_counter() - began)
    return [
        {
            "heads": count,
            "seconds": median(seconds[count]),
            "times_one_head": round(statistics.median(seconds[count]) / statistics.median(seconds[1]), 2),
        }
        for count in counts
    ]


# --- 5. What papermill adds ---------------------------------------------------------------------------------


def measure_papermill(repeats: int, say: Progress, points: int = 8) -> dict:
    """Seconds of a notebook that does nothing, alone and in sweeps with 1 and 2 workers.

    The sweeps run as a user runs them, by the command line. The same command again has nothing left to do and
    shows what it takes to start and to make the table; the rest is the points'.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_code_cell(
                    'output_dir: str = ""  # results\nseed: int = 0  # of nothing',
                    metadata={"tags": ["parameters"]},
                ),
                nbformat.v4.new_code_cell('open(f"{output_dir}/metrics.json", "w").write("{}")'),
            ],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, folder / "nothing.ipynb")
        (folder / "grid.yml").write_text(f"notebook: nothing.ipynb\ngrid: {{seed: {list(range(points))}}}\n")
        alone: list[float] = []
        nothing_to_do: list[float] = []
        sweeps: dict[int, list[float]] = {1: [], 2: []}
        for repeat in range(repeats):
            say(f"papermill: one run alone, repeat {repeat + 1}")
            result = run_notebook(folder / "nothing.ipynb", folder / "out.ipynb", {"output_dir": name})
            alone.append(result.seconds)
            for workers in sweeps:
                say(f"papermill: {points} points with {workers} workers, repeat {repeat + 1}")
                command = [sys.executable, "-m", "train_model.sweep", "--grid", folder / "grid.yml"]
                command += ["--out", folder / f"{workers}-{repeat}", "--workers", str(workers)]
                for seconds in (sweeps[workers], nothing_to_do):
                    began = time.perf_counter()
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                    seconds.append(time.perf_counter() - began)
    start = median(nothing_to_do)
    return {
        "run_seconds": median(alone),
        "start_seconds": start,
        "points": points,
        "sweep_seconds": {str(workers): median(seconds) for workers, seconds in sweeps.items()},
        "seconds_a_point": {
            str(workers): round((median(seconds) - start) / points, 2) for workers, seconds in sweeps.items()
        },
    }


# --- 6. What a newcomer waits for ---------------------------------------------------------------------------


def measure_newcomer(repeats: int, say: Progress) -> dict:
    """Seconds from a fresh clone to the result on the sample, and once of the tests; without the real photographs.

    Returns:
        The commands' medians in seconds, and `installer`: `uv` or `pip`. The installer's download cache is as it is.
    """
    commands = ("make setup", "make run", "make test-unit", "make test")
    seconds: dict[str, list[float]] = {command: [] for command in commands}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), f"{folder}/clone"], check=True)
            environment = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ARGS", "MAKE", "SCENES_"))
            }
            for command in commands if repeat == 0 else commands[:2]:  # the tests once: they take longest
                say(f"{command} in a fresh clone, repeat {repeat + 1}")
                began = time.perf_counter()
                done = subprocess.run(
                    command.split(), cwd=f"{folder}/clone", env=environment, capture_output=True, text=True
                )
                seconds[command].append(time.perf_counter() - began)
                if done.returncode:
                    raise RuntimeError(
                        f"{command} failed in a fresh clone:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
                    )
    uv = shutil.which("uv") and not subprocess.run(["uv", "--version"], capture_output=True).returncode
    return {command: round(statistics.median(taken)) for command, taken in seconds.items()} | {
        "installer": "uv" if uv else "pip"
    }


# --- 7. A GPU, where there is one ---------------------------------------------------------------------------


def measure_gpu(images: pd.DataFrame, repeats: int, say: Progress) -> dict | None:
    """Augmented images a second on a GPU with the Keras backend in use; `None` without a GPU."""
    if not gpu_available():
        return None
    rates = []
    for repeat in range(repeats + 1):
        say(f"GPU, augmented views, repeat {repeat}")
        with tempfile.TemporaryDirectory() as cache:
            view = View(AUGMENTATIONS["as_implemented"], 0, repeat)
            began = time.perf_counter()
            extract_features(images["path"], MOBILENET, view=view, cache=Path(cache), engine="keras")
            rates.append(len(images) / (time.perf_counter() - began))
    return {
        "backend": keras.backend.backend(),
        "devices": len(keras.distribution.list_devices("gpu")),
        "images": len(images),
        "augmented_images_a_second": median(rates[1:]),  # the first run also compiles
    }


# --- The report ---------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def markdown(results: dict[str, Any]) -> str:
    """The figures as tables and sentences, for the terminal and `benchmark.md`; measurements may be missing."""
    host = results["machine"]
    sections = [
        "# Benchmark",
        f"Written by `make benchmark ARGS=--publish`, with version {results['version']} of this project. Medians; ratios "
        f"are of one run. {host['cores']} cores "
        f"({host['processor']}), Python {host['python']}.",
    ]
    if recipes := results.get("recipe"):
        one = recipes["none"]
        rows = [
            [
                f"{len(r['rates'])} rates × {r['epochs']} epochs, {'without' if name == 'none' else 'with its'} augmentation",
                f"{r['original_seconds']:.0f} s",
                f"{r['project_seconds']:.1f} s ({', '.join(f'{k} {v:.1f}' for k, v in r['project_parts'].items())})",
                f"{times(r['ratio'])} ×",
                f"{times(r['cpu_ratio'])} ×",
                f"{r['original_best_val_accuracy']:.3f}, {r['project_best_val_accuracy']:.3f}",
                f"{r['floor_seconds']:.1f} s ({r['share_of_floor']:.0%} of the time, "
                f"{times(r['original_seconds'] / r['floor_seconds'])} × faster)",
            ]
            for name, r in recipes.items()
        ]
        header = [
            "sweep",
            "the original project's recipe",
            "this project, cold cache",
            "faster",
            "by processor time",
        ]
        header += ["best validation accuracy, both", "bound: the network alone"]
        sections += [
            "## A sweep of learning rates",
            f"{one['train']} training and {one['validation']} validation images ({results['images']}).",
            table(header, rows),
        ]
        if (trained := one["original_epochs_trained"]) < one["epochs"]:
            sections.append(
                f"Each of the original project's trainings ran for {trained} of its epochs, and the others count as long as "
                f"their median; both accuracies are within these epochs."
            )
    if views := results.get("views"):
        ratio = views["pillow_milliseconds"] / views["opencv_milliseconds"]
        sections += [
            "## Views",
            f"OpenCV makes the affine change of a view in {views['opencv_milliseconds']:.2f} ms, Pillow in "
            f"{views['pillow_milliseconds']:.2f} ms: {times(ratio)} times faster. On {views['images']:,} images "
            f"{views['same']:.0%} of the levels are the same, {views['more_than_one_level']:.2%} differ by more than one, "
            f"and none by more than {views['largest_difference']}.",
        ]
    if sizes := results.get("size"):
        rows = [
            [
                f"{r['images']:,}",
                f"{r['seconds']:.1f} s",
                f"{r['milliseconds_each']:.1f} ms",
                f"{r['megabytes_peak']} MB",
                f"{r['megabytes_of_features']} MB",
            ]
            for r in sizes
        ]
        header = ["images", "time", "per image", "peak memory", "of it features, in a file that is mapped"]
        sections += ["## Growth", table(header, rows)]
    if heads := results.get("heads"):
        rows = [[str(r["heads"]), f"{r['seconds']:.2f} s", f"{r['times_one_head']:.1f}"] for r in heads]
        sections += ["## Heads", table(["heads trained together", "time", "times one head"], rows)]
    if runs := results.get("papermill"):
        point = runs["seconds_a_point"]
        sections += [
            "## Runs and workers",
            f"A papermill run costs {runs['run_seconds']:.1f} s, most of it the start of a kernel. A sweep takes "
            f"{runs['start_seconds']:.1f} s to start and to write its table, and for {runs['points']} points that do nothing "
            f"{point['1']:.1f} s per point with one worker and {point['2']:.1f} s with two, whose start is included.",
        ]
    if waits := results.get("newcomer"):
        rows = [[f"`{name}`", f"{taken} s"] for name, taken in waits.items() if name != "installer"]
        sections += [
            "## From clone to result",
            table(["command, in a fresh clone", "time"], rows),
            f"Packages come by {waits['installer']} from its download cache; `make run` is on the drawn sample, `make test` "
            f"without the photographs, and `make test-unit` installs what only tests need. The tests ran once.",
        ]
    if gpu := results.get("gpu"):
        sections += [
            "## GPU",
            f"{gpu['augmented_images_a_second']:.0f} augmented images per second with the {gpu['backend']} backend.",
        ]
    return "\n\n".join(sections)


def times(ratio: float) -> str:
    """A ratio with the digits that it is good for: 6.2, 53."""
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


MEASUREMENTS = ("recipe", "views", "size", "heads", "papermill", "newcomer", "gpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train_model.automation.benchmark", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data-dir", default="", help="images (default: prepared data, else the sample)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASUREMENTS,
        default=MEASUREMENTS,
        metavar="NAME",
        help=f"some of {', '.join(MEASUREMENTS)}; the others keep their figures in the file",
    )
    parser.add_argument("--epochs", type=int, default=10, help="of every training (default: 10)")
    parser.add_argument(
        "--original-epochs",
        type=int,
        help="epochs that the original's recipe really trains; "
        "the rest is counted as its median epoch (default: all)",
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="of each measurement; medians count (default: 3)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark.json"))
    parser.add_argument("--publish", action="store_true", help=f"also write {PUBLISHED.name} and {PAGE.name}")
    options = parser.parse_args(arguments)

    def say(what: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)

    dataset = load_dataset(options.data_dir)
    print(dataset)
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    results |= {
        "machine": machine(),
        "version": importlib.metadata.version("scene-classifier"),
        "images": dataset.kind,
    }
    with tempfile.TemporaryDirectory() as folder:
        if len(dataset.images) < ENOUGH:
            times = -(-ENOUGH // len(dataset.images))
            dataset = Dataset(dataset.folder, repeated(dataset.images, times, Path(folder)), dataset.rejected)
            results["images"] += f", each {times} times"
        measure = {
            "recipe": lambda: {
                augmentation: measure_recipe(
                    dataset, augmentation, options.epochs, options.original_epochs or options.epochs, say
                )
                for augmentation in RATES
            },
            "views": lambda: measure_views(dataset.images, options.repeats, say),
            "size": lambda: measure_size(dataset.images, options.repeats, say),
            "heads": lambda: measure_heads(len(dataset.split("train")), options.epochs, options.repeats, say),
            "papermill": lambda: measure_papermill(options.repeats, say),
            "newcomer": lambda: measure_newcomer(options.repeats, say),
            "gpu": lambda: measure_gpu(dataset.images, options.repeats, say),
        }
        for name in options.only:
            results[name] = measure[name]()
            write_json(options.out, results)  # after each: the next may take a while
    if options.publish:
        write_json(PUBLISHED, results)
        write_text(PAGE, markdown(results) + "\n")
    print(markdown(results))
    return 0


if __name__ == "__main__":
    interruption.run(main)
