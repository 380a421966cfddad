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
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from train_model.parameters import ParameterError, check_parameters

COMPLETE = "complete"
FAILED = "failed"

START_SECONDS = 300  # that a kernel may take until it answers, with its imports, on a busy machine
QUIET_SECONDS = 120  # nbclient gives a kernel 4 s to hand over its output, too few on a busy machine
KILLED = "The kernel died. The system may have ended it because memory ran out: close other programs, or take fewer images."


@dataclass(frozen=True)
class NotebookResult:
    """How the run of a notebook ended."""

    notebook: str  # file name
    status: str  # `complete` or `failed`
    seconds: float  # wall clock time, with the start of the kernel
    failed_cell: int | None = None  # number of the code cell, as in `In [5]`; `None` where none is to blame
    error: str = ""  # type and message, in one line

    @property
    def ok(self) -> bool:
        return self.status == COMPLETE

    def __str__(self) -> str:
        where = f" in cell [{self.failed_cell}]" if self.failed_cell else ""
        return f"{self.notebook}: {self.status}{where} after {self.seconds:.0f} s: {self.error}"


# --- Parameters -------------------------------------------------------------------------------------------


def declared_parameters(notebook: Path) -> dict[str, dict[str, str]]:
    """`inferred_type_name`, `default` and `help` of a notebook's parameters by name; ParameterError if it is no notebook."""
    try:
        notebook.read_bytes()  # papermill would warn of a folder
        return papermill.inspect_notebook(_for_papermill(notebook))
    except Exception as error:  # nbformat's, JSON's and papermill's own kinds
        why = " ".join(str(error).split())[:200]
        raise ParameterError(f"Expected a notebook at {notebook}, could not read it: {why}") from None


def _for_papermill(path: Path) -> str:
    """A path for papermill, which would put parameters in place of the braces in it."""
    return str(path).replace("{", "{{").replace("}", "}}")


_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_READ = {"int": int, "float": float, "str": str, "bool": lambda text: _TRUTH[text.strip().lower()]}


def read_parameter(value: Any, name: str, declared: Mapping[str, Mapping[str, str]], notebook: str) -> Any:
    """Text as the shell and grid files write it, or a value, in the type that a notebook declares, checked.

    `read_parameter("1e-3", "learning_rate", declared, notebook)` is `0.001`, and `"0.1, 0.01"` a list for a
    parameter that takes one. A `str` is taken as it stands, whatever it looks like; numbers are decimal.

    Raises:
        ParameterError: the notebook (its name is for the message) has no such parameter, or the value is none of its
            type, or out of range.
    """
    if name not in declared:
        near = difflib.get_close_matches(name, declared, n=1)
        raise ParameterError(
            f"{notebook} has no parameter {name!r}"
            + (f"; did you mean {near[0]!r}? " if near else ". ")
            + f"It takes {', '.join(declared) or 'none: no cell is tagged parameters'}."
        )
    kind = declared[name]["inferred_type_name"].split("[")[0]
    try:
        if kind == "list":  # the elements of the default say of what
            types = {type(element).__name__ for element in ast.literal_eval(declared[name]["default"])}
            element = "float" if "float" in types else "".join(types)
            kind = f"list[{element}]"
            read = [_READ[element](text) for text in re.findall(r"[^][()\s,'\"]+", str(value))]
        else:
            read = _READ.get(kind, str)(str(value))
    except (ValueError, KeyError):
        raise ParameterError(f"Parameter {name!r} of {notebook} takes {kind}, found {value!r}.") from None
    check_parameters(**{name: read})
    return read


# --- The kernel -------------------------------------------------------------------------------------------


def kernel_environment() -> dict[str, str]:
    """This process's environment, less what other projects set; ParameterError for a Keras that the study can't run on."""
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


class Kernel(AsyncKernelManager):
    """A kernel of this interpreter, and none that another environment left in the user's folders under the same name."""

    def __init__(self, **options: Any) -> None:
        # Unencrypted, other users of the machine can listen in on the port, and every kernel prints a warning of it.
        options["transport_encryption"] = "auto" if zmq.has("curve") else "disabled"
        super().__init__(**options, kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))

    async def start_kernel(self, **options: Any) -> None:
        # Cells' own standard error reaches the notebook; what the C++ side of TensorFlow writes past Python
        # would only cut the progress bar in pieces.
        await super().start_kernel(**options, env=kernel_environment(), stderr=subprocess.DEVNULL)


def run_notebook(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    log: Path | None = None,
    title: str = "",
) -> NotebookResult:
    """Executes a notebook in a fresh kernel of this interpreter, in this process's working directory.

    Args:
        notebook: path of the notebook; it is not changed.
        output: path of the executed notebook, in a folder that exists; saved after every cell, also when one fails.
        parameters: values by name, already checked (`read_parameter`).
        log: file for what the cells print, line by line as they print it.
        title: of a progress bar, which is shown on a terminal; a log has lines and no bars.
    """
    began = time.perf_counter()
    started = 0  # code cells

    def cell_starts(cell: Any, cell_index: int) -> None:
        nonlocal started
        started += cell.cell_type == "code"

    def ended(status: str, cell: int | None = None, *error: str) -> NotebookResult:
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", ": ".join(filter(None, error))).split())
        return NotebookResult(notebook.name, status, time.perf_counter() - began, cell, text)

    with open(log or os.devnull, "w", encoding="utf-8") as stream:
        for last_try in (False, True):  # two processes now and then pick the same ZMQ port (papermill #511)
            try:
                papermill.execute_notebook(
                    _for_papermill(notebook),
                    _for_papermill(output),
                    dict(parameters or {}),
                    kernel_name="python3",
                    progress_bar=bool(title and sys.stderr.isatty()) and {"desc": title, "leave": False},
                    stdout_file=stream,
                    stderr_file=stream,
                    start_timeout=START_SECONDS,
                    kernel_manager_class=Kernel,
                    shutdown_kernel="immediate",
                    iopub_timeout=QUIET_SECONDS,
                    on_cell_start=cell_starts,
                )
                return ended(COMPLETE)
            except PapermillExecutionError as error:
                return ended(FAILED, error.exec_count or started, error.ename, error.evalue)
            except DeadKernelError:
                return ended(FAILED, started, "DeadKernelError", KILLED)
            except Exception as error:  # the kernel never started
                if started or last_try:
                    return ended(FAILED, started or None, type(error).__name__, str(error))
    raise AssertionError("unreachable: the last try returns")
