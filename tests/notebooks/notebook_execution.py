"""Executes the committed notebooks with small parameters, for the tests."""

import os
import subprocess
import sys
from pathlib import Path

import papermill
import yaml

from train_model.automation.run_study import assign, numbered_notebooks

ALL = numbered_notebooks()
SMALL = yaml.safe_load((Path(__file__).parent / "params.yml").read_text())


def execute(notebook: Path, build: Path, data_dir: Path | str) -> subprocess.CompletedProcess:
    """Prepares a notebook with the tests' parameters and runs it under nbval, as a reader would."""
    (build / "out").mkdir(parents=True, exist_ok=True)
    known = papermill.inspect_notebook(notebook)
    parameters = {name: value for name, value in SMALL.items() if name in known}
    parameters |= {"data_dir": str(data_dir), "output_dir": str(build / "out")}
    papermill.execute_notebook(
        notebook,
        build / notebook.name,
        assign([notebook], parameters)[notebook],
        prepare_only=True,
        progress_bar=False,
    )
    return check(build / notebook.name)


def check(notebook: Path) -> subprocess.CompletedProcess:
    """Runs a notebook under nbval: no cell may fail, and those tagged `nbval-check-output` give their outputs again."""
    flags = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "600", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *flags, "--rootdir", ".", "-c", os.devnull, "-q", notebook.name],
        capture_output=True,
        text=True,
        cwd=notebook.parent,
    )
