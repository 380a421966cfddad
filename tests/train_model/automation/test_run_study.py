"""`make run`: notebooks in order, failures named, runs gone on with, one process at a time."""

import json
import os
import shlex
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
PARAMETERS = """data_dir: str = ""  # unused
other_sources: str = ""  # unused
output_dir: str = ""  # results"""
NOTEBOOKS = {
    "01_one": ("epochs: int = 1  # passes", "print(epochs)"),
    "02_two": (
        'weights: str = "auto"  # Xception\'s weights: a path, imagenet to download, or auto',
        "import pathlib\nif pathlib.Path(output_dir, 'broken').exists(): raise ValueError('no luck')",
    ),
    "03_three": (
        'weights: str = "auto"  # MobileNet\'s weights: a path, imagenet to download, or auto\nepochs: int = 1  # passes',
        "import json, pathlib\n"
        "pathlib.Path(output_dir, 'metrics.json').write_text(json.dumps({'xception': {'val_accuracy': epochs}}))",
    ),
    "10_aside": ("seed: int = 0  # of nothing", "print(seed)"),
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A main road of three small notebooks and a side road; the second fails while the file `broken` exists."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, (parameters, body) in NOTEBOOKS.items():
        first = nbformat.v4.new_code_cell(f"{PARAMETERS}\n{parameters}", metadata={"tags": ["parameters"]})
        cells = [first, nbformat.v4.new_code_cell(body)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), folder / f"{name}.ipynb")
    monkeypatch.setattr(run_study, "NOTEBOOKS", folder)
    monkeypatch.setattr(run_study, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("MAKELEVEL", raising=False)  # under make, the command to go on with is make's
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def statuses(folder: Path) -> dict[str, str]:
    return {name[:2]: entry["status"] for name, entry in state_of(folder)["notebooks"].items()}


def test_a_run_leaves_notebooks_metrics_and_an_index_in_lines(study, capsys):
    assert run_study.main(["--out", "mine é", "-p", "epochs", "3"]) == 0
    out = study / "mine é"
    assert sorted(path.stem[:2] for path in (out / "notebooks").glob("*.ipynb")) == ["01", "02", "03"]
    assert json.loads((out / "metrics.json").read_text()) == {"xception": {"val_accuracy": 3}}
    page = (out / "index.html").read_text()
    assert "notebooks/02_two.html" in page and "val_accuracy" in page
    assert (out / "notebooks" / "02_two.html").is_file()
    said = capsys.readouterr().out
    assert "02_two (2 of 3): complete in" in said and "All 3 notebooks" in said and "\r" not in said
    assert said.count("120 used of 120 found") == 2  # at its start and at its end
    line = next(line for line in said.splitlines() if line.startswith("read on"))
    assert Path(line.split(maxsplit=2)[-1]).is_file()


def test_failure_is_named_and_the_run_goes_on_by_the_printed_command(study, capsys):
    out = study / "runs" / "first"
    (out / "notebooks").mkdir(parents=True)
    (out / "run.json").write_text("{}")
    (out / "broken").touch()
    assert run_study.main(["--out", str(out), "-p", "epochs", "3"]) == 1
    said = capsys.readouterr().err
    assert "02_two.ipynb: failed in cell [3]" in said and "ValueError: no luck" in said
    assert statuses(out) == {"01": "complete", "02": "failed", "03": "waiting"}
    (out / "broken").unlink()
    before = (out / "notebooks" / "01_one.ipynb").stat().st_mtime_ns
    # 02 has no parameter `epochs`, which the run keeps for 03.
    assert "--from 02 --out runs/first" in said and "epochs" not in said
    assert run_study.main(said.split("run_study ")[1].split()) == 0
    assert "As before in this run: epochs 3" in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text())["xception"] == {"val_accuracy": 3}
    assert set(statuses(out).values()) == {"complete"} and state_of(out)["status"] == "complete"
    assert (out / "notebooks" / "01_one.ipynb").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-p", "epoch", "3"], "did you mean 'epochs'"),
        (["-p", "epochs", "many"], "takes int"),
        (["-p", "epochs", "-1"], "1 to"),
        (["-p", "output_dir", "x"], "name it by --out"),
        (["--from", ""], "Expected the number of a notebook"),
        (["--from", "3", "--to", "2"], "Expected --to 3 or later"),
        (["-p", "data_dir", "nowhere"], "Expected a folder of images"),
        (["--from", "9"], "Expected the number of a notebook"),
        (["--from", "2"], "Expected an earlier run"),
        (["-p", "weights", "notebooks/01_one.ipynb"], "Expected the weights of MobileNet or Xception"),
    ],
)
def test_mistakes_are_sentences_and_nothing_starts(study, capsys, arguments, words):
    assert run_study.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (study / "runs").exists()


def test_another_keras_backend_is_refused_before_anything_starts(study, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert run_study.main([]) == 2
    assert capsys.readouterr().err.startswith("Expected KERAS_BACKEND to be tensorflow")


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
        metrics = Path(parameters["output_dir"], "metrics.json")
        sections = json.loads(metrics.read_text()) if metrics.is_file() else {}
        section = run_study.SECTIONS[notebook.stem[:2]]
        metrics.write_text(json.dumps(sections | {section: {"val_accuracy": 0.5}}))
        return NotebookResult(notebook.name, COMPLETE, 1.0)

    monkeypatch.setattr(run_study, "run_notebook", run_notebook)
    return calls


@pytest.mark.parametrize(
    "arguments, notebooks",
    [
        ([], "01 02 03"),
        (["--all"], "01 02 03 10"),
        (["--to", "2"], "01 02"),
        (["--to", "10"], "01 02 03 10"),
    ],
)
def test_side_roads_run_when_they_are_asked_for(study, calls, arguments, notebooks):
    assert run_study.main(arguments) == 0
    assert [name for name, _ in calls] == notebooks.split()
    calls.clear()
    assert run_study.main(["--from", "10"]) == 0
    assert [name for name, _ in calls] == ["10"]


def test_an_interrupted_run_goes_on_with_all_it_began_with(study, calls, images, capsys):
    calls.interrupt = "01"
    assert run_study.main(["-p", "data_dir", "images", "-p", "epochs", "3"]) == 130
    (folder,) = (study / "runs").iterdir()
    assert state_of(folder)["status"] == state_of(folder)["notebooks"]["01_one"]["status"] == "interrupted"
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and f"Interrupted. Go on with: {shlex.quote(sys.executable)}" in said
    assert f"--from 01 --out runs/{folder.name}" in said

    calls.interrupt = ""
    for first in ("01", "2"):
        calls.clear()
        assert run_study.main(["--from", first]) == 0
        assert {p["data_dir"] for _, p in calls} == {str(images)}
        assert [p.get("epochs") for _, p in calls] == ([3, None, 3] if first == "01" else [None, 3])
        assert state_of(folder)["resumed"] == (first == "2")
    assert state_of(folder)["status"] == "complete"


def test_results_older_than_a_notebook_before_them_are_marked_wherever_they_are_shown(study, calls, capsys):
    assert run_study.main([]) == 0
    (folder,) = (study / "runs").iterdir()
    assert (
        run_study.main(["--from", "1", "--to", "1", "--out", str(folder)]) == 0
    )  # a new run in the same folder
    assert statuses(folder) == {"01": "complete", "02": "waiting", "03": "waiting"}
    assert run_study.main(["--from", "2", "--out", str(folder)]) == 0
    capsys.readouterr()
    assert run_study.main(["--from", "2", "--to", "2", "-p", "weights", "imagenet"]) == 0
    entries = state_of(folder)["notebooks"]
    assert [entry.get("stale") for entry in entries.values()] == [None, None, "02_two"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["xception"]["older_than"] == "02_two" and "older_than" not in metrics["data_preparation"]
    assert "0.500 (older than 02_two)" in capsys.readouterr().out
    for page in ("index.html", "notebooks/03_three.html"):
        assert "older than 02_two, which was run again since" in (folder / page).read_text()

    assert run_study.main(["--from", "3"]) == 0
    assert "older" not in (folder / "index.html").read_text() + (folder / "metrics.json").read_text()
    assert "older than" not in (folder / "notebooks" / "03_three.html").read_text()


def test_a_second_process_is_told_who_works_in_the_run(study, calls, capsys):
    assert run_study.main(["--to", "1"]) == 0
    (folder,) = (study / "runs").iterdir()
    with run_study.locked(folder):
        assert run_study.main(["--from", "2"]) == 2
    said = capsys.readouterr().err
    assert f"in use by process {os.getpid()} on " in said and " since 20" in said
    assert run_study.main(["--from", "2"]) == 0


def test_a_weights_file_goes_to_the_backbone_that_it_fits(study, calls):
    weights = REPOSITORY / "train_model" / "weights" / "mobilenet_1_0_224_notop.weights.h5"
    shutil.copy(weights, "mine.h5")
    assert run_study.main(["-p", "weights", "mine.h5"]) == 0
    given = [parameters.get("weights") for _, parameters in calls]
    assert given == [None, "auto", str(study / "mine.h5")]


def test_the_printed_command_is_the_one_for_make(monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1")
    assert run_study.command("--from", "03") == "make run ARGS='--from 03'"
    line = run_study.command("--from", "03", "--out", "/my $photos")
    words = subprocess.run(
        ["sh", "-c", line.replace("make run", "printf %s", 1)], capture_output=True, text=True
    )
    assert words.stdout == "ARGS=--from 03 --out '/my $$photos'"  # for make, in which $$ is $


def test_the_newest_run_is_the_newest_in_time(study, calls):
    for name in ("zebra", "ape"):
        assert run_study.main(["--out", str(study / "runs" / name), "--to", "01"]) == 0
    hour_ago = time.time() - 3600
    os.utime(study / "runs" / "zebra" / "run.json", (hour_ago, hour_ago))
    assert run_study.main(["--from", "02"]) == 0
    assert {parameters["output_dir"] for _, parameters in calls[-2:]} == {str(study / "runs" / "ape")}


def test_a_run_keeps_to_one_data_set(study, calls, images, capsys):
    assert run_study.main(["-p", "data_dir", "images", "--to", "01"]) == 0
    (folder,) = (study / "runs").iterdir()
    recorded = {"data": {"fingerprint": run_study.fingerprint(images)}}  # as every notebook records it
    (folder / "metrics.json").write_text(json.dumps(recorded))
    assert run_study.main(["--from", "02", "-p", "data_dir", str(SAMPLE)]) == 2
    assert "a run keeps to one data set" in capsys.readouterr().err
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["2024-05-01", "yes", "photos #1", "[x", "010", "{a: b}", "~x", "$HOME", ""])
def test_a_folder_may_be_called_anything(study, calls, images, name):
    if name:
        images.rename(study / name)
    assert run_study.main(["-p", "data_dir", name, "--to", "01"]) == 0
    assert calls[0][1]["data_dir"] == str(study / name if name else SAMPLE)


def test_a_place_that_cannot_be_written_to_is_a_sentence(study, calls, capsys, monkeypatch):
    (study / "occupied").write_text("mine")
    assert run_study.main(["--out", "occupied"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "occupied" in said and (study / "occupied").read_text() == "mine"

    monkeypatch.setenv("SCENES_CACHE_DIR", str(study / "occupied"))  # the cache falls back
    assert run_study.main(["--to", "1"]) == 0
    (folder,) = (study / "runs").iterdir()
    assert os.environ["SCENES_CACHE_DIR"] == str(folder / "cache")
    assert "The cache is kept in the run's folder: occupied can't be written" in capsys.readouterr().out


def test_only_folders_that_a_run_made_are_emptied(study, calls, capsys):
    file = study / "mine" / "models" / "mine.keras"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert run_study.main(["--out", "mine"]) == 2
    assert "found other things in mine" in capsys.readouterr().err
    assert file.read_text() == "mine" and not calls
    (study / "mine" / "run.json").write_text("{}")
    assert run_study.main(["--out", "mine"]) == 0
    assert not file.exists()


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
