"""What the study's notebooks share: the original's numbers, a place for results, the photographs of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep_eda.dataset import REPOSITORY
from train_model.papermill_runs import write_json

ORIGINAL_RESULTS = Path(__file__).parent / "original_results.csv"
METRICS = "metrics.json"


def original_results(backbone: str, augmentation: str, run: str = "sweep") -> pd.DataFrame:
    """Validation accuracies that the original study's notebooks show.

    Args:
        backbone: `mobilenet` or `xception`.
        augmentation: `none` or `as_run`.
        run: `first run` or `sweep`.

    Returns:
        One row a learning rate and epoch: `learning_rate`, `epoch`, `val_accuracy`, `ms_per_step`.
    """
    table = pd.read_csv(ORIGINAL_RESULTS)
    chosen = (table["backbone"] == backbone) & (table["augmentation"] == augmentation) & (table["run"] == run)
    return table[chosen].drop(columns=["backbone", "augmentation", "run"]).reset_index(drop=True)


def output_folder(output_dir: str) -> Path:
    """The folder that a notebook writes to; a relative one lies in the repository, wherever Jupyter was started."""
    folder = REPOSITORY / Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def record_metrics(folder: Path, section: str, values: dict[str, Any]) -> Path:
    """Adds a notebook's figures to the run's `metrics.json`.

    Args:
        folder: of the run.
        section: puts `section.` before each name, so that the file stays one flat table.
        values: numbers and words by name.

    Returns:
        Path of the file. Earlier figures of the same section are replaced.
    """
    path = folder / METRICS
    metrics = json.loads(path.read_text()) if path.is_file() else {}
    metrics = {name: value for name, value in metrics.items() if not name.startswith(f"{section}.")}
    metrics |= {f"{section}.{name}": _plain(value) for name, value in values.items()}
    write_json(path, dict(sorted(metrics.items())))
    return path


def _plain(value: Any) -> Any:
    """NumPy numbers as Python's, rounded to what a reader could check."""
    value = value.item() if hasattr(value, "item") else value
    return round(value, 6) if isinstance(value, float) else value


def shown_path(path: os.PathLike[str]) -> str:
    """A path as notebooks print it: from the repository, never from the machine's root."""
    path = Path(path)
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else path.name
