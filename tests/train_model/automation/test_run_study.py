"""`make run`: notebooks in order, failures named, runs resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from data_prep_eda.dataset import REPOSITORY, SAMPLE
from train_model.automation import run_study
from train_model.automation.notebook_run import COMPLETE, NotebookResult

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
        (["-p", "epochs", "-1"], "1 to"),
        (["-p", "epochs", "1e3"], "takes int"),
        (["-p", "output_dir", "x"], "name it by --out"),
        (["--from", ""], "Expected the number of a notebook"),
        (["--from", "3", "--to", "2"], "Expected --to 3 or later"),
        (["-p", "data_dir", "nowhere"], "Expected a folder of images"),
        (["--from", "9"], "Expected the number of a notebook"),
        (["--from", "2"], "Expected an earlier run"),
    ],
)
def test_mistakes_are_sentences_and_nothing_starts(study, capsys, arguments, words):
    assert run_study.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (study / "runs").exists()


# --- Going on, without kernels ----------------------------------------------------------------------------


@pytest.fixture
def calls(study, monkeypatch):
    """Stands in for the kernels: (notebook, parameters) of each run; `calls.interrupt` names one to be interrupted."""

    class Calls(list):
        interrupt = ""

    calls = Calls()

    def run_notebook(notebook, output, parameters, **_):
        calls.append((notebook.stem[:2], parameters))
        if notebook.stem[:2] == calls.interrupt:
            raise KeyboardInterrupt
        shutil.copyfile(notebook, output)
        return NotebookResult(notebook.name, COMPLETE, 1.0)

    monkeypatch.setattr(run_study, "run_notebook", run_notebook)
    monkeypatch.setattr(run_study, "start_kernel", lambda *_: None)
    return calls


@pytest.fixture
def images(images, study, monkeypatch):
    """A folder of images, named from a shell that stands beside it."""
    monkeypatch.chdir(study)
    return images


def state_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_an_interrupted_run_goes_on_with_all_it_began_with(study, calls, images, capsys):
    calls.interrupt = "01"
    assert run_study.main(["-p", "data_dir", "images", "-p", "epochs", "3"]) == 130
    (folder,) = (study / "runs").iterdir()
    state = state_of(folder)
    assert state["status"] == state["notebooks"]["01_one"]["status"] == "interrupted"
    assert state["data"]["data_dir"] == str(images)
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and "Interrupted." in said
    assert f"--from 01 --out runs/{folder.name} -p data_dir {images} -p epochs 3" in said

    calls.interrupt = ""
    for first in ("01", "2"):
        calls.clear()
        assert run_study.main(["--from", first]) == 0
        assert {(p["data_dir"], p["epochs"], p["output_dir"]) for _, p in calls} == {
            (str(images), 3, str(folder))
        }
        assert state_of(folder)["resumed"] == (first == "2")
    assert state_of(folder)["status"] == "complete"


def test_the_printed_command_is_the_one_for_make(monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1")
    assert run_study.command({}, "--from", "03") == "make run ARGS='--from 03'"
    told = run_study.command({"data_dir": "/my $photos"}, "--from", "03")
    words = subprocess.run(
        ["sh", "-c", told.replace("make run", "printf %s", 1)], capture_output=True, text=True
    )
    assert words.stdout == "ARGS=--from 03 -p data_dir '/my $$photos'"  # for make, in which $$ is $


def test_parameters_given_when_going_on_are_kept_and_what_they_change_is_not_complete(study, calls, images):
    assert run_study.main([]) == 0
    calls.interrupt = "02"
    assert run_study.main(["--from", "02", "-p", "epochs", "7"]) == 130
    (folder,) = (study / "runs").iterdir()
    assert state_of(folder)["parameters"] == {"epochs": 7}
    statuses = [entry["status"] for entry in state_of(folder)["notebooks"].values()]
    assert statuses == ["complete", "interrupted", "waiting"]
    calls.interrupt = ""
    assert run_study.main(["--from", "02"]) == 0
    assert [parameters["epochs"] for _, parameters in calls[-2:]] == [7, 7]


def test_the_newest_run_is_the_newest_in_time(study, calls):
    for name in ("zebra", "ape"):
        assert run_study.main(["--out", str(study / "runs" / name), "--to", "01"]) == 0
    hour_ago = time.time() - 3600
    os.utime(study / "runs" / "zebra" / "run.json", (hour_ago, hour_ago))
    assert run_study.main(["--from", "02"]) == 0
    assert {parameters["output_dir"] for _, parameters in calls[-2:]} == {str(study / "runs" / "ape")}


def test_a_run_keeps_to_one_data_set(study, calls, images, capsys):
    assert run_study.main(["-p", "data_dir", "images", "--to", "01"]) == 0
    assert run_study.main(["--from", "02", "-p", "data_dir", str(SAMPLE)]) == 2
    assert "a run keeps to one data set. Start a new run" in " ".join(capsys.readouterr().err.split())
    (images / "coast" / "coast_00.jpg").unlink()
    assert run_study.main(["--from", "02"]) == 2
    assert "what has changed since" in capsys.readouterr().err
    assert len(calls) == 1


@pytest.mark.parametrize(
    "name", ["2024-05-01", "yes", "photos #1", "[x", "010", "null", "{a: b}", "~x", "1e-3", "$HOME"]
)
def test_a_folder_may_be_called_anything(study, calls, images, name):
    images.rename(study / name)
    assert run_study.main(["-p", "data_dir", name, "--to", "01"]) == 0
    assert calls[0][1]["data_dir"] == str(study / name)


def test_an_empty_folder_name_is_the_default_and_numbers_are_decimal(study, calls):
    assert run_study.main(["-p", "data_dir", "", "-p", "epochs", "010", "--to", "01"]) == 0
    assert calls[0][1]["epochs"] == 10
    assert Path(calls[0][1]["data_dir"]).is_dir()


def test_paths_are_printed_so_that_they_can_be_opened(study, calls, images, capsys):
    assert run_study.main(["--out", "mine"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("read on"))
    assert Path(line.split()[-1]).is_file()


def test_a_place_that_cannot_be_written_to_is_a_sentence(study, calls, capsys):
    (study / "occupied").write_text("mine")
    assert run_study.main(["--out", str(study / "occupied")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "occupied" in said and (study / "occupied").read_text() == "mine"


def test_runs_of_the_same_second_get_folders_of_their_own(study, calls, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    begun = [run_study.Run.begin(run_study._parser().parse_args([])) for _ in range(3)]
    assert [run.folder.name for run in begun] == ["now", "now_1", "now_2"]
    assert begun[0].execute() == 0


@pytest.mark.parametrize("name", ["notebooks/mine.ipynb", "models/mine.keras", "metrics.json", "index.html"])
def test_only_folders_that_a_run_made_are_emptied(tmp_path, study, calls, capsys, name):
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert run_study.main(["--out", str(tmp_path / "mine")]) == 2
    said = capsys.readouterr().err
    assert f"found {name.split('/')[0]} without run.json" in said and said.count("\n") == 1
    assert file.read_text() == "mine" and not calls

    (tmp_path / "mine" / "run.json").write_text("{}")
    assert run_study.main(["--out", str(tmp_path / "mine")]) == 0
    assert not file.is_file() or file.read_text() != "mine"


def test_ctrl_c_is_one_line_and_130_also_during_the_imports():
    command = [sys.executable, "-X", "importtime", "-m", "train_model.automation.run_study"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.rstrip().endswith(" pandas._libs"):  # in the middle of them
            process.send_signal(signal.SIGINT)
            break
    said.append(process.stderr.read())
    assert process.wait(timeout=60) == 130
    rest = [line for line in "".join(said).splitlines() if line and not line.startswith("import time:")]
    assert rest == ["Interrupted."]
