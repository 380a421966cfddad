"""One table and one figure of a sweep's points."""

import io

import matplotlib

matplotlib.use("agg")  # sweeps run where there is no screen

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from train_model.sweep.grid import ROLES, Grid
from train_model.sweep.store import METRICS, STATUS, Store

REPEATS = ("seed", "repeat")  # parameters that repeat a measurement instead of changing what is measured


def tidy_table(grid: Grid, store: Store) -> pd.DataFrame:
    """One row per point: `point`, `status`, `seconds`, `error`, the parameters, then the metrics as `section.name`.

    Of a parameter and a metric with the same name the parameter stays; lists among the metrics have no column.
    """
    rows = []
    for point, parameters in grid.points.items():
        status = {"status": "missing", "error": ""} | (store.read(point, STATUS) or {})
        row = {"point": point} | {key: status.get(key) for key in ("status", "seconds", "error")}
        rows.append(row | {name: str(v) if isinstance(v, list) else v for name, v in parameters.items()})
    metrics = pd.json_normalize([store.read(point, METRICS) or {} for point in grid.points])
    listed = metrics.map(lambda value: isinstance(value, list)).any().astype(bool)
    table = pd.concat([pd.DataFrame(rows), metrics.loc[:, ~listed]], axis=1)
    return table.loc[:, ~table.columns.duplicated()]


def plot_points(grid: Grid, table: pd.DataFrame) -> bytes:
    """A PNG of a metric against the varied parameters, with mean and 95 % interval over repeats; empty without points.

    What the grid's `figure` leaves open: the first metric with `accuracy` in its name, and as x axis, colour and panel
    the varied parameters in their order.
    """
    done = table[table["status"] == "complete"]
    numbers = done.select_dtypes("number")
    axes = {ROLES[role]: column for role, column in grid.figure.items() if column in done}
    varied = [name for name in grid.varied if name not in (*REPEATS, *axes.values())]
    varied = [name for name in varied if done[name].nunique() > 1]
    axes |= zip([axis for axis in ("x", "hue", "col") if axis not in axes], varied, strict=False)
    axes = {"y": next((name for name in numbers if "accuracy" in name), None)} | axes
    if not axes["y"] or "x" not in axes:
        return b""
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
    style = {"kind": "line", "marker": "o", "err_style": "bars", "height": 4, "aspect": 1.2}
    figure = sns.relplot(done, **axes, **style, seed=0)
    x = numbers.get(axes["x"])
    if x is not None and 0 < x.min() <= x.max() / 10:
        figure.set(xscale="log")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    plt.close(figure.figure)
    return image.getvalue()
