"""What a run ends with: figures, commands that can be pasted, and a page."""

import json
import shlex
from pathlib import Path

import nbformat

from data_prep_eda.dataset import REPOSITORY
from train_model.automation.index_page import summary, use_commands, write_index


def test_figures_are_those_that_were_recorded():
    metrics = {
        "conversion": {"served": {"MB": 3.84}},
        "evaluation": {
            "test": {"value": 0.99, "low": 0.948, "high": 0.998},
            "mean": None,
            "older_than": "03_x",
        },
    }
    assert summary(metrics) == [
        ("served file, size", "3.8 MB"),
        ("served file, test accuracy", "0.990 (95 % interval 0.948 to 0.998) (older than 03_x)"),
    ]
    assert summary({}) == []
    without_weights = {"data": {"source": "own"}, "xception": {"val_accuracy": 1.0, "source": "sample"}}
    assert summary(without_weights) == [("Xception, validation accuracy", "1.000 (on other images: sample)")]


def test_commands_name_the_run_as_the_shell_needs_it(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    commands = {name: shlex.split(line) for name, line in use_commands(REPOSITORY / "runs" / "my run")}
    assert commands["shell"][1:] == ["-m", "containerize_deploy.classify", "--model", "runs/my run", "IMAGE"]
    assert commands["page"] == ["make", "page", "ARGS=--model 'runs/my run'"]
    assert commands["local runtime"][-2:] == ["--model", "runs/my run"]
    assert "MODEL=runs/my run/models/scene-classifier-model.tflite" in commands["container"]
    # An image is built of the repository's files alone.
    elsewhere = dict(use_commands(Path("/else where")))["container"]
    assert elsewhere.startswith("cp '/else where/models/scene-classifier-model.tflite' . && docker build")
    assert "MODEL=scene-classifier-model.tflite" in shlex.split(elsewhere)


def test_the_page_has_notebooks_marks_figures_and_commands_escaped(tmp_path):
    for name in ("01_a", "02_b"):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A")])
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
    (tmp_path / "metrics.json").write_text(
        json.dumps({"final": {"val_accuracy": 0.5}, "data": {"class_names": ["<b>"]}})
    )
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "scene-classifier-model.tflite").touch()
    entries = {
        "01_a": {"status": "complete", "seconds": 3.2, "error": ""},
        "02_b": {"status": "complete", "seconds": 1.0, "error": "", "stale": "01_a"},
        "03_c": {"status": "failed", "error": "ValueError: <no>"},
    }
    page = write_index(tmp_path, {"notebooks": entries}, "your own images").read_text()
    assert '<a href="notebooks/02_b.html">02_b</a><small>older than 01_a' in page
    assert "ValueError: &lt;no&gt;" in page and "&lt;b&gt;" in page and "your own images" in page
    assert "0.500" in page and "containerize_deploy.classify --model" in page
    assert "width=device-width" in page and "prefers-color-scheme: dark" in page
    assert "older than 01_a" in (tmp_path / "notebooks" / "02_b.html").read_text()
