"""Runs one notebook: checks its parameters, executes it in a fresh kernel and says how it went.

`make run` and the sweeps build on this. Papermill does the work; what it leaves open is added here: unknown
parameters are errors and not warnings, the kernel is always the interpreter that runs this code, its start
is tried twice, and the outcome comes back as a value and not as an exception.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import default

COMPLETE = "complete"
FAILED = "failed"

KERNEL_STARTS = (
    2  # kernels now and then die at birth: two processes picked the same ZMQ port (papermill #511)
)
QUIET_SECONDS = 120  # nbclient gives a kernel 4 s to hand over its output, too few on a busy machine


class ParameterError(ValueError):
    """Parameters that do not fit a notebook; the message says what was expected, found, and what to do."""


@dataclass(frozen=True)
class NotebookResult:
    """How the run of a notebook ended.

    Attributes:
        notebook: file name of the notebook.
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
        if self.ok:
            return f"{self.notebook}: complete in {self.seconds:.0f} s"
        where = f" in cell [{self.failed_cell}]" if self.failed_cell else ""
        return f"{self.notebook}: failed{where} after {self.seconds:.0f} s: {self.error}"


def check_parameters(notebook: str | os.PathLike[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Checks parameters against the notebook's cell tagged `parameters`.

    Papermill itself only warns of an unknown name and takes any type, so a misspelt sweep would run for hours
    with the defaults.

    Args:
        notebook: path of the notebook.
        parameters: values by name.

    Returns:
        The parameters in the notebook's types: a whole number given for a `float` becomes one.

    Raises:
        ParameterError: there is no such notebook, it has no such parameter, or a value has the wrong type.
    """
    notebook = Path(notebook)
    if not notebook.is_file():
        raise ParameterError(f"Expected a notebook at {notebook}, found no file there.")
    declared = papermill.inspect_notebook(notebook)
    return {
        name: _checked(name, value, _declared_type(name, declared, notebook), notebook)
        for name, value in parameters.items()
    }


def _declared_type(name: str, declared: Mapping[str, Mapping[str, str]], notebook: Path) -> str:
    if name in declared:
        return declared[name]["inferred_type_name"].replace(" ", "")
    near = difflib.get_close_matches(name, declared, n=1)
    raise ParameterError(
        f"{notebook.name} has no parameter {name!r}"
        + (f"; did you mean {near[0]!r}? " if near else ". ")
        + f"It takes {', '.join(declared) or 'none: no cell is tagged parameters'}."
    )


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)}


def _fits(value: Any, kind: str) -> bool:
    """Whether a value has a declared type; types that papermill cannot name (`None`) take anything."""
    if kind in _TYPES:
        # A bool is an int in Python, but `epochs: true` is a slip.
        return isinstance(value, _TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
    if members := re.fullmatch(r"list(?:\[(\w+)\])?", kind):
        return isinstance(value, list | tuple) and all(_fits(one, members[1] or "None") for one in value)
    return True


def _checked(name: str, value: Any, kind: str, notebook: Path) -> Any:
    if not _fits(value, kind):
        raise ParameterError(
            f"Parameter {name!r} of {notebook.name} takes {kind}, found {value!r} ({type(value).__name__})."
        )
    if kind == "float":
        return float(value)
    if kind == "list[float]":
        return [float(one) for one in value]
    return list(value) if isinstance(value, tuple) else value


class _ThisInterpreter(AsyncKernelManager):
    """Starts kernels of the running interpreter.

    The name `python3` is looked up in the user's folders first, where another environment may have left its
    own kernel of that name.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        # Cells' own standard error reaches the notebook; what the C++ side of TensorFlow writes past Python
        # would only cut the progress bar in pieces.
        await super()._async_launch_kernel(kernel_cmd, stderr=subprocess.DEVNULL, **options)

    @default("transport_encryption")
    def _encrypt(self) -> str:
        """Else other users of the machine can listen in on the port, and every kernel prints a warning of it."""
        return "auto" if zmq.has("curve") else "disabled"


def run_notebook(
    notebook: str | os.PathLike[str],
    output: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    cwd: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NotebookResult:
    """Executes a notebook in a fresh kernel of this interpreter.

    Safe in threads as well as processes. The executed notebook is saved after every cell, also when one
    fails; its folder must exist.

    Args:
        notebook: path of the notebook; it is not changed.
        output: path of the executed notebook.
        parameters: values by name, already checked (`check_parameters`).
        cwd: the kernel's working directory; by default this process's.
        log: file for what the cells print, line by line as they print it.
        progress: called after each code cell with the number of code cells done and of all.

    Returns:
        How it ended. A notebook that fails is a result and not an exception.
    """
    notebook = Path(notebook)
    total = sum(cell.cell_type == "code" for cell in nbformat.read(notebook, as_version=4).cells)
    total += bool(parameters)  # papermill adds a cell that holds them
    started = time.perf_counter()
    kernel_ready = False
    running = 0  # number of the code cell under way

    def notebook_starts(notebook: Any) -> None:
        nonlocal kernel_ready
        kernel_ready = True

    def cell_starts(cell: Any, cell_index: int) -> None:
        nonlocal running
        running += cell.cell_type == "code"

    def cell_ends(cell: Any, cell_index: int, execute_reply: Any) -> None:
        if progress:
            progress(running, total)

    def result(status: str, failed_cell: int | None = None, error: str = "") -> NotebookResult:
        return NotebookResult(notebook.name, status, time.perf_counter() - started, failed_cell, error)

    with ExitStack() as stack:
        stream = stack.enter_context(open(log, "w", encoding="utf-8")) if log else None
        for start in range(1, KERNEL_STARTS + 1):
            try:
                papermill.execute_notebook(
                    str(notebook),
                    str(output),
                    dict(parameters or {}),
                    kernel_name="python3",
                    progress_bar=False,
                    stdout_file=stream,
                    stderr_file=stream,
                    kernel_manager_class=_ThisInterpreter,
                    # papermill's own `cwd` changes the directory of the whole process
                    resources={"metadata": {"path": str(cwd)}} if cwd else {},
                    iopub_timeout=QUIET_SECONDS,
                    on_notebook_start=notebook_starts,
                    on_cell_start=cell_starts,
                    on_cell_executed=cell_ends,
                )
            except PapermillExecutionError as error:
                return result(FAILED, error.exec_count or running, _one_line(error.ename, error.evalue))
            except Exception as error:  # the kernel died: out of memory, or it never started
                if kernel_ready or start == KERNEL_STARTS:
                    return result(FAILED, running or None, _one_line(type(error).__name__, str(error)))
            else:
                return result(COMPLETE)
    raise AssertionError("unreachable: the last start returns")


def _one_line(name: str, message: str) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())
    return f"{name}: {text}" if text else name
