"""Sweeps as a user runs them, from the command line."""

import csv
import json

import nbformat

from tests.train_model.sweep.conftest import SCORE, statuses

FILES = {"notebook.ipynb", "stdout.txt", "status.json", "metrics.json"}


def test_a_failing_point_stops_no_other_and_a_second_run_does_only_what_is_missing(
    study, tmp_path, run_sweep
):
    grid = study("grid: {backbone: [mobilenet, xception], learning_rate: [0.1, 0.5]}\nname: rates")
    out = tmp_path / "runs"
    code, printed = run_sweep("--grid", grid, "--out", out)
    good = {f"backbone={backbone},learning_rate=0.1" for backbone in ("mobilenet", "xception")}
    bad = {name.replace("0.1", "0.5") for name in good}
    assert code == 1
    assert statuses(out) == dict.fromkeys(good, "complete") | dict.fromkeys(bad, "failed")
    assert "[1/4] backbone=mobilenet,learning_rate=0.1: complete in" in printed
    assert "2 of 4 points are not done:" in printed
    assert "backbone=xception,learning_rate=0.5: failed in cell [3]" in printed
    assert "RuntimeError: diverged" in printed

    point = out / "backbone=mobilenet,learning_rate=0.1"
    assert {file.name for file in point.iterdir()} == FILES
    assert (point / "stdout.txt").read_text() == "training mobilenet 0.1 0\n"
    earlier = {name: (out / name / "metrics.json").stat().st_mtime_ns for name in good}

    (tmp_path / "mended").touch()
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 0 and "rates: 4 points, 2 done, 2 to run" in printed
    assert {name: (out / name / "metrics.json").stat().st_mtime_ns for name in good} == earlier
    with (out / "points.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["complete"] * 4
    assert (out / "points.png").read_bytes().startswith(b"\x89PNG")

    # The notebook changed: its results are of another version, and --collect says so without running anything.
    study(grid.read_text().split("\n", 2)[2], score=SCORE + "\nmore = 1")
    code, printed = run_sweep("--grid", grid, "--out", out, "--collect")
    assert code == 1 and "4 of 4 points are not done" in printed and "learning_rate=0.1: not run" in printed


def test_a_notebook_without_metrics_is_a_failed_point(study, tmp_path, run_sweep):
    code, printed = run_sweep("--grid", study("", score="pass"), "--out", tmp_path / "runs")
    assert code == 1
    assert "only: failed: " in printed and "wrote no metrics.json into its output_dir" in printed


def test_other_images_make_a_point_run_again(study, tmp_path, run_sweep, images):
    grid = study("grid: {seed: [1]}")
    notebook = nbformat.read(tmp_path / "train.ipynb", as_version=4)
    notebook.cells[0].source += '\ndata_dir: str = ""  # folder of images'
    nbformat.write(notebook, tmp_path / "train.ipynb")
    grid.write_text(grid.read_text() + f"\npoints: [{{data_dir: '{images}'}}]\n")
    command = ("--grid", grid, "--out", tmp_path / "runs")
    assert run_sweep(*command)[0] == 0
    assert "2 done, 0 to run" in run_sweep(*command)[1]
    (images / "coast" / "coast_00.jpg").unlink()
    code, printed = run_sweep(*command)
    assert code == 0
    assert "2 points, 1 done, 1 to run" in printed
    images.rename(tmp_path / "elsewhere")
    assert run_sweep(*command, "--collect")[0] == 0  # as where a sweep of other machines is looked at
    code, printed = run_sweep("--grid", grid, "--out", tmp_path / "new")
    assert code == 1 and ": failed: DatasetError: Expected" in printed


def test_one_point_by_itself_goes_beside_the_others(study, tmp_path, run_sweep):
    grid, out = study("grid: {seed: [0, 1]}"), tmp_path / "runs"
    (out / "seed=0").mkdir(parents=True)
    (out / "seed=0" / "status.json").write_text('{"status": "complete"}')
    assert run_sweep("--grid", grid, "--point", "seed=1", "--out", out)[0] == 0
    assert statuses(out) == {"seed=0": "complete", "seed=1": "complete"}
    assert (
        "one of the points seed=0, seed=1, found"
        in run_sweep("--grid", grid, "--point", "seed=2", "--out", out)[1]
    )


def test_the_work_list_leaves_out_what_is_done_whatever_the_folder_is_called(study, tmp_path, run_sweep):
    grid, out, file = study("grid: {seed: [0, 1]}"), tmp_path / "my süd%20 runs", tmp_path / "batch.json"
    assert run_sweep("--grid", grid, "--out", out, "--point", "seed=0")[0] == 0
    code, printed = run_sweep("--grid", grid, "--out", out, "--saturn-batch", file)
    assert (code, printed[:12]) == (0, "Wrote 1 runs")
    (run,) = json.loads(file.read_text())["runs"]
    assert run["remote_output_path"] == f"file://{out}/seed=1"  # sc batch takes it letter by letter


def test_results_go_to_a_bucket_and_are_found_there_again(study, tmp_path, bucket, run_sweep):
    grid, out = study("grid: {learning_rate: [0.1, 0.5]}"), "s3://sweeps/studies/rates"
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 1 and "RuntimeError: diverged" in printed
    assert {entry.key.removeprefix("studies/rates/") for entry in bucket.objects.all()} == {
        *(f"learning_rate=0.1/{file}" for file in FILES),
        *(f"learning_rate=0.5/{file}" for file in FILES - {"metrics.json"}),
        "points.csv",  # and no figure: one point is no curve
    }
    (tmp_path / "mended").touch()
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 0 and "2 points, 1 done, 1 to run" in printed
    table = bucket.Object("studies/rates/points.csv").get()["Body"].read().decode()
    assert [row["status"] for row in csv.DictReader(table.splitlines())] == ["complete", "complete"]
    assert bucket.Object("studies/rates/points.png").content_length > 0
