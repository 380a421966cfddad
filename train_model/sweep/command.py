"""Runs a notebook over a grid of parameters: restartable, on this machine or spread over many.

    python -m train_model.sweep --grid train_model/sweep/study_grid.yml --workers 2

Each point of the grid is one papermill run into `<out>/<point>/`. Run the same command again, and it does what is
missing, failed, or was made by another version of the notebook. At the end stand `points.csv` and `points.png`.
"""

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from data_prep_eda.dataset import DatasetError
from data_prep_eda.files import write_json
from train_model.automation.notebook_run import COMPLETE, FAILED
from train_model.automation.run_study import locked
from train_model.parameters import ParameterError
from train_model.sweep.engine import Status, gpu, images_fingerprint, run_point, run_points
from train_model.sweep.grid import STUDY_GRID, Grid, read_grid
from train_model.sweep.store import STATUS, Store


def describe(status: Status) -> str:
    """How a point ended, in one line, with the cell and the error where it failed."""
    where = f" in cell [{status['failed_cell']}]" if status.get("failed_cell") else ""
    took = f" in {status['seconds']:.0f} s" if "seconds" in status else ""
    error = f": {status['error']}" if status["error"] else ""
    return f"{status['point']}: {status['status']}{where}{took}{error}"


def left(grid: Grid, store: Store) -> dict[str, str]:
    """Names of the points that are not done, each with a line on how it stands.

    Done is what completed with these parameters, this notebook and these images, where those are on this machine.
    """
    points, known = {}, functools.cache(images_fingerprint)
    for name, parameters in grid.points.items():
        wanted = {"status": COMPLETE, "parameters": parameters, "digest": grid.digest}
        if grid.takes_data:
            with suppress(DatasetError):
                wanted["data"] = known(parameters.get("data_dir", ""), parameters.get("other_sources", ""))
        status = store.read(name, STATUS) or {}
        if status.get("status") == FAILED:
            points[name] = describe(status)
        elif not wanted.items() <= status.items():
            points[name] = f"{name}: not run with this notebook on these images"
    return points


def sweep(grid: Grid, out: str, workers: int, cluster: str | None) -> None:
    """Runs the points of a sweep that are not done, and prints how each ended; see `run_points`."""
    todo = left(grid, Store(out))
    total, done = len(grid.points), len(grid.points) - len(todo)
    print(f"{grid.name}: {total} points, {done} done, {len(todo)} to run; results in {out}", flush=True)
    for number, status in enumerate(run_points(grid, todo, out, workers, cluster) if todo else (), done + 1):
        print(f"[{number}/{total}] {describe(status)}", flush=True)


def collect(grid: Grid, out: str) -> int:
    """Writes table and figure of what is there, and prints what is not done; returns the exit code."""
    # Here, since its imports take seconds that single points can do without.
    from train_model.sweep.table import plot_points, tidy_table

    store = Store(out)
    table = tidy_table(grid, store)
    store.write("points.csv", table.to_csv(index=False).encode())
    if figure := plot_points(grid, table):
        store.write("points.png", figure)
    print(f"Wrote points.csv{' and points.png' if figure else ''} into {out}")
    if todo := left(grid, store):
        print(f"\n{len(todo)} of {len(grid.points)} points are not done:", *todo.values(), sep="\n  ")
        print("\nThe same command again runs only these.")
    return int(bool(todo))


def write_batch(grid: Grid, options: argparse.Namespace, out: str) -> None:
    """Writes the work list of the points that are not done, for Saturn Cloud's `sc split` and `sc batch`."""
    points = grid.points
    with suppress(ParameterError):  # sfs:// can be read on Saturn Cloud only: list all points
        points = left(grid, Store(out))
    # Letter by letter, as fsspec takes it: with %20 in place of a space, `sc batch` would write into another folder.
    address = out.rstrip("/") if "://" in out else f"file://{out}"
    # A job runs in the repository's folder, wherever that is.
    command = f"python -m train_model.sweep --grid {shlex.quote(os.path.relpath(options.grid))} --point "
    runs = [{"cmd": command + shlex.quote(p), "remote_output_path": f"{address}/{p}"} for p in points]
    batch = {"nprocs": options.workers} if options.workers else {}  # else `sc split` takes one per GPU
    write_json(options.saturn_batch, batch | {"remote_output_path": address, "runs": runs})
    print(f"Wrote {len(runs)} runs to {options.saturn_batch}")


def run_one(grid: Grid, name: str, place: str) -> int:
    """Runs one point by itself, as a batch system dispatches it; returns the exit code."""
    if name not in grid.points:
        raise ParameterError(f"Expected one of the points {', '.join(grid.points)}, found {name!r}.")
    if rank := os.environ.get("SATURN_RUN_LOCAL_RANK"):
        os.environ.update(gpu(int(rank)))
    status = run_point(grid, name, place)
    print(describe(status))
    return int(status["status"] == FAILED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, every point is done; 1, some are not; 2, it could not start; 130, interrupted."""
    about = "Runs a notebook over a grid of parameters. Run it again to do what is missing or failed."
    parser = argparse.ArgumentParser(prog="python -m train_model.sweep", description=about)
    add = parser.add_argument
    add("--grid", default=STUDY_GRID, metavar="G.yml", help="grid file (default: the study's study_grid.yml)")
    add("--out", help="folder or s3:// address of the results (default: runs/NAME)")
    add("--workers", type=int, metavar="N", help="points at a time on this machine (default: 1)")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--dask", metavar="ADDRESS", help="run on this Dask cluster, such as tcp://10.0.0.5:8786")
    add("--saturn-batch", metavar="FILE", help="run nothing; write Saturn Cloud's work list")
    add("--point", metavar="NAME", help="run this one point; batch systems call this")
    add("--collect", action="store_true", help="run nothing; make the table and the figure")
    options = parser.parse_args(arguments)
    try:
        if options.workers is not None and options.workers < 1:
            raise ParameterError(f"--workers takes 1 or more, found {options.workers}.")
        grid = read_grid(options.grid)
        out = options.out or f"runs/{grid.name}"
        if "://" not in out:
            out = str(Path(out).resolve())  # workers may run elsewhere
        if name := options.point:  # `sc batch` names a place
            place = os.environ.get("SATURN_RUN_LOCAL_RESULTS_DIR") if not options.out else None
            return run_one(grid, name, place or f"{out}/{name}")
        if options.saturn_batch:
            write_batch(grid, options, out)
            return 0
        if not options.collect:
            with locked(Path(out)) if "://" not in out else nullcontext():
                sweep(grid, out, options.workers or 1, options.dask)
        return collect(grid, out)
    except (ValueError, OSError) as error:  # an address that is none, a full disk, a folder that is read-only
        print(error if isinstance(error, ParameterError) else f"The sweep stopped: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        return 130
