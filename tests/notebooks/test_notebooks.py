"""The notebooks run, in order, on the sample; the training script is in step and runs by itself."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from data_prep_eda.dataset import SAMPLE
from tests.notebooks.notebook_execution import ALL, SMALL, check, execute
from train_model.automation import publish, run_study


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Where the notebooks are executed, by an awkward path; later ones find there what earlier ones left."""
    return tmp_path_factory.mktemp("with a space and é")


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_notebook_runs_on_the_sample(notebook, build, monkeypatch):
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)  # with what ships, as a newcomer has it
    done = execute(notebook, build, SAMPLE)
    assert done.returncode == 0, done.stdout[-6000:]
    cells = nbformat.read(build / notebook.name, as_version=4).cells
    compared = [cell for cell in cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert compared, "nothing of it is compared"


def test_the_file_that_was_converted_is_the_one_that_was_evaluated(build):
    metrics = json.loads((build / "out" / "metrics.json").read_text())
    assert metrics["conversion"]["sha256"] == metrics["evaluation"]["sha256"]
    assert metrics["final"]["difference_from_exact"] < 0.01


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


def test_without_its_files_a_run_stops_at_the_notebook_that_needs_them(images, no_sources, tmp_path, capsys):
    """It must not test the committed model, or another run's, in their place."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text('{"status": "waiting"}')
    given = SMALL | {"save_files": "no", "data_dir": images, "other_sources": no_sources}
    words = [
        word
        for name in ("epochs", "save_files", "data_dir", "other_sources")
        for word in ("-p", name, str(given[name]))
    ]
    assert run_study.main(["--from", "6", "--to", "7", "--out", str(out), *words]) == 1
    state = json.loads((out / "run.json").read_text())["notebooks"]
    assert state["06_train_final_model"]["status"] == "complete"
    assert state["07_tflite_conversion"]["status"] == "failed"
    assert "save_files" in state["07_tflite_conversion"]["error"]
    assert not list((out / "models").glob("*.tflite"))


# --- The script -------------------------------------------------------------------------------------------


def test_training_script_is_in_step_with_its_notebook():
    assert publish.export() == publish.SCRIPT.read_text(), "run `make export`"


SCRIPT = [sys.executable, str(publish.SCRIPT)]
TRAIN = [*SCRIPT, "--data-dir", "images", "--learning-rate", "0.01", "--epochs", "1", "--output-dir", "out"]
TRAIN += ["--other-sources", "none"]  # not the user's own


@pytest.fixture
def no_sources(tmp_path):
    """A source without images, which is named as there is no name for no source."""
    (tmp_path / "none" / "empty" / "coast").mkdir(parents=True)
    return tmp_path / "none"


def test_training_script_runs_by_itself(images, no_sources, tmp_path):
    """Also where Keras is set for another project."""
    (tmp_path / "keras.json").write_text(
        '{"image_data_format": "channels_first", "backend": "torch", "floatx": "float16"}'
    )
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["KERAS_HOME"] = str(tmp_path)

    def script(command: list[str], **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment | more)

    help_text = " ".join(script([*SCRIPT, "--help"]).stdout.split())  # argparse wraps lines
    assert (
        "--learning-rate" in help_text and "Generated from notebooks/06_train_final_model.ipynb" in help_text
    )
    (tmp_path / "file").touch()
    for wrong, words in (
        (script([*SCRIPT, "--data-dir", "nowhere"]), "Expected a folder of images"),
        (script([*TRAIN, "--output-dir", "file"]), "Expected a folder to write to in 'output_dir'"),
        (
            script(SCRIPT, KERAS_BACKEND="torch"),
            "Expected KERAS_BACKEND to be tensorflow or jax, found torch",
        ),
    ):
        assert wrong.returncode == 1 and words in wrong.stderr and "Traceback" not in wrong.stderr
    done = script(TRAIN)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "models" / "scene_mobilenet.keras").is_file()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["final"]["learning_rate"] == 0.01


@pytest.mark.slow
def test_training_script_leaves_the_files_out(images, no_sources, tmp_path):
    done = subprocess.run([*TRAIN, "--no-save-files"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list((tmp_path / "out").rglob("*.keras"))
    assert "val_accuracy" in json.loads((tmp_path / "out" / "metrics.json").read_text())["final"]
