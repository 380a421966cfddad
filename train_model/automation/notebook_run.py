"""Runs one notebook by papermill: reads its parameters, executes it in a fresh kernel and says how it went.

What papermill leaves open is added: unknown parameters are errors and not warnings, the kernel is always the interpreter
that runs this code, its start is tried twice, and the outcome comes back as a value and not as an exception.
"""

import ast
import difflib
import importlib.util
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from papermill.exceptions import PapermillExecutionError

from train_model.parameters import ParameterError

COMPLETE = "complete"
FAILED = "failed"

START_SECONDS = 300  # that a kernel may take until it answers, with its imports, on a busy machine
QUIET_SECONDS = 120  # nbclient gives a kernel 4 s to hand over its output, too few on a busy machine
KILLED = "The kernel died. The system may have ended it because memory ran out: close other programs, or take fewer images."


@dataclass(frozen=True)
class NotebookResult:
    """How the run of a notebook ended.

    Attributes:
        notebook: its file name.
        status: `complete` or `failed`.
        seconds: wall clock time, with the start of the kernel.
        failed_cell: number of the code cell that failed, as in `In [5]`; `None` where none is to blame.
        error: type and message of its error, in one line; empty where all went well.
    """

    notebook: str
    status: str
    seconds: float
    failed_cell: int | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == COMPLETE

    def __str__(self) -> str:
        where = f" in cell [{self.failed_cell}]" if self.failed_cell else ""
        return f"{self.notebook}: {self.status}{where} after {self.seconds:.0f} s: {self.error}"


# --- Parameters -------------------------------------------------------------------------------------------


def declared_parameters(notebook: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """What papermill knows of a notebook's parameters: `inferred_type_name`, `default` and `help` by name.

    Raises:
        ParameterError: there is no such notebook, or the file is none.
    """
    if not Path(notebook).is_file():
        raise ParameterError(f"Expected a notebook at {notebook}, found no file there.")
    try:
        return papermill.inspect_notebook(_for_papermill(notebook))
    except Exception as error:  # nbformat's, JSON's and papermill's own kinds
        why = " ".join(str(error).split())[:200]
        raise ParameterError(f"Expected a notebook at {notebook}, found something else: {why}") from None


def _for_papermill(path: str | os.PathLike[str]) -> str:
    """A path for papermill, which would put parameters in place of the braces in it."""
    return str(path).replace("{", "{{").replace("}", "}}")


_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_READ = {"int": int, "float": float, "str": str, "bool": lambda text: _TRUTH[text.strip().lower()]}


def read_parameter(
    value: Any, name: str, declared: Mapping[str, Mapping[str, str]], notebook: str | os.PathLike[str]
) -> Any:
    """Text as the shell and grid files write it, or a value, in the type that a notebook declares.

    `read_parameter("1e-3", "learning_rate", declared, notebook)` is `0.001`, and `"0.1, 0.01"` a list for a
    parameter that takes one. A `str` is taken as it stands, whatever it looks like; numbers are decimal.

    Raises:
        ParameterError: the notebook (its path is for the message) has no such parameter, or the value is none of its
            type.
    """
    notebook = Path(notebook)
    if name not in declared:
        near = difflib.get_close_matches(name, declared, n=1)
        raise ParameterError(
            f"{notebook.name} has no parameter {name!r}"
            + (f"; did you mean {near[0]!r}? " if near else ". ")
            + f"It takes {', '.join(declared) or 'none: no cell is tagged parameters'}."
        )
    kind = declared[name]["inferred_type_name"].split("[")[0]
    try:
        if kind != "list":
            return _READ.get(kind, str)(str(value))
        # The elements of the default say of what.
        types = {type(element).__name__ for element in ast.literal_eval(declared[name]["default"])}
        element = "float" if "float" in types else "".join(types)
        kind = f"list[{element}]"
        return [
            _READ[element](text.strip("'\""))
            for text in re.split(r"[\s,]+", str(value).strip("[]() "))
            if text
        ]
    except (ValueError, KeyError):
        raise ParameterError(
            f"Parameter {name!r} of {notebook.name} takes {kind}, found {value!r}."
        ) from None


# --- The kernel -------------------------------------------------------------------------------------------


def kernel_environment() -> dict[str, str]:
    """This process's environment, less what was set for other projects and would change the notebooks.

    Raises:
        ParameterError: Keras is set to a backend, a number format or an order of axes that the study doesn't run on.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"  # whatever keras.json says
    if backend not in ("tensorflow", "jax") or importlib.util.find_spec(backend) is None:
        raise ParameterError(
            f"Expected KERAS_BACKEND to be tensorflow, or jax where that is installed; found {backend!r}. Unset it."
        )
    file = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    settings = {}
    with suppress(OSError, ValueError):  # Keras passes over it too
        settings = json.loads(file.read_text(encoding="utf-8"))
    for name, wanted in (("floatx", "float32"), ("image_data_format", "channels_last")):
        if settings.get(name, wanted) != wanted:
            raise ParameterError(
                f"Expected {name} to be {wanted}, found {settings[name]} in {file}. Change it there, or name another folder "
                f"in KERAS_HOME."
            )
    limits = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")
    environment = {name: value for name, value in os.environ.items() if name not in limits}
    for name in ("NO_PROXY", "no_proxy"):  # a proxy has nothing to do with what runs on this machine
        environment[name] = ",".join(filter(None, (os.environ.get(name), "localhost,127.0.0.1,::1")))
    return environment | {"KERAS_BACKEND": backend}


def start_kernel(
    cwd: str | os.PathLike[str] | None = None, preload: Sequence[str] = ()
) -> AsyncKernelManager:
    """Starts a fresh kernel of this interpreter, for `run_notebook` or `stop_kernel`, and returns at once.

    It imports the modules `preload` before it answers, so that the seconds this takes pass while another notebook runs.
    """
    manager = AsyncKernelManager(
        # Without folders to look in it takes this interpreter's own kernel, and none that another environment
        # left in the user's folders under the same name.
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        # Else other users of the machine can listen in on the port, and every kernel prints a warning of it.
        transport_encryption="auto" if zmq.has("curve") else "disabled",
    )
    lines = [f"--InteractiveShellApp.exec_lines=__import__({module!r});" for module in preload]
    # Cells' own standard error reaches the notebook; what the C++ side of TensorFlow writes past Python
    # would only cut the progress bar in pieces.
    run_sync(manager.start_kernel)(
        extra_arguments=lines, cwd=str(cwd or Path.cwd()), env=kernel_environment(), stderr=subprocess.DEVNULL
    )
    return manager


def stop_kernel(kernel: AsyncKernelManager | None) -> None:
    """Ends a kernel, whatever it does."""
    with suppress(Exception):  # it died already, or never began
        run_sync(kernel.shutdown_kernel)(now=True)


def run_notebook(
    notebook: str | os.PathLike[str],
    output: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    cwd: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    kernel: AsyncKernelManager | None = None,
) -> NotebookResult:
    """Executes a notebook in a fresh kernel of this interpreter; safe in threads as well as processes.

    Args:
        notebook: path of the notebook; it is not changed.
        output: path of the executed notebook, in a folder that exists; saved after every cell, also when one fails.
        parameters: values by name, already checked (`read_parameter`).
        cwd: the kernel's working directory; by default this process's.
        log: file for what the cells print, line by line as they print it.
        progress: called after each code cell with (done, all).
        kernel: a fresh one that `start_kernel` started; it is ended.
    """
    notebook = Path(notebook)
    total = sum(cell.cell_type == "code" for cell in nbformat.read(notebook, as_version=4).cells)
    total += bool(parameters)  # papermill adds a cell that holds them
    began = time.perf_counter()
    running = 0  # number of the code cell under way

    def cell_starts(cell: Any, cell_index: int) -> None:
        nonlocal running
        running += cell.cell_type == "code"

    def cell_ends(cell: Any, cell_index: int, execute_reply: Any) -> None:
        if progress:
            progress(running, total)

    def failed(cell: int | None, name: str, message: str) -> NotebookResult:
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())
        seconds = time.perf_counter() - began
        return NotebookResult(notebook.name, FAILED, seconds, cell, f"{name}: {text}" if text else name)

    with open(log or os.devnull, "w", encoding="utf-8") as stream:
        for last_try in (False, True):  # two processes now and then pick the same ZMQ port (papermill #511)
            try:
                kernel = kernel or start_kernel(cwd)
                papermill.execute_notebook(
                    _for_papermill(notebook),
                    _for_papermill(output),
                    dict(parameters or {}),
                    kernel_name="python3",
                    progress_bar=False,
                    stdout_file=stream,
                    stderr_file=stream,
                    start_timeout=START_SECONDS,
                    km=kernel,
                    iopub_timeout=QUIET_SECONDS,
                    on_cell_start=cell_starts,
                    on_cell_executed=cell_ends,
                )
                return NotebookResult(notebook.name, COMPLETE, time.perf_counter() - began)
            except PapermillExecutionError as error:
                return failed(error.exec_count or running, error.ename, error.evalue)
            except Exception as error:  # the kernel died: out of memory, or it never started
                if running or last_try:
                    name = type(error).__name__
                    died = running and name == "DeadKernelError"
                    return failed(running or None, name, KILLED if died else str(error))
            finally:
                stop_kernel(kernel)
                kernel = None
    raise AssertionError("unreachable: the last try returns")
