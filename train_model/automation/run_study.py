"""Runs the study: every notebook in order, by papermill, into one folder.

python -m train_model.automation.run_study                       all notebooks, into runs/<timestamp>/
python -m train_model.automation.run_study -p epochs 5           with another value of a parameter
python -m train_model.automation.run_study --from 05             on in the newest run, from notebook 05
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import difflib
import html
import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbconvert
from tqdm import tqdm

from data_prep_eda.dataset import REPOSITORY, Dataset, DatasetError
from data_prep_eda.files import write_json, write_text
from data_prep_eda.preprocessing import ImageError
from train_model.automation.notebook_run import (
    COMPLETE,
    FAILED,
    Images,
    declared_parameters,
    read_text,
    run_notebook,
    start_kernel,
    stop_kernel,
    typed,
)
from train_model.parameters import ParameterError
from train_model.parameters import check_parameters as check_values
from train_model.study import METRICS, MODEL_FILE, read_metrics

NOTEBOOKS = REPOSITORY / "notebooks"
RUNS = REPOSITORY / "runs"
STATE = "run.json"  # what has been run in a run's folder, on which images, with which parameters
FOLDERS, FILES = ("notebooks", "models"), (METRICS, "index.html")  # what a new run clears away in its folder
RUNNING, WAITING, INTERRUPTED = "running", "waiting", "interrupted"
OUTPUT, DATA, SOURCES = "output_dir", "data_dir", "other_sources"  # parameters that the runner has a part in
PATHS = (DATA, SOURCES, "weights")  # they count from the shell's folder; the kernels stand elsewhere


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    run = None
    try:
        run = Run.begin(options)
        return run.execute()
    except (ParameterError, DatasetError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"The run stopped: {error.strerror or error}: {error.filename or RUNS}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = f" Go on with: {run.command_to_go_on()}" if run else ""
        print(f"\nInterrupted.{hint}", file=sys.stderr)
        return interruption.EXIT_CODE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train_model.automation.run_study",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--from",
        dest="first",
        metavar="NN",
        help="start with this notebook, in the newest run; 01 goes on in it only if it isn't complete",
    )
    parser.add_argument("--to", dest="last", metavar="NN", help="stop after this notebook")
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the run (default: runs/<timestamp>, or the one gone on in)"
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


class Run:
    """One run of the study: a folder, its images, its parameters, and how far it has come.

    All of that is in the folder's `run.json` before the first notebook starts, so that an interrupted run goes on with
    what it began with. A run keeps to one data set.
    """

    def __init__(self, folder: Path, state: dict[str, Any], chosen: list[Path], dataset: Dataset) -> None:
        self.folder, self.state, self.chosen, self.dataset = folder, state, chosen, dataset

    @classmethod
    def begin(cls, options: argparse.Namespace) -> Run:
        """Checks everything that can be checked before a notebook starts, and makes no more than a new run's folder.

        Raises:
            ParameterError: a parameter, a notebook's number or the run that should go on doesn't fit.
            DatasetError: the images cannot be used.
        """
        study = _study()
        chosen = select(study, options.first, options.last)
        given = {name: _absolute(name, text) for name, text in options.p}
        if OUTPUT in given:
            raise ParameterError(f"{OUTPUT!r} is the run's folder: name it by --out.")
        given = _merged(assign(chosen, given))
        folder, earlier = _run_folder(options, study)
        if folder and chosen[0] == study[0]:
            _check_owned(folder)
        overrides = earlier.get("parameters", {}) | given
        assign(study, overrides)
        places = (
            {DATA: "", SOURCES: ""}
            | earlier.get("data", {})
            | {name: given[name] for name in (DATA, SOURCES) if name in given}
        )
        images = Images.find(places[DATA], places[SOURCES])
        data = {
            DATA: str(images.dataset.folder),
            SOURCES: str(images.sources or ""),
            "fingerprint": images.fingerprint,
        }
        before = earlier.get("data", data)
        if data["fingerprint"] != before["fingerprint"]:
            what = (
                "what has changed since" if before[DATA] == data[DATA] else f"not {shown(Path(data[DATA]))}"
            )
            raise ParameterError(
                f"The run in {shown(folder)} is on the images in {shown(Path(before[DATA]))}, {what}; a run keeps to one "
                f"data set. Start a new run: {command(given)}"
            )
        state = {
            "started": earlier.get("started") or time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "status": RUNNING,
            # What is published comes from one run: whether notebooks of an earlier start are part of this one.
            "resumed": chosen[0] != study[0],
            "parameters": overrides,
            "data": data,
            "notebooks": {path.stem: {"status": WAITING, "seconds": 0.0, "error": ""} for path in study}
            | {
                name: entry
                for name, entry in earlier.get("notebooks", {}).items()
                if name not in {path.stem for path in chosen}
            },
        }
        return cls(folder or _new_folder(), state, chosen, images.dataset)

    def execute(self) -> int:
        """Runs the chosen notebooks; returns the exit code."""
        executed = self.folder / "notebooks"
        if not self.state["resumed"]:  # what an earlier start left could pass for this one's
            for name in FOLDERS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)
        self.save()  # first, so that whatever stops the run, the folder is known as a run's
        executed.mkdir(exist_ok=True)
        self._announce()
        kernel, following = None, start_kernel(self.chosen[0], REPOSITORY)
        try:
            for number, notebook in enumerate(self.chosen, 1):
                kernel, following = following, None
                if number < len(self.chosen):  # it imports TensorFlow while this notebook runs
                    following = start_kernel(self.chosen[number], REPOSITORY)
                if not self._run(notebook, number, kernel):
                    return 1
        finally:
            for one in filter(None, (kernel, following)):
                stop_kernel(one)
            if self.state["status"] == RUNNING:
                self.state["status"] = INTERRUPTED
            self.save()
        seconds = sum(self.state["notebooks"][path.stem]["seconds"] for path in self.chosen)
        print(f"\nAll {len(self.chosen)} notebooks in {seconds:.0f} s.\n")
        lines = [*summary(read_metrics(self.folder)), ("read on", shown(self.folder / "index.html"))]
        width = max(len(name) for name, _ in lines) + 2
        for name, value in lines:
            print(f"{name:<{width}}{value}")
        print(f"\n{classify_one(self.folder, self.dataset)}")
        return 0

    def _run(self, notebook: Path, number: int, kernel: Any) -> bool:
        """Runs one notebook, keeps the state up to date, and says what failed; returns whether it completed."""
        entry = self.state["notebooks"][notebook.stem]
        entry["status"] = RUNNING
        self.save()
        output = self.folder / "notebooks" / notebook.name
        title = f"{notebook.stem} ({number} of {len(self.chosen)})"
        with tqdm(desc=title, unit="cell", file=sys.stdout) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            try:
                result = run_notebook(
                    notebook,
                    output,
                    self._parameters(notebook),
                    cwd=REPOSITORY,
                    log=output.with_suffix(".log"),
                    progress=progress,
                    kernel=kernel,
                )
            except KeyboardInterrupt:
                entry["status"] = INTERRUPTED
                raise
        entry |= {"status": result.status, "seconds": round(result.seconds, 1), "error": result.error}
        statuses = {one["status"] for one in self.state["notebooks"].values()}
        self.state["status"] = FAILED if not result.ok else COMPLETE if statuses == {COMPLETE} else RUNNING
        if result.ok and notebook == self.chosen[-1] and self.state["status"] == RUNNING:
            self.state["status"] = WAITING  # for the other notebooks, which were not asked for
        self.save()
        write_index(self.folder)
        if not result.ok:
            print(f"\n{result}", file=sys.stderr)
            print(
                f"The executed notebook is {shown(output)}. What ran before it is kept; mend the cause and go on "
                f"with: {self.command_to_go_on()}",
                file=sys.stderr,
            )
        return result.ok

    def _parameters(self, notebook: Path) -> dict[str, Any]:
        """All that a notebook gets: what was given, and the folders, which are the same for all."""
        places = {
            OUTPUT: str(self.folder),
            DATA: self.state["data"][DATA],
            SOURCES: self.state["data"][SOURCES],
        }
        declared = declared_parameters(notebook)
        return {
            name: value for name, value in (self.state["parameters"] | places).items() if name in declared
        }

    def _announce(self) -> None:
        first, last = self.chosen[0].name[:2], self.chosen[-1].name[:2]
        images = len(self.dataset.images)
        print(f"Run folder: {shown(self.folder)}")
        print(f"Notebooks:  {first} to {last}" + (f", about {_minutes(images)}" if first < last else ""))
        print(f"Images:     {self.dataset.kind}, {images}, in {shown(self.dataset.folder)}")
        if self.state["data"][SOURCES]:
            print(f"            and further sources in {shown(Path(self.state['data'][SOURCES]))}")
        if self.state["resumed"] and self.state["parameters"]:
            kept = ", ".join(f"{name} {value}" for name, value in self.state["parameters"].items())
            print(f"As before in this run: {kept}")

    def command_to_go_on(self) -> str:
        """The whole command that goes on with the first notebook that is not complete."""
        left = [path for path in self.chosen if self.state["notebooks"][path.stem]["status"] != COMPLETE]
        return command(
            self.state["parameters"],
            *("--from", (left or self.chosen)[0].name[:2]),
            *(("--to", self.chosen[-1].name[:2]) if self.chosen[-1] != _study()[-1] else ()),
            *("--out", shown(self.folder)),
        )

    def save(self) -> None:
        write_json(self.folder / STATE, self.state)


SECONDS, SECONDS_PER_IMAGE = 75, 0.25  # of a run, on two cores; the notebooks of the study, measured


def _minutes(images: int) -> str:
    minutes = max(1, round((SECONDS + SECONDS_PER_IMAGE * images) / 60))
    return f"{minutes} minute{'s' * (minutes > 1)} on two cores"


def command(parameters: dict[str, Any], *options: str) -> str:
    """A command as it is typed, with everything that matters quoted for the shell and for make."""
    words = list(options)
    for name, value in parameters.items():
        words += ["-p", name, str(value)]
    if "MAKELEVEL" not in os.environ:
        return shlex.join(["python", "-m", "train_model.automation.run_study", *words])
    return "make run" + (f" ARGS={shlex.quote(shlex.join(words).replace('$', '$$'))}" if words else "")


def shown(path: Path) -> str:
    """A path that can be opened from where the shell stands."""
    with suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _study() -> list[Path]:
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def _absolute(name: str, text: str) -> str:
    """A path as the shell means it."""
    if name not in PATHS or not text or (name == "weights" and text in ("auto", "imagenet")):
        return text
    return os.path.abspath(os.path.expanduser(text))


def select(notebooks: list[Path], first: str | None = None, last: str | None = None) -> list[Path]:
    """The notebooks from one number to another.

    Raises:
        ParameterError: no notebook has such a number, or the last comes before the first.
    """
    numbers = [notebook.name[:2] for notebook in notebooks]
    for wanted in (first, last):
        if wanted is not None and wanted.zfill(2) not in numbers:
            raise ParameterError(f"Expected the number of a notebook, {', '.join(numbers)}; found {wanted}.")
    start = numbers.index(first.zfill(2)) if first else 0
    stop = numbers.index(last.zfill(2)) + 1 if last else len(numbers)
    if stop <= start:
        raise ParameterError(f"Expected --to {first} or later; found {last}.")
    return notebooks[start:stop]


def assign(notebooks: Sequence[Path], overrides: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Gives each notebook the overrides that it has a parameter for, checked against its own types.

    Args:
        notebooks: paths.
        overrides: name to a value, or to text as the shell gives it.

    Raises:
        ParameterError: a value has the wrong type or is out of range, or no notebook has a parameter of that name.
    """
    declared = {notebook: declared_parameters(notebook) for notebook in notebooks}
    assigned: dict[Path, dict[str, Any]] = {notebook: {} for notebook in notebooks}
    for name, value in overrides.items():
        taking = [notebook for notebook in notebooks if name in declared[notebook]]
        if not taking:  # the message of the notebook that has something like it
            near = [n for n in notebooks if difflib.get_close_matches(name, declared[n], n=1)]
            typed(name, value, declared[(near or notebooks)[0]], (near or notebooks)[0])
        for notebook in taking:
            read = read_text if isinstance(value, str) else typed
            assigned[notebook][name] = read(name, value, declared[notebook], notebook)
            check_values(**{name: assigned[notebook][name]})
    return assigned


def _merged(assigned: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """The values of all notebooks by name."""
    return {name: value for values in assigned.values() for name, value in values.items()}


def _run_folder(options: argparse.Namespace, study: list[Path]) -> tuple[Path | None, dict[str, Any]]:
    """The folder of the run, `None` for a new one, and what is known of it if it goes on."""
    folder = Path(_absolute(DATA, options.out)) if options.out else None
    if not options.first:
        return folder, {}
    if folder is None:
        states = sorted(RUNS.glob(f"*/{STATE}"), key=lambda path: path.stat().st_mtime)
        folder = states[-1].parent if states else None
    earlier = _read_state(folder) if folder else {}
    if options.first.zfill(2) == study[0].name[:2] and earlier.get("status", COMPLETE) == COMPLETE:
        return Path(_absolute(DATA, options.out)) if options.out else None, {}
    if not earlier:
        raise ParameterError(
            f"Expected an earlier run to go on with in {shown(folder or RUNS)}, found no {STATE} there. Start one "
            f"without --from."
        )
    return folder, earlier


def _check_owned(folder: Path) -> None:
    """Keeps a new run from clearing away what no run made.

    Raises:
        ParameterError: the folder has such things.
    """
    found = [name for name in (*FOLDERS, *FILES) if (folder / name).exists()]
    if found and not (folder / STATE).exists():
        raise ParameterError(
            f"Expected a new folder or an earlier run's for --out, found {', '.join(found)} without {STATE} in "
            f"{shown(folder)}; a run would replace them. Name another folder."
        )


def _new_folder() -> Path:
    """Makes a folder of the present second's name; a run that begins in the same second gets another."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    RUNS.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        folder = RUNS / (f"{stamp}_{number}" if number else stamp)
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        raise ParameterError(f"{shown(folder / STATE)} is damaged. Start a new run.") from None


def summary(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """A run's figures in ten lines; what was not run is left out."""

    def find(path: str) -> Any:
        found: Any = metrics
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def number(path: str) -> str:
        found = find(path)
        return f"{found:.3f}" if isinstance(found, int | float) else ""

    def proportion(path: str) -> str:
        value, low, high = (number(f"{path}.{name}") for name in ("value", "low", "high"))
        return f"{value} (95 % interval {low} to {high})" if value and low and high else value

    def text(path: str, template: str = "{}") -> str:
        found = find(path)
        return template.format(found) if isinstance(found, str | int | float) else ""

    lines = [
        ("images", text("final.data") or text("data.data")),
        ("trained on", text("final.trained_on", "{} images") + text("final.sources", " of {} source(s)")),
        ("Xception, validation accuracy", number("xception.val_accuracy")),
        ("MobileNet, validation accuracy", number("learning_rate.val_accuracy")),
        ("learning rate", text("learning_rate.chosen")),
        ("final model, validation accuracy", number("final.val_accuracy")),
        ("served file, test accuracy", proportion("evaluation.test")),
        ("served file, mean over sources left out", number("evaluation.mean")),
        (
            "served file, size and latency",
            ", ".join(
                filter(
                    None,
                    (text("tflite.served.MB", "{:.1f} MB"), text("tflite.served.ms", "{:.1f} ms per image")),
                )
            ),
        ),
    ]
    return [(name, value) for name, value in lines if value]


def classify_one(folder: Path, dataset: Dataset) -> str:
    """What the run's TFLite model says of one test image, in a line."""
    from train_model.study import classify  # loads LiteRT, which the command's other answers don't need

    model = folder / "models" / MODEL_FILE
    if not model.is_file():
        return "No TFLite model in this run yet."
    for image in dataset.split("test").itertuples():
        with suppress(ImageError, OSError):
            probabilities = classify(model, image.path)
            shares = ", ".join(f"{scene} {share:.3f}" for scene, share in probabilities.items())
            return f"{image.name}: {max(probabilities, key=probabilities.get)} ({shares})"
    return "None of the test images can be read."


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
        link = (
            f'<a href="notebooks/{page.name}">{html.escape(name)}</a>'
            if page.is_file()
            else html.escape(name)
        )
        rows.append(
            f"<tr><td>{link}{error}</td><td>{entry['status']}</td>"
            f'<td class="number">{entry["seconds"]:.0f} s</td></tr>'
        )
    metrics = read_metrics(folder)
    figures = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{html.escape(value)}</td></tr>'
        for name, value in summary(metrics)
    )
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}"
        for package in ("tensorflow", "keras", "ai-edge-litert")
    )
    page = _PAGE.format(
        title=html.escape(folder.name),
        notebooks="\n".join(rows),
        figures=figures,
        metrics=html.escape(json.dumps(metrics, indent=2, ensure_ascii=False)),
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
<table><tr><th>name</th><th class="number">value</th></tr>{figures}</table>
<details><summary>All figures (metrics.json)</summary><pre>{metrics}</pre></details>
</html>
"""

if __name__ == "__main__":
    interruption.run(main)
