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
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbconvert
import pandas as pd
import yaml
from tqdm import tqdm

from data_prep_eda.dataset import REPOSITORY, DatasetError, load_dataset, resolve_data_dir
from data_prep_eda.files import write_json, write_text
from train_model.automation.notebook_run import (
    NotebookResult,
    ParameterError,
    check_parameters,
    run_notebook,
)
from train_model.study import METRICS, shown_path

NOTEBOOKS = REPOSITORY / "notebooks"
RUNS = REPOSITORY / "runs"
STATE = "run.json"  # what has been run in a run's folder, with which parameters


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (ParameterError, DatasetError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What is complete stays; go on with --from and the notebook's number.",
            file=sys.stderr,
        )
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
    given = {name: yaml.safe_load(value) for name, value in options.p}
    if given.get("data_dir"):  # as the shell means it; the kernels stand elsewhere
        given["data_dir"] = str(Path(given["data_dir"]).expanduser().resolve())
    folder = _run_folder(options)
    assign(notebooks, given)
    # A run that goes on keeps its parameters: the later notebooks belong to the earlier ones' images.
    state = _read_state(folder)
    overrides = state.get("parameters", {}) | given
    parameters = assign(study, overrides | {"output_dir": str(folder)})
    data_dir = str(overrides.get("data_dir", ""))
    resolve_data_dir(data_dir)  # a mistyped folder is better found now than by the first notebook

    executed = folder / "notebooks"
    executed.mkdir(parents=True, exist_ok=True)
    state["parameters"] = overrides
    print(f"Run folder: {shown_path(folder)}")
    if kept := [f"{name} {value}" for name, value in overrides.items() if name not in given]:
        print(f"As before in this run: {', '.join(kept)}")
    results: list[NotebookResult] = []
    for number, notebook in enumerate(notebooks, 1):
        with tqdm(
            desc=f"{notebook.stem} ({number} of {len(notebooks)})", unit="cell", file=sys.stdout
        ) as bar:

            def progress(done: int, total: int, bar: tqdm = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            result = run_notebook(
                notebook,
                executed / notebook.name,
                parameters[notebook],
                cwd=REPOSITORY,
                log=executed / f"{notebook.stem}.log",
                progress=progress,
            )
        results.append(result)
        state["notebooks"] = state.get("notebooks", {}) | {
            notebook.stem: {
                "status": result.status,
                "seconds": round(result.seconds, 1),
                "error": result.error,
            }
        }
        write_json(folder / STATE, state)
        write_index(folder)
        if not result.ok:
            print(f"\n{result}", file=sys.stderr)
            print(
                f"The executed notebook is {shown_path(executed / notebook.name)}. What ran before it is kept; "
                f"mend the cause and go on with: make run ARGS='--from {notebook.stem[:2]}'",
                file=sys.stderr,
            )
            return 1
    print(f"\nAll {len(results)} notebooks in {sum(result.seconds for result in results):.0f} s.\n")
    print(results_table(folder).to_string(index=False))
    print(f"\n{classify_one(folder, data_dir)}")
    print(f"\nRead on: {shown_path(folder / 'index.html')}")
    return 0


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
                assigned[notebook] |= check_parameters(notebook, {name: value})
                taken = True
            except ParameterError as error:
                if "has no parameter" not in str(error):
                    raise
                if unknown is None or "did you mean" in str(error):
                    unknown = error
        if not taken and unknown:
            raise unknown
    return assigned


def _run_folder(options: argparse.Namespace) -> Path:
    if options.out:
        return options.out.expanduser().resolve()
    if options.first and options.first.strip("0") != "1":
        earlier = sorted(path.parent for path in RUNS.glob(f"*/{STATE}"))
        if earlier:
            return earlier[-1]
        raise ParameterError(f"Expected an earlier run to go on with, found none in {shown_path(RUNS)}/.")
    return RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    return json.loads(path.read_text()) if path.is_file() else {}


def results_table(folder: Path) -> pd.DataFrame:
    """The figures of a run as a table of names and values."""
    path = folder / METRICS
    metrics = json.loads(path.read_text()) if path.is_file() else {}
    return pd.DataFrame(
        [
            {"figure": name, "value": f"{v:.4g}" if isinstance(v, float) else str(v)}
            for name, v in metrics.items()
        ]
    )


def classify_one(folder: Path, data_dir: str = "") -> str:
    """What the run's TFLite model says of one test image, in a line."""
    from train_model.study import classify  # loads LiteRT, which the command's other answers don't need

    models = sorted((folder / "models").glob("*.tflite"))
    if not models:
        return "No TFLite model in this run yet."
    image = load_dataset(data_dir, check=False).split("test").iloc[0]
    probabilities = classify(folder / "models" / "scene-classifier-model.tflite", image["path"])
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
    figures = results_table(folder)
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
