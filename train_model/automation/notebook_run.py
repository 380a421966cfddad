"""Runs one notebook: checks its parameters, executes it in a fresh kernel and says how it went.

`make run` and the sweeps build on this. Papermill does the work; what it leaves open is added here: unknown
parameters are errors and not warnings, the kernel is always the interpreter that runs this code, its start
is tried twice, and the outcome comes back as a value and not as an exception.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from data_prep_eda.dataset import Dataset, fingerprint, load_dataset
from data_prep_eda.other_sources import find_sources
from train_model import parameters as rules
from train_model.parameters import ParameterError

COMPLETE = "complete"
FAILED = "failed"

KERNEL_STARTS = (
    2  # kernels now and then die at birth: two processes picked the same ZMQ port (papermill #511)
)
START_SECONDS = 300  # that a kernel may take until it answers, with its imports, on a busy machine
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


def declared_parameters(notebook: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """What papermill knows of a notebook's parameters: `inferred_type_name`, `default` and `help` by name.

    Raises:
        ParameterError: there is no such notebook, or the file is none.
    """
    if not Path(notebook).is_file():
        raise ParameterError(f"Expected a notebook at {notebook}, found no file there.")
    try:
        return papermill.inspect_notebook(_as_it_is(notebook))
    except Exception as error:  # nbformat's, JSON's and papermill's own kinds
        why = " ".join(str(error).split())[:200]
        raise ParameterError(f"Expected a notebook at {notebook}, found something else: {why}") from None


def _as_it_is(path: str | os.PathLike[str]) -> str:
    """A path for papermill, which would put parameters in place of the braces in it."""
    return str(path).replace("{", "{{").replace("}", "}}")


def typed(
    name: str, value: Any, declared: Mapping[str, Mapping[str, str]], notebook: str | os.PathLike[str]
) -> Any:
    """A value in the type that a notebook declares; text is read as the shell and grid files write it.

    Args:
        name: of the parameter.
        value: as text or in its type already.
        declared: see `declared_parameters`.
        notebook: path of the notebook, for the message.

    Raises:
        ParameterError: the notebook has no such parameter, or the value is none of its type.
    """
    notebook = Path(notebook)
    if name not in declared:
        near = difflib.get_close_matches(name, declared, n=1)
        raise ParameterError(
            f"{notebook.name} has no parameter {name!r}"
            + (f"; did you mean {near[0]!r}? " if near else ". ")
            + f"It takes {', '.join(declared) or 'none: no cell is tagged parameters'}."
        )
    kind = _kind(name, declared)
    if not _fits(value, kind):
        raise ParameterError(
            f"Parameter {name!r} of {notebook.name} takes {kind}, found {value!r} ({type(value).__name__})."
        )
    if kind == "float":
        return float(value)
    if kind == "list[float]":
        return [float(one) for one in value]
    return list(value) if isinstance(value, tuple) else value


def read_text(
    name: str, text: str, declared: Mapping[str, Mapping[str, str]], notebook: str | os.PathLike[str]
) -> Any:
    """A value that the shell or a grid file gives as text, in the type that a notebook declares.

    Args:
        name: of the parameter.
        text: its value.
        declared: see `declared_parameters`.
        notebook: path of the notebook, for the message.

    Raises:
        ParameterError: see `typed`.
    """
    value: Any = text
    if name in declared:
        kind = _kind(name, declared)
        with suppress(ValueError):  # `typed` says what is wrong with the text
            value = rules.parse(text, kind, _literal(declared[name]["default"]))
    return typed(name, value, declared, notebook)


def element_kind(name: str, declared: Mapping[str, Mapping[str, str]]) -> str:
    """The type of the elements of a parameter that takes a list; empty where it takes none or doesn't say."""
    if name not in declared or not _kind(name, declared).startswith("list"):
        return ""
    return rules.element_kind(_kind(name, declared), _literal(declared[name]["default"]))


def _kind(name: str, declared: Mapping[str, Mapping[str, str]]) -> str:
    return declared[name]["inferred_type_name"].replace(" ", "")


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)}


def _fits(value: Any, kind: str) -> bool:
    """Whether a value has a declared type; types that papermill cannot name (`None`) take anything."""
    if kind in _TYPES:
        # A bool is an int in Python, but `epochs: true` is a slip.
        return isinstance(value, _TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
    if members := re.fullmatch(r"list(?:\[(\w+)\])?", kind):
        return isinstance(value, list | tuple) and all(_fits(one, members[1] or "None") for one in value)
    return True


# --- The images -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """Which images a run is on.

    Attributes:
        dataset: with its files listed, not decoded.
        sources: folder of further sources; None where there are none.
    """

    dataset: Dataset
    sources: Path | None

    @classmethod
    def find(cls, data_dir: str = "", other_sources: str = "") -> Images:
        """Finds them as the notebooks do.

        Raises:
            DatasetError: a folder isn't there or hasn't the layout that is read.
        """
        dataset = load_dataset(data_dir, check=False)
        return cls(dataset, find_sources(other_sources, dataset))

    @cached_property
    def fingerprint(self) -> str:
        """Tells one set of images from another, wherever they lie."""
        return f"{fingerprint(self.dataset.folder)}-{fingerprint(self.sources)}"


# --- The kernel -------------------------------------------------------------------------------------------


class _ThisInterpreter(AsyncKernelManager):
    """Starts kernels of the running interpreter.

    The name `python3` is looked up in the user's folders first, where another environment may have left its
    own kernel of that name.
    """

    preload = ""  # Python source that runs before the kernel answers

    @property
    def kernel_spec(self) -> KernelSpec:
        spec = get_kernel_dict()
        if self.preload:
            launcher = spec["argv"].index("-m")
            spec["argv"][launcher : launcher + 2] = ["-c", self.preload]
        return KernelSpec(resource_dir=RESOURCES, **spec)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        # Cells' own standard error reaches the notebook; what the C++ side of TensorFlow writes past Python
        # would only cut the progress bar in pieces.
        await super()._async_launch_kernel(kernel_cmd, stderr=subprocess.DEVNULL, **options)

    @default("transport_encryption")
    def _encrypt(self) -> str:
        """Else other users of the machine can listen in on the port, and every kernel prints a warning of it."""
        return "auto" if zmq.has("curve") else "disabled"


_PRELOAD = """
import contextlib, importlib, os, runpy, sys
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as the kernel will
for name in {modules!r}:
    with contextlib.suppress(Exception):  # the cell that imports it says what is wrong
        importlib.import_module(name)
if pandas := sys.modules.get("pandas"):
    pandas.set_option("display.max_columns", 20)  # its default in a kernel, which is not there yet at its import
runpy.run_module("ipykernel_launcher", run_name="__main__")
"""


def start_kernel(
    notebook: str | os.PathLike[str], cwd: str | os.PathLike[str] | None = None
) -> AsyncKernelManager:
    """Starts a fresh kernel for a notebook and returns at once; it then imports what the notebook imports.

    So the seconds that importing TensorFlow takes pass while another notebook runs.

    Args:
        notebook: path of the notebook.
        cwd: the kernel's working directory; by default this process's.

    Returns:
        The kernel's manager, for `run_notebook` or `stop_kernel` in the same thread.
    """
    manager = _ThisInterpreter()
    manager.preload = _PRELOAD.format(modules=imported_modules(notebook))
    run_sync(manager.start_kernel)(**({"cwd": str(cwd)} if cwd else {}))
    return manager


def stop_kernel(kernel: AsyncKernelManager) -> None:
    """Ends a kernel, whatever it does."""
    with suppress(Exception):  # it died already
        run_sync(kernel.shutdown_kernel)(now=True)


def imported_modules(notebook: str | os.PathLike[str]) -> list[str]:
    """Names of the modules that the cells of a notebook import at their top level."""
    names: dict[str, None] = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        with suppress(SyntaxError):  # a cell with magics
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Import):
                    names |= dict.fromkeys(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names[node.module] = None
    return list(names)


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
        kernel: a fresh one that `start_kernel` started; it is ended.

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
            kernel = kernel or start_kernel(notebook, cwd)
            try:
                papermill.execute_notebook(
                    _as_it_is(notebook),
                    _as_it_is(output),
                    dict(parameters or {}),
                    kernel_name="python3",
                    progress_bar=False,
                    stdout_file=stream,
                    stderr_file=stream,
                    start_timeout=START_SECONDS,
                    km=kernel,
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
            finally:
                stop_kernel(kernel)
                kernel = None
    raise AssertionError("unreachable: the last start returns")


def _one_line(name: str, message: str) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())
    return f"{name}: {text}" if text else name
