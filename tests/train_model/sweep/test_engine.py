"""Workers of this machine and of a Dask cluster: what they share, how they die, and what that costs."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.train_model.sweep.conftest import SCORE, statuses, wait_for

REPOSITORY = Path(__file__).parents[3]


def test_a_killed_worker_costs_its_point_one_try_and_no_other_point_any(
    study, tmp_path, run_sweep, monkeypatch
):
    """Two points kill their workers, one of them only the first time. Cores and GPUs are shared out."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tries = 'tries = len((flag / f"begun-{learning_rate}").read_text())'
    kill = "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"  # a kernel's parent is the worker
    score = f"{tries}\nif learning_rate == 0.1 or (learning_rate == 0.2 and tries == 1): {kill}\n{SCORE}"
    grid = study("grid: {learning_rate: [0.1, 0.2, 0.3, 0.4]}", score)
    code, printed = run_sweep("--grid", grid, "--out", tmp_path / "runs", "--workers", "2")
    good = {f"learning_rate={rate}": "complete" for rate in (0.2, 0.3, 0.4)}
    assert (code, statuses(tmp_path / "runs")) == (1, good | {"learning_rate=0.1": "failed"}), printed
    assert "learning_rate=0.1: failed: its process died with every try" in printed
    tries = {path.name: len(path.read_text()) for path in tmp_path.glob("begun-*")}
    assert tries == {"begun-0.1": 2, "begun-0.2": 2, "begun-0.3": 1, "begun-0.4": 1}
    shares = [json.loads(file.read_text())["share"] for file in tmp_path.glob("runs/*/metrics.json")]
    assert {share["CUDA_VISIBLE_DEVICES"] for share in shares} <= {"4", "5"}
    assert {share["OMP_NUM_THREADS"] for share in shares} == {str(max(1, os.cpu_count() // 2))}


@pytest.mark.parametrize("end", ["kill", pytest.param("interrupt", marks=pytest.mark.slow)])
def test_a_sweep_that_ends_early_leaves_nothing_running_and_goes_on_where_it_stopped(
    study, tmp_path, run_sweep, end
):
    grid, out = study("grid: {learning_rate: [0.1, 0.2]}"), tmp_path / "runs"
    (tmp_path / "hold").touch()
    (tmp_path / "go-0.1").touch()
    command = [sys.executable, "-m", "train_model.sweep", "--grid", grid, "--out", out, "--workers", "2"]
    first = subprocess.Popen(command, cwd=REPOSITORY, stdout=-1, stderr=-1, text=True, start_new_session=True)
    expected = {"learning_rate=0.1": "complete", "learning_rate=0.2": "running"}
    wait_for(lambda: statuses(out) == expected and kernels(tmp_path) == 1, "one point to end and one to hold")
    assert "in use by process" in run_sweep("--grid", grid, "--out", out)[1]  # a second sweep
    if end == "kill":
        first.kill()
        first.communicate()
    else:
        os.killpg(first.pid, 2)  # as a terminal does: the workers get it too
        _, errors = first.communicate(timeout=60)
        assert first.returncode == 130
        assert errors == "\nInterrupted. The same command goes on where it stopped.\n"
    wait_for(lambda: kernels(tmp_path) == 0, "the kernel to notice")
    earlier = (out / "learning_rate=0.1" / "metrics.json").stat().st_mtime_ns

    (tmp_path / "go-0.2").touch()
    code, printed = run_sweep("--grid", grid, "--out", out)
    assert code == 0 and "2 points, 1 done, 1 to run" in printed
    assert (out / "learning_rate=0.1" / "metrics.json").stat().st_mtime_ns == earlier


def kernels(folder: Path) -> int:
    """How many notebooks of this test hold right now: each renews its heartbeat while it waits."""
    return sum(time.time() - file.stat().st_mtime < 2 for file in folder.glob("beat-*"))


# As train_model/sweep/saturn_cloud.md says it. No nanny: a killed worker stays dead, and its point must move.
SCHEDULER = "dask scheduler --host 127.0.0.1 --port {port}"
WORKER = "dask worker tcp://127.0.0.1:{port} --nthreads 1 --no-nanny"


@pytest.fixture
def cluster(tmp_path):
    """A real scheduler: its address, and a function that starts workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []

    def start(command: str) -> subprocess.Popen:
        with (tmp_path / f"dask-{len(processes)}.log").open("w") as log:
            command = [sys.executable, "-m", "distributed.cli", *command.split()[1:], "--no-dashboard"]
            command[2] = f"distributed.cli.dask_{command.pop(3)}"
            processes.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log))
        return processes[-1]

    start(SCHEDULER.format(port=port))
    yield f"tcp://127.0.0.1:{port}", lambda: start(WORKER.format(port=port))
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
    good = {f"learning_rate={rate}": "complete" for rate in (0.1, 0.2, 0.3)}
    assert (code, statuses(out)) == (1, good | {"learning_rate=0.5": "failed"}), printed
    assert "learning_rate=0.5: failed in cell [3]" in printed
    assert workers[1].poll() is None  # a failing notebook does no harm to its worker


def test_an_address_that_is_none_is_said_in_a_line(study, tmp_path, run_sweep):
    code, printed = run_sweep("--grid", study(""), "--out", tmp_path / "runs", "--dask", "nonsense")
    assert code == 2 and printed.endswith("The sweep stopped: missing port number in address 'nonsense'\n")


def test_ctrl_c_ends_in_a_line_that_says_how_to_go_on(study, tmp_path, run_sweep, monkeypatch):
    monkeypatch.setattr("train_model.sweep.engine.run_notebook", interrupt)
    code, printed = run_sweep("--grid", study(""), "--out", tmp_path / "runs")
    assert code == 130 and printed.endswith("\nInterrupted. The same command goes on where it stopped.\n")


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
