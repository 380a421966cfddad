"""One notebook, run with parameters: what is refused, what comes back."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from data_prep_eda.files import write_json
from train_model.automation import notebook_run
from train_model.automation.notebook_run import run_notebook
from train_model.automation.run_study import assign
from train_model.parameters import ParameterError

PARAMETERS = """\
output_dir: str = ""  # folder for the results
learning_rate: float = 0.01  # step size
rates: list[float] = [0.1, 0.01]  # several of them
epochs: int = 2  # passes over the training set
augmentation: bool = False  # flip and shift
anything = None  # no type given"""


@pytest.fixture
def notebook(tmp_path: Path):
    """Builds a notebook from cells of code, after the parameters cell."""

    def build(*cells: str) -> Path:
        parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        path = tmp_path / "small.ipynb"
        python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[parameters, *code], metadata=python), path)
        return path

    return build


def test_whole_numbers_are_accepted_for_floats(notebook):
    path = notebook()
    checked = assign([path], {"learning_rate": 1, "rates": (1, 0.5), "anything": {"a": 1}})[path]
    assert checked == {"learning_rate": 1.0, "rates": [1.0, 0.5], "anything": {"a": 1}}
    assert isinstance(checked["learning_rate"], float)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"learning_rat": 0.1},
            r"no parameter 'learning_rat'; did you mean 'learning_rate'\? It takes out",
        ),
        ({"epochs": 2.5}, r"'epochs' of small.ipynb takes int, found 2.5 \(float\)"),
        ({"epochs": True}, "takes int, found True"),
        ({"augmentation": 1}, "takes bool, found 1"),
        ({"learning_rate": "a tenth"}, r"takes float, found 'a tenth' \(str\)"),
        ({"rates": [0.1, "x"]}, r"takes list\[float\], found \[0.1, 'x'\]"),
        ({"rates": 0.1}, r"takes list\[float\], found 0.1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(notebook, parameters, message):
    with pytest.raises(ParameterError, match=message):
        assign([notebook()], parameters)


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"Expected a notebook at .*nowhere\.ipynb"):
        assign([tmp_path / "nowhere.ipynb"], {})


def test_a_run_leaves_the_executed_notebook_and_the_log(notebook, tmp_path):
    source = notebook(
        "import os, sys\nprint(sys.executable, os.getcwd())",
        "open('made_here.txt', 'w').close()\nprint('epochs', epochs)",
    )
    (tmp_path / "elsewhere").mkdir()
    steps = []
    result = run_notebook(
        source,
        tmp_path / "executed.ipynb",
        {"epochs": 7},
        cwd=tmp_path / "elsewhere",
        log=tmp_path / "log.txt",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert result.ok, result
    assert (tmp_path / "log.txt").read_text() == f"{sys.executable} {tmp_path / 'elsewhere'}\nepochs 7\n"
    assert (tmp_path / "elsewhere" / "made_here.txt").exists()
    assert "epochs 7" in (tmp_path / "executed.ipynb").read_text()
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]  # parameters, injected parameters, two cells


def test_folders_may_have_braces_in_their_names(notebook, tmp_path):
    folder = tmp_path / "{epochs} {0} }{"
    folder.mkdir()
    source = notebook().rename(folder / "small.ipynb")
    assert "epochs" in notebook_run.declared_parameters(source)
    assert run_notebook(source, folder / "executed.ipynb", {"epochs": 7}).ok
    assert (folder / "executed.ipynb").is_file()


def test_a_failing_cell_is_named_with_its_error(notebook, tmp_path):
    source = notebook("print('fine')", "raise ValueError('the sea is\\nmissing')", "print('never')")
    result = run_notebook(source, tmp_path / "executed.ipynb")
    assert (result.status, result.failed_cell, result.error) == (
        "failed",
        3,
        "ValueError: the sea is missing",
    )
    assert "small.ipynb: failed in cell [3] after" in str(result)
    assert "the sea is" in (tmp_path / "executed.ipynb").read_text()


def test_a_killed_kernel_is_a_failed_run(notebook, tmp_path):
    source = notebook("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    result = run_notebook(source, tmp_path / "executed.ipynb", {"epochs": 1})
    assert (result.status, result.failed_cell) == ("failed", 4)
    assert "DeadKernelError" in result.error


@pytest.mark.parametrize(("stillbirths", "ok"), [(1, True), (2, False)])
def test_a_kernel_that_dies_at_birth_is_started_once_more(notebook, tmp_path, monkeypatch, stillbirths, ok):
    starts = []

    class Unlucky(notebook_run._ThisInterpreter):
        async def start_kernel(self, **options):
            starts.append(None)
            await super().start_kernel(**options)

        @property
        def kernel_spec(self):
            spec = super().kernel_spec
            if len(starts) <= stillbirths:
                spec.argv = [sys.executable, "-c", "raise SystemExit('Address already in use')"]
            return spec

    monkeypatch.setattr(notebook_run, "_ThisInterpreter", Unlucky)
    result = run_notebook(notebook("print(1)"), tmp_path / "executed.ipynb")
    assert (result.ok, len(starts)) == (ok, 2), result
    assert result.failed_cell is None


def test_a_status_is_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "point" / "status.json", {"status": "complete"})
    with pytest.raises(TypeError):
        write_json(tmp_path / "point" / "status.json", {"status": object()})
    assert json.loads((tmp_path / "point" / "status.json").read_text()) == {"status": "complete"}


def test_tables_are_as_wide_as_in_a_kernel_that_jupyter_starts(notebook, tmp_path):
    """Pandas asks for the kernel when it is imported, and ours imports it before there is one."""
    result = run_notebook(
        notebook("import pandas\nassert pandas.get_option('display.max_columns') == 20"),
        tmp_path / "executed.ipynb",
    )
    assert result.ok, result
