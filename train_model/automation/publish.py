"""Keeps the committed notebooks fit to be committed, and the training script in step with its notebook.

python -m train_model.automation.publish publish RUN   a run on the real photographs becomes the committed one
python -m train_model.automation.publish clean         takes photographs and logs out of the notebooks, after Jupyter
python -m train_model.automation.publish export        writes train_model/model_training.py from notebook 06
python -m train_model.automation.publish check         says what in the committed notebooks breaks the rules
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import ast
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbconvert
import nbformat
from nbconvert.preprocessors import Preprocessor, TagRemovePreprocessor
from nbformat import NotebookNode
from traitlets.config import Config

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import replacing, write_json, write_text
from train_model.automation.notebook_run import declared_parameters
from train_model.automation.run_study import NOTEBOOKS, STATE
from train_model.study import METRICS, MODEL, MODEL_FILE, read_metrics

SOURCE = NOTEBOOKS / "06_train_final_model.ipynb"
SCRIPT = REPOSITORY / "train_model" / "model_training.py"
COMMITTED_METRICS = NOTEBOOKS / METRICS

PLACEHOLDER = "[Photographs are shown here when you run the notebook. They may not be redistributed.]"

# What a run leaves and the repository keeps: file in the run's folder to its place.
MODELS = {
    f"models/{MODEL}.keras": REPOSITORY / "train_model" / f"{MODEL}.keras",
    f"models/{MODEL_FILE}": REPOSITORY / "containerize_deploy" / MODEL_FILE,
}


MEDIAN_LINES, MOST_LINES = 8, 30  # of a notebook's code cells
_SHOWN = {"image/png", "text/html"}  # figures and tables
# Papermill silently skips a parameter that it cannot read: a name, a type, a literal, and a comment for people.
_PARAMETER = re.compile(r"\w+: (str|int|float|bool|list) = [^=#]+  # [^=#]+")


class NotFit(ValueError):
    """A run or a notebook that may not be committed; the message says why and what to do."""


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


# --- publish -----------------------------------------------------------------------------------------------


def publish(run: Path) -> list[Path]:
    """Makes a run's notebooks, metrics and models the committed ones.

    Args:
        run: folder of a complete run on the SUN 09 images, in one piece and with the notebooks' own parameters.

    Returns:
        The files written.

    Raises:
        NotFit: the run is incomplete or resumed, used other images or left some out, or changed parameters.
    """
    if not (run / STATE).is_file():
        raise NotFit(f"Expected the folder of a run, with {STATE} in it; found none in {run.name}.")
    state = json.loads((run / STATE).read_text(encoding="utf-8"))
    names = [path.stem for path in numbered_notebooks()]
    bad = [name for name in names if state["notebooks"].get(name, {}).get("status") != "complete"]
    if bad:
        raise NotFit(f"Expected a complete run, but {', '.join(bad)} did not complete in it.")
    if state.get("resumed"):
        raise NotFit(
            "Expected a run in one piece, found one that was resumed: its figures may come from different code. "
            "Run all notebooks again."
        )
    if changed := set(state["parameters"]) - {"data_dir", "other_sources"}:
        raise NotFit(
            f"Expected a run with the notebooks' own parameters, found others for {', '.join(sorted(changed))}."
        )
    metrics = read_metrics(run)
    kinds = {section["data"] for section in metrics.values() if "data" in section}
    if kinds != {"SUN 09 images"}:
        raise NotFit(f"Expected a run on the SUN 09 images, found one on {', '.join(sorted(kinds))}.")
    if metrics["final"]["sources"] < 2:
        raise NotFit(
            "Expected a run with the other sources too, found one on SUN 09 alone. Name their folder."
        )
    # Notebook 08 converts Xception; notebook 03 may have found its features in the cache, and needed no weights.
    if "Xception" not in {row["network"] for row in metrics["tflite"]["tradeoff"]}:
        raise NotFit(
            "Expected a run with Xception, found one without. Name the folder of its weights in SCENES_WEIGHTS_DIR."
        )

    written = []
    for name in names:
        notebook = clean(nbformat.read(run / "notebooks" / f"{name}.ipynb", as_version=4))
        written.append(write_text(NOTEBOOKS / f"{name}.ipynb", nbformat.writes(notebook) + "\n"))
    for source, target in MODELS.items():
        with replacing(target) as part:
            shutil.copyfile(run / source, part)
        written.append(target)
    return [*written, write_json(COMMITTED_METRICS, metrics)]


def numbered_notebooks() -> list[Path]:
    """The committed notebooks, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def clean(notebook: NotebookNode) -> NotebookNode:
    """A notebook as it is committed: no images, no logs, no traces of the machine or of papermill."""
    cells = [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]
    count = 0
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number:02d}"  # stable, so that a rerun changes only what changed
        cell.metadata = NotebookNode({"tags": tags(cell)} if tags(cell) else {})
        if cell.cell_type != "code":
            continue
        cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
        if "photographs" in tags(cell) and cell.outputs:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{PLACEHOLDER}\n")]
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            output.pop("transient", None)
            if output.output_type == "execute_result":
                output.execution_count = count
    notebook.cells = cells
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    return notebook


def problems(path: Path) -> list[str]:
    """What in a committed notebook breaks the rules of this repository, each in a sentence."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    found = []
    if sum("parameters" in tags(cell) for cell in code) != 1:
        found.append("needs exactly one cell tagged parameters")
    if not any("nbval-check-output" in tags(cell) for cell in code):
        found.append("has no cell tagged nbval-check-output")
    if sum(cell.source.startswith("# ") for cell in notebook.cells if cell.cell_type == "markdown") != 1:
        found.append("needs exactly one title")
    lines = [len(cell.source.splitlines()) for cell in code]
    if statistics.median(lines) > MEDIAN_LINES or max(lines) > MOST_LINES:
        found.append(
            f"has code cells of {statistics.median(lines):g} lines in the median and {max(lines)} at most; "
            f"{MEDIAN_LINES} and {MOST_LINES} are allowed"
        )
    shows = [
        any(_SHOWN & set(output.get("data", {})) for output in cell.get("outputs", []))
        for cell in notebook.cells
    ]
    for cell, figure, after, more in zip(
        notebook.cells, shows, [*notebook.cells[1:], None], [*shows[1:], False], strict=True
    ):
        # A table and the figure drawn of it may share what is read off them; a sentence may come from code.
        read = after is not None and (
            after.cell_type == "markdown" or "text/markdown" in json.dumps(after.outputs)
        )
        if figure and not more and not read:
            found.append(f"cell [{cell.execution_count}] shows something that no text reads")
    for cell in code:
        if "parameters" in tags(cell):
            wrong = [line for line in cell.source.splitlines() if not _PARAMETER.fullmatch(line)]
            found += [f"cannot be given the parameter of this line: {line}" for line in wrong]
    printed = [
        {line for output in cell.outputs for line in output.get("text", "").splitlines() if len(line) > 20}
        for cell in code
    ]
    for cell, before, lines_now in zip(code[1:], printed, printed[1:], strict=False):
        if before & lines_now and all(output.output_type == "stream" for output in cell.outputs):
            found.append(f"cell [{cell.execution_count}] prints what the one before printed")
    setup = next((cell for cell in code), None)
    for cell in code:
        where = f"cell [{cell.execution_count}]"
        if cell is not setup and re.search(r"^(import|from) ", cell.source, re.MULTILINE):
            found.append(f"{where} imports outside Setup")
        if cell.execution_count is None:
            found.append(f"a cell was not executed: {cell.source.splitlines()[0]}")
        shown = json.dumps(cell.outputs)
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"{where} ends in an error")
        if any(output.get("name") == "stderr" for output in cell.outputs) or "Warning" in shown:
            found.append(f"{where} shows warnings or logs")
        if re.search(r"(?<![\w/.])/(home|root|tmp|work|Users|usr|opt)/", shown):
            found.append(f"{where} shows a path of the machine")
        draws_images = re.search(r"show_images|imshow", cell.source)
        if draws_images and not {"photographs", "no-photographs"} & set(tags(cell)):
            found.append(f"{where} draws images: tag it photographs, or no-photographs if none is one")
        if "photographs" in tags(cell) and PLACEHOLDER not in shown:
            found.append(f"{where} is tagged photographs and does not hold the placeholder")
    return found


# --- export ------------------------------------------------------------------------------------------------


class _ParametersToFlags(Preprocessor):
    """Turns the parameters cell into command-line flags, its comments into their help."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        for cell in nb.cells:
            if "parameters" in tags(cell):
                cell.source = "\n".join(
                    [_HEAD, *_flags(), "arguments = parser.parse_args()", *_assignments()]
                )
        return nb, resources


_HEAD = """parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
)"""

_PREAMBLE = '''"""Trains the scene classifier and saves it. Generated from notebooks/{source} by `make export`: edit that."""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that this runs without installation


def tell(kind, error, trace):
    """Says what is wrong with the input in a sentence; anything else is a bug and keeps its traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("\\nInterrupted. The features computed so far are kept.", file=sys.stderr, flush=True)
        os._exit(130)
    from data_prep_eda.dataset import DatasetError
    from train_model.backbones import WeightsNotFound
    from train_model.features import CacheError
    from train_model.parameters import ParameterError

    if issubclass(kind, (DatasetError, WeightsNotFound, ParameterError, CacheError)):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell

'''


def _parameters() -> dict[str, dict[str, str]]:
    return declared_parameters(SOURCE)


def _flags() -> list[str]:
    lines = []
    for name, entry in _parameters().items():
        kind = entry["inferred_type_name"].split("[")[0]
        how = {
            "bool": "action=argparse.BooleanOptionalAction",
            "list": 'nargs="*", type=float',
        }.get(kind, f"type={kind}")
        default = ast.literal_eval(entry["default"])
        flag = name.replace("_", "-")
        lines.append(f'parser.add_argument("--{flag}", {how}, default={default!r}, help={entry["help"]!r})')
    return lines


def _assignments() -> list[str]:
    """Flags to the names that the cells use; folders as the shell means them, from where it stands."""
    return [
        f"{name} = arguments.{name} and str(Path(arguments.{name}).expanduser().resolve())"
        if name.endswith(("_dir", "_sources"))
        else f"{name} = arguments.{name}"
        for name in _parameters()
    ]


def export() -> str:
    """The training script as text: notebook 06 without the cells tagged `notebook-only`."""
    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = ("notebook-only",)
    config.PythonExporter.preprocessors = [TagRemovePreprocessor(config=config), _ParametersToFlags]
    config.PythonExporter.exclude_input_prompt = True
    exporter = nbconvert.PythonExporter(config=config)
    body, _ = exporter.from_filename(str(SOURCE))
    body = re.sub(r"^#!.*\n# coding: utf-8\n", "", body).lstrip()
    setup, rest = body.split("plots.use_theme()\n", 1) if "plots.use_theme()\n" in body else ("", body)
    text = _PREAMBLE.format(source=SOURCE.name) + setup + rest
    for command in (["check", "--fix", "--quiet", "--select", "I,F401"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", "model_training_export.py", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=command[0] == "format",
            cwd=REPOSITORY,
        ).stdout
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train_model.automation.publish", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("publish", help="make a run the committed one").add_argument("run", type=Path)
    commands.add_parser("clean", help="take photographs and logs out of the committed notebooks")
    commands.add_parser("export", help="write train_model/model_training.py")
    commands.add_parser("check", help="check the committed notebooks")
    options = parser.parse_args(arguments)
    if options.command == "publish":
        try:
            for path in publish(options.run.resolve()):
                print(path.relative_to(REPOSITORY))
        except NotFit as error:
            print(error, file=sys.stderr)
            return 1
    elif options.command == "clean":
        for path in numbered_notebooks():
            write_text(path, nbformat.writes(clean(nbformat.read(path, as_version=4))) + "\n")
    elif options.command == "export":
        write_text(SCRIPT, export())
        print(SCRIPT.relative_to(REPOSITORY))
    else:
        found = [f"{path.name}: {p}" for path in numbered_notebooks() for p in problems(path)]
        print("\n".join(found) or "All notebooks keep the rules.")
        return bool(found)
    return 0


if __name__ == "__main__":
    interruption.run(main)
