"""Sweeps as a user runs them: from the command line, with a tiny notebook in place of a training."""

import csv
import errno
import io
import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from train_model.sweep import command as sweep
from train_model.sweep.engines import is_done
from train_model.sweep.grid import GridError, read_grid
from train_model.sweep.store import StoreError, open_store

REPOSITORY = Path(__file__).parents[3]

PARAMETERS = """\
output_dir: str = ""  # folder for the results
backbone: str = "mobilenet"  # which network
learning_rate: float = 0.01  # step size
seed: int = 0  # of the chance
flags: str = ""  # folder whose files change what this notebook does"""

TRAIN = """\
import json, os, pathlib, time
print("training", backbone, learning_rate, seed)
flag = pathlib.Path(flags)
if learning_rate == 0.5 and not (flag / "mended").exists():
    raise RuntimeError("diverged")
while (flag / "hold").exists() and not (flag / f"go-{learning_rate}").exists():
    (flag / f"beat-{learning_rate}").touch()
    time.sleep(0.1)"""

SCORE = """\
accuracy = (0.9 if backbone == "mobilenet" else 0.8) + learning_rate / 10 + seed / 100
metrics = {"validation_accuracy": accuracy, "learning_rate": learning_rate, "pid": os.getpid()}
pathlib.Path(output_dir, "metrics.json").write_text(json.dumps(metrics))"""


@pytest.fixture
def study(tmp_path: Path):
    """Writes a grid file beside a notebook that stands in for a training; returns the grid's path."""

    def write(grid: str, score: str = SCORE) -> Path:
        cells = [
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(TRAIN),
            nbformat.v4.new_code_cell(score),
        ]
        python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), tmp_path / "train.ipynb")
        file = tmp_path / "grid.yml"
        file.write_text(f"notebook: train.ipynb\nfixed: {{flags: '{tmp_path}'}}\n{grid}")
        return file

    return write


@pytest.fixture
def run_sweep(capsys):
    """Runs the command line in this process, which spares its seconds of imports."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        code = sweep.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def statuses(out: Path) -> dict[str, str]:
    return {file.parent.name: json.loads(file.read_text())["status"] for file in out.glob("*/status.json")}


def wait_for(condition, what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError(what)


# --- Grid files -------------------------------------------------------------------------------------------


def test_the_studys_own_grid_fits_notebook_06_and_leaves_models_out():
    grid = read_grid(REPOSITORY / "train_model" / "sweep" / "study_grid.yml")
    assert len(grid.points) == 2 * 4 * 2 * 3  # backbones × rates × augmentation × seeds
    assert {point.parameters["save_files"] for point in grid.points} == {False}


def test_a_grid_is_every_combination_and_the_points_named_one_by_one(study):
    grid = read_grid(
        study(
            "grid: {backbone: [mobilenet, xception], learning_rate: [1e-3, 1]}\npoints: [{seed: 4}, {seed: 4}]"
        )
    )
    assert [point.name for point in grid.points] == [
        "backbone=mobilenet,learning_rate=0.001",
        "backbone=mobilenet,learning_rate=1.0",
        "backbone=xception,learning_rate=0.001",
        "backbone=xception,learning_rate=1.0",
        "seed=4",
    ]
    flags = str(grid.path.parent)
    assert grid["seed=4"].parameters == {"flags": flags, "seed": 4}
    assert grid.points[0].parameters == {"flags": flags, "backbone": "mobilenet", "learning_rate": 0.001}


def test_a_grid_without_lists_is_one_point(study):
    assert [point.name for point in read_grid(study("")).points] == ["only"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("grid: {learning_rat: [0.1]}", "no parameter 'learning_rat'; did you mean 'learning_rate'"),
        ("grid: {seed: [0.5]}", "'seed' of train.ipynb takes int, found 0.5"),
        ("grid: {seed: 3}", "'grid' takes a list of values for 'seed', found 3"),
        ("grid: {output_dir: [a]}", "'output_dir' is set by the sweep"),
        ("grids: {seed: [3]}", "unknown key 'grids'; the keys are name, notebook,"),
        ("points: [seed]", "'points' is a list of mappings"),
        ("grid: [", "is not valid YAML"),
        ('grid: {backbone: ["a/b", "a b"]}', "two different points would both be named 'backbone=a-b'"),
        ("grid:\n  seed: [1,\n    -1]", "Line 5 .*seed.* a whole number"),
        ("grid: {seed: [0, 00]}", "'grid' lists 0 twice for 'seed'"),
        ("grid: {seed: []}", "'grid' takes a list of values for 'seed', found \\[\\]"),
        ("grid: {learning_rate: [.nan]}", "Line 3 of .*learning_rate.* takes float, found nan|learning_rate"),
        ("grid: {backbone: [resnet]}", "Line 3 of .*backbone.* mobilenet, xception"),
        ("grid: {seed: [1]}\ngrid: {seed: [2]}", "Line 4 of .*has the key 'grid' twice"),
        ("points: 3", "Line 3 of .*'points' is a list of mappings"),
        ("points: [{seed: 2024-13-45}]", "Line 3 of .*'seed' of train.ipynb takes int, found '2024-13-45'"),
        ("name: ../elsewhere", "Line 3 of .*'name' takes a folder's name"),
        ("figure: {z: seed}", "Line 3 of .*'figure' takes x, y, colour, panel"),
        ("grid: {seed: &all [*all]}", "Line 3 of "),
        ("grid: {seed: [!!timestamp x]}", "Line 3 of .*'seed'"),
        (
            f"grid: {{seed: {list(range(200))}, learning_rate: {[n / 1000 for n in range(1, 100)]}}}",
            "19,800 points",
        ),
        ("\x07", "Line 3 of .*special characters"),
        ("\ttab: 1", "Line 3 of .*is not valid YAML"),
    ],
)
def test_a_grid_that_cannot_run_is_refused_before_anything_starts(study, grid, message):
    with pytest.raises(GridError, match=message):
        read_grid(study(grid))


def test_values_are_read_by_the_notebooks_types(study):
    """As on the command line: what YAML would make of a text doesn't matter."""
    grid = read_grid(study("grid: {seed: [010, 1], learning_rate: [1e-3], backbone: [mobilenet]}"))
    assert [point.parameters["seed"] for point in grid.points] == [10, 1]
    for name in ("2024-05-01", "yes", "0x10", "1e-3"):
        file = grid.path
        file.write_text(f"notebook: train.ipynb\npoints: [{{flags: {name}}}]\n")
        assert read_grid(file).points[0].parameters == {"flags": name}


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n- b\n", b"\xff\xfe\x00", b"notebook: [", b"notebook: ''", b"notebook: nowhere.ipynb"],
)
def test_what_is_no_grid_file_is_refused(tmp_path, content):
    (tmp_path / "grid.yml").write_bytes(content)
    with pytest.raises(GridError, match=r"notebook|not valid YAML"):
        read_grid(tmp_path / "grid.yml")
    with pytest.raises(GridError, match="Expected a grid file"):
        read_grid(tmp_path)


def test_the_refusal_is_one_line_on_the_command_line(study, tmp_path, run_sweep):
    code, printed = run_sweep("--grid", study("grid: {seed: [x]}"), "--out", tmp_path / "out")
    assert code == 2
    assert printed.endswith("grid.yml: Parameter 'seed' of train.ipynb takes int, found 'x' (str).\n")
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["gs://bucket/runs", "s3://nobody-made-this/runs"])
def test_a_place_that_cannot_take_results_is_refused(address, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"folder or an s3:// address|asking for it failed"):
        open_store(address)


# --- On this machine --------------------------------------------------------------------------------------


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
    assert "2 of 4 points are not done:" in printed
    assert "backbone=xception,learning_rate=0.5: failed in cell [3]" in printed
    assert "RuntimeError: diverged" in printed

    point = out / "backbone=mobilenet,learning_rate=0.1"
    assert {file.name for file in point.iterdir()} == {
        "notebook.ipynb",
        "stdout.txt",
        "status.json",
        "metrics.json",
    }
    assert (point / "stdout.txt").read_text() == "training mobilenet 0.1 0\n"
    earlier = {name: (out / name / "metrics.json").read_text() for name in good}

    (tmp_path / "mended").touch()
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 0, printed
    assert "rates: 4 points, 2 done, 2 to run" in printed
    assert {name: (out / name / "metrics.json").read_text() for name in good} == earlier

    with (out / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["complete"] * 4
    assert [float(row["validation_accuracy"]) for row in rows] == pytest.approx([0.91, 0.95, 0.81, 0.85])
    assert "metric_learning_rate" not in rows[0]  # the notebook's echo of a parameter is no second column
    assert (out / "points.png").read_bytes().startswith(b"\x89PNG")

    # The notebook changed: its results are of another version, and --collect says so without running anything.
    study(grid.read_text().split("\n", 2)[2], score=SCORE + "\nmore = 1")
    code, printed = run_sweep("--grid", grid, "--out", out, "--collect")
    assert code == 1
    assert "4 of 4 points are not done" in printed


def test_a_killed_sweep_leaves_nothing_running_and_goes_on_where_it_stopped(study, tmp_path, run_sweep):
    grid, out = study("grid: {learning_rate: [0.1, 0.2]}"), tmp_path / "runs"
    (tmp_path / "hold").touch()
    (tmp_path / "go-0.1").touch()
    command = [sys.executable, "-m", "train_model.sweep", "--grid", grid, "--out", out, "--workers", "2"]
    killed = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    expected = {"learning_rate=0.1": "complete", "learning_rate=0.2": "running"}
    wait_for(lambda: statuses(out) == expected and kernels(tmp_path) == 1, "one point to end and one to hold")
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert (code, printed[:30]) == (2, "Another sweep is running in " + str(out)[:2])
    killed.kill()
    killed.wait()
    wait_for(lambda: kernels(tmp_path) == 0, "the kernel to notice")
    first = (out / "learning_rate=0.1" / "metrics.json").read_text()

    (tmp_path / "go-0.2").touch()
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 0, printed
    assert "2 points, 1 done, 1 to run" in printed
    assert (out / "learning_rate=0.1" / "metrics.json").read_text() == first


def test_a_file_system_without_locks_takes_a_sweep_too(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with sweep._alone(str(tmp_path)):
        pass


def kernels(folder: Path) -> int:
    """How many notebooks of this test hold right now: each renews its heartbeat while it waits."""
    return sum(time.time() - file.stat().st_mtime < 1 for file in folder.glob("beat-*"))


def test_a_notebook_without_metrics_is_a_failed_point(study, tmp_path, run_sweep):
    code, printed = run_sweep("--grid", study("", score="pass"), "--out", tmp_path / "runs")
    assert code == 1
    assert "only: failed in" in printed
    assert "wrote no metrics.json into its output_dir" in printed


def test_a_point_whose_process_dies_twice_is_given_up(study, tmp_path, run_sweep):
    kill = "import signal; os.kill(os.getppid(), signal.SIGKILL)"  # a kernel's parent is the worker
    grid = study("grid: {seed: [0, 1]}", score=f"if seed: {kill}\n{SCORE}")
    code, printed = run_sweep("--grid", grid, "--out", tmp_path / "runs", "--workers", "2")
    assert code == 1
    assert statuses(tmp_path / "runs") == {"seed=0": "complete", "seed=1": "failed"}
    assert "seed=1: failed: its process died twice" in printed


@pytest.mark.parametrize("damaged", [b"", b'{"status": "comp', b"\xff"])
def test_a_damaged_status_is_none(tmp_path, damaged):
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "status.json").write_bytes(damaged)
    assert open_store(str(tmp_path)).read("seed=1", "status.json") is None


def test_only_the_same_parameters_and_the_same_notebook_count_as_done(study):
    grid = read_grid(study("grid: {seed: [1]}"))
    point = grid.points[0]
    status = {"status": "complete", "parameters": dict(point.parameters), "digest": grid.digest}
    assert is_done(grid, point, status)
    assert not is_done(grid, point, None)
    assert not is_done(grid, point, status | {"status": "running"})
    assert not is_done(grid, point, status | {"parameters": {"seed": 2}})
    assert not is_done(grid, point, status | {"digest": "of an older notebook"})


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
    assert (
        code == 0
        and "1 done, 1 to run (1 of them ran with another version of the notebook or on other images)"
        in printed
    )
    (images / "coast").rename(images / "seaside")
    code, printed = run_sweep(*command)
    assert code == 2 and "Expected" in printed and printed.count("\n") == 1


def test_one_point_by_itself_goes_beside_the_others(study, tmp_path, run_sweep):
    grid, out = study("grid: {seed: [0, 1]}"), tmp_path / "runs"
    (out / "seed=0").mkdir(parents=True)
    (out / "seed=0" / "status.json").write_text('{"status": "complete"}')
    (out / "status.json").touch()  # as if a point lay here
    assert run_sweep("--grid", grid, "--point", "seed=1", "--out", out)[0] == 0
    assert statuses(out) == {"seed=0": "complete", "seed=1": "complete"}


def test_the_work_list_leaves_out_what_is_done_whatever_the_folder_is_called(study, tmp_path, run_sweep):
    grid, out, file = study("grid: {seed: [0, 1]}"), tmp_path / "my süd%20 runs", tmp_path / "batch.json"
    assert run_sweep("--grid", grid, "--out", out, "--point", "seed=0")[0] == 0
    code, printed = run_sweep("--grid", grid, "--out", out, "--saturn-batch", file)
    assert (code, printed[:12]) == (0, "Wrote 1 runs")
    (run,) = json.loads(file.read_text())["runs"]
    assert run["remote_output_path"] == f"file://{out}/seed=1"  # sc batch takes it letter by letter


# --- In a bucket ------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of moto's stand-in for AWS; boto3 and child processes find it by the environment."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").create_bucket(Bucket="sweeps")
    yield bucket
    bucket.objects.delete()  # moto keeps its buckets as long as this process lives
    bucket.delete()
    server.stop()


def test_results_go_to_a_bucket_and_are_found_there_again(study, tmp_path, bucket, run_sweep):
    grid, out = study("grid: {learning_rate: [0.1, 0.5]}"), "s3://sweeps/studies/rates"
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 1
    assert "RuntimeError: diverged" in printed
    files = {"notebook.ipynb", "stdout.txt", "status.json"}
    assert {entry.key.removeprefix("studies/rates/") for entry in bucket.objects.all()} == {
        *(f"learning_rate=0.1/{file}" for file in files | {"metrics.json"}),
        *(f"learning_rate=0.5/{file}" for file in files),
        "points.csv",  # and no figure: one point is no curve
    }

    (tmp_path / "mended").touch()
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 0, printed
    assert "2 points, 1 done, 1 to run" in printed
    table = bucket.Object("studies/rates/points.csv").get()["Body"].read().decode()
    assert [row["status"] for row in csv.DictReader(table.splitlines())] == ["complete", "complete"]
    assert bucket.Object("studies/rates/points.png").content_length > 0


def test_in_a_bucket_only_what_a_sweep_made_is_deleted(bucket):
    store = open_store("s3://sweeps/studies")
    for key in ("mine/notes.txt", "seed=1/status.json", "seed=1/metrics.json", "status.json"):
        bucket.put_object(Key=f"studies/{key}")
    assert store.read("seed=1", "status.json") is None  # an empty file is no status
    for point in ("", "mine", "seed=1"):
        with store.workspace(point):
            pass
    assert {entry.key for entry in bucket.objects.all()} == {"studies/mine/notes.txt", "studies/status.json"}


# --- On a Dask cluster ------------------------------------------------------------------------------------


# As train_model/sweep/saturn_cloud.md says it. No nanny: a killed worker stays dead, and its point must move.
SCHEDULER = "dask scheduler --host 127.0.0.1 --port {port}"
WORKER = "dask worker tcp://127.0.0.1:{port} --nthreads {threads} --no-nanny"


@pytest.fixture
def cluster(tmp_path):
    """A real scheduler: its address, and a function that starts workers."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []

    def start(command: str) -> subprocess.Popen:
        with (tmp_path / f"dask-{len(processes)}.log").open("w") as log:
            command = f"{Path(sys.executable).parent}/{command} --no-dashboard"
            processes.append(subprocess.Popen(command.split(), cwd=tmp_path, stdout=log, stderr=log))
        return processes[-1]

    start(SCHEDULER.format(port=port))
    yield f"tcp://127.0.0.1:{port}", lambda threads=1: start(WORKER.format(port=port, threads=threads))
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_dask_worker_that_dies_has_its_point_rerun_elsewhere(study, tmp_path, cluster, run_sweep):
    address, start_worker = cluster
    grid, out = study("grid: {learning_rate: [0.1, 0.2, 0.3, 0.5]}"), tmp_path / "runs"
    (tmp_path / "hold").touch()
    workers = [start_worker(), start_worker()]
    running = ThreadPoolExecutor(1).submit(run_sweep, "--grid", grid, "--out", out, "--dask", address)
    wait_for(lambda: list(statuses(out).values()).count("running") == 2, "both workers to be busy")
    workers[0].kill()
    for rate in (0.1, 0.2, 0.3):
        (tmp_path / f"go-{rate}").touch()
    code, printed = running.result(timeout=120)
    rates = {
        "learning_rate=0.1": "complete",
        "learning_rate=0.2": "complete",
        "learning_rate=0.3": "complete",
    }
    assert statuses(out) == rates | {"learning_rate=0.5": "failed"}, printed
    assert code == 1
    assert "learning_rate=0.5: failed in cell [3]" in printed
    assert workers[1].poll() is None  # a failing notebook does no harm to its worker


def test_dask_workers_with_several_threads_are_refused(study, tmp_path, cluster, run_sweep):
    address, start_worker = cluster
    start_worker(threads=2)
    from distributed import Client

    with Client(address, timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
    code, printed = run_sweep("--grid", study(""), "--out", tmp_path / "runs", "--dask", address)
    assert code == 2
    assert f"Start them with: dask worker {address} --nthreads 1" in printed


# --- On a terminal ----------------------------------------------------------------------------------------


def test_the_live_table_shows_what_runs_and_what_failed(study, tmp_path):
    grid = read_grid(study("grid: {seed: [0, 1, 2, 3]}"))
    open_store(str(tmp_path / "runs")).write_status("seed=2", {"status": "running", "cells": [3, 12]})
    done = {
        "seed=0": {"status": "complete", "seconds": 5.0},
        "seed=1": {"status": "failed", "seconds": 7.2, "failed_cell": 4, "error": "KeyError: '[/sea]'"},
    }
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(sweep.Board(grid, str(tmp_path / "runs"), done, console))
    printed = console.export_text()
    assert re.search(r"seed=1 .* failed .* 4 .* 7 .* KeyError: '\[/sea\]'", printed)
    assert re.search(r"seed=2 .* running .* 3/12", printed)
    assert "1 complete · 1 running · 1 failed · 1 waiting" in printed
    assert "seed=0" not in printed
