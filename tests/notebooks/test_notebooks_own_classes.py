"""`make run ARGS=--all` on five classes with awkward names, with images in subfolders and images of none of the classes."""

import json

import pytest

from tests.notebooks.notebook_execution import ALL, SMALL
from train_model.automation import run_study


@pytest.mark.timeout(1800)  # eleven notebooks
def test_the_whole_study_runs_on_any_classes(awkward_classes, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)
    out = tmp_path / "run é"
    words = [word for name, value in SMALL.items() for word in ("-p", name, str(value))]
    code = run_study.main(["--all", "--out", str(out), "-p", "data_dir", str(awkward_classes), *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    metrics = json.loads((out / "metrics.json").read_text())
    names = metrics["data"]["class_names"]
    assert len(names) == 5 and names == sorted(names) and "other" not in names
    assert metrics["data"]["source"] == "own"
    assert set(run_study.SECTIONS.values()) <= set(metrics)
    assert metrics["conversion"]["sha256"] == metrics["evaluation"]["sha256"]
    assert (out / "models" / "scene-classifier-model.tflite").is_file()
    assert f"{metrics['data']['used']} used of {metrics['data']['found']} found" in said.out
    assert "containerize_deploy.classify --model" in said.out
    pages = [(out / "notebooks" / f"{path.stem}.html").read_text() for path in ALL]
    for name in names:
        assert any(name in page for page in pages)


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_no_class_of_the_study_is_named_in_code(notebook):
    """What only SUN 09's images have is asked for by their source."""
    cells = json.loads(notebook.read_text())["cells"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "SCENES" not in code.replace("SCENES_", "") and '"scene"' not in code
