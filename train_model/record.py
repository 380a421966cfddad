"""The record of a run: where its notebooks write, what each has measured, and which data it is about.

A run is a folder. Each notebook writes its results into a section of the folder's `metrics.json`, and later notebooks
read settings from there, so that a setting is declared once.
"""

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from data_prep_eda.dataset import REPOSITORY, Dataset, DatasetError, fingerprint
from data_prep_eda.files import write_json
from train_model.parameters import ParameterError

if TYPE_CHECKING:  # it loads SciPy, which the runner need not
    from data_prep_eda.other_sources import Sources

METRICS = "metrics.json"
MODEL = "scene_mobilenet"
MODEL_FILE = "scene-classifier-model.tflite"  # what is served
ALONE = REPOSITORY / "runs" / "notebooks"  # the notebooks' own default, also of one that is opened by itself
PUBLISHED = REPOSITORY / "notebooks" / METRICS  # the record of the run that the notebooks were committed from
WRITERS = {"final": "06_train_final_model", "conversion": "07_tflite_conversion"}


def output_folder(output_dir: str) -> Path:
    """The folder that a notebook writes to, or a `ParameterError`; a relative one lies in the repository."""
    folder = REPOSITORY / Path(output_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ParameterError(
            f"Expected a folder to write to in 'output_dir', found {folder}: {error.strerror}. Name another one."
        ) from None
    return folder


def begin(folder: Path, dataset: Dataset, sources: "Sources | None" = None) -> None:
    """Says which data a notebook is about to use, and writes the section `data` of the record.

    Raises:
        DatasetError: earlier notebooks of the run used other images or other classes.
    """
    by_label = dataset.images.groupby("label")["split"]
    data: dict[str, Any] = {
        "source": dataset.source,
        "class_names": list(dataset.class_names),
        "fingerprint": fingerprint(dataset.folder),
        "found": dataset.found,
        "used": len(dataset.images) + len(dataset.others),
        "counts": {label: splits.value_counts().to_dict() for label, splits in by_label},
    }
    if sources is not None:
        by_source = sources.images.groupby("source")["label"]
        data["sources"] = {name: labels.value_counts().to_dict() for name, labels in by_source}
    before = read_metrics(folder).get("data", {})
    names = {"class_names": "classes", "fingerprint": "images", "sources": "images of other sources"}
    for name, what in names.items():
        if name in before and name in data and before[name] != data[name]:
            raise DatasetError(
                f"Expected the {what} that this run began with, found others in {dataset.folder}: a run is about one "
                f"data set. Name another folder in 'output_dir', or delete {folder / METRICS} to begin this one anew."
            )
    print(dataset, *filter(None, [sources]), sep="\n")
    if dataset.source != "SUN 09" or (sources is not None and sources.folder is None):
        print(
            "Text, where it interprets a result, speaks of the published run, on SUN 09 and the other sources; numbers "
            "and figures are those of the images above."
        )
    record_metrics(folder, "data", before | data)


def record_metrics(folder: Path, section: str, values: dict[str, Any]) -> Path:
    """Writes a notebook's results into its section of the run's `metrics.json`, and returns the file.

    A table becomes a list of rows; its index becomes columns, unless it only counts.
    """
    metrics = read_metrics(folder)
    metrics[section] = {name: _plain(value) for name, value in values.items()}
    return write_json(folder / METRICS, dict(sorted(metrics.items())))


def read_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """What the notebooks of a run have recorded, by section; empty where nothing has been."""
    path = folder / METRICS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def opened_alone(folder: Path) -> bool:
    """Whether a notebook was opened by itself, with no model trained before it: it then shows the published one."""
    return folder == ALONE and "final" not in read_metrics(folder)


def recorded(folder: Path, section: str, key: str) -> Any:
    """A setting from the run's record, or from the published run's where a notebook was opened alone.

    Raises:
        ParameterError: the notebook that records it has not been run.
    """
    metrics = json.loads(PUBLISHED.read_text("utf-8")) if opened_alone(folder) else read_metrics(folder)
    if key not in metrics.get(section, {}):
        raise ParameterError(
            f"Expected '{key}' of the section '{section}' in {folder / METRICS}, found none. Run notebook "
            f"{WRITERS.get(section, section)} first, with the same 'output_dir'."
        )
    return metrics[section][key]


def progress_bar(label: str) -> Callable[[int, int], None]:
    """A progress bar on standard error, for functions that report (done, all)."""
    bar = tqdm(desc=label, leave=False, delay=1, mininterval=2)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return update


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
        return {str(name): _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
