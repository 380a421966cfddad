"""The closing table and figure."""

import json

from train_model.sweep.grid import read_grid
from train_model.sweep.store import Store
from train_model.sweep.table import plot_points, tidy_table


def test_a_table_has_a_row_per_point_and_a_column_per_parameter_and_metric(study, tmp_path):
    grid = read_grid(study("grid: {backbone: [mobilenet, xception], seed: [0, 1]}"))
    store = Store(str(tmp_path / "runs"))
    for name, parameters in list(grid.points.items())[:3]:
        metrics = {"final": {"accuracy": 0.9, "seed": parameters["seed"], "curve": [1, 2]}, "seed": 7}
        store.write(f"{name}/status.json", json.dumps({"status": "complete", "seconds": 5}).encode())
        store.write(f"{name}/metrics.json", json.dumps(metrics).encode())
    table = tidy_table(grid, store)
    first = ["point", "status", "seconds", "error", "flags", "backbone", "seed"]
    assert list(table)[:7] == first
    assert set(table) == {
        *first,
        "final.accuracy",
        "metric_seed",
    }  # what repeats a parameter is no second column
    assert list(table["status"]) == ["complete"] * 3 + ["missing"]
    assert plot_points(grid, table, tmp_path / "points.png")  # against text, since only that varies
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")
    assert not plot_points(grid, table[3:], tmp_path / "none.png")


def test_a_figure_shows_the_columns_that_the_grid_names(study, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "train_model.sweep.table.sns.relplot", lambda data, **axes: drawn.update(axes) or 1 / 0
    )
    text = "grid: {backbone: [mobilenet, xception], learning_rate: [0.1, 1], seed: [0, 1]}\nfigure: {y: loss, panel: backbone}"
    grid, store = read_grid(study(text)), Store(str(tmp_path / "runs"))
    for name in grid.points:
        store.write(f"{name}/status.json", b'{"status": "complete"}')
        store.write(f"{name}/metrics.json", b'{"accuracy": 0.9, "loss": 0.1}')
    try:
        plot_points(grid, tidy_table(grid, store), tmp_path / "points.png")
    except ZeroDivisionError:
        chosen = {name: drawn[name] for name in ("x", "y", "col", "hue")}
    assert chosen == {"x": "learning_rate", "y": "loss", "col": "backbone", "hue": None}
