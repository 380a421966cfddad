"""What the study's notebooks share: the original's numbers, a place for results, the images of a run."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from scipy.stats import t as student_t
from tqdm import tqdm

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import replacing, write_json
from data_prep_eda.preprocessing import SCENES, load_image
from train_model import tflite
from train_model.parameters import ParameterError

if TYPE_CHECKING:  # the runner needs this file, but not Keras
    import keras

ORIGINAL_RESULTS = Path(__file__).parent / "original_results.csv"
METRICS = "metrics.json"
MODEL = "scene_mobilenet"
MODEL_FILE = "scene-classifier-model.tflite"  # what is served


def original_results(backbone: str, augmentation: str, run: str = "sweep") -> pd.DataFrame:
    """Validation accuracies that the original project's notebooks show.

    Args:
        backbone: `mobilenet` or `xception`.
        augmentation: `none` or `as_implemented`.
        run: `first run` or `sweep`.

    Returns:
        One row a learning rate and epoch: `learning_rate`, `epoch`, `val_accuracy`, `ms_per_step`.
    """
    table = pd.read_csv(ORIGINAL_RESULTS)
    chosen = (table["backbone"] == backbone) & (table["augmentation"] == augmentation) & (table["run"] == run)
    return table[chosen].drop(columns=["backbone", "augmentation", "run"]).reset_index(drop=True)


def output_folder(output_dir: str) -> Path:
    """The folder that a notebook writes to; a relative one lies in the repository, wherever Jupyter was started.

    Raises:
        ParameterError: it can't be made, or not be written to.
    """
    folder = REPOSITORY / Path(output_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ParameterError(
            f"Expected a folder to write to in 'output_dir', found {folder}: {error.strerror}. Name another one."
        ) from None
    return folder


def record_metrics(folder: Path, section: str, values: dict[str, Any]) -> Path:
    """Writes a notebook's results into its section of the run's `metrics.json`.

    Args:
        folder: of the run.
        section: name of the notebook's section; what an earlier run of the notebook wrote there is replaced.
        values: name to a number, a word, a dataclass such as `train_model.metrics.Proportion`, a dictionary, or a
            table. A `DataFrame` becomes a list of rows; its index becomes columns, unless it only counts.

    Returns:
        Path of the file.
    """
    path = folder / METRICS
    metrics = read_metrics(folder)
    metrics[section] = {name: _plain(value) for name, value in values.items()}
    return write_json(path, dict(sorted(metrics.items())))


def read_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """What the notebooks of a run have recorded, by section; empty where nothing has been."""
    path = folder / METRICS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _plain(value: Any) -> Any:
    """Tables and NumPy's numbers as JSON has them, rounded to what a reader could check."""
    if isinstance(value, pd.Series):
        value = value.to_frame(value.name or "value")
    if isinstance(value, pd.DataFrame):
        table = value if isinstance(value.index, pd.RangeIndex) else value.reset_index()
        return [_plain(row) for row in table.to_dict("records")]
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def progress_bar(label: str) -> Callable[[int, int], None]:
    """A progress bar on standard error, for functions that report (done, all)."""
    bar = tqdm(desc=label, leave=False, delay=1, mininterval=2)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return update


def interval(values: pd.Series) -> float:
    """Half width of the 95 % t interval of a mean over repeats; 0 for a single run."""
    if len(values) < 2:
        return 0.0
    return float(values.sem() * student_t.ppf(0.975, len(values) - 1))


def classify(model: Path, image: str | os.PathLike[str]) -> dict[str, float]:
    """Probability of each scene by a TFLite model, for one image.

    Args:
        model: a TFLite file written by notebook 08.
        image: an image file.

    Returns:
        Scene to probability.
    """
    interpreter = tflite.load_interpreter(model)
    size = int(interpreter.get_input_details()[0]["shape"][1])
    probabilities = tflite.run(interpreter, load_image(image, size))["probabilities"]
    return dict(zip(SCENES, probabilities.astype(float).tolist(), strict=True))


def save_model(model: keras.Model, folder: Path) -> list[Path]:
    """Saves a model as `.keras` and, as the original project did, as `.h5`.

    Args:
        model: of layers that Keras has itself; `.h5` files of others load in this project only.
        folder: created if needed. A save that fails leaves the files of the save before.

    Returns:
        The two files.
    """
    saved = [
        folder / f"{MODEL}{suffix}" for suffix in (".keras", ".h5")
    ]  # Keras chooses the format by the suffix
    for path in saved:
        with replacing(path) as part, warnings.catch_warnings():
            # Keras calls .h5 legacy each time; readers of the original project expect it.
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            try:
                model.save(part)
            finally:
                logging.disable(logging.NOTSET)
    return saved


def trained_model(folder: Path) -> Path:
    """The model that a run trained, or else the committed one, so that notebooks 07 and 08 also open alone."""
    mine = folder / "models" / f"{MODEL}.keras"
    return mine if mine.is_file() else Path(__file__).parent / f"{MODEL}.keras"
