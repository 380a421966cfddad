"""Measures what this project's way costs beside the original project's recipe: `make benchmark`.

Three measurements: a sweep of learning rates by both, cost against the number of images, and what a newcomer waits for.
Prints tables and writes JSON; `--publish` also replaces the copy in the repository and `benchmark.md`, which shows it.
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
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
import pandas as pd

from data_prep_eda.dataset import REPOSITORY, Dataset, load_dataset
from data_prep_eda.files import write_json, write_text
from train_model.augmentation import AUGMENTATIONS
from train_model.automation.documents import table
from train_model.backbones import BACKBONES, load_backbone
from train_model.features import View, decoded, extract_features, litert_file
from train_model.heads import train_heads
from train_model.metrics import label_indices
from train_model.tflite import processor

PUBLISHED = Path(__file__).parent / "benchmark_results.json"
PAGE = PUBLISHED.with_name("benchmark.md")
MOBILENET = BACKBONES["mobilenet"]
BATCH = 32
# The original project's sweeps: learning rates, and what its image generator changes.
RATES = {"none": (0.0001, 0.001, 0.01, 0.1), "as_implemented": (0.001, 0.01, 0.1)}
CHANGES = {
    "none": {},
    "as_implemented": {
        **{"vertical_flip": True, "width_shift_range": 10, "height_shift_range": 10},
        **{"zoom_range": 0.1, "rotation_range": 30},
    },
}
ENOUGH = 1000  # images that a measurement is made on; the sample is repeated until there are as many
MOST = 32_768  # images of the largest measurement of growth

Progress = Callable[[str], None]


def repeated(images: pd.DataFrame, times: int, folder: Path) -> pd.DataFrame:
    """Copies of images in a folder, each a file of its own to the feature cache: `times` of each row."""
    rows = []
    for copy in range(times):
        for number, row in enumerate(images.to_dict("records")):
            path = folder / f"{copy}-{number}{Path(row['path']).suffix}"
            # Decoders stop at the end of the image; what follows makes the bytes differ, and so the cache's key.
            path.write_bytes(Path(row["path"]).read_bytes() + copy.to_bytes(4, "big"))
            rows.append(row | {"path": str(path)})
    return pd.DataFrame(rows)


# --- The original recipe and this project's -----------------------------------------------------------------


def original_training(
    dataset: Dataset, augmentation: str, rate: float, epochs: int
) -> dict[str, list[float]]:
    """One training as the original project wrote it: images through the whole network in every epoch.

    Returns:
        `seconds`, `cpu_seconds` and `val_accuracy`, one per epoch; the first has the graph's tracing too.
    """
    import tensorflow  # the recipe's image generator has no public name in Keras 3

    generator, names = tensorflow.keras.preprocessing.image.ImageDataGenerator, list(dataset.class_names)
    scale = keras.applications.mobilenet.preprocess_input
    flow = {
        "x_col": "path",
        "y_col": "label",
        "classes": names,
        "target_size": (224, 224),
        "batch_size": BATCH,
    }
    images = generator(preprocessing_function=scale, **CHANGES[augmentation])
    train = images.flow_from_dataframe(dataset.split("train"), shuffle=True, seed=1, **flow)
    images = generator(preprocessing_function=scale)
    validation = images.flow_from_dataframe(dataset.split("validation"), shuffle=False, **flow)

    inputs = keras.Input((224, 224, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(load_backbone(MOBILENET)(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(len(names))(pooled))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    clocks = [(time.perf_counter(), time.process_time())]
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: clocks.append((time.perf_counter(), time.process_time()))
    )
    history = model.fit(
        train, epochs=epochs, validation_data=validation, verbose=0, callbacks=[clock]
    ).history
    wall, cpu = (
        [after - before for before, after in itertools.pairwise(c)] for c in zip(*clocks, strict=True)
    )
    return {"seconds": wall, "cpu_seconds": cpu, "val_accuracy": history["val_accuracy"]}


def project_sweep(dataset: Dataset, augmentation: str, rates: Sequence[float], epochs: int) -> dict[str, Any]:
    """The same trainings by this project, from an empty cache.

    Returns:
        `seconds` and `cpu_seconds` of all rates together, with the conversion of the network for LiteRT, which happens
        once on a machine; `val_accuracy`: rate to one value per epoch.
    """
    train, validation = dataset.split("train"), dataset.split("validation")
    decoded.cache_clear()
    began, cpu_began = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as cache:
        features = functools.partial(extract_features, backbone=MOBILENET, cache=Path(cache), engine="litert")
        kind = None if augmentation == "none" else AUGMENTATIONS[augmentation]
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
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    curves = {
        rate: values.tolist() for rate, values in heads.history.groupby("learning_rate")["val_accuracy"]
    }
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "val_accuracy": curves}


def measure_recipe(
    dataset: Dataset, augmentation: str, epochs: int, trained: int, say: Progress
) -> dict[str, Any]:
    """The original project's sweep of learning rates, by its own recipe and by this project's, turn by turn.

    The original trains `trained` of the epochs at each rate; the others are counted as its median epoch.
    This project runs its whole sweep after each of the original's rates, so that both meet the same weather.
    """
    rates = RATES[augmentation]
    original, project = {}, []
    for rate in rates:
        say(f"augmentation {augmentation}, rate {rate:g}: the original's recipe, {trained} epochs")
        original[rate] = original_training(dataset, augmentation, rate, trained)
        say(f"augmentation {augmentation}: this project's, {len(rates)} rates × {epochs} epochs")
        project.append(project_sweep(dataset, augmentation, rates, epochs))

    def total(column: str) -> float:
        curves = [training[column] for training in original.values()]
        later = [seconds for curve in curves for seconds in (curve[1:] or curve)]
        return sum(map(sum, curves)) + len(rates) * (epochs - trained) * statistics.median(later)

    def best(curves: dict[float, list[float]]) -> float:
        """Mean over the rates of the best epoch, among the epochs that both trained."""
        steady = [rate for rate in rates if rate >= 0.001]  # 0.0001 is still climbing when it stops
        return round(statistics.mean(max(curves[rate][:trained]) for rate in steady), 4)

    def median(column: str) -> float:
        return statistics.median(sweep[column] for sweep in project)

    return {
        "train": len(dataset.split("train")),
        "validation": len(dataset.split("validation")),
        "rates": list(rates),
        "epochs": epochs,
        "original_epochs_trained": trained,
        "original_seconds": round(total("seconds"), 2),
        "project_runs": len(project),
        "project_seconds": round(median("seconds"), 2),
        "ratio": round(total("seconds") / median("seconds"), 1),
        "cpu_ratio": round(total("cpu_seconds") / median("cpu_seconds"), 1),
        "original_best_val_accuracy": best({rate: one["val_accuracy"] for rate, one in original.items()}),
        "project_best_val_accuracy": best(project[0]["val_accuracy"]),
    }


# --- Cost against the number of images ----------------------------------------------------------------------


def _extract_alone(paths: list[str], cache: str, answer: Any) -> None:
    """In a process of its own: seconds and peak memory, in megabytes, of extracting features."""
    began = time.perf_counter()
    extract_features(paths, MOBILENET, cache=Path(cache))
    seconds, status = time.perf_counter() - began, Path("/proc/self/status")
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else float("nan")
    answer.put((seconds, peak))


def measure_size(images: pd.DataFrame, repeats: int, say: Progress, most: int = MOST) -> list[dict[str, Any]]:
    """Time and memory of up to `most` images, each number in a fresh process with an empty cache."""
    context = multiprocessing.get_context("spawn")
    measured: dict[int, list[tuple[float, float]]] = {most // step: [] for step in (32, 8, 2, 1)}
    with tempfile.TemporaryDirectory() as folder:
        copies = repeated(images, -(-most // len(images)), Path(folder))["path"].tolist()
        for repeat in range(repeats):
            for count, answers in measured.items():
                say(f"{count} images, repeat {repeat + 1}")
                with tempfile.TemporaryDirectory() as cache:
                    litert_file(MOBILENET, "auto", Path(cache))  # the same few seconds at every size
                    answer = context.Queue()
                    process = context.Process(target=_extract_alone, args=(copies[:count], cache, answer))
                    process.start()
                    answers.append(answer.get(timeout=1800))
                    process.join()
    rows = []
    for count, answers in measured.items():
        seconds, peak = (statistics.median(column) for column in zip(*answers, strict=True))
        row = {
            "images": count,
            "seconds": round(seconds, 2),
            "milliseconds_each": round(1000 * seconds / count, 2),
        }
        features = round(count * MOBILENET.features * 4 / 2**20)
        rows.append(row | {"megabytes_peak": round(peak), "megabytes_of_features": features})
    return rows


# --- What a newcomer waits for ------------------------------------------------------------------------------


def measure_newcomer(repeats: int, say: Progress) -> dict[str, int]:
    """Seconds from a fresh clone to the result on the sample, and once of the tests; without the real photographs.

    Returns:
        The commands' medians in seconds. The installer's download cache is as it is.
    """
    commands = ("make setup", "make run", "make test-unit", "make test")
    seconds: dict[str, list[float]] = {command: [] for command in commands}
    ours = ("ARGS", "MAKE", "SCENES_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            clone = Path(folder) / "clone"
            subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
            for command in commands if repeat == 0 else commands[:2]:  # the tests once: they take longest
                say(f"{command} in a fresh clone, repeat {repeat + 1}")
                began = time.perf_counter()
                done = subprocess.run(
                    command.split(), cwd=clone, env=environment, capture_output=True, text=True
                )
                seconds[command].append(time.perf_counter() - began)
                if done.returncode:
                    raise RuntimeError(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {command: round(statistics.median(waits)) for command, waits in seconds.items()}


# --- The report ---------------------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> str:
    """The figures as tables, for the terminal and `benchmark.md`; measurements may be missing."""
    host = results["machine"]
    sections = [
        "# Benchmark",
        f"Written by `make benchmark ARGS=--publish`, with version {results['version']} of this project. Medians; ratios are "
        f"of one run. {host['cores']} cores ({host['processor']}), Python {host['python']}.",
    ]
    if recipes := results.get("recipe"):
        plain = recipes["none"]
        rows = [
            {
                "augmentation": {"none": "none"}.get(name, "the original project's"),
                "rates × epochs": f"{len(r['rates'])} × {r['epochs']}",
                "the original project's recipe": f"{r['original_seconds']:.0f} s",
                "this project, cold cache": f"{r['project_seconds']:.1f} s",
                "faster": f"{r['ratio']:.3g} ×",
                "by processor time": f"{r['cpu_ratio']:.3g} ×",
                "best validation accuracy, both": f"{r['original_best_val_accuracy']}, {r['project_best_val_accuracy']}",
            }
            for name, r in recipes.items()
        ]
        images = (
            f"{plain['train']} training and {plain['validation']} validation images ({results['images']})."
        )
        if (trained := plain["original_epochs_trained"]) < plain["epochs"]:
            images += (
                f" The original's trainings ran for {trained} epochs each; the others count as their median."
            )
        sections += ["## A sweep of learning rates", images, table(rows)]
    if size := results.get("size"):
        names = {"seconds": "s", "milliseconds_each": "ms per image", "megabytes_peak": "peak memory, MB"}
        names |= {"megabytes_of_features": "features, in a mapped file, MB"}
        rows = [{names.get(name, name): value for name, value in row.items()} for row in size]
        sections += ["## Growth", table(rows)]
    if waits := results.get("newcomer"):
        rows = [{"command, in a fresh clone": f"`{name}`", "s": wait} for name, wait in waits.items()]
        note = "Packages come from the installer's download cache, `make run` is on the sample, and the tests ran once."
        sections += ["## From clone to result", table(rows), note]
    return "\n\n".join(sections)


MEASUREMENTS = ("recipe", "size", "newcomer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m train_model.automation.benchmark", description=about)
    add = parser.add_argument
    add("--data-dir", default="", help="images (default: prepared data, else the sample)")
    some = f"some of {', '.join(MEASUREMENTS)}; the others keep their figures in the file"
    add("--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS, metavar="NAME", help=some)
    add("--epochs", type=int, default=10, help="of every training (default: 10)")
    trains = "epochs that the original's recipe really trains; the rest is counted as its median epoch (default: all)"
    add("--original-epochs", type=int, help=trains)
    add("--repeats", type=int, default=3, help="of each measurement; medians count (default: 3)")
    add("--out", type=Path, default=Path("runs/benchmark.json"))
    add("--publish", action="store_true", help=f"also write {PUBLISHED.name} and {PAGE.name}")
    options = parser.parse_args(arguments)

    def say(what: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)

    dataset = load_dataset(options.data_dir)
    print(dataset)
    host = {"cores": os.cpu_count(), "processor": processor(), "python": platform.python_version()}
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    results |= {
        "machine": host,
        "version": importlib.metadata.version("scene-classifier"),
        "images": dataset.kind,
    }
    with tempfile.TemporaryDirectory() as folder:
        if len(dataset.images) < ENOUGH:
            times = -(-ENOUGH // len(dataset.images))
            dataset = dataclasses.replace(dataset, images=repeated(dataset.images, times, Path(folder)))
            results["images"] += f", each {times} times"
        trained = options.original_epochs or options.epochs
        measure = {
            "recipe": lambda: {
                kind: measure_recipe(dataset, kind, options.epochs, trained, say) for kind in RATES
            },
            "size": lambda: measure_size(dataset.images, options.repeats, say),
            "newcomer": lambda: measure_newcomer(options.repeats, say),
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
