"""Makes one tidy table and one figure of a sweep's points."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")  # sweeps run where there is no screen

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from train_model.plots import use_theme
from train_model.sweep.grid import Grid
from train_model.sweep.store import METRICS, STATUS, Store

REPEATS = ("seed", "repeat")  # parameters that repeat a measurement instead of changing what is measured


def tidy_table(grid: Grid, store: Store) -> pd.DataFrame:
    """One row a point.

    Args:
        grid: the sweep.
        store: where its results are.

    Returns:
        Columns `point`, `status`, `seconds`, `error`, then the parameters, then the metrics. A metric that
        has the name of a parameter gets the prefix `metric_`.
    """
    rows = []
    for point in grid.points:
        status = store.read(point.name, STATUS) or {}
        row = {
            "point": point.name,
            "status": status.get("status", "missing"),
            "seconds": status.get("seconds"),
            "error": status.get("error", ""),
        } | {
            name: str(value) if isinstance(value, list) else value for name, value in point.parameters.items()
        }
        for name, value in _flat(store.read(point.name, METRICS) or {}).items():
            # Notebooks repeat parameters among their metrics, some as `section.name`.
            echo = name.split(".")[-1] in point.parameters and point.parameters[name.split(".")[-1]] == value
            if not echo and not isinstance(value, list):
                row[f"metric_{name}" if name in row else name] = value
        rows.append(row)
    return pd.DataFrame(rows)


def _flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections of metrics as `section.name`."""
    flat = {}
    for name, value in metrics.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def plot_points(grid: Grid, table: pd.DataFrame, file: Path) -> bool:
    """Draws a metric against the varied parameters, with mean and 95 % interval over repeats.

    Args:
        grid: the sweep; its `figure` says which columns to show, and what it leaves open is chosen: the first
            metric with `accuracy` in its name against the first numeric parameter.
        table: see `tidy_table`.
        file: PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    done = table[table["status"] == "complete"]
    axes = _axes(grid, done)
    if done.empty or not {"x", "y"} <= axes.keys():
        return False
    use_theme()
    plt.rcParams["figure.constrained_layout.use"] = False  # seaborn's grids lay themselves out
    levels = done[axes["x"]]
    numeric = pd.api.types.is_numeric_dtype(levels) and not pd.api.types.is_bool_dtype(levels)
    figure = sns.relplot(
        done if numeric else done.assign(**{axes["x"]: levels.astype(str)}),
        x=axes["x"],
        y=axes["y"],
        hue=axes.get("colour"),
        style=axes.get("colour"),
        col=axes.get("panel"),
        kind="line",
        errorbar=("ci", 95),
        seed=0,  # the interval is a bootstrap
        err_style="bars",
        markers=True if "colour" in axes else "o",
        marker=None if "colour" in axes else "o",
        dashes=False,
        palette="colorblind" if "colour" in axes else None,
        height=4,
        aspect=1.2,
    )
    if numeric and levels.min() > 0 and levels.max() / levels.min() >= 10:
        figure.set(xscale="log")
    words = {name: name.split(".")[-1].replace("_", " ") for name in axes.values()}
    figure.set_axis_labels(words[axes["x"]], words[axes["y"]])
    figure.figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure.figure)
    return True


def _axes(grid: Grid, done: pd.DataFrame) -> dict[str, str]:
    """Column of each of `x`, `y`, `colour`, `panel`, as far as there are columns for them."""
    axes = {role: column for role, column in grid.figure.items() if column in done}
    metrics = [
        name for name in done.columns[4:] if name not in grid.points[0].parameters and _is_number(done[name])
    ]
    varied = [
        name
        for name in grid.varied
        if name in done and name not in REPEATS and name not in axes.values() and done[name].nunique() > 1
    ]
    _choose(axes, "y", [*(name for name in metrics if "accuracy" in name), *metrics])
    _choose(axes, "x", [*(name for name in varied if _is_number(done[name])), *varied])
    for role in ("colour", "panel"):
        _choose(axes, role, [name for name in varied if name not in axes.values()])
    return axes


def _choose(axes: dict[str, str], role: str, candidates: Iterable[str]) -> None:
    if role not in axes:
        for name in candidates:
            axes[role] = name
            return


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
