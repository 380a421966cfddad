"""Runs the study: its notebooks in order, by papermill, into one folder.

python -m train_model.automation.run_study                       the main road, 01 to 08, into runs/<timestamp>/
python -m train_model.automation.run_study --all                 the side roads too, from 10 on
python -m train_model.automation.run_study -p epochs 5           with another value of a parameter
python -m train_model.automation.run_study --from 05             on in the newest run, from notebook 05
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import difflib
import fcntl
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from data_prep_eda.dataset import REPOSITORY, Dataset, DatasetError, fingerprint, load_dataset
from data_prep_eda.files import write_json
from data_prep_eda.other_sources import find_sources
from train_model.automation.index_page import shown, summary, use_commands, write_index
from train_model.automation.notebook_run import (
    COMPLETE,
    FAILED,
    NotebookResult,
    declared_parameters,
    kernel_environment,
    read_parameter,
    run_notebook,
)
from train_model.parameters import ParameterError
from train_model.record import METRICS, MODEL_FILE, output_folder, read_metrics

NOTEBOOKS = REPOSITORY / "notebooks"
RUNS = REPOSITORY / "runs"
STATE = "run.json"  # what has been run in a run's folder, on which images, with which parameters
LOCK = "run.lock"  # held by the process that works in the folder, which it names
CLEARED = ("notebooks", "models", METRICS, "index.html")  # by a new run in its folder
RUNNING, WAITING, INTERRUPTED = "running", "waiting", "interrupted"
NO_FILES = ("auto", "imagenet")  # weights that are no path
# By the width of a network's last layers.
NETWORKS = {(1, 1, 1536, 2048): "xception", (1, 1, 1024, 1024): "mobilenet"}
MAIN_ROAD = "09"  # notebooks with a higher number run when they are asked for
# The section of the metrics that each notebook writes.
SECTIONS = {
    **{"01": "eda", "02": "data_preparation", "03": "xception", "04": "learning_rate", "05": "augmentation"},
    **{"06": "final", "07": "conversion", "08": "evaluation", "10": "fine_tuning", "11": "recipes"},
    "12": "ood_scores",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    prog, about = "python -m train_model.automation.run_study", __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog=prog, description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--all", action="store_true", help="run the side roads too, the notebooks from 10 on")
    where = "start with this notebook, in the newest run; 01 goes on in it only if it isn't complete"
    add("--from", dest="first", metavar="NN", help=where)
    add("--to", dest="last", metavar="NN", help="stop after this notebook")
    add("--out", metavar="DIR", help="folder of the run (default: runs/<timestamp>, or the one gone on in)")
    how = "value of a parameter, for every notebook that has it"
    add("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=how)
    options = parser.parse_args(arguments)
    run = None
    try:
        with ExitStack() as stack:
            run = Run.begin(options, stack)
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


@dataclass
class Run:
    """One run of the study; all of it is in the folder's `run.json`, so that it goes on with what it began with."""

    folder: Path
    state: dict[str, Any]
    parameters: dict[Path, dict[str, Any]]  # of each notebook that is to run
    dataset: Dataset

    @classmethod
    def begin(cls, options: argparse.Namespace, stack: ExitStack) -> "Run":
        """Checks everything that can be checked before a notebook starts; the stack holds the folder's lock.

        Raises:
            ParameterError: a parameter, a notebook's number or the run that should go on doesn't fit; or another
                process works in the run's folder.
            DatasetError: the images cannot be used.
        """
        kernel_environment()
        study = numbered_notebooks()
        chosen = select(study, options.first, options.last, options.all)
        given = {name: _absolute(name, text) for name, text in options.p}
        if "output_dir" in given:
            raise ParameterError("'output_dir' is the run's folder: name it by --out.")
        assign(chosen, given)
        folder, goes_on = _run_folder(options, study)
        if folder.exists():
            if not goes_on and any(folder.iterdir()) and not (folder / STATE).exists():
                raise ParameterError(
                    f"Expected a new folder or an earlier run's for --out, found other things in {shown(folder)}, which a "
                    f"run would replace. Name another folder."
                )
            stack.enter_context(locked(folder))
        earlier = _read_state(folder) if goes_on else {}
        overrides = earlier.get("parameters", {}) | given
        asked = earlier.get("data", {}) | overrides
        dataset = load_dataset(asked.get("data_dir", ""))
        sources = find_sources(asked.get("other_sources", ""), dataset)
        data = {"data_dir": str(dataset.folder), "other_sources": str(sources or "")}
        parameters = assign(study, overrides | data | {"output_dir": str(folder)})
        before = read_metrics(folder).get("data", {}).get("fingerprint") if goes_on else None
        if before not in (None, fingerprint(dataset.folder)):
            raise ParameterError(
                f"The run in {shown(folder)} is on other images than {shown(dataset.folder)} holds; a run keeps to one data "
                f"set. Start a new run, without --from."
            )
        entries = {path.stem: {"status": WAITING} for path in select(study)} | earlier.get("notebooks", {})
        entries |= {path.stem: {"status": WAITING} for path in chosen}
        # What is published comes from one run: "resumed" is whether notebooks of an earlier start are part of this one.
        state = {
            "started": earlier.get("started") or time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "resumed": chosen[0] != study[0],
            "parameters": overrides,
            "data": data,
            "notebooks": dict(sorted(entries.items())),
        }
        if not folder.exists():
            stack.enter_context(locked(folder))
        return cls(folder, state, {notebook: parameters[notebook] for notebook in chosen}, dataset)

    def execute(self) -> int:
        """Runs the chosen notebooks; returns the exit code."""
        if not self.state["resumed"]:  # what an earlier start left could pass for this one's
            for path in (self.folder / name for name in CLEARED):
                shutil.rmtree(path, ignore_errors=True)
                if path.is_file():
                    path.unlink()
        self.save()  # first, so that whatever stops the run, the folder is known as a run's
        (self.folder / "notebooks").mkdir(exist_ok=True)
        self._announce()
        for number, notebook in enumerate(self.parameters, 1):
            output = self.folder / "notebooks" / notebook.name
            result = self._run(notebook, output, f"{notebook.stem} ({number} of {len(self.parameters)})")
            write_index(self.folder, self.state, str(self.dataset).splitlines()[0])
            if not result.ok:
                print(
                    f"\n{result}\nThe executed notebook is {shown(output)}. What ran before it is kept; mend the cause and "
                    f"go on with: {self.command_to_go_on()}",
                    file=sys.stderr,
                )
                return 1
        self._report()
        return 0

    def _run(self, notebook: Path, output: Path, title: str) -> NotebookResult:
        """Runs one notebook, and keeps the state up to date."""
        entry = self.state["notebooks"][notebook.stem]
        entry |= {"status": RUNNING, "started": time.time()}
        self._mark_older()
        log, parameters = output.with_suffix(".log"), self.parameters[notebook]
        try:
            result = run_notebook(notebook, output, parameters, log=log, title=title)
        except BaseException:
            entry["status"] = INTERRUPTED
            self.save()
            raise
        print(f"{title}: {result.status} in {result.seconds:.0f} s", flush=True)
        entry |= {"status": result.status, "seconds": round(result.seconds, 1), "error": result.error}
        self._mark_older()
        return result

    def _mark_older(self) -> None:
        """Marks results that an earlier notebook has been run again since, in the state and in the metrics."""
        metrics = read_metrics(self.folder)
        newest, newest_name = 0.0, ""
        for name, entry in self.state["notebooks"].items():
            entry.pop("stale", None)
            started, section = entry.get("started", 0.0), metrics.get(SECTIONS.get(name[:2], ""), {})
            section.pop("older_than", None)
            if entry["status"] == COMPLETE and newest > started:
                entry["stale"] = section["older_than"] = newest_name
            elif started > newest:
                newest, newest_name = started, name
        if metrics:
            write_json(self.folder / METRICS, metrics)
        self.save()

    def _announce(self) -> None:
        numbers = [path.name[:2] for path in self.parameters]
        print(f"Run folder: {shown(self.folder)}\nNotebooks:  {numbers[0]} to {numbers[-1]}\n{self.dataset}")
        if sources := self.state["data"]["other_sources"]:
            print(f"Further sources: {shown(Path(sources))}")
        if self.state["resumed"] and self.state["parameters"]:
            kept = ", ".join(f"{name} {value}" for name, value in self.state["parameters"].items())
            print(f"As before in this run: {kept}")
        cache = Path(os.environ.get("SCENES_CACHE_DIR") or REPOSITORY / ".cache").expanduser().absolute()
        try:
            output_folder(str(cache))
        except ParameterError:
            os.environ["SCENES_CACHE_DIR"] = str(self.folder / "cache")
            print(f"The cache is kept in the run's folder: {shown(cache)} can't be written to.")
        print(flush=True)

    def _report(self) -> None:
        """Prints what the run ends with: its figures, its model's answer for one image, and what uses the model."""
        from train_model.tflite import probabilities  # it loads LiteRT, which the checks don't need

        seconds = sum(self.state["notebooks"][path.stem]["seconds"] for path in self.parameters)
        print(f"\nAll {len(self.parameters)} notebooks in {seconds:.0f} s.\n\n{self.dataset}\n")
        metrics, model = read_metrics(self.folder), self.folder / "models" / MODEL_FILE
        lines = [*summary(metrics), ("read on", shown(self.folder / "index.html"))]
        if model.is_file():
            older = metrics.get("conversion", {}).get("older_than")
            lines += [("model", shown(model) + (f" (older than {older})" if older else ""))]
            for image in self.dataset.split("test").head(1).itertuples():
                likeliest = pd.Series(probabilities(model, image.path)).nlargest(3)
                shares = ", ".join(f"{label} {share:.3f}" for label, share in likeliest.items())
                lines += [("one image", f"{image.name}: {shares}")]
        for name, value in lines:
            print(f"{name:<41}{value}")
        if model.is_file():
            print("\nUse this model:")
            for name, line in use_commands(self.folder):
                print(f"  {name + ':':<15}{line}")

    def command_to_go_on(self) -> str:
        """The whole command that goes on with the first notebook that is not complete; the run knows the rest."""
        chosen = [*self.parameters]
        left = [path for path in chosen if self.state["notebooks"][path.stem]["status"] != COMPLETE]
        first, last = (left or chosen)[0], chosen[-1]
        end = () if last == select(numbered_notebooks(), first.name[:2])[-1] else ("--to", last.name[:2])
        return command("--from", first.name[:2], *end, "--out", shown(self.folder))

    def save(self) -> None:
        statuses = [entry["status"] for entry in self.state["notebooks"].values()]
        self.state["status"] = min(statuses, key=(RUNNING, FAILED, INTERRUPTED, WAITING, COMPLETE).index)
        write_json(self.folder / STATE, self.state)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a run's folder, which is made if needed; a ParameterError names one that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ParameterError(
                f"Expected a run that nobody works on, found {shown(folder)} in use by {stream.read().strip()}. Wait until "
                f"that has ended, or start a new run."
            ) from None
        stream.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"process {os.getpid()} on {platform.node()} since {since}", file=stream, flush=True)
        yield


def network_of(weights: str) -> str:
    """Which backbone a weights file is for; ParameterError where it is for none."""
    with suppress(OSError), h5py.File(weights) as file:
        if network := file.visititems(lambda _, item: NETWORKS.get(getattr(item, "shape", None))):
            return network
    raise ParameterError(f"Expected the weights of MobileNet or Xception in {weights}, found neither's.")


def command(*words: str) -> str:
    """A command as it is typed, with everything that matters quoted for the shell and for make."""
    if "MAKELEVEL" not in os.environ:
        return shlex.join([shown(Path(sys.executable)), "-m", "train_model.automation.run_study", *words])
    return f"make run ARGS={shlex.quote(shlex.join(words).replace('$', '$$'))}"


def numbered_notebooks() -> list[Path]:
    """The study's notebooks, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def _absolute(name: str, text: str) -> str:
    """A path as the shell means it, which a run that goes on elsewhere keeps."""
    is_path = name in ("data_dir", "other_sources") or (name == "weights" and text not in NO_FILES)
    return os.path.abspath(os.path.expanduser(text)) if text and is_path else text


def select(
    notebooks: list[Path], first: str | None = None, last: str | None = None, everything: bool = False
) -> list[Path]:
    """The notebooks from one number to another, side roads only if asked for; ParameterError where there are none."""
    numbers = [notebook.name[:2] for notebook in notebooks]
    for wanted in (first, last):
        if wanted is not None and wanted.zfill(2) not in numbers:
            raise ParameterError(f"Expected the number of a notebook, {', '.join(numbers)}; found {wanted}.")
    start = (first or numbers[0]).zfill(2)
    stop = (last or (numbers[-1] if everything or start > MAIN_ROAD else MAIN_ROAD)).zfill(2)
    if stop < start:
        raise ParameterError(f"Expected --to {first} or later; found {last}.")
    return [path for path in notebooks if start <= path.name[:2] <= stop]


def assign(notebooks: Sequence[Path], overrides: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Gives each notebook the overrides that it has a parameter for, read by its own types; names to values or text.

    Raises:
        ParameterError: a value has the wrong type or is out of range, or no notebook has a parameter of that name.
    """
    declared = {notebook: declared_parameters(notebook) for notebook in notebooks}
    assigned: dict[Path, dict[str, Any]] = {notebook: {} for notebook in notebooks}
    for name, text in overrides.items():
        taking = [notebook for notebook in notebooks if name in declared[notebook]]
        # Where none takes it, the message is that of one with a name like it.
        alike = sorted(notebooks, key=lambda path: not difflib.get_close_matches(name, declared[path]))
        for notebook in taking or alike[:1]:
            assigned[notebook][name] = read_parameter(text, name, declared[notebook], notebook.name)
    if overrides.get("weights", "auto") not in NO_FILES:  # a file goes to the backbone that it fits
        network = network_of(overrides["weights"])
        for notebook in notebooks:
            about = declared[notebook].get("weights", {}).get("help", "").split("'")[0].lower()
            wanted = about if about in NETWORKS.values() else overrides.get("backbone", "mobilenet")
            if "weights" in assigned[notebook] and wanted != network:
                assigned[notebook]["weights"] = "auto"
    return assigned


def _run_folder(options: argparse.Namespace, study: list[Path]) -> tuple[Path, bool]:
    """The folder of the run, and whether an earlier run goes on in it."""
    named = Path(_absolute("data_dir", options.out)) if options.out else None
    new = named or RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")
    if not options.first:
        return new, False
    states = sorted(RUNS.glob(f"*/{STATE}"), key=lambda path: path.stat().st_mtime)
    folder = named or (states[-1].parent if states else RUNS)
    earlier = _read_state(folder)
    if options.first.zfill(2) == study[0].name[:2] and earlier.get("status", COMPLETE) == COMPLETE:
        return new, False
    if not earlier:
        raise ParameterError(
            f"Expected an earlier run to go on with in {shown(folder)}, found no {STATE} there. Start one without --from."
        )
    return folder, True


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        raise ParameterError(f"{shown(folder / STATE)} is damaged. Start a new run.") from None


if __name__ == "__main__":
    interruption.run(main)
