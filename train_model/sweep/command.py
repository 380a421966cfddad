"""Runs a notebook over a grid of parameters: restartable, on this machine or spread over many.

    python -m train_model.sweep --grid train_model/sweep/study_grid.yml --workers 2

Each point of the grid is one papermill run into `<out>/<point>/` with the executed notebook, `metrics.json`,
what it printed and a status. Run the same command again, and it does what is missing, failed, or was made by
another version of the notebook. At the end stand one table, `points.csv`, and one figure, `points.png`.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep_eda.dataset import DatasetError
from data_prep_eda.files import write_json
from train_model.automation.notebook_run import COMPLETE, FAILED
from train_model.automation.run_study import locked
from train_model.parameters import ParameterError
from train_model.sweep.engine import Status, gpu, images_fingerprint, is_done, run_point, run_points
from train_model.sweep.grid import Grid, read_grid
from train_model.sweep.store import STATUS, Store

STUDY_GRID = Path(__file__).with_name("study_grid.yml")


def describe(point: str, status: Status | None) -> str:
    """How a point stands, in one line, with the cell and the error where it failed."""
    if not status:
        return f"{point}: not run"
    took = f" in {status['seconds']:.0f} s" if status.get("seconds") else ""
    where = f" in cell [{status['failed_cell']}]" if status.get("failed_cell") else ""
    return f"{point}: {status['status']}{where}{took}" + (f": {status['error']}" if status["error"] else "")


def fingerprints(grid: Grid, needed: bool) -> dict[str, str | None]:
    """Fingerprint of the images of each point by its name; `None` where its notebook takes none.

    DatasetError where the images are needed and not on this machine; else `None` stands for those.
    """
    known = functools.cache(images_fingerprint)
    data: dict[str, str | None] = dict.fromkeys(grid.points)
    for name, parameters in grid.points.items() if grid.takes_data else ():
        with nullcontext() if needed else suppress(DatasetError):
            data[name] = known(parameters.get("data_dir", ""), parameters.get("other_sources", ""))
    return data


def left(grid: Grid, store: Store, data: dict[str, str | None]) -> dict[str, Status | None]:
    """Names of the points that are not done, each with the status that an earlier run left."""
    statuses = {name: store.read(name, STATUS) for name in grid.points}
    return {name: status for name, status in statuses.items() if not is_done(grid, name, status, data[name])}


def sweep(grid: Grid, out: str, data: dict[str, str | None], workers: int, cluster: str | None) -> None:
    """Runs the points of a sweep that are not done, and prints how each ended; see `run_points`."""
    todo = left(grid, Store(out), data)
    total, done = len(grid.points), len(grid.points) - len(todo)
    stale = sum((status or {}).get("status") == COMPLETE for status in todo.values())
    why = f" ({stale} of them ran with another version of the notebook or on other images)" if stale else ""
    print(f"{grid.name}: {total} points, {done} done, {len(todo)} to run{why}; results in {out}", flush=True)
    if not todo:
        return
    points = replace(grid, points={name: grid.points[name] for name in todo})
    # A log has lines and no bar.
    with tqdm(total=total, initial=done, unit="point", disable=None, leave=False) as bar:
        for number, status in enumerate(run_points(points, data, out, workers, cluster), done + 1):
            with tqdm.external_write_mode():
                print(f"[{number}/{total}] {describe(status['point'], status)}", flush=True)
            bar.update()


def collect(grid: Grid, out: str, data: dict[str, str | None]) -> bool:
    """Writes the table and the figure of what is there, prints what is not done, and returns whether all is."""
    # Here, since its imports take seconds that single points can do without.
    from train_model.sweep.table import plot_points, tidy_table

    store = Store(out)
    table = tidy_table(grid, store)
    store.write("points.csv", table.to_csv(index=False).encode())
    with tempfile.TemporaryDirectory() as folder:
        drawn = plot_points(grid, table, Path(folder, "points.png"))
        if drawn:
            store.write("points.png", Path(folder, "points.png").read_bytes())
    print(f"Wrote points.csv{' and points.png' if drawn else ''} into {out}")
    if todo := left(grid, store, data):
        print(f"\n{len(todo)} of {len(grid.points)} points are not done:")
        for name, status in todo.items():
            print(" ", describe(name, status if status and status["status"] == FAILED else None))
        print("\nThe same command again runs only these.")
    return not todo


def saturn_batch(grid: Grid, file: str, out: str, workers: int | None) -> dict[str, Any]:
    """The work list that Saturn Cloud's `sc split` and `sc batch` take, of the points that are not done.

    Args:
        grid: the sweep.
        file: path of the grid file.
        out: address that Saturn's machines can write to: `s3://`, `sfs://`, or a folder for a trial at home.
        workers: runs at a time on one machine; without it `sc split` takes one per GPU.
    """
    points = list(grid.points)
    with suppress(ParameterError):  # sfs:// can be read on Saturn Cloud only: list all points
        points = list(left(grid, Store(out), fingerprints(grid, needed=False)))
    # Letter by letter, as fsspec takes it: with %20 in place of a space, `sc batch` would write into another folder.
    address = out.rstrip("/") if "://" in out else f"file://{out}"
    path = Path(file).resolve()
    with suppress(ValueError):  # a job runs in the repository's folder, wherever that is
        path = path.relative_to(Path.cwd())
    command = f"python -m train_model.sweep --grid {shlex.quote(str(path))} --point "
    runs = [{"cmd": command + shlex.quote(p), "remote_output_path": f"{address}/{p}"} for p in points]
    return ({"nprocs": workers} if workers else {}) | {"remote_output_path": address, "runs": runs}


def run_one(grid: Grid, name: str, out: str | None) -> bool:
    """Runs one point by itself, as a batch system dispatches it, and returns whether it completed.

    Without `out`, its results go straight into the folder that Saturn Cloud's `sc batch` names.
    """
    results = out or os.environ.get("SATURN_RUN_LOCAL_RESULTS_DIR")
    if name not in grid.points:
        raise ParameterError(
            f"Expected a point of the grid, found {name!r}. It has {', '.join(grid.points)}."
        )
    if not results:
        raise ParameterError(
            "--point runs under `sc batch`, which names the folder for results; else name the sweep's by --out."
        )
    if rank := os.environ.get("SATURN_RUN_LOCAL_RANK"):
        os.environ.update(gpu(int(rank)))
    status = run_point(grid, name, grid.points[name], None, results, folder=None if out else "")
    print(describe(name, status))
    return status["status"] == COMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train_model.sweep",
        description="Runs a notebook over a grid of parameters. Run it again to do what is missing or failed.",
    )
    add = parser.add_argument
    add("--grid", default=STUDY_GRID, metavar="G.yml", help="grid file (default: the study's study_grid.yml)")
    add("--out", help="folder or s3:// address of the results (default: runs/NAME)")
    add("--workers", type=int, metavar="N", help="points at a time on this machine (default: 1)")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--dask", metavar="ADDRESS", help="run on this Dask cluster, such as tcp://10.0.0.5:8786")
    add("--saturn-batch", metavar="FILE", help="run nothing; write Saturn Cloud's work list")
    add("--point", metavar="NAME", help="run this one point; batch systems call this")
    add("--collect", action="store_true", help="run nothing; make the table and the figure")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        Exit code: 0, every point is done; 1, some are not; 2, it could not start; 130, interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.workers is not None and options.workers < 1:
            raise ParameterError(f"--workers takes 1 or more, found {options.workers}.")
        grid = read_grid(options.grid)
        if options.point:
            return 0 if run_one(grid, options.point, options.out) else 1
        out = options.out or f"runs/{grid.name}"
        if "://" not in out:
            out = str(Path(out).resolve())  # workers may run elsewhere
        if options.saturn_batch:
            batch = saturn_batch(grid, options.grid, out, options.workers)
            write_json(options.saturn_batch, batch)
            print(f"Wrote {len(batch['runs'])} runs to {options.saturn_batch}")
            return 0
        data = fingerprints(grid, needed=not (options.collect or options.dask))
        if not options.collect:
            with locked(Path(out)) if "://" not in out else nullcontext():
                sweep(grid, out, data, options.workers or 1, options.dask)
        return 0 if collect(grid, out, data) else 1
    except (ParameterError, DatasetError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"The sweep stopped: {error.strerror or error}: {error.filename}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        return 130
