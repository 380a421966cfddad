"""The conda environment, the pins and the declared ranges say the same."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
NAMED_BY_THE_USER = [
    "tensorflow",
    "jupyter",
    "papermill",
    "matplotlib",
    "seaborn",
    "pandas",
    "scipy",
    "tflite-runtime",
    "nbval",
]


def pip_part() -> list[str]:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    return next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))


def pins(file: str = "requirements.txt") -> list[Requirement]:
    lines = (REPOSITORY / file).read_text().splitlines()
    return [Requirement(line) for line in lines if re.match(r"[A-Za-z0-9]", line)]


def test_every_package_the_user_named_is_in_the_conda_environment():
    names = {Requirement(line).name for line in pip_part() if not line.startswith("-")}
    assert set(NAMED_BY_THE_USER) <= names
    assert "-r requirements.txt" in pip_part()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the conda environment is for Python 3.11")
def test_pip_part_of_the_conda_environment_resolves_to_the_pins():
    # This environment was installed from requirements.txt; if the conda one differed anywhere, pip would want
    # to install something.
    wanted = [
        part for line in pip_part() if line != "-e ." for part in line.split(" ", line[:2] in ("-r", "-c"))
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", *wanted],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert '"install": []' in done.stdout


def test_pins_are_exact_and_within_the_declared_ranges():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pinned = pins()
    assert all(str(pin.specifier).startswith("==") for pin in pinned)
    for line in project["dependencies"]:
        declared = Requirement(line)
        if declared.marker and not declared.marker.evaluate():
            continue
        mine = [
            pin for pin in pinned if pin.name == declared.name and (not pin.marker or pin.marker.evaluate())
        ]
        assert len(mine) == 1, declared.name
        assert declared.specifier.contains(str(mine[0].specifier).removeprefix("=="))


def test_every_declared_dependency_carries_its_reason():
    text = (REPOSITORY / "pyproject.toml").read_text().split("[tool.")[0]
    declared = re.findall(r'^  "[^"]+",.*$', text, re.MULTILINE)
    assert len(declared) > 30
    assert [line for line in declared if "  # " not in line and "scene-classifier[" not in line] == []


def test_a_reader_installs_nothing_that_only_tests_need():
    needed = {pin.name for pin in pins()}
    added = {pin.name for pin in pins("requirements-test.txt")}
    assert {"tensorflow", "papermill", "jupyter", "seaborn"} <= needed
    for name in ("moto", "awscli", "s3fs", "bokeh", "jax", "pytest", "ruff", "nbval", "mediapipe"):
        assert name in added - needed
    assert "-r requirements.txt" in (REPOSITORY / "requirements-test.txt").read_text().splitlines()
    assert all(str(pin.specifier).startswith("==") for pin in pins("requirements-test.txt"))


@pytest.mark.parametrize("python, has_tflite_runtime", [("3.11", True), ("3.12", False), ("3.13", False)])
def test_pins_serve_every_supported_python(python, has_tflite_runtime):
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    names = [pin.name for pin in pins() if not pin.marker or pin.marker.evaluate(environment)]
    assert len(names) == len(set(names)), "two versions of one package for the same Python"
    assert "tensorflow" in names and "numpy" in names
    assert ("tflite-runtime" in names) == has_tflite_runtime


def test_make_has_python_keep_its_bytecode_where_the_environment_forbids_it(tmp_path):
    # A virtual environment whose Python shows what it was given.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nenv\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    (tmp_path / ".installed").touch()
    given = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["make", "run", f"VENV={tmp_path}"], cwd=REPOSITORY, env=given, capture_output=True, text=True
    )
    assert "PATH=" in done.stdout, done.stderr
    assert "PYTHONDONTWRITEBYTECODE=" not in done.stdout
