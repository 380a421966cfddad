"""The closing table and figure."""

import json

import pytest
import seaborn

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
    assert list(table)[:7] == ["point", "status", "seconds", "error", "flags", "backbone", "seed"]
    assert set(table.columns[7:]) == {"final.accuracy", "final.seed"}  # neither a second seed nor a list
    assert list(table["seed"]) == [0, 1, 0, 1]
    assert list(table["status"]) == ["complete"] * 3 + ["missing"]
    assert plot_points(grid, table).startswith(b"\x89PNG")  # against text, since only that varies
    assert plot_points(grid, table[3:]) == b""


@pytest.mark.parametrize(
    ("figure", "axes"),
    [
        ("", {"x": "backbone", "y": "accuracy", "hue": "learning_rate"}),
        (
            "{y: loss, panel: backbone, colour: no_such}",
            {"x": "learning_rate", "y": "loss", "col": "backbone"},
        ),
    ],
)
def test_a_figure_shows_the_columns_that_the_grid_names_and_else_the_varied_ones(
    study, tmp_path, monkeypatch, figure, axes
):
    drawn = {}
    relplot = seaborn.relplot
    monkeypatch.setattr(
        "seaborn.relplot", lambda data, **given: drawn.update(given) or relplot(data, **given)
    )
    rates = "grid: {backbone: [mobilenet, xception], learning_rate: [0.1, 1], seed: [0, 1]}"
    grid, store = read_grid(study(f"{rates}\nfigure: {figure}")), Store(str(tmp_path / "runs"))
    for name in grid.points:
        store.write(f"{name}/status.json", b'{"status": "complete"}')
        store.write(f"{name}/metrics.json", b'{"loss": 0.1, "accuracy": 0.9}')
    assert plot_points(grid, tidy_table(grid, store)).startswith(b"\x89PNG")
    assert {role: drawn[role] for role in ("x", "y", "hue", "col") if role in drawn} == axes
