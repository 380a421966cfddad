"""Runs one notebook: checks its parameters, executes it in a fresh kernel and says how it went.

`make run` and the sweeps build on this. Papermill does the work; what it leaves open is added here: unknown
parameters are errors and not warnings, the kernel is always the interpreter that runs this code, its start
is tried twice, and the outcome comes back as a value and not as an exception.
"""

from __future__ import annotations

import ast
import difflib
import functools
import json
import operator
import os
import re
import subprocess
import sys
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

from train_model.parameters import ParameterError, check_parameters

COMPLETE = "complete"
FAILED = "failed"

KERNEL_STARTS = (
    2  # kernels now and then die at birth: two processes picked the same ZMQ port (papermill #511)
)
QUIET_SECONDS = 120  # nbclient gives a kernel 4 s to hand over its output, too few on a busy machine


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


def typed_parameters(notebook: str | os.PathLike[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Checks parameters against the notebook's cell tagged `parameters`, and against `train_model.parameters`.

    Papermill itself only warns of an unknown name and takes any type, so a misspelt sweep would run for hours
    with the defaults.

    Args:
        notebook: path of the notebook.
        parameters: values by name; text, as a shell gives it, is read as the type that the notebook declares.

    Returns:
        The parameters in the notebook's types.

    Raises:
        ParameterError: there is no such notebook, it has no such parameter, or a value has the wrong type or is out
            of range.
    """
    notebook = Path(notebook)
    if not notebook.is_file():
        raise ParameterError(f"Expected a notebook at {notebook}, found no file there.")
    declared = inspect(notebook)
    values = {}
    for name, value in parameters.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            raise ParameterError(
                f"{notebook.name} has no parameter {name!r}"
                + (f"; did you mean {near[0]!r}? " if near else ". ")
                + f"It takes {', '.join(declared) or 'none: no cell is tagged parameters'}."
            )
        entry = declared[name]
        values[name] = _as_type(name, value, entry["inferred_type_name"].replace(" ", ""), entry["default"])
    check_parameters(**values)
    return values


@functools.cache
def inspect(notebook: Path) -> Mapping[str, Mapping[str, str]]:
    """The parameters that a notebook declares, by name; see `papermill.inspect_notebook`."""
    return papermill.inspect_notebook(str(notebook))


_SWITCHES = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _as_type(name: str, value: Any, kind: str, default: str) -> Any:
    """A value as a declared type; types that papermill cannot name take anything."""
    try:
        if kind.startswith("list"):
            example = next(iter(ast.literal_eval(default)), 0.0)
            return [_as_scalar(one, type(example).__name__) for one in _members(value)]
        return _as_scalar(value, kind)
    except (ValueError, TypeError, KeyError):
        raise ParameterError(
            f"Parameter {name!r} takes {kind}, such as {default}; found {value!r} ({type(value).__name__})."
        ) from None


def _members(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        raise TypeError
    inside = value.strip().removeprefix("[").removesuffix("]").strip()
    return [one.strip().strip("'\"") for one in inside.split(",")] if inside else []


def _as_scalar(value: Any, kind: str) -> Any:
    if kind == "str":
        if not isinstance(value, str):
            raise TypeError
        return value
    if kind == "bool":
        return value if isinstance(value, bool) else _SWITCHES[value.strip().lower()]
    if isinstance(value, bool):  # a bool is an int in Python, but `epochs: true` is a slip
        raise TypeError
    if kind == "int":
        return int(value.strip()) if isinstance(value, str) else operator.index(value)
    return float(value) if kind == "float" else value


# Runs the imports of a notebook that comes later, waits for the kernel's arguments, and becomes that kernel. The
# imports go into a namespace of their own: the notebook still has to make them.
_WARM = """
import json, sys
sys.path.insert(0, "")
try:
    exec(sys.argv[1], {})
except Exception:
    pass
arguments = sys.stdin.readline()
if arguments:
    from ipykernel.kernelapp import launch_new_instance
    launch_new_instance(argv=json.loads(arguments))
"""


class WarmKernel:
    """A process that has a notebook's imports done and waits to be its kernel.

    TensorFlow takes seconds to import; a process that does it while another notebook runs hides them.

    Args:
        notebook: whose imports, those of its first code cell, are run.
        cwd: the process's working directory.
    """

    def __init__(self, notebook: Path, cwd: Path) -> None:
        cells = nbformat.read(notebook, as_version=4).cells
        setup = next((cell.source for cell in cells if cell.cell_type == "code"), "")
        imports = [node for node in ast.parse(setup).body if isinstance(node, ast.Import | ast.ImportFrom)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WARM, "\n".join(map(ast.unparse, imports))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            start_new_session=True,
        )

    def start(self, arguments: list[str]) -> subprocess.Popen:
        """Hands over the arguments of a kernel's command line; returns the process, which is now that kernel."""
        self.process.stdin.write((json.dumps(arguments) + "\n").encode())
        self.process.stdin.close()
        return self.process

    def close(self) -> None:
        """Ends the process, if it has not become a kernel."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
            self.process.kill()
            self.process.wait()


class _ThisInterpreter(AsyncKernelManager):
    """Starts kernels of the running interpreter.

    The name `python3` is looked up in the user's folders first, where another environment may have left its
    own kernel of that name.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    warm: WarmKernel | None = None  # set on a subclass by `run_notebook`

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        warm, type(self).warm = type(self).warm, None
        if warm and warm.process.poll() is None:
            process = warm.start(kernel_cmd[kernel_cmd.index("-f") :])
            self.provisioner.process = process
            self.provisioner.pid = self.provisioner.pgid = process.pid
            self._reconcile_connection_info(self.provisioner.connection_info)
            return
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
    warm: WarmKernel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NotebookResult:
    """Executes a notebook in a fresh kernel of this interpreter.

    Safe in threads as well as processes. The executed notebook is saved after every cell, also when one
    fails; its folder must exist.

    Args:
        notebook: path of the notebook; it is not changed.
        output: path of the executed notebook.
        parameters: values by name, already checked (`typed_parameters`).
        cwd: the kernel's working directory; by default this process's.
        log: file for what the cells print, line by line as they print it.
        warm: a process to become the kernel; by default a new one is started.
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
    manager = type("Manager", (_ThisInterpreter,), {"warm": warm})

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
                    kernel_manager_class=manager,
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
