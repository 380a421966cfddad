"""Grid files: what they make, and what is refused before anything starts."""

import pytest

from train_model.parameters import ParameterError
from train_model.sweep.command import STUDY_GRID
from train_model.sweep.grid import read_grid


def test_the_studys_own_grid_fits_notebook_06_and_leaves_models_out():
    grid = read_grid(STUDY_GRID)
    assert len(grid.points) == 2 * 4 * 2 * 3  # backbones × rates × augmentation × seeds
    assert {parameters["save_files"] for parameters in grid.points.values()} == {False}


def test_a_grid_is_every_combination_and_the_points_named_one_by_one(study):
    grid = read_grid(
        study("grid: {backbone: [mobilenet, xception], learning_rate: [1e-3, 1]}\npoints: [{seed: 4}]")
    )
    assert list(grid.points) == [
        "backbone=mobilenet,learning_rate=0.001",
        "backbone=mobilenet,learning_rate=1.0",
        "backbone=xception,learning_rate=0.001",
        "backbone=xception,learning_rate=1.0",
        "seed=4",
    ]
    assert grid.points["seed=4"]["seed"] == 4 and "backbone" not in grid.points["seed=4"]
    assert list(read_grid(study("")).points) == ["only"]  # no lists, one point


def test_values_are_read_by_the_notebooks_types(study):
    """As on the command line: what YAML would make of a text doesn't matter."""
    grid = read_grid(study("grid: {seed: [010, 1], learning_rate: 1e-3}"))
    assert [tuple(point.values())[1:] for point in grid.points.values()] == [(10, 0.001), (1, 0.001)]
    for name in ("2024-05-01", "yes", "0x10", "1e-3"):
        (point,) = read_grid(study(f"points: [{{flags: {name}}}]")).points.values()
        assert point == {"flags": name}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("grid: {learning_rat: [0.1]}", "no parameter 'learning_rat'; did you mean 'learning_rate'"),
        ("grid: {seed: [0.5]}", "'seed' of train.ipynb takes int, found '0.5'"),
        ("points: [{seed: -1}]", "seed to be a whole number"),
        ("grid: {seed: []}", "'grid' makes no points"),
        ("grid: {output_dir: [a]}", "'output_dir' in train.ipynb, and not in the grid"),
        ("grids: {seed: [3]}", "unknown key 'grids'; expected name, notebook,"),
        ("figure: {z: seed}", "unknown key 'z'; expected x, y, colour, panel"),
        ("grid: {flags: [a/b, a b]}", "two different points would both be named 'flags=a-b'"),
        ("points: 3", "could not read it"),
        ("grid: [", "could not read it: while parsing"),
    ],
)
def test_a_grid_that_cannot_run_is_refused_before_anything_starts(study, grid, message):
    with pytest.raises(ParameterError, match=message):
        read_grid(study(grid))


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe\x00", b"notebook: nowhere.ipynb", None])
def test_what_is_no_grid_file_is_refused_in_one_line(tmp_path, run_sweep, content):
    if content is not None:
        (tmp_path / "grid.yml").write_bytes(content)
    code, printed = run_sweep("--grid", tmp_path / "grid.yml", "--out", tmp_path / "out")
    assert (code, printed.count("\n")) == (2, 1) and "grid.yml" in printed
    assert not (tmp_path / "out").exists()
