"""Makes one tidy table and one figure of a sweep's points."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # sweeps run where there is no screen

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from train_model.sweep.grid import Grid
from train_model.sweep.store import METRICS, STATUS, Store

REPEATS = ("seed", "repeat")  # parameters that repeat a measurement instead of changing what is measured


def tidy_table(grid: Grid, store: Store) -> pd.DataFrame:
    """One row per point: `point`, `status`, `seconds`, `error`, the parameters, then the metrics as `section.name`.

    A metric that has the name of a parameter gets the prefix `metric_`, unless it only repeats the parameter's value.
    """
    rows = []
    for point, parameters in grid.points.items():
        status = store.read(point, STATUS) or {}
        row = {"point": point, "status": status.get("status", "missing")}
        row |= {"seconds": status.get("seconds"), "error": status.get("error", "")}
        row |= {key: str(value) if isinstance(value, list) else value for key, value in parameters.items()}
        (metrics,) = pd.json_normalize(store.read(point, METRICS) or {"": []}).to_dict("records")
        for name, value in metrics.items():
            repeated = (name.split(".")[-1], value) in parameters.items()
            if not repeated and not isinstance(value, list):
                row[f"metric_{name}" if name in row else name] = value
        rows.append(row)
    return pd.DataFrame(rows)


def plot_points(grid: Grid, table: pd.DataFrame, file: Path) -> bool:
    """Draws a metric against the varied parameters, with mean and 95 % interval over repeats.

    What the grid's `figure` leaves open is chosen: the first metric with `accuracy` in its name against the first
    numeric parameter.

    Args:
        grid: the sweep.
        table: see `tidy_table`.
        file: PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    done = table[table["status"] == "complete"]
    numbers = done.select_dtypes("number").columns
    parameters = {name for point in grid.points.values() for name in point}
    metrics = [name for name in numbers if name != "seconds" and name not in parameters]
    varied = [name for name in grid.varied if name not in REPEATS and done[name].nunique() > 1]
    axes = {role: column for role, column in grid.figure.items() if column in done}
    for role, candidates in {
        "y": sorted(metrics, key=lambda name: "accuracy" not in name),
        "x": sorted(varied, key=lambda name: name not in numbers),
        "colour": varied,
        "panel": varied,
    }.items():
        axes.setdefault(role, next((name for name in candidates if name not in axes.values()), None))
    if not axes["x"] or not axes["y"]:
        return False
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
    if axes["x"] not in numbers:
        done = done.assign(**{axes["x"]: done[axes["x"]].astype(str)})
    figure = sns.relplot(
        done,
        x=axes["x"],
        y=axes["y"],
        hue=axes["colour"],
        col=axes["panel"],
        kind="line",
        errorbar=("ci", 95),
        seed=0,  # the interval is a bootstrap
        err_style="bars",
        marker="o",
        palette="colorblind" if axes["colour"] else None,
        height=4,
        aspect=1.2,
    )
    if axes["x"] in numbers and 0 < done[axes["x"]].min() <= done[axes["x"]].max() / 10:
        figure.set(xscale="log")
    figure.set_axis_labels(*(axes[role].split(".")[-1].replace("_", " ") for role in ("x", "y")))
    figure.figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure.figure)
    return True
