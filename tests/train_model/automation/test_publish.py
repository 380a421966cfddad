"""What may be committed: which runs are published, and what is taken out of their notebooks."""

import base64
import hashlib
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from data_prep_eda.files import write_json
from train_model.automation import publish
from train_model.automation.run_study import numbered_notebooks

ALL = numbered_notebooks()
MODEL = b"a model"
DIGEST = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run that may be published, as `make run ARGS=--all` leaves it."""
    folder = tmp_path / "run"
    for source in publish.MODELS:
        (folder / source).parent.mkdir(parents=True, exist_ok=True)
        (folder / source).write_bytes(MODEL)
    (folder / "notebooks").mkdir()
    for path in ALL:
        nbformat.write(nbformat.read(path, as_version=4), folder / "notebooks" / path.name)
    entries = {path.stem: {"status": "complete", "seconds": 1, "error": ""} for path in ALL}
    state = {"machine": {"cores": 2, "python": "3.11.7"}, "resumed": False, "parameters": {"data_dir": "/x"}}
    write_json(folder / "run.json", state | {"notebooks": entries})
    metrics = {
        "data": {"source": "SUN 09", "sources": {"miml": {"coast": 9}}},
        "conversion": {"sha256": DIGEST, "tradeoff": [{"network": "Xception"}]},
        "evaluation": {"sha256": DIGEST},
    }
    write_json(folder / "metrics.json", metrics)
    return folder


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """Stands in for the committed files."""
    folder = tmp_path / "repository"
    monkeypatch.setattr(publish, "NOTEBOOKS", folder)
    monkeypatch.setattr(publish, "COMMITTED_METRICS", folder / "metrics.json")
    monkeypatch.setattr(publish, "MODELS", {source: folder / Path(source).name for source in publish.MODELS})
    return folder


def test_a_run_of_all_becomes_the_committed_one(run, repository):
    written = publish.publish(run)
    names = {path.name for path in ALL} | {Path(source).name for source in publish.MODELS} | {"metrics.json"}
    assert {path.name for path in written} == names
    assert all(path.is_file() and path.parent == repository for path in written)
    took = json.loads((repository / "metrics.json").read_text())["run"]
    assert (took["cores"], took["seconds"][ALL[0].stem]) == (2, 1)


@pytest.mark.parametrize(
    "file, place, value, words",
    [
        ("run.json", ("notebooks", ALL[-1].stem, "status"), "waiting", "make run ARGS=--all"),
        ("run.json", ("notebooks", ALL[-1].stem, "stale"), ALL[2].stem, "in one piece"),
        ("run.json", ("resumed",), True, "in one piece"),
        ("run.json", ("parameters", "epochs"), 3, "others for epochs"),
        ("metrics.json", ("data", "source"), "own", "Expected a run on the SUN 09 images"),
        ("metrics.json", ("data", "sources"), {}, "the other sources too"),
        ("metrics.json", ("conversion", "tradeoff"), [], "SCENES_WEIGHTS_DIR"),
        ("metrics.json", ("evaluation", "sha256"), "0" * 64, "000000000000 of the evaluated one"),
    ],
)
def test_only_the_study_itself_is_published(run, repository, file, place, value, words):
    content = entry = json.loads((run / file).read_text())
    for name in place[:-1]:
        entry = entry[name]
    entry[place[-1]] = value
    write_json(run / file, content)
    with pytest.raises(publish.NotFit, match=words):
        publish.publish(run)
    assert not repository.exists()


def test_a_model_that_was_not_evaluated_is_not_published(run, repository, capsys):
    (run / "models" / publish.MODEL_FILE).write_bytes(b"another model")
    assert publish.main(["publish", str(run)]) == 1
    assert capsys.readouterr().err.startswith(
        "Expected one file to be converted, evaluated and served, found the SHA-256"
    )
    assert publish.main(["publish", str(run / "models")]) == 1
    assert "Expected the folder of a run" in capsys.readouterr().err


def test_cleaning_removes_photographs_logs_and_papermill():
    cell = nbformat.v4.new_code_cell(
        "show()", metadata={"tags": ["photographs"], "papermill": {"duration": 1}}
    )
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="}),
        nbformat.v4.new_output("stream", name="stderr", text="W0000 a warning"),
    ]
    injected = nbformat.v4.new_code_cell("data_dir = '/home/me'", metadata={"tags": ["injected-parameters"]})
    cleaned = publish.clean(
        nbformat.v4.new_notebook(cells=[injected, cell], metadata={"papermill": {"x": 1}})
    )
    assert [c.source for c in cleaned.cells] == ["show()"]
    placeholder = nbformat.v4.new_output("stream", name="stdout", text=f"{publish.PLACEHOLDER}\n")
    assert cleaned.cells[0].outputs == [placeholder]
    assert "papermill" not in json.dumps(cleaned)


def test_figures_take_fewer_bytes_where_it_does_not_show():
    """A figure whose hues would shift keeps them, as does one that was cleaned before."""

    def png(pixels: np.ndarray) -> str:
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
        return base64.b64encode(stream.getvalue()).decode()

    chart = np.full((400, 400, 3), 255)
    chart[200:] = np.add.outer(np.arange(400) % 90, [20, 60, 100])
    chart[200:] += np.random.default_rng(0).integers(-1, 2, (200, 400, 3))
    light = publish.few_colours(png(chart))
    assert len(light) < 0.8 * len(png(chart)) and publish.few_colours(light) == light
    hues = png(np.random.default_rng(0).integers(0, 256, (90, 90, 3)))
    assert publish.few_colours(hues) == hues
