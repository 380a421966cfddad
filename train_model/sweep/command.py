"""Runs a notebook over a grid of parameters: restartable, on this machine or spread over many.

    python -m train_model.sweep --grid train_model/sweep/study_grid.yml --workers 2

Each point of the grid is one papermill run into `<out>/<point>/` with the executed notebook, `metrics.json`,
what it printed and a status. Run the same command again, and it does what is missing, failed, or was made by
another version of the notebook. At the end stand one table, `points.csv`, and one figure, `points.png`.

The points run in processes here (`--workers`), on a Dask cluster (`--dask`), or on Saturn Cloud, for which
`--saturn-batch` writes the work list (see saturn_cloud.md).
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from data_prep_eda.dataset import DatasetError
from data_prep_eda.files import write_json
from train_model.automation.notebook_run import COMPLETE, FAILED
from train_model.sweep.engines import (
    RUNNING,
    Status,
    Task,
    gpus,
    images_of,
    is_done,
    make_task,
    run_locally,
    run_on_dask,
    run_point,
)
from train_model.sweep.grid import Grid, GridError, read_grid
from train_model.sweep.store import STATUS, FolderStore, StoreError, open_store


class Board:
    """The live table of a sweep: on a terminal it moves, elsewhere each end is one line."""

    def __init__(self, grid: Grid, out: str, statuses: dict[str, Status], console: Console) -> None:
        self.grid, self.out, self.statuses, self.console = grid, out, statuses, console
        self.began = time.perf_counter()
        self.store = open_store(out)

    def __rich__(self) -> Table:
        """What is under way and what failed, then the counts; a big grid would not fit a screen whole."""
        if self.store.live:
            for point in self.grid.points:
                if self._state(point.name) in ("waiting", RUNNING):
                    status = self.store.read(point.name, STATUS)
                    if status and status.get("status") == RUNNING:
                        self.statuses[point.name] = status
        counts = self.counts()
        seconds = time.perf_counter() - self.began
        table = Table(
            title=f"{self.grid.name}: {self.grid.notebook.name}",
            caption=" · ".join(f"{n} {state}" for state, n in counts.items() if n) + f" · {seconds:.0f} s",
        )
        for column in ("point", "status", "cell", "seconds", "error"):
            right = column in ("cell", "seconds")
            table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
        for point in self.grid.points:
            status = self.statuses.get(point.name, {})
            if status.get("status") in (RUNNING, FAILED):
                cells = "/".join(map(str, status.get("cells", ()))) or str(status.get("failed_cell") or "")
                took = f"{status['seconds']:.0f}" if status.get("seconds") else ""
                row = (point.name, status["status"], cells, took, status.get("error", ""))
                table.add_row(*map(Text, row))  # as text: Rich would read [brackets] in an error as markup
        return table

    def _state(self, name: str) -> str:
        return self.statuses.get(name, {}).get("status", "waiting")

    def counts(self) -> dict[str, int]:
        states = [self._state(point.name) for point in self.grid.points]
        return {state: states.count(state) for state in (COMPLETE, RUNNING, FAILED, "waiting")}

    @contextmanager
    def shown(self) -> Iterator[None]:
        if self.console.is_terminal:
            with Live(self, console=self.console, refresh_per_second=2):
                yield
        else:
            yield

    def ended(self, task: Task, status: Status) -> None:
        self.statuses[task.point.name] = status
        done = sum(self.counts()[state] for state in (COMPLETE, FAILED))
        if not self.console.is_terminal:
            self.console.print(f"[{done}/{len(self.grid.points)}] {describe(status)}", **_PLAIN)


_PLAIN = {"markup": False, "highlight": False, "soft_wrap": True}


def describe(status: Status) -> str:
    """A point's end in one line, with the cell and the error where it failed."""
    took = f" in {status['seconds']:.0f} s" if status.get("seconds") else ""
    if status["status"] == COMPLETE:
        return f"{status['point']}: complete{took}"
    where = f" in cell [{status['failed_cell']}]" if status.get("failed_cell") else ""
    return f"{status['point']}: failed{where}{took}: {status['error']}"


def fingerprints(grid: Grid, needed: bool) -> dict[str, str | None]:
    """Fingerprint of the images of each point by its name; `None` where the notebook takes none.

    Args:
        grid: the sweep.
        needed: whether the images must be on this machine; else `None` stands for those that are not.

    Raises:
        DatasetError: the images are needed, and can't be used.
    """
    known: dict[tuple[str, str], str | None] = {}
    found: dict[str, str | None] = {}
    for point in grid.points:
        key = (point.parameters.get("data_dir", ""), point.parameters.get("other_sources", ""))
        if key not in known:
            known[key] = None
            with nullcontext() if needed else suppress(DatasetError):
                known[key] = images_of(point).fingerprint if grid.takes_data else None
        found[point.name] = known[key]
    return found


def sweep(
    grid: Grid,
    out: str,
    engine: Callable[[Sequence[Task]], Iterator[tuple[Task, Status]]],
    console: Console,
    data: dict[str, str | None],
) -> dict[str, Status]:
    """Runs the points of a sweep that are not done.

    Args:
        grid: the sweep.
        out: address of the results.
        engine: runs tasks and yields each with its final status as it ends.
        console: takes the live table.
        data: see `fingerprints`.

    Returns:
        Status by point, of all points.
    """
    store = open_store(out)
    statuses = {point.name: store.read(point.name, STATUS) for point in grid.points}
    todo = [
        point for point in grid.points if not is_done(grid, point, statuses[point.name], data[point.name])
    ]
    stale = [point for point in todo if (statuses[point.name] or {}).get("status") == COMPLETE]
    done = {name: status for name, status in statuses.items() if name not in {point.name for point in todo}}
    console.print(
        f"{grid.name}: {len(grid.points)} points, {len(done)} done, {len(todo)} to run"
        + (
            f" ({len(stale)} of them ran with another version of the notebook or on other images)"
            if stale
            else ""
        )
        + f"; results in {out}",
        **_PLAIN,
    )
    board = Board(grid, out, done, console)
    with board.shown():
        for task, status in (
            engine([make_task(grid, point, out, data=data[point.name]) for point in todo]) if todo else ()
        ):
            board.ended(task, status)
    return board.statuses


@contextmanager
def _alone(out: str) -> Iterator[None]:
    """Keeps a second sweep of this machine out of the same folder: they would empty each other's points."""
    store = open_store(out)
    if not isinstance(store, FolderStore) or os.name == "nt":
        yield
        return
    import fcntl

    store.root.mkdir(parents=True, exist_ok=True)
    with open(store.root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"Another sweep is running in {out}. Wait for it, or choose another --out."
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        yield


def collect(grid: Grid, out: str, console: Console, data: dict[str, str | None]) -> bool:
    """Writes the table and the figure of what is there, and prints what is missing.

    Returns:
        Whether every point is done.
    """
    from train_model.sweep.table import plot_points, tidy_table  # pandas takes a second that runs don't need

    store = open_store(out)
    table = tidy_table(grid, store)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "points.csv")
        table.to_csv(file, index=False)
        kept = [store.keep(file)]
        if plot_points(grid, table, Path(folder, "points.png")):
            kept.append(store.keep(Path(folder, "points.png")))
    console.print(f"Wrote {' and '.join(kept)}", **_PLAIN)
    bad = []
    for point in grid.points:
        status = store.read(point.name, STATUS)
        if not is_done(grid, point, status, data[point.name]):
            bad.append(
                describe(status) if (status or {}).get("status") == FAILED else f"{point.name}: not run"
            )
    if bad:
        console.print(f"\n{len(bad)} of {len(grid.points)} points are not done:", *bad, sep="\n  ", **_PLAIN)
        console.print("\nThe same command again runs only these.", **_PLAIN)
    return not bad


def saturn_batch(grid: Grid, out: str, workers: int | None) -> dict[str, Any]:
    """The work list that Saturn Cloud's `sc split` and `sc batch` take, of the points that are not done.

    Args:
        grid: the sweep.
        out: address that Saturn's machines can write to: `s3://`, `sfs://`, or a folder for a trial at home.
        workers: runs at a time on one machine; `sc split` takes one per GPU where this is `None`.
    """
    data = fingerprints(grid, needed=False)
    # As fsspec and `open_store` take it: with %20 in place of a space, `sc batch` would write into another folder.
    address = out.rstrip("/") if "://" in out else f"file://{Path(out).resolve()}"
    statuses: dict[str, Status | None] = {}
    with suppress(StoreError):  # sfs:// can be read on Saturn Cloud only: list all points
        store = open_store(address)
        statuses = {point.name: store.read(point.name, STATUS) for point in grid.points}
    path = grid.path.resolve()
    with suppress(ValueError):  # a job runs in the repository's folder, wherever that is
        path = path.relative_to(Path.cwd())
    runs = [
        {
            "cmd": f"python -m train_model.sweep --grid {shlex.quote(str(path))} --point {shlex.quote(point.name)}",
            "remote_output_path": f"{address}/{point.name}",
        }
        for point in grid.points
        if not is_done(grid, point, statuses.get(point.name), data[point.name])
    ]
    return ({"nprocs": workers} if workers else {}) | {"remote_output_path": address, "runs": runs}


def run_one(grid: Grid, name: str, out: str | None, console: Console) -> bool:
    """Runs one point by itself, as a batch system dispatches it.

    Args:
        grid: the sweep.
        name: of the point.
        out: address of the sweep's results, where the point has its folder; by default its results go straight into
            the folder that Saturn Cloud's `sc batch` names.
        console: takes the outcome.

    Returns:
        Whether it completed.
    """
    results = os.environ.get("SATURN_RUN_LOCAL_RESULTS_DIR")
    if not out and not results:
        raise GridError(
            "--point runs under `sc batch`, which names the folder for results; else name the sweep's by --out."
        )
    rank = os.environ.get("SATURN_RUN_LOCAL_RANK")
    if rank is not None and (names := gpus()):
        os.environ["CUDA_VISIBLE_DEVICES"] = names[int(rank) % len(names)]
    status = run_point(make_task(grid, grid[name], out or results, folder=None if out else ""))
    console.print(describe(status), **_PLAIN)
    return status["status"] == COMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train_model.sweep",
        description="Runs a notebook over a grid of parameters. Run it again to do what is missing or failed.",
    )
    parser.add_argument(
        "--grid", required=True, metavar="G.yml", help="grid file; see train_model/sweep/study_grid.yml"
    )
    parser.add_argument("--out", help="folder or s3:// address of the results (default: runs/NAME)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="points at a time on this machine (default: 1)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--dask", metavar="ADDRESS", help="run on this Dask cluster, such as tcp://10.0.0.5:8786"
    )
    what.add_argument("--saturn-batch", metavar="FILE", help="run nothing; write Saturn Cloud's work list")
    what.add_argument("--point", metavar="NAME", help="run this one point; batch systems call this")
    what.add_argument("--collect", action="store_true", help="run nothing; make the table and the figure")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        Exit code: 0, every point is done; 1, some are not; 2, it could not start; 130, interrupted.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        if options.workers is not None and options.workers < 1:
            raise GridError(f"--workers takes 1 or more, found {options.workers}.")
        grid = read_grid(options.grid)
        if options.point:
            return 0 if run_one(grid, options.point, options.out, console) else 1
        out = options.out or str(Path("runs", grid.name))
        if options.saturn_batch:
            batch = saturn_batch(grid, out, options.workers)
            write_json(options.saturn_batch, batch)
            console.print(f"Wrote {len(batch['runs'])} runs to {options.saturn_batch}", **_PLAIN)
            return 0
        if "://" not in out:
            out = str(Path(out).resolve())  # workers may run elsewhere
        data = fingerprints(grid, needed=not (options.collect or options.dask))
        if not options.collect:
            engine = functools.partial(run_locally, workers=options.workers or 1)
            if options.dask:
                engine = functools.partial(run_on_dask, address=options.dask)
            with _alone(out):
                sweep(grid, out, engine, console, data)
        return 0 if collect(grid, out, console, data) else 1
    except (GridError, StoreError, DatasetError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"The sweep stopped: {error.strerror or error}: {error.filename}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        return 130
