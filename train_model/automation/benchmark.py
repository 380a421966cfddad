"""Measures what this project's way costs beside the original project's recipe: `make benchmark`.

Three measurements: a sweep of learning rates by both, cost against the number of images, and what a newcomer waits for.
Prints tables and writes JSON; `--publish` also replaces the copy in the repository and `benchmark.md`, which shows it.
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import dataclasses
import functools
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd

from data_prep_eda.dataset import REPOSITORY, Dataset, load_dataset
from data_prep_eda.files import write_json, write_text
from train_model.augmentation import AUGMENTATIONS
from train_model.backbones import BACKBONES, load_backbone
from train_model.features import View, decoded, extract_features, litert_file
from train_model.heads import train_heads
from train_model.metrics import label_indices
from train_model.tflite import processor

PUBLISHED = Path(__file__).parent / "benchmark_results.json"
PAGE = PUBLISHED.with_name("benchmark.md")
TITLES = {
    "recipe": "A sweep of learning rates, by the original project's recipe and by this project",
    "size": "Growth: features of more images",
    "newcomer": "From clone to result",
}
MOBILENET = BACKBONES["mobilenet"]
BATCH = 32
# The original project's sweeps: learning rates, and what its image generator changes.
RATES = {"none": (0.0001, 0.001, 0.01, 0.1), "as_implemented": (0.001, 0.01, 0.1)}
FLIPS = {"vertical_flip": True, "width_shift_range": 10, "height_shift_range": 10}
CHANGES = {"none": {}, "as_implemented": FLIPS | {"zoom_range": 0.1, "rotation_range": 30}}
REPEATS = 3  # of the other measurements; medians count
ENOUGH = 1000  # images that a measurement is made on; the sample is repeated until there are as many
COUNTS = (1024, 4096, 16_384)  # images of the measurements of growth


def say(what: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def repeated(images: pd.DataFrame, count: int, folder: Path) -> pd.DataFrame:
    """At least `count` images in a folder, all of them equally often, each a file of its own to the feature cache."""
    rows = []
    for copy in range(-(-count // len(images))):
        for number, row in enumerate(images.to_dict("records")):
            path = folder / f"{copy}-{number}{Path(row['path']).suffix}"
            # Decoders stop at the end of the image; what follows makes the bytes differ, and so the cache's key.
            path.write_bytes(Path(row["path"]).read_bytes() + copy.to_bytes(4, "big"))
            rows.append(row | {"path": str(path)})
    return pd.DataFrame(rows)


# --- The original recipe and this project's -----------------------------------------------------------------


def original_training(dataset: Dataset, augmentation: str, rate: float, epochs: int) -> pd.DataFrame:
    """One training as the original project wrote it: images through the whole network in every epoch.

    Returns:
        A row per epoch: `seconds`, `epoch` (from 1), `val_accuracy`, `learning_rate`; the first has the tracing too.
    """
    import tensorflow  # the recipe's image generator has no public name in Keras 3

    generator = functools.partial(
        tensorflow.keras.preprocessing.image.ImageDataGenerator,
        preprocessing_function=keras.applications.mobilenet.preprocess_input,
    )
    flow = {"x_col": "path", "y_col": "label", "classes": list(dataset.class_names), "batch_size": BATCH}
    flow["target_size"] = (224, 224)
    train = generator(**CHANGES[augmentation]).flow_from_dataframe(dataset.split("train"), seed=1, **flow)
    validation = generator().flow_from_dataframe(dataset.split("validation"), shuffle=False, **flow)

    head = keras.layers.Dense(len(dataset.class_names))
    model = keras.Sequential([load_backbone(MOBILENET), keras.layers.GlobalAveragePooling2D(), head])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    times = [time.perf_counter()]
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: times.append(time.perf_counter()))
    fitted = model.fit(train, epochs=epochs, validation_data=validation, verbose=0, callbacks=[clock])
    curve = {"epoch": range(1, epochs + 1), "val_accuracy": fitted.history["val_accuracy"]}
    return pd.DataFrame({"seconds": np.diff(times), **curve, "learning_rate": rate})


def project_sweep(
    dataset: Dataset, augmentation: str, rates: Sequence[float], epochs: int
) -> tuple[float, pd.DataFrame]:
    """The same trainings by this project, from an empty cache.

    Returns:
        Seconds for all rates together, with the conversion of the network for LiteRT, which happens once on a machine;
        and a row per rate and epoch, as `train_heads` has it.
    """
    train, validation = dataset.split("train"), dataset.split("validation")
    kind = None if augmentation == "none" else AUGMENTATIONS[augmentation]
    decoded.cache_clear()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        features = functools.partial(extract_features, backbone=MOBILENET, cache=Path(cache), engine="litert")
        heads = train_heads(
            (lambda epoch: features(train["path"], view=View(kind, 0, epoch)))
            if kind
            else features(train["path"]),
            label_indices(train["label"], dataset.class_names),
            features(validation["path"]),
            label_indices(validation["label"], dataset.class_names),
            rates,
            classes=len(dataset.class_names),
            epochs=epochs,
            batch_size=BATCH,
        )
    return time.perf_counter() - began, heads.history


def measure_recipe(dataset: Dataset, augmentation: str, epochs: int, trained: int) -> dict[str, Any]:
    """The original project's sweep of learning rates, by its own recipe and by this project's, turn by turn.

    The original trains `trained` of the epochs at each rate; the others are counted as its median epoch.
    This project runs its whole sweep after each of the original's rates, so that both meet the same weather.
    """
    rates = RATES[augmentation]
    trainings, sweeps = [], []
    for rate in rates:
        say(f"augmentation {augmentation}, rate {rate:g}: the original's recipe, {trained} epochs")
        trainings.append(original_training(dataset, augmentation, rate, trained))
        say(f"augmentation {augmentation}: this project's, {len(rates)} rates × {epochs} epochs")
        seconds, history = project_sweep(dataset, augmentation, rates, epochs)
        sweeps.append(seconds)
    original = pd.concat(trainings)
    total = original["seconds"].sum() + len(rates) * (epochs - trained) * original["seconds"].median()
    project = statistics.median(sweeps)

    def best(curves: pd.DataFrame) -> float:
        """Mean over the rates of the best epoch, among the epochs that both trained."""
        # At 0.0001 the accuracy is still climbing when the training stops.
        compared = curves[(curves["learning_rate"] >= 0.001) & (curves["epoch"] <= trained)]
        return round(compared.groupby("learning_rate")["val_accuracy"].max().mean(), 4)

    return {
        "train": len(dataset.split("train")),
        "validation": len(dataset.split("validation")),
        "rates": list(rates),
        "epochs": epochs,
        "original_epochs_trained": trained,
        "original_seconds": round(total, 2),
        "project_seconds": round(project, 2),
        "ratio": round(total / project, 1),
        "original_best_val_accuracy": best(original),
        "project_best_val_accuracy": best(history),
    }


# --- Growth, and what a newcomer waits for ------------------------------------------------------------------


def _extract(paths: list[str]) -> tuple[float, float]:
    """Seconds of extracting features into an empty cache, and the process's peak memory in megabytes (on Linux)."""
    with tempfile.TemporaryDirectory() as cache:
        litert_file(MOBILENET, "auto", Path(cache))  # the same few seconds at every size
        began = time.perf_counter()
        extract_features(paths, MOBILENET, cache=Path(cache))
        seconds = time.perf_counter() - began
    return seconds, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def measure_size(images: pd.DataFrame) -> list[dict[str, Any]]:
    """Time and memory against the number of images, each measured in fresh processes."""
    rows, context = [], multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        copies = repeated(images, COUNTS[-1], Path(folder))["path"].tolist()
        for count in COUNTS:
            say(f"{count} images, {REPEATS} times")
            with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
                seconds, peak = np.median([*pool.map(_extract, [copies[:count]] * REPEATS)], axis=0)
            each = {"seconds": round(seconds, 2), "milliseconds_each": round(1000 * seconds / count, 2)}
            size = round(count * MOBILENET.features * 4 / 2**20)
            memory = {"megabytes_peak": round(peak), "megabytes_of_features": size}
            rows.append({"images": count} | each | memory)
    return rows


def measure_newcomer() -> dict[str, int]:
    """Medians in seconds of the commands in a fresh clone, on the sample; the tests run once, they take longest."""
    commands = ("make setup", "make run", "make test-unit", "make test")
    seconds: dict[str, list[float]] = {command: [] for command in commands}
    ours = ("ARGS", "MAKE", "SCENES_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    for repeat in range(REPEATS):
        with tempfile.TemporaryDirectory() as clone:
            subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
            for command in commands if repeat == 0 else commands[:2]:
                say(f"{command} in a fresh clone, repeat {repeat + 1}")
                began = time.perf_counter()
                if subprocess.run(command.split(), cwd=clone, env=environment, stdout=sys.stderr).returncode:
                    sys.exit(
                        f"{command} failed in a fresh clone, as it says above; the other figures are kept."
                    )
                seconds[command].append(time.perf_counter() - began)
    return {command: round(statistics.median(waits)) for command, waits in seconds.items()}


# --- The report ---------------------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> str:
    """The figures as tables, for the terminal and `benchmark.md`; measurements may be missing."""
    host = results["machine"]
    text = (
        f"# Benchmark\n\nWritten by `make benchmark ARGS=--publish`, with version {results['version']} of this project, on "
        f"{results['images']}, {host['cores']} cores ({host['processor']}), Python {host['python']}. Medians; ratios are of "
        f"one run. The recipes start with an empty cache; epochs that the original didn't train count as its median. Commands "
        f"run in a fresh clone with the installer's download cache, on the sample, the tests once.\n"
    )
    for name, title in TITLES.items():
        if name in results:
            rows = results[name] if name != "newcomer" else {"seconds": results[name]}
            frame = pd.DataFrame(rows).astype(str)
            frame = frame.set_index("images") if name == "size" else frame.rename_axis("measured")
            text += f"\n## {title}\n\n{frame.to_markdown(stralign='right', disable_numparse=True)}\n"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m train_model.automation.benchmark", description=about)
    add = parser.add_argument
    add("--data-dir", default="", help="images (default: prepared data, else the sample)")
    some = f"some of {', '.join(TITLES)}; the others keep their figures in the file"
    add("--only", nargs="+", choices=TITLES, default=TITLES, metavar="NAME", help=some)
    add("--epochs", type=int, default=10, help="of every training (default: 10)")
    trains = "epochs that the original's recipe really trains; the rest is counted as its median epoch (default: all)"
    add("--original-epochs", type=int, help=trains)
    add("--out", type=Path, default=Path("runs/benchmark.json"))
    add("--publish", action="store_true", help=f"also write {PUBLISHED.name} and {PAGE.name}")
    options = parser.parse_args(arguments)

    dataset = load_dataset(options.data_dir)
    print(dataset)
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    host = {"cores": os.cpu_count(), "processor": processor(), "python": platform.python_version()}
    version = importlib.metadata.version("scene-classifier")
    results |= {"machine": host, "version": version, "images": dataset.kind}
    trained = options.original_epochs or options.epochs
    with tempfile.TemporaryDirectory() as folder:
        if (found := len(dataset.images)) < ENOUGH:
            dataset = dataclasses.replace(dataset, images=repeated(dataset.images, ENOUGH, Path(folder)))
            results["images"] += f", each {len(dataset.images) // found} times"
        for name in options.only:
            if name == "recipe":
                kinds = {kind: measure_recipe(dataset, kind, options.epochs, trained) for kind in RATES}
                results[name] = kinds
            else:
                results[name] = measure_size(dataset.images) if name == "size" else measure_newcomer()
            write_json(options.out, results)  # after each: the next may take a while
    if options.publish:
        write_json(PUBLISHED, results)
        write_text(PAGE, markdown(results))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    interruption.run(main)
