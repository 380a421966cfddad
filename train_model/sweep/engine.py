"""Runs the points of a sweep: one after the other, or on Dask's workers, of this machine or of a cluster."""

import dataclasses
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep_eda.dataset import fingerprint, load_dataset
from data_prep_eda.other_sources import find_sources
from train_model.automation.notebook_run import FAILED, run_notebook
from train_model.parameters import ParameterError
from train_model.sweep.grid import OUTPUT, Grid
from train_model.sweep.store import LOG, METRICS, NOTEBOOK, STATUS, Store

# A terminal sends Ctrl-C to the workers as well; the sweep ends them.
QUIET = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

Status = dict[str, Any]


def images_fingerprint(data_dir: str = "", other_sources: str = "", **_: Any) -> str:
    """Of the images that a point's parameters name; DatasetError if they are not here."""
    dataset = load_dataset(data_dir)
    return f"{fingerprint(dataset.folder)}-{fingerprint(find_sources(other_sources, dataset))}"


def run_point(grid: Grid, name: str, place: str) -> Status:
    """Runs one point, leaves its results at an address, and returns its final status, as in `status.json`.

    That is `status` (`complete` or `failed`), `seconds`, `failed_cell`, `error`, and what ran where: `parameters`,
    `notebook`, `digest`, `data` (the fingerprint of the images), `host`, `started`.
    """
    parameters, store = grid.points[name], Store(place)
    status: Status = {"point": name, "status": "running", "parameters": parameters, "digest": grid.digest}
    status |= {"host": socket.gethostname(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        if grid.takes_data:
            status["data"] = images_fingerprint(**parameters)
        with store.workspace() as results, tempfile.TemporaryDirectory(prefix="sweep-") as scratch:
            _save(store, status)
            notebook = Path(scratch, grid.notebook)
            notebook.write_text(grid.source, encoding="utf-8")
            values = parameters | {OUTPUT: str(results)}
            result = run_notebook(notebook, results / NOTEBOOK, values, log=results / LOG)
            if result.ok and not (results / METRICS).is_file():
                raise FileNotFoundError(f"the notebook ran, but wrote no {METRICS} into its {OUTPUT}")
        status |= dataclasses.asdict(result) | {"seconds": round(result.seconds, 2)}
    except Exception as error:
        status |= {"status": FAILED, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return _save(store, status)  # last, so that a complete point has all its files


def _save(store: Store, status: Status) -> Status:
    store.write(STATUS, json.dumps(status, indent=2).encode())
    return status


def run_points(
    grid: Grid, names: Iterable[str], out: str, workers: int = 1, cluster: str | None = None
) -> Iterator[Status]:
    """Runs points of a grid, with results at the address `out`, and yields the final status of each as it ends.

    Args:
        workers: points at a time on this machine.
        cluster: address of the scheduler of a Dask cluster to run on instead.

    Raises:
        OSError, ValueError: the cluster cannot be reached; or it writes elsewhere.
    """
    if workers == 1 and not cluster:  # here, since a notebook's kernel is a process of its own
        yield from (run_point(grid, name, f"{out}/{name}") for name in names)
        return
    from distributed import Future, KilledWorker, as_completed

    with _client(workers, cluster) as client:
        points: dict[Future, str] = {}

        def submit(name: str) -> Future:
            future = client.submit(run_point, grid, name, f"{out}/{name}", pure=False)
            points[future] = name
            return future

        def ended(future: Future) -> Status:
            error, name = future.exception(), points[future]
            if error:
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, KilledWorker):
                    why = "its process died with every try, probably out of memory"
                return _save(Store(f"{out}/{name}"), {"point": name, "status": FAILED, "error": why})
            status = future.result()
            future.release()  # else Dask runs it again when the worker that holds it dies
            if Store(out).read(name, STATUS) is None:
                raise ParameterError(
                    f"Point {name} ended on {status['host']}, but its results are not at {out} here. "
                    "Name a folder that all machines share, or an s3:// address."
                )
            return status

        # Here no more at a time than there are workers: Dask suspects also what waits at a worker that dies.
        waiting, suspects = iter(names), []
        running = as_completed(map(submit, islice(waiting, None if cluster else workers)))
        for future in running:
            running.update(map(submit, islice(waiting, 1)))
            if isinstance(future.exception(), KilledWorker) and not cluster:
                suspects.append(points[future])
            else:
                yield ended(future)
        # Alone, a point is to blame or it isn't; a cluster has tried again already.
        yield from (ended(submit(name)) for name in suspects)


@contextmanager
def _client(workers: int, address: str | None) -> Iterator[Any]:
    """A client of a running cluster, or of workers of this machine, which share its cores and GPUs and end with it."""
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    if address:
        with Client(address, timeout=20) as client:
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
