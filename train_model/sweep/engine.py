"""Runs the points of a sweep: one after the other, or on Dask's workers, of this machine or of a cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep_eda.dataset import DatasetError, fingerprint, load_dataset
from data_prep_eda.other_sources import find_sources
from train_model.automation.notebook_run import COMPLETE, FAILED, run_notebook
from train_model.parameters import ParameterError
from train_model.sweep.grid import OUTPUT, Grid
from train_model.sweep.store import LOG, METRICS, NOTEBOOK, STATUS, Store

# A terminal sends Ctrl-C to the workers as well; the sweep ends them.
QUIET = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

Status = dict[str, Any]


def images_fingerprint(data_dir: str = "", other_sources: str = "", **_: Any) -> str:
    """Tells the images that a point's parameters name from others; DatasetError if they are not here."""
    dataset = load_dataset(data_dir, check=False)
    return f"{fingerprint(dataset.folder)}-{fingerprint(find_sources(other_sources, dataset))}"


def is_done(grid: Grid, name: str, status: Status | None, data: str | None = None) -> bool:
    """Whether a point needs no run: it completed, with these parameters, this notebook and these images.

    `data` is the images' fingerprint; `None` if they are not on this machine, and so can't be compared.
    """
    expected = {"status": COMPLETE, "parameters": grid.points[name], "digest": grid.digest}
    expected |= {"data": data} if data else {}
    return bool(status) and expected == {key: status.get(key) for key in expected}


def run_point(
    grid: Grid, name: str, parameters: dict[str, Any], data: str | None, out: str, folder: str | None = None
) -> Status:
    """Runs one point and leaves its results in the store.

    Args:
        grid: the sweep; only its notebook is read.
        name: of the point.
        parameters: its values.
        data: fingerprint of the images that the sweep is on; `None` where they are not on the machine it started on.
        out: address of the results.
        folder: of this point below `out`; by default its name.

    Returns:
        The point's final status, as in its `status.json`: `status` (`complete` or `failed`), `seconds`, `failed_cell`,
        `error`, and what ran where: `parameters`, `notebook`, `digest`, `data` (the fingerprint of the images), `host`,
        `started`. What keeps the notebook from running, such as a full disk, fails the point too.
    """
    folder = name if folder is None else folder
    status: Status = {"point": name, "status": "running", "parameters": parameters, "notebook": grid.notebook}
    status |= {"digest": grid.digest, "host": socket.gethostname()}
    status["started"] = datetime.now(UTC).isoformat(timespec="seconds")

    def save(*cells: int) -> None:
        content = status | ({"cells": cells} if cells else {})
        store.write(f"{folder}/{STATUS}".lstrip("/"), json.dumps(content, indent=2).encode())

    try:
        store = Store(out)
        if grid.takes_data:
            status["data"] = images_fingerprint(**parameters)
            if data not in (None, status["data"]):
                raise DatasetError("the images here are others than where the sweep was started")
        with store.workspace(folder) as results, tempfile.TemporaryDirectory(prefix="sweep-") as scratch:
            save()
            notebook = Path(scratch, grid.notebook)
            notebook.write_text(grid.source, encoding="utf-8")
            values = parameters | {OUTPUT: str(results)}
            progress = save if store.local else None
            result = run_notebook(notebook, results / NOTEBOOK, values, log=results / LOG, progress=progress)
            outcome, error = result.status, result.error
            if result.ok and not (results / METRICS).is_file():
                outcome, error = FAILED, f"the notebook ran, but wrote no {METRICS} into its {OUTPUT}"
        seconds = round(result.seconds, 2)
        status |= {"status": outcome, "seconds": seconds, "failed_cell": result.failed_cell, "error": error}
        save()  # last, so that a complete point has all its files
    except Exception as error:
        status |= {"status": FAILED, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        with suppress(Exception):  # where nothing can be written, the caller still has the status
            save()
    return status


def run_points(
    grid: Grid, data: dict[str, str | None], out: str, workers: int = 1, cluster: str | None = None
) -> Iterator[Status]:
    """Runs all points of a grid and yields the final status of each as it ends.

    Args:
        grid: the points to run.
        data: fingerprint of the images of each by its name.
        out: address of the results.
        workers: points at a time. One runs in this process, since a notebook's kernel is a process of its own;
            more are Dask's, with cores and GPUs shared out among them.
        cluster: address of the scheduler of a Dask cluster to run on instead.

    Raises:
        ParameterError: the cluster cannot be reached, or writes elsewhere.
    """
    notebook = replace(grid, points={})  # what travels
    if workers == 1 and not cluster:
        for name, parameters in grid.points.items():
            yield run_point(notebook, name, parameters, data[name], out)
        return
    from distributed import KilledWorker

    with _client(workers, cluster) as client:

        def submit(name: str) -> Any:
            # A key of its own each time: Dask would hand out an earlier result of the same point.
            key = f"{name}-{uuid.uuid4().hex[:8]}"
            return client.submit(run_point, notebook, name, grid.points[name], data[name], out, key=key)

        # Whoever was under way on a worker that died runs once more by itself: alone, it is to blame or it isn't.
        suspects: list[str] = []
        for names, alone in ((list(grid.points), False), (suspects, True)):
            for name, future in _in_turn(submit, names, lambda: 1 if alone else len(client.nthreads())):  # noqa: B023
                error = future.exception()
                killed = isinstance(error, KilledWorker)
                if killed and not alone and not cluster:  # a cluster's own scheduler has tried again already
                    suspects.append(name)
                    continue
                if error:
                    why = f"{type(error).__name__}: {error}"
                    why = "its process died with every try, probably out of memory" if killed else why
                    status = {"point": name, "status": FAILED, "parameters": grid.points[name], "error": why}
                    Store(out).write(f"{name}/{STATUS}", json.dumps(status, indent=2).encode())
                else:
                    status = future.result()
                if Store(out).read(name, STATUS) is None:
                    raise ParameterError(
                        f"Point {name} ended on {status['host']}, but its results are not at {out} here. "
                        "Name a folder that all machines share, or an s3:// address."
                    )
                yield status


def _in_turn(
    submit: Callable[[str], Any], names: Iterable[str], workers: Callable[[], int]
) -> Iterator[tuple[str, Any]]:
    """The futures of points as they end, one per worker: Dask suspects all that waited at a worker that died."""
    from distributed import as_completed

    waiting, under_way, completed = iter(names), {}, as_completed()
    while True:
        for name in islice(waiting, max(0, max(1, workers()) - len(under_way))):
            future = submit(name)
            under_way[future.key] = name
            completed.add(future)
        if not under_way:
            return
        future = next(completed)
        yield under_way.pop(future.key), future


@contextmanager
def _client(workers: int, address: str | None) -> Iterator[Any]:
    """A client of a running cluster, or of workers of this machine.

    Those are processes that end with this one, each with its share of the cores and a GPU.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    if address:
        try:
            client = Client(address, timeout=20)
        except (OSError, ValueError) as error:
            message = f"Expected a Dask scheduler at {address}, could not reach it: {error}"
            raise ParameterError(message) from None
        with client:
            yield client
        return
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    share = {name: os.environ.get(name, threads) for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")}
    worker = {"nthreads": 1, "memory_limit": 0, "silence_logs": "CRITICAL", "preload": QUIET}
    nannies = {n: {"cls": Nanny, "options": worker | {"env": share | gpu(n)}} for n in range(workers)}
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "allowed_failures": 0}
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": {}}),  # else all get one thread
        SpecCluster(nannies, {"cls": Scheduler, "options": options}, silence_logs="CRITICAL") as cluster,
        Client(cluster) as client,
    ):
        yield client


def gpu(rank: int) -> dict[str, str]:
    """The environment that shows a process the GPU of its number, of those that this one may use; empty for none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        with suppress(OSError):
            visible = subprocess.run(query, capture_output=True, text=True).stdout.replace("\n", ",")
    names = list(filter(None, (visible or "").split(",")))
    return {"CUDA_VISIBLE_DEVICES": names[rank % len(names)]} if names else {}
