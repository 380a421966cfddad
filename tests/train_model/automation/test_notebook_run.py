"""One notebook, run with parameters: how they are read, what is refused, what comes back."""

import sys
from pathlib import Path

import nbformat
import pytest

from train_model.automation import notebook_run
from train_model.automation.notebook_run import declared_parameters, read_parameter, run_notebook
from train_model.parameters import ParameterError

PARAMETERS = """\
output_dir: str = ""  # folder for the results
learning_rate: float = 0.01  # step size
rates: list[float] = [0.1, 0.01]  # several of them
seeds: list = [0, 1]  # several of them
epochs: int = 2  # passes over the training set
save_files: bool = False  # also the model
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


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        *[("learning_rate", 1, 1.0), ("learning_rate", "1e-3", 0.001), ("epochs", " 010 ", 10)],
        *[("rates", "0.1, 1", [0.1, 1.0]), ("rates", "[0.1 1e-2]", [0.1, 0.01]), ("rates", ["1", 0.5], [1.0, 0.5])],
        *[("seeds", "0 1", [0, 1]), ("save_files", "yes", True), ("save_files", False, False)],
        *[("output_dir", "010", "010"), ("output_dir", " [x", " [x"), ("anything", "3", "3")],
    ],
)  # fmt: skip
def test_values_take_the_type_that_the_notebook_declares(notebook, name, given, value):
    read = read_parameter(given, name, declared_parameters(notebook()), "small.ipynb")
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("learning_rat", 0.1, r"no parameter 'learning_rat'; did you mean 'learning_rate'\? It takes out"),
        ("epochs", 2.5, r"'epochs' of small.ipynb takes int, found 2.5"),
        ("epochs", True, "takes int, found True"),
        ("epochs", "1e3", "takes int, found '1e3'"),
        ("save_files", "perhaps", "takes bool, found 'perhaps'"),
        ("learning_rate", "a tenth", r"takes float, found 'a tenth'"),
        ("rates", [0.1, "x"], r"takes list\[float\], found \[0.1, 'x'\]"),
        ("seeds", "0.5", r"takes list\[int\], found '0.5'"),
        ("epochs", 0, "Expected epochs to be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(notebook, name, given, message):
    with pytest.raises(ParameterError, match=message):
        read_parameter(given, name, declared_parameters(notebook()), "small.ipynb")


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"Expected a notebook at .*nowhere\.ipynb"):
        declared_parameters(tmp_path / "nowhere.ipynb")


def test_a_run_leaves_the_executed_notebook_and_the_log(notebook, tmp_path, monkeypatch):
    """In a folder whose name papermill would format, by this interpreter, with what Python's output has line by line."""
    monkeypatch.setenv("KERAS_BACKEND", "")
    folder = tmp_path / "{epochs} {0} é"
    folder.mkdir()
    source = notebook(
        "import os, sys\nprint(sys.executable, os.getcwd())",
        "print(os.environ['KERAS_BACKEND'], os.environ['NO_PROXY'])",
        "open('made_here.txt', 'w').close()\nprint('epochs', epochs)",
    ).rename(folder / "small.ipynb")
    monkeypatch.chdir(folder)
    result = run_notebook(source, folder / "executed.ipynb", {"epochs": 7}, log=folder / "log.txt")
    assert result.ok, result
    first, second, third = (folder / "log.txt").read_text().splitlines()
    assert first == f"{sys.executable} {folder}" and third == "epochs 7"
    assert second.startswith("tensorflow ") and second.endswith("localhost,127.0.0.1,::1")
    assert (folder / "made_here.txt").exists() and "epochs 7" in (folder / "executed.ipynb").read_text()


def test_a_failing_cell_is_named_with_its_error(notebook, tmp_path):
    source = notebook("print('fine')", "raise ValueError('the sea is\\nmissing')", "print('never')")
    result = run_notebook(source, tmp_path / "executed.ipynb")
    assert (result.status, result.failed_cell) == ("failed", 3)
    assert result.error == "ValueError: the sea is missing"
    assert "small.ipynb: failed in cell [3] after" in str(result)
    assert "the sea is" in (tmp_path / "executed.ipynb").read_text()


def test_a_killed_kernel_is_a_failed_run_that_names_memory(notebook, tmp_path):
    source = notebook("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    result = run_notebook(source, tmp_path / "executed.ipynb", {"epochs": 1})
    assert (result.status, result.failed_cell) == ("failed", 4)
    assert result.error.startswith("DeadKernelError") and "memory ran out" in result.error


@pytest.mark.parametrize(("stillbirths", "ok"), [(1, True), (2, False)])
def test_a_kernel_that_dies_at_birth_is_started_once_more(notebook, tmp_path, monkeypatch, stillbirths, ok):
    starts = []

    class Unlucky(notebook_run.Kernel):
        async def start_kernel(self, **options):
            starts.append(None)
            await super().start_kernel(**options)

        def format_kernel_cmd(self, *_, **__):
            born = super().format_kernel_cmd(*_, **__)
            dies = [sys.executable, "-c", "raise SystemExit('Address already in use')"]
            return dies if len(starts) <= stillbirths else born

    monkeypatch.setattr(notebook_run, "Kernel", Unlucky)
    result = run_notebook(notebook("print(1)"), tmp_path / "executed.ipynb")
    assert (result.ok, len(starts)) == (ok, 2), result
    assert result.failed_cell is None


@pytest.mark.parametrize(
    "backend, settings, words",
    [
        ("torch", "{}", "Expected KERAS_BACKEND to be tensorflow"),
        ("", '{"image_data_format": "channels_first"}', "Expected image_data_format to be channels_last"),
        ("", '{"floatx": "float16"}', "Expected floatx to be float32, found float16 in "),
    ],
)
def test_settings_of_keras_for_other_projects_are_refused(
    notebook, tmp_path, monkeypatch, backend, settings, words
):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(settings)
    result = run_notebook(notebook("print(1)"), tmp_path / "executed.ipynb")
    assert not result.ok and words in result.error


def test_other_settings_of_keras_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for text in ('{"backend": "torch", "floatx": "float32"}', "no JSON"):
        (tmp_path / "keras.json").write_text(text)
        environment = notebook_run.kernel_environment()
        assert environment["KERAS_BACKEND"] == "tensorflow" and "KERAS_MAX_EPOCHS" not in environment
