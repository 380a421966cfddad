"""`make run`: notebooks in order, failures named, runs resumed."""

from __future__ import annotations

import json

import nbformat
import pytest

from train_model.automation import run_study

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of three small notebooks; the second fails while the file `broken` exists."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    parameters = 'data_dir: str = ""  # unused\noutput_dir: str = ""  # results\nepochs: int = 1  # passes'
    bodies = {
        "01_one": "print(epochs)",
        "02_two": "import pathlib\nif pathlib.Path(output_dir, 'broken').exists(): raise ValueError('no luck')",
        "03_three": "import json, pathlib\npathlib.Path(output_dir, 'metrics.json').write_text(json.dumps({'x.epochs': epochs}))",
    }
    for name, body in bodies.items():
        cells = [
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(body),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), folder / f"{name}.ipynb")
    monkeypatch.setattr(run_study, "NOTEBOOKS", folder)
    monkeypatch.setattr(run_study, "RUNS", tmp_path / "runs")
    return tmp_path


def test_run_leaves_notebooks_metrics_and_an_index(study, capsys):
    out = study / "mine"
    assert run_study.main(["--out", str(out), "-p", "epochs", "3"]) == 0
    assert sorted(path.name for path in (out / "notebooks").glob("*.ipynb")) == [
        "01_one.ipynb",
        "02_two.ipynb",
        "03_three.ipynb",
    ]
    assert json.loads((out / "metrics.json").read_text()) == {"x.epochs": 3}
    page = (out / "index.html").read_text()
    assert "notebooks/02_two.html" in page and "x.epochs" in page
    assert (out / "notebooks" / "02_two.html").is_file()
    assert "All 3 notebooks" in capsys.readouterr().out


def test_failure_is_named_and_the_run_resumes(study, capsys):
    out = study / "runs" / "first"
    out.mkdir(parents=True)
    (out / "broken").touch()
    assert run_study.main(["--out", str(out), "-p", "epochs", "3"]) == 1
    said = capsys.readouterr().err
    assert (
        "02_two.ipynb: failed in cell [3]" in said and "ValueError: no luck" in said and "--from 02" in said
    )
    before = (out / "notebooks" / "01_one.ipynb").stat().st_mtime_ns
    (out / "broken").unlink()
    assert run_study.main(["--from", "2"]) == 0
    assert "As before in this run: epochs 3" in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text()) == {"x.epochs": 3}
    state = json.loads((out / "run.json").read_text())["notebooks"]
    assert {name: entry["status"] for name, entry in state.items()} == dict.fromkeys(
        ("01_one", "02_two", "03_three"), "complete"
    )
    assert (out / "notebooks" / "01_one.ipynb").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-p", "epoch", "3"], "did you mean 'epochs'"),
        (["-p", "epochs", "many"], "takes int"),
        (["-p", "data_dir", "nowhere"], "Expected a folder of images"),
        (["--from", "9"], "Expected the number of a notebook"),
        (["--from", "2"], "Expected an earlier run"),
    ],
)
def test_mistakes_are_sentences_and_nothing_starts(study, capsys, arguments, words):
    assert run_study.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (study / "runs").exists()
