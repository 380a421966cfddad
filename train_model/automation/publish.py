"""Keeps the committed notebooks fit to be committed, and the training script in step with its notebook.

python -m train_model.automation.publish publish RUN   a run on the real photographs becomes the committed one
python -m train_model.automation.publish clean         takes photographs and logs out of the notebooks, after Jupyter
python -m train_model.automation.publish export        writes train_model/model_training.py from notebook 06
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import ast
import hashlib
import json
import re
import shutil
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
from train_model.automation.notebook_run import COMPLETE, declared_parameters
from train_model.automation.run_study import NOTEBOOKS, STATE, numbered_notebooks
from train_model.record import METRICS, MODEL, MODEL_FILE, read_metrics

SOURCE = NOTEBOOKS / "06_train_final_model.ipynb"
SCRIPT = REPOSITORY / "train_model" / "model_training.py"
COMMITTED_METRICS = NOTEBOOKS / METRICS
PLACEHOLDER = "[Photographs are shown here when you run the notebook. They may not be redistributed.]"

# What a run leaves and the repository keeps: file in the run's folder to its place.
MODELS = {
    f"models/{MODEL}.keras": REPOSITORY / "train_model" / f"{MODEL}.keras",
    f"models/{MODEL_FILE}": REPOSITORY / "containerize_deploy" / MODEL_FILE,
}


class NotFit(ValueError):
    """A run that may not be committed; the message says why and what to do."""


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


# --- publish -----------------------------------------------------------------------------------------------


def check_run(run: Path) -> None:
    """Refuses a run whose figures don't all come from one run of one model on the study's images.

    Raises:
        NotFit: the run is incomplete or resumed, used other images or left some out, or changed parameters; or its
            model is not the one that was converted and evaluated.
    """
    if not (run / STATE).is_file():
        raise NotFit(f"Expected the folder of a run, with {STATE} in it; found none in {run.name}.")
    state, metrics = json.loads((run / STATE).read_text(encoding="utf-8")), read_metrics(run)
    entries = state["notebooks"]
    missing = [
        path.stem for path in numbered_notebooks() if entries.get(path.stem, {}).get("status") != COMPLETE
    ]
    changed = sorted(set(state["parameters"]) - {"data_dir", "other_sources"})
    data, conversion, evaluation = (metrics.get(name, {}) for name in ("data", "conversion", "evaluation"))
    model = run / "models" / MODEL_FILE
    digests = {"the converted file": conversion.get("sha256"), "the evaluated one": evaluation.get("sha256")}
    digests["the run's"] = hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None
    refusals = {
        f"a complete run of all notebooks, but {', '.join(missing)} did not complete in it. Run them all, with the side "
        "roads: make run ARGS=--all.": missing,
        "a run in one piece, found one that was resumed: its figures may come from different code. Run all notebooks "
        "again.": state["resumed"] or any("stale" in entry for entry in entries.values()),
        f"a run with the notebooks' own parameters, found others for {', '.join(changed)}.": changed,
        f"a run on the SUN 09 images, found one on others ({data.get('source')}).": data.get("source")
        != "SUN 09",
        "a run with the other sources too, found SUN 09 alone. Name their folder.": not data.get("sources"),
        # Notebook 07 converts Xception; notebook 03 may find its features in the cache, and needs no weights.
        "a run with Xception, found one without. Name the folder of its weights in SCENES_WEIGHTS_DIR.": "Xception"
        not in json.dumps(conversion),
        "one file to be converted, evaluated and served, found the SHA-256 "
        + ", ".join(f"{str(digest)[:12]} of {name}" for name, digest in digests.items()): len(
            {*digests.values()}
        )
        > 1,
    }
    for words, refused in refusals.items():
        if refused:
            raise NotFit(f"Expected {words}")


def publish(run: Path) -> list[Path]:
    """Makes a run's notebooks, metrics and models the committed ones, and returns the files written.

    Raises:
        NotFit: see `check_run`.
    """
    check_run(run)
    written = []
    for path in numbered_notebooks():
        notebook = clean(nbformat.read(run / "notebooks" / path.name, as_version=4))
        written.append(write_text(NOTEBOOKS / path.name, nbformat.writes(notebook) + "\n"))
    for source, target in MODELS.items():
        with replacing(target) as part:
            shutil.copyfile(run / source, part)
        written.append(target)
    state = json.loads((run / STATE).read_text(encoding="utf-8"))
    seconds = {name: entry["seconds"] for name, entry in state["notebooks"].items()}
    metrics = read_metrics(run) | {"run": {**state["machine"], "seconds": seconds}}
    return [*written, write_json(COMMITTED_METRICS, metrics)]


def clean(notebook: NotebookNode) -> NotebookNode:
    """A notebook as it is committed: no photographs, no logs, no traces of the machine or of papermill."""
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]
    count = 0
    for number, cell in enumerate(notebook.cells, 1):
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
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    return notebook


# --- export ------------------------------------------------------------------------------------------------


class _ParametersToFlags(Preprocessor):
    """Turns the parameters cell into command-line flags, its comments into their help."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        for cell in nb.cells:
            if "parameters" in tags(cell):
                cell.source = "\n".join(
                    [_PARSER, *_flags(), "arguments = parser.parse_args()", *_assignments()]
                )
        return nb, resources


_PREAMBLE = f'''"""Trains the scene classifier and saves it. Generated from notebooks/{SOURCE.name} by `make export`: edit that."""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that this runs without installation
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever keras.json says


def report(kind, error, trace):
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


sys.excepthook = report
if os.environ["KERAS_BACKEND"] not in ("tensorflow", "jax"):
    sys.exit("Expected KERAS_BACKEND to be tensorflow or jax, found " + os.environ["KERAS_BACKEND"] + ". Unset it.")

'''

_PARSER = """keras.config.set_floatx("float32")  # whatever keras.json says
keras.config.set_image_data_format("channels_last")
parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
)"""


def _flags() -> list[str]:
    lines = []
    for name, entry in declared_parameters(SOURCE).items():
        kind = entry["inferred_type_name"].split("[")[0]
        how = {"bool": "action=argparse.BooleanOptionalAction", "list": 'nargs="*", type=float'}
        words = how.get(kind, f"type={kind}"), f"default={ast.literal_eval(entry['default'])!r}"
        flag = name.replace("_", "-")
        lines.append(f'parser.add_argument("--{flag}", {", ".join(words)}, help={entry["help"]!r})')
    return lines


def _assignments() -> list[str]:
    """Flags to the names that the cells use; folders as the shell means them, from where it stands."""
    return [
        f"{name} = arguments.{name} and str(Path(arguments.{name}).expanduser().resolve())"
        if name.endswith(("_dir", "_sources"))
        else f"{name} = arguments.{name}"
        for name in declared_parameters(SOURCE)
    ]


def export() -> str:
    """The training script as text: notebook 06 without the cells tagged `notebook-only`."""
    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = ("notebook-only",)
    config.PythonExporter.preprocessors = [TagRemovePreprocessor(config=config), _ParametersToFlags]
    config.PythonExporter.exclude_input_prompt = True
    body, _ = nbconvert.PythonExporter(config=config).from_filename(str(SOURCE))
    body = re.sub(r"^#!.*\n# coding: utf-8\n", "", body).lstrip()
    text = _PREAMBLE + body.replace("plots.use_theme()\n", "", 1)
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
    options = parser.parse_args(arguments)
    try:
        written = publish(options.run.resolve()) if options.command == "publish" else []
    except NotFit as error:
        print(error, file=sys.stderr)
        return 1
    for path in numbered_notebooks() if options.command == "clean" else ():
        write_text(path, nbformat.writes(clean(nbformat.read(path, as_version=4))) + "\n")
    if options.command == "export":
        written = [write_text(SCRIPT, export())]
    for path in written:
        print(path.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    interruption.run(main)
