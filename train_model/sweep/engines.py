"""Runs the points of a sweep: in processes of this machine, or on a Dask cluster.

Both engines take tasks and yield each with its final status as it ends. They live apart from the command
line because workers import this module by its name.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import connection
from pathlib import Path
from typing import Any

from data_prep_eda.dataset import DatasetError
from train_model.automation.notebook_run import COMPLETE, FAILED, Images, run_notebook
from train_model.sweep.grid import OUTPUT, Grid, GridError, Point
from train_model.sweep.store import LOG, METRICS, NOTEBOOK, STATUS, open_store

RUNNING = "running"
POLL_SECONDS = 0.3

Status = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """All that a worker needs to run a point; travels to other processes and machines.

    Attributes:
        point: the point to run.
        out: address of the results; `folder` below it takes this point's.
        folder: usually the point's name.
        notebook: file name of the notebook.
        source: the notebook as JSON.
        digest: see `Grid.digest`.
        takes_data: see `Grid.takes_data`.
        data: fingerprint of the images that the sweep is on; `None` where they are not on this machine.
    """

    point: Point
    out: str
    folder: str
    notebook: str
    source: str
    digest: str
    takes_data: bool = False
    data: str | None = None


def make_task(grid: Grid, point: Point, out: str, folder: str | None = None, data: str | None = None) -> Task:
    """The task of running one point of a sweep."""
    folder = point.name if folder is None else folder
    return Task(point, out, folder, grid.notebook.name, grid.source, grid.digest, grid.takes_data, data)


def images_of(point: Point) -> Images:
    """The images that a point runs on, as this machine finds them.

    Raises:
        DatasetError: they are not here.
    """
    return Images.find(point.parameters.get("data_dir", ""), point.parameters.get("other_sources", ""))


def run_point(task: Task) -> Status:
    """Runs one point and leaves its results in the store.

    Returns:
        The point's final status, as in its `status.json`: `status` (`complete` or `failed`), `seconds`,
        `failed_cell`, `error`, and what ran where: `parameters`, `notebook`, `digest`, `data` (the fingerprint of the
        images), `host`, `started`.
    """
    store = open_store(task.out)
    status: Status = {
        "point": task.point.name,
        "status": RUNNING,
        "parameters": task.point.parameters,
        "notebook": task.notebook,
        "digest": task.digest,
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def progress(done: int, total: int) -> None:
        if store.live:
            store.write_status(task.folder, status | {"cells": [done, total]})

    if task.takes_data:
        status["data"] = images_of(task.point).fingerprint
        if task.data not in (None, status["data"]):
            raise DatasetError("the images here are others than where the sweep was started")

    with store.workspace(task.folder) as folder, tempfile.TemporaryDirectory(prefix="sweep-") as scratch:
        store.write_status(task.folder, status)
        notebook = Path(scratch, task.notebook)
        notebook.write_text(task.source, encoding="utf-8")
        result = run_notebook(
            notebook,
            folder / NOTEBOOK,
            task.point.parameters | {OUTPUT: str(folder)},
            log=folder / LOG,
            progress=progress,
        )
        error, outcome = result.error, result.status
        if result.ok and not (folder / METRICS).is_file():
            outcome, error = FAILED, f"the notebook ran, but wrote no {METRICS} into its {OUTPUT}"
    status |= {
        "status": outcome,
        "seconds": round(result.seconds, 2),
        "failed_cell": result.failed_cell,
        "error": error,
    }
    store.write_status(task.folder, status)  # last, so that a complete point has all its files
    return status


def is_done(grid: Grid, point: Point, status: Status | None, data: str | None = None) -> bool:
    """Whether a point needs no run: it completed, with these parameters, this notebook and these images.

    Args:
        grid: the sweep.
        point: the point.
        status: what its run left.
        data: fingerprint of the images; `None` if they are not on this machine, and so can't be compared.
    """
    return bool(
        status
        and status.get("status") == COMPLETE
        and status.get("parameters") == point.parameters
        and status.get("digest") == grid.digest
        and (data is None or status.get("data") == data)
    )


def run_locally(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Status]]:
    """Runs tasks on this machine, with its cores and GPUs shared out among `workers` processes.

    A process that dies takes its pool with it; the points it had not finished go to a fresh pool.
    """
    if workers == 1:  # the notebook's kernel is a process of its own anyway
        for task in tasks:
            yield task, _run_or_give_up(task)
        return
    waiting, suspects = list(tasks), []
    while waiting or suspects:
        # Whoever was under way when a process died runs again by itself: alone, it is the culprit or it isn't.
        alone = not waiting
        batch, waiting = ([suspects.pop()], []) if alone else (waiting, [])
        for task, status in _run_in_pool(batch, 1 if alone else workers):
            if status:
                yield task, status
            elif alone:
                yield task, _give_up(task, "its process died twice, probably out of memory")
            else:
                (suspects if _was_running(task) else waiting).append(task)
        if len(waiting) == len(batch):  # died before any point began; don't try that for ever
            suspects.append(waiting.pop())


def _run_in_pool(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Status | None]]:
    """Runs tasks in fresh processes; those that were not finished when one died have no status."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with TensorFlow in it hangs
    ranks = context.Queue()
    for rank in range(workers):
        ranks.put(rank)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (ranks, workers))
    try:
        futures = {pool.submit(_run_or_give_up, task): task for task in tasks}
        for future, task in _as_they_end(futures):
            try:
                yield task, future.result()
            except BrokenProcessPool:
                yield task, None
    finally:
        pool.shutdown(cancel_futures=True)


def _run_or_give_up(task: Task) -> Status:
    """Runs a point; a full disk or a lost connection fails it and not the sweep."""
    try:
        return run_point(task)
    except Exception as error:
        return _give_up(task, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _was_running(task: Task) -> bool:
    """Whether a point was under way when its pool broke, and not just in the queue."""
    status = open_store(task.out).read(task.folder, STATUS)
    return bool(status and status.get("status") == RUNNING)


def _start_worker(ranks: Any, workers: int) -> None:
    """Gives a worker process its share of the machine; its kernels inherit it."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    rank = ranks.get()
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, threads)
    if names := gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = names[rank % len(names)]


def _die_with_parent() -> None:
    """Ends this process when the sweep is killed; pools leave their processes behind, and those their kernels."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


@functools.cache
def gpus() -> tuple[str, ...]:
    """Names of the GPUs that this process may use."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(filter(None, visible.split(",")))
    if not shutil.which("nvidia-smi"):
        return ()
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    return tuple(subprocess.run(query, capture_output=True, text=True).stdout.split())


def run_on_dask(tasks: Sequence[Task], address: str) -> Iterator[tuple[Task, Status]]:
    """Runs tasks on a Dask cluster; the scheduler gives the points of a worker that died to another.

    Raises:
        GridError: the cluster cannot be reached, or has workers with several threads.
    """
    try:
        from distributed import Client
    except ImportError:
        raise GridError(
            "--dask needs the package distributed: pip install 'scene-classifier[spread]'."
        ) from None
    try:
        client = Client(address, timeout=20)
    except OSError as error:
        raise GridError(f"Expected a Dask scheduler at {address}, could not reach it: {error}") from None
    with closing(client):
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if crowded := [worker["name"] for worker in workers if worker["nthreads"] != 1]:
            raise GridError(
                f"A point has its worker's memory and GPU to itself, so workers have one thread each; worker "
                f"{crowded[0]} has more. Start them with: dask worker {address} --nthreads 1"
            )
        futures = {
            # A key of its own each time: Dask would hand out an earlier result of the same point.
            client.submit(_run_or_give_up, task, key=f"{task.point.name}-{uuid.uuid4().hex[:8]}"): task
            for task in tasks
        }
        for future, task in _as_they_end(futures):
            try:
                status = future.result()
            except Exception as error:  # KilledWorker: it died with every worker that tried it
                status = _give_up(task, f"{type(error).__name__}: {' '.join(str(error).split())}")
            if open_store(task.out).read(task.folder, STATUS) is None:
                raise GridError(
                    f"Point {task.point.name} ended on {status['host']}, but its results are not at {task.out} "
                    f"here. Name a folder that all machines share, or an s3:// address."
                )
            yield task, status


def _as_they_end(futures: Mapping[Any, Task]) -> Iterator[tuple[Any, Task]]:
    """The futures of any engine in the order in which they end."""
    pending = dict(futures)
    while pending:
        for future in [future for future in pending if future.done()]:
            yield future, pending.pop(future)
        time.sleep(POLL_SECONDS)


def _give_up(task: Task, error: str) -> Status:
    """The status of a point that could not report its own end."""
    store = open_store(task.out)
    status = store.read(task.folder, STATUS) or {
        "point": task.point.name,
        "parameters": task.point.parameters,
    }
    status |= {"status": FAILED, "seconds": None, "failed_cell": None, "error": error}
    status.setdefault("host", "an unknown machine")
    with suppress(OSError):
        store.write_status(task.folder, status)
    return status
