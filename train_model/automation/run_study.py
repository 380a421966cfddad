"""Runs the study: every notebook in order, by papermill, into one folder.

python -m train_model.automation.run_study                       all notebooks, into runs/<timestamp>/
python -m train_model.automation.run_study -p epochs 5           with another value of a parameter
python -m train_model.automation.run_study --from 05             on in the newest run, from notebook 05
"""

from __future__ import annotations

import argparse
import html
import importlib.metadata
import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbconvert
import pandas as pd
from tqdm import tqdm

from data_prep_eda.dataset import (
    REPOSITORY,
    SAMPLE,
    DatasetError,
    fingerprint,
    load_dataset,
    resolve_data_dir,
)
from data_prep_eda.files import write_json, write_text
from data_prep_eda.other_sources import find_sources
from train_model.automation.notebook_run import WarmKernel, inspect, run_notebook, typed_parameters
from train_model.parameters import ParameterError
from train_model.study import MODEL_FILE, read_metrics

NOTEBOOKS = REPOSITORY / "notebooks"
RUNS = REPOSITORY / "runs"
STATE = "run.json"  # what has been run in a run's folder, with which parameters
PENDING = "pending"
FOLDERS = ("data_dir", "other_sources", "output_dir")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (ParameterError, DatasetError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Cannot use {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What is complete stays; the command above goes on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train_model.automation.run_study", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--from", dest="first", metavar="NN", help="start with this notebook, in the newest run"
    )
    parser.add_argument("--to", dest="last", metavar="NN", help="stop after this notebook")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run (default: runs/<timestamp>)"
    )
    parser.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="value of a parameter, for every notebook that has it",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    study = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    notebooks = select(study, options.first, options.last)
    given = {name: _from_here(name, value) for name, value in options.p}
    assign(study, given)
    run = _open_run(options, given)
    parameters = assign(study, run.state["parameters"])
    fixed = {name: run.state[name] for name in ("data_dir", "other_sources")} | {
        "output_dir": str(run.folder)
    }
    for notebook in study:
        parameters[notebook] |= {name: value for name, value in fixed.items() if name in inspect(notebook)}
    executed = run.folder / "notebooks"
    executed.mkdir(parents=True, exist_ok=True)
    for notebook in notebooks:  # from now on they are not complete, whatever was before
        run.state["notebooks"][notebook.stem] = {"status": PENDING, "seconds": 0.0, "error": ""}
    run.save("running")
    _announce(run, notebooks, given)

    began = time.perf_counter()
    with ExitStack() as stack:
        warm = None
        for number, notebook in enumerate(notebooks, 1):
            bar = tqdm(desc=f"{notebook.stem} ({number} of {len(notebooks)})", unit="cell", file=sys.stdout)
            mine, warm = warm, None
            if number < len(notebooks):
                warm = WarmKernel(notebooks[number], REPOSITORY)
                stack.callback(warm.close)

            def progress(done: int, total: int, bar: tqdm = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            with bar:
                result = run_notebook(
                    notebook,
                    executed / notebook.name,
                    parameters[notebook],
                    cwd=REPOSITORY,
                    log=executed / f"{notebook.stem}.log",
                    warm=mine,
                    progress=progress,
                )
            run.state["notebooks"][notebook.stem] = {
                "status": result.status,
                "seconds": round(result.seconds, 1),
                "error": result.error,
            }
            run.save("running" if result.ok else "failed")
            if not result.ok:
                write_index(run.folder)
                print(
                    f"\n{result}\nThe executed notebook: {_shown(executed / notebook.name)}", file=sys.stderr
                )
                print(f"Mend the cause and go on with: {run.command(notebook.stem[:2])}", file=sys.stderr)
                return 1
    run.save("complete")
    write_index(run.folder)
    print(f"\n{len(notebooks)} notebooks in {time.perf_counter() - began:.0f} s.\n")
    print(summary(run.folder).to_string(index=False, header=False))
    print(f"\n{classify_one(run.folder, run.state['data_dir'])}")
    print(f"Read on: {_shown(run.folder / 'index.html')}")
    return 0


def _from_here(name: str, value: str) -> str:
    """A folder as the shell means it; the kernels stand elsewhere."""
    return str(Path(value).expanduser().resolve()) if value and name in FOLDERS else value


def _shown(path: Path) -> str:
    """A path that can be opened from where the shell stands."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@dataclass
class Run:
    """A run's folder and its `run.json`: what was asked, of which images, and how far it came."""

    folder: Path
    state: dict[str, Any]

    def save(self, status: str) -> None:
        self.state["status"] = status
        write_json(self.folder / STATE, self.state)

    def command(self, first: str) -> str:
        """The command that goes on with this run, whole; its parameters are in its state."""
        return f"make run ARGS={shlex.quote(f'--from {first} --out {shlex.quote(str(self.folder))}')}"


def _open_run(options: argparse.Namespace, given: dict[str, str]) -> Run:
    """A new run, or with `--from` the newest one or the one in `--out`, on the same images as before."""
    folder = options.out.expanduser().resolve() if options.out else None
    if options.first and folder is None:
        started = {
            path.parent: _read_state(path.parent).get("started", "") for path in RUNS.glob(f"*/{STATE}")
        }
        folder = max(started, key=started.get, default=None)
        if folder is None and int(options.first) > 1:
            raise ParameterError(f"Expected an earlier run to go on with, found none in {_shown(RUNS)}/.")
    state = _read_state(folder) if folder and options.first else {}
    if options.first and options.out and not state and int(options.first) > 1:
        raise ParameterError(f"Expected a run to go on with in {_shown(folder)}, found no {STATE} there.")

    parameters = state.get("parameters", {}) | given
    dataset_folder = resolve_data_dir(str(parameters.get("data_dir", state.get("data_dir", ""))))
    # A wrong layout is better found now than by the first notebook.
    dataset = load_dataset(str(dataset_folder), check=False)
    sources = find_sources(str(parameters.get("other_sources", "")), dataset)
    images = {
        "data_dir": str(dataset_folder),
        "other_sources": str(sources or ""),
        "fingerprint": f"{fingerprint(dataset_folder)}-{fingerprint(sources)}",
    }
    if state and state["fingerprint"] != images["fingerprint"]:
        raise ParameterError(
            f"Expected the images that this run was started with (in {state['data_dir']}), found others in "
            f"{images['data_dir']}. One run is one data set: start a new one, without --from."
        )
    if not state:
        state = {"started": datetime.now(UTC).isoformat(), "resumed": False, "notebooks": {}}
    else:
        state["resumed"] = True
    folder = folder or RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")
    return Run(folder, state | images | {"parameters": parameters})


def _announce(run: Run, notebooks: list[Path], given: dict[str, str]) -> None:
    """Says what is about to be done, on which images, and about how long it takes."""
    dataset = load_dataset(run.state["data_dir"], check=False)
    names = f"notebooks {notebooks[0].stem[:2]} to {notebooks[-1].stem[:2]}"
    minutes = 2 if dataset.folder == SAMPLE else max(2, round(len(dataset.images) / 150))
    print(
        f"Executes {names} on {dataset.kind}, {len(dataset.images)} in all: about {minutes} minutes on two cores."
    )
    if run.state["other_sources"]:
        print(f"With the other sources in {_shown(Path(run.state['other_sources']))}.")
    if kept := [f"{name} {value}" for name, value in run.state["parameters"].items() if name not in given]:
        print(f"As before in this run: {', '.join(kept)}")
    print(f"Results: {_shown(run.folder)}. Ctrl-C stops; {run.command(notebooks[0].stem[:2])} goes on.\n")


def select(notebooks: list[Path], first: str | None = None, last: str | None = None) -> list[Path]:
    """The notebooks from one number to another.

    Raises:
        ParameterError: no notebook has such a number.
    """
    numbers = [notebook.name[:2] for notebook in notebooks]
    for wanted in filter(None, (first, last)):
        if wanted.zfill(2) not in numbers:
            raise ParameterError(f"Expected the number of a notebook, {', '.join(numbers)}; found {wanted}.")
    start = numbers.index(first.zfill(2)) if first else 0
    stop = numbers.index(last.zfill(2)) + 1 if last else len(numbers)
    return notebooks[start:stop]


def assign(notebooks: Sequence[Path], overrides: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Gives each notebook the overrides that it has a parameter for, checked against its own types.

    Raises:
        ParameterError: a value has the wrong type, or no notebook has a parameter of that name.
    """
    assigned: dict[Path, dict[str, Any]] = {notebook: {} for notebook in notebooks}
    for name, value in overrides.items():
        taken, unknown = False, None
        for notebook in notebooks:
            try:
                assigned[notebook] |= typed_parameters(notebook, {name: value})
                taken = True
            except ParameterError as error:
                if "has no parameter" not in str(error):
                    raise
                if unknown is None or "did you mean" in str(error):
                    unknown = error
        if not taken and unknown:
            raise unknown
    return assigned


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        raise ParameterError(
            f"Expected JSON in {_shown(path)}, found something else. Start a new run."
        ) from None


def summary(folder: Path) -> pd.DataFrame:
    """A run in ten lines: the data, the best rates, the model, how good it is, what it costs."""
    m = read_metrics(folder)

    def get(section: str, *names: str) -> Any:
        value = m.get(section, {})
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def share(section: str, *names: str) -> str:
        entry = get(section, *names)
        if isinstance(entry, dict) and "value" in entry:
            return f"{entry['value']:.3f} (95 % interval {entry['low']:.3f} to {entry['high']:.3f})"
        return f"{entry:.3f}" if isinstance(entry, float) else ""

    mean = get("evaluation", "mean")
    size, ms = get("tflite", "served", "MB"), get("tflite", "served", "ms")
    rows = [
        ("data", get("final", "data") or get("data", "data") or ""),
        (
            "trained on",
            f"{n} images of {get('final', 'sources')} source(s)" if (n := get("final", "trained_on")) else "",
        ),
        ("Xception, validation accuracy", share("xception", "val_accuracy")),
        ("MobileNet, validation accuracy", share("learning_rate", "val_accuracy")),
        ("learning rate", str(get("learning_rate", "chosen") or "")),
        ("final model, validation accuracy", share("final", "val_accuracy")),
        ("served file, test accuracy", share("evaluation", "test")),
        ("served file, sources left out", f"{mean:.3f}, the mean over them" if mean else "no other sources"),
        ("served file, size", f"{size:.1f} MB" if size else ""),
        ("served file, latency", f"{ms:.1f} ms per image on one thread" if ms else ""),
    ]
    return pd.DataFrame(rows, columns=["figure", "value"])


def classify_one(folder: Path, data_dir: str = "") -> str:
    """What the run's TFLite model says of one test image, in a line."""
    from train_model.study import classify  # loads LiteRT, which the command's other answers don't need

    model = folder / "models" / MODEL_FILE
    if not model.is_file():
        return "No TFLite model in this run yet."
    image = load_dataset(data_dir).split("test").iloc[0]
    probabilities = classify(model, image["path"])
    shares = ", ".join(f"{scene} {share:.3f}" for scene, share in probabilities.items())
    return f"{image['name']}: {max(probabilities, key=probabilities.get)} ({shares})"


def write_index(folder: Path) -> Path:
    """Writes a run's `index.html`: its notebooks, each as a page, and its figures."""
    rows = []
    exporter = nbconvert.HTMLExporter()
    for name, entry in _read_state(folder)["notebooks"].items():
        source = folder / "notebooks" / f"{name}.ipynb"
        page = source.with_suffix(".html")
        if source.is_file() and (not page.is_file() or page.stat().st_mtime < source.stat().st_mtime):
            write_text(page, exporter.from_filename(str(source))[0])
        error = f"<br><small>{html.escape(entry['error'])}</small>" if entry["error"] else ""
        rows.append(
            f'<tr><td><a href="notebooks/{page.name}">{html.escape(name)}</a>{error}</td>'
            f'<td>{entry["status"]}</td><td class="number">{entry["seconds"]:.0f} s</td></tr>'
        )
    figures = summary(folder)
    metrics = "".join(
        f'<tr><td>{html.escape(row.figure)}</td><td class="number">{html.escape(row.value)}</td></tr>'
        for row in figures.itertuples()
    )
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}"
        for package in ("tensorflow", "keras", "ai-edge-litert")
    )
    page = _PAGE.format(
        title=html.escape(folder.name),
        notebooks="\n".join(rows),
        metrics=metrics,
        versions=f"Python {platform.python_version()}, {versions}",
    )
    return write_text(folder / "index.html", page)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scene classifier, run {title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
  table {{ border-collapse: collapse; width: 100%; margin-bottom: 2rem }}
  td, th {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }}
  .number {{ text-align: right; font-variant-numeric: tabular-nums }}
  small {{ color: #a33 }}
</style>
<h1>Run {title}</h1>
<p>{versions}</p>
<h2>Notebooks</h2>
<table><tr><th>notebook</th><th>status</th><th class="number">time</th></tr>
{notebooks}
</table>
<h2>Figures</h2>
<table><tr><th>name</th><th class="number">value</th></tr>{metrics}</table>
</html>
"""

if __name__ == "__main__":
    sys.exit(main())
