"""The notebooks run, in order, on the sample; the committed ones keep the rules; the script is in step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from data_prep_eda.files import write_json
from tests.notebooks.notebook_execution import ALL, check, execute
from train_model.automation import publish
from train_model.automation.publish import PLACEHOLDER, clean, problems
from train_model.automation.run_study import assign

REPOSITORY = Path(__file__).resolve().parents[2]


def test_there_are_eight_numbered_notebooks():
    assert [path.name[:2] for path in ALL] == [f"{number:02d}" for number in range(1, 9)]


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_committed_notebook_keeps_the_rules(notebook):
    assert problems(notebook) == []


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_every_parameter_has_a_type_a_default_and_help(notebook):
    parameters = papermill.inspect_notebook(notebook)
    assert {"data_dir", "output_dir"} <= set(parameters)
    for name, entry in parameters.items():
        assert entry["inferred_type_name"] != "None" and entry["help"] and entry["default"], name
    # Papermill silently drops a line it cannot read: what it saw must be all that is there.
    (cell,) = [c for c in nbformat.read(notebook, 4).cells if "parameters" in c.metadata.get("tags", [])]
    lines = [line for line in cell.source.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(parameters)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Where the notebooks are executed; later ones find there what earlier ones left."""
    return tmp_path_factory.mktemp("build")


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_notebook_runs_on_the_sample(notebook, build, monkeypatch):
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)  # with what ships, as a newcomer has it
    done = execute(notebook, build / "sample", REPOSITORY / "data_prep_eda" / "sample")
    assert done.returncode == 0, done.stdout[-6000:]
    cells = nbformat.read(build / "sample" / notebook.name, as_version=4).cells
    compared = [cell for cell in cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert compared and all(cell.outputs for cell in compared), "what ran had nothing to compare with"


def test_cells_that_are_compared_would_notice_a_change(tmp_path):
    """nbval passes a cell without an output to compare with: one with a changed output must fail."""
    cells = [
        nbformat.v4.new_code_cell("print('the scenes')", execution_count=1, metadata={"tags": tags})
        for tags in ([], ["nbval-check-output"])
    ]
    for cell in cells:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="something else\n")]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), tmp_path / "changed.ipynb")
    done = check(tmp_path / "changed.ipynb")
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout


def test_unknown_and_mistyped_parameters_are_errors():
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        assign(ALL, {"epoch": 3})
    with pytest.raises(ValueError, match="takes int"):
        assign(ALL, {"epochs": "three"})
    assigned = assign(ALL, {"epochs": 3, "data_dir": "x"})
    assert all(parameters["data_dir"] == "x" for parameters in assigned.values())
    assert sum("epochs" in parameters for parameters in assigned.values()) >= 4


def test_cleaning_removes_images_logs_and_papermill():
    cell = nbformat.v4.new_code_cell(
        "show()", metadata={"tags": ["photographs"], "papermill": {"duration": 1}}
    )
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="}),
        nbformat.v4.new_output("stream", name="stderr", text="W0000 a warning"),
    ]
    injected = nbformat.v4.new_code_cell("data_dir = '/home/me'", metadata={"tags": ["injected-parameters"]})
    cleaned = clean(nbformat.v4.new_notebook(cells=[injected, cell], metadata={"papermill": {"x": 1}}))
    assert [c.source for c in cleaned.cells] == ["show()"]
    assert cleaned.cells[0].outputs == [
        nbformat.v4.new_output("stream", name="stdout", text=f"{PLACEHOLDER}\n")
    ]
    assert "papermill" not in json.dumps(cleaned)


def test_rules_are_noticed_when_broken(tmp_path):
    notebook = nbformat.read(ALL[3], as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[3].outputs = [nbformat.v4.new_output("stream", name="stderr", text="UserWarning: x")]
    code[4].source = "import os"
    code[5].outputs = [nbformat.v4.new_output("stream", name="stdout", text="/home/me/data")]
    code[6].source = "plt.imshow(images[0])"
    code[7].source = "x = 1\n" * 31
    unread = nbformat.v4.new_code_cell("plot()", execution_count=99)
    unread.outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})]
    twice = [nbformat.v4.new_code_cell("print(data)", execution_count=number) for number in (100, 101)]
    for cell in twice:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="819 images of three scenes\n")]
    notebook.cells += [unread, *twice]
    next(cell for cell in code if "parameters" in cell.metadata.get("tags", [])).source += "\nfolder = 'a#b'"
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    found = "\n".join(problems(tmp_path / "broken.ipynb"))
    for words in ("warnings or logs", "imports outside Setup", "path of the machine", "draws images"):
        assert words in found
    assert "31 at most" in found and "cell [99] shows something that no text reads" in found
    assert "cell [101] prints what the one before printed" in found
    assert "the parameter of this line: folder = 'a#b'" in found


def test_training_script_is_in_step_with_its_notebook():
    assert publish.export() == publish.SCRIPT.read_text(), "run `make export`"


SCRIPT = [sys.executable, str(publish.SCRIPT)]
TRAIN = [*SCRIPT, "--data-dir", "images", "--learning-rate", "0.01", "--epochs", "1", "--output-dir", "out"]
TRAIN += ["--other-sources", "none"]  # not the user's own


@pytest.fixture
def no_sources(tmp_path):
    """A source without images, which is named as there is no name for no source."""
    (tmp_path / "none" / "empty" / "coast").mkdir(parents=True)


def test_training_script_runs_by_itself(images, no_sources, tmp_path):
    asked = subprocess.run([*SCRIPT, "--help"], capture_output=True, text=True, cwd=tmp_path)
    told = " ".join(asked.stdout.split())  # argparse wraps lines
    assert "--learning-rate" in told and "Generated from notebooks/06_train_final_model.ipynb" in told
    wrong = subprocess.run([*SCRIPT, "--data-dir", "nowhere"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "Expected a folder of images" in wrong.stderr and "Traceback" not in wrong.stderr
    (tmp_path / "file").touch()
    wrong = subprocess.run([*TRAIN, "--output-dir", "file"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "Expected a folder to write to in 'output_dir'" in wrong.stderr and "Traceback" not in wrong.stderr
    done = subprocess.run(TRAIN, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "models" / "scene_mobilenet.keras").is_file()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["final"]["learning_rate"] == 0.01


@pytest.mark.slow
def test_training_script_leaves_the_files_out(images, no_sources, tmp_path):
    done = subprocess.run([*TRAIN, "--no-save-files"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list((tmp_path / "out").rglob("*.keras"))
    assert "val_accuracy" in json.loads((tmp_path / "out" / "metrics.json").read_text())["final"]


def run_of(
    folder: Path,
    data: str = "SUN 09 images",
    resumed: bool = False,
    sources: int = 4,
    networks: tuple[str, ...] = ("MobileNet", "Xception"),
    **parameters,
) -> Path:
    """The folder of a run with complete notebooks, as `make run` leaves it."""
    (folder / "notebooks").mkdir(parents=True)
    state = {
        "resumed": resumed,
        "parameters": parameters,
        "notebooks": {path.stem: {"status": "complete", "seconds": 1, "error": ""} for path in ALL},
    }
    write_json(folder / "run.json", state)
    write_json(
        folder / "metrics.json",
        {
            "final": {"data": data, "sources": sources},
            "tflite": {"tradeoff": [{"network": network} for network in networks]},
        },
    )
    return folder


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data": "the embedded sample (drawn, not photographed)"}, "Expected a run on the SUN 09 images"),
        ({"data_dir": "/x", "epochs": 3}, "others for epochs"),
        ({"resumed": True}, "in one piece"),
        ({"sources": 1}, "the other sources too"),
        ({"networks": ("MobileNet",)}, "SCENES_WEIGHTS_DIR"),
    ],
)
def test_only_the_study_itself_is_published(tmp_path, changes, words):
    before = [path.read_bytes() for path in ALL]
    with pytest.raises(publish.NotFit, match=words):
        publish.publish(run_of(tmp_path / "run", **changes))
    with pytest.raises(publish.NotFit, match="Expected the folder of a run"):
        publish.publish(tmp_path)
    assert [path.read_bytes() for path in ALL] == before


def test_a_run_in_one_piece_becomes_the_committed_one(tmp_path, monkeypatch):
    run = run_of(tmp_path / "run", data_dir="/x")
    (run / "models").mkdir()
    places = {source: tmp_path / "repository" / Path(source).name for source in publish.MODELS}
    for source in places:
        (run / source).write_bytes(source.encode())
    for path in ALL:
        nbformat.write(nbformat.read(path, as_version=4), run / "notebooks" / path.name)
    monkeypatch.setattr(publish, "numbered_notebooks", lambda: ALL)
    monkeypatch.setattr(publish, "NOTEBOOKS", tmp_path / "repository")
    monkeypatch.setattr(publish, "COMMITTED_METRICS", tmp_path / "repository" / "metrics.json")
    monkeypatch.setattr(publish, "MODELS", places)
    written = publish.publish(run)
    assert {path.name for path in written} == {path.name for path in (*ALL, *places.values())} | {
        "metrics.json"
    }
    assert all(path.is_file() for path in written)
