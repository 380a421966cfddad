"""Keeps the committed notebooks fit to be committed, and the training script in step with its notebook.

python -m train_model.automation.publish publish RUN   a run on the real photographs becomes the committed one
python -m train_model.automation.publish clean         takes photographs and logs out of the notebooks, after Jupyter
python -m train_model.automation.publish export        writes train_model/model_training.py from notebook 06
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
from nbformat import NotebookNode
from PIL import Image, ImageChops, ImageStat

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import replacing, write_json, write_text
from train_model.automation.notebook_run import COMPLETE, declared_parameters
from train_model.automation.run_study import NOTEBOOKS, STATE, numbered_notebooks
from train_model.record import METRICS, MODEL, MODEL_FILE, read_metrics

SOURCE = NOTEBOOKS / "06_train_final_model.ipynb"
SCRIPT = REPOSITORY / "train_model" / "model_training.py"
TEMPLATE = Path(__file__).with_name("model_training.py.j2")
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


def check_run(run: Path) -> dict[str, Any]:
    """Refuses a run whose figures don't all come from one run of one model on the study's images; returns its state.

    Raises:
        NotFit: the run is incomplete or resumed, used other images or left some out, or changed parameters; or its
            model is not the one that was converted and evaluated.
    """
    if not (run / STATE).is_file():
        raise NotFit(f"Expected the folder of a run, with {STATE} in it; found none in {run.name}.")
    state, metrics = json.loads((run / STATE).read_text(encoding="utf-8")), read_metrics(run)
    entries, names = state["notebooks"], [path.stem for path in numbered_notebooks()]
    missing = ", ".join(name for name in names if entries.get(name, {}).get("status") != COMPLETE)
    changed = ", ".join(sorted(set(state["parameters"]) - {"data_dir", "other_sources"}))
    data, conversion, evaluation = (metrics.get(name, {}) for name in ("data", "conversion", "evaluation"))
    source, model = data.get("source"), run / "models" / MODEL_FILE
    digests = {"the converted file": conversion.get("sha256"), "the evaluated one": evaluation.get("sha256")}
    digests["the run's"] = hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None
    listed = ", ".join(f"{str(digest)[:12]} of {name}" for name, digest in digests.items())
    refusals = (
        (missing, f"a complete run of all notebooks, but {missing} did not complete in it. Run them all, with the side "
                  "roads: make run ARGS=--all."),
        (state["resumed"] or any("stale" in entry for entry in entries.values()),
         "a run in one piece, found one that was resumed: its figures may come from different code. Run all notebooks again."),
        (changed, f"a run with the notebooks' own parameters, found others for {changed}."),
        (source != "SUN 09", f"a run on the SUN 09 images, found one on others ({source})."),
        (not data.get("sources"), "a run with the other sources too, found SUN 09 alone. Name their folder."),
        # Notebook 07 converts Xception; notebook 03 may find its features in the cache, and needs no weights.
        ("Xception" not in json.dumps(conversion),
         "a run with Xception, found one without. Name the folder of its weights in SCENES_WEIGHTS_DIR."),
        (len({*digests.values()}) > 1, f"one file to be converted, evaluated and served, found the SHA-256 {listed}"),
    )  # fmt: skip
    for refused, words in refusals:
        if refused:
            raise NotFit(f"Expected {words}")
    return state


def publish(run: Path) -> list[Path]:
    """Makes a run's notebooks, metrics and models the committed ones, if `check_run` lets it; returns the files written."""
    state = check_run(run)
    names = [path.name for path in numbered_notebooks()]
    written = [write_clean(run / "notebooks" / name, NOTEBOOKS / name) for name in names]
    for source, target in MODELS.items():
        with replacing(target) as part:
            shutil.copyfile(run / source, part)
        written.append(target)
    seconds = {name: entry["seconds"] for name, entry in state["notebooks"].items()}
    metrics = read_metrics(run) | {"run": {**state["machine"], "seconds": seconds}}
    return [*written, write_json(COMMITTED_METRICS, metrics)]


def write_clean(source: Path, target: Path) -> Path:
    """Writes a notebook as it is committed; returns the target."""
    return write_text(target, nbformat.writes(clean(nbformat.read(source, as_version=4))) + "\n")


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
            if output.output_type == "execute_result":
                output.execution_count = count
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = few_colours(output.data["image/png"])
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    return notebook


def few_colours(png: str) -> str:
    """A figure in base64 with 256 colours, which take a third of the bytes, unless it has no more or would show it."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        whole, light = image.convert("RGB"), image.convert("RGB").quantize(256)
        shift = ImageStat.Stat(ImageChops.difference(whole, light.convert("RGB"))).mean
        if image.mode == "P" or sum(shift) / 3 > 1.5:  # of 255 levels
            return png
        light.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


# --- export ------------------------------------------------------------------------------------------------


def export() -> str:
    """The training script as text: notebook 06 without the cells tagged `notebook-only`, in the form of `TEMPLATE`."""
    notebook = nbformat.read(SOURCE, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "notebook-only" not in tags(cell)]
    exporter = nbconvert.PythonExporter(exclude_input_prompt=True, template_file=str(TEMPLATE))
    resources = {"source": SOURCE.name, "parameters": declared_parameters(SOURCE)}
    text = exporter.from_notebook_node(notebook, resources)[0].replace("plots.use_theme()\n", "", 1)
    sort = ["check", "--fix", "--exit-zero", "--quiet", "--select", "I,F401"]
    for command in (sort, ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", "model_training_export.py", "-"]
        done = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=REPOSITORY)
        text = done.stdout
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    prog, about = "python -m train_model.automation.publish", __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog=prog, description=about)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("publish", help="make a run the committed one").add_argument("run", type=Path)
    commands.add_parser("clean", help="take photographs and logs out of the committed notebooks")
    commands.add_parser("export", help="write train_model/model_training.py")
    options = parser.parse_args(arguments)
    try:
        if options.command == "publish":
            written = publish(options.run.resolve())
        elif options.command == "clean":
            written = [write_clean(path, path) for path in numbered_notebooks()]
        else:
            written = [write_text(SCRIPT, export())]
    except NotFit as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(path.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    interruption.run(main)
