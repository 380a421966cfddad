"""The small environment: models run without TensorFlow, and without anything a sentence says what to install."""

import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from containerize_deploy.installed import PACKAGES
from containerize_deploy.scene_model import MODEL_FILE

ROOT = MODEL_FILE.parents[1]
SAMPLE = ROOT / "data_prep_eda" / "sample"


def test_nothing_that_classify_imports_needs_more_than_the_small_environment():
    """Not TensorFlow, pandas or whatever else the project has, by some detour."""
    code = (
        "import sys, containerize_deploy.classify, containerize_deploy.lambda_function; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    ours = {"containerize_deploy", "data_prep_eda"}
    installed = {
        name
        for name in modules - ours
        if "site-packages" in str(getattr(sys.modules.get(name), "__file__", "")) and not name.startswith("_")
    }
    assert installed & {"tensorflow", "keras", "pandas", "scipy", "flatbuffers", "train_model"} == set()
    assert {"numpy", "PIL"} <= modules


@pytest.mark.parametrize("command", ["classify photo.jpg", "local_runtime"])
def test_without_packages_a_sentence_says_what_to_install(tmp_path, command):
    name, *arguments = command.split()
    program = f"import runpy, sys; sys.argv[1:] = {arguments!r}; runpy.run_module('containerize_deploy.{name}', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True
    )  # -S: without the installed packages
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "found no ai_edge_litert, idna, numpy, PIL, simplejpeg" in done.stderr
    assert re.search(r"-m pip install --no-deps -r .*requirements\.txt", done.stderr)


@pytest.mark.slow
def test_the_command_of_the_sentence_makes_an_environment_in_which_models_run(
    tmp_path, colour_run, colour_images
):
    """In a folder with a space and an accent, in its Python alone."""
    folder = tmp_path / "kleine Umgebung é"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"

    def run(*arguments: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run([python, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)

    before = run("containerize_deploy.classify", SAMPLE)
    command = shlex.split(before.stderr.splitlines()[-1])
    assert command[:3] == [str(python), "-m", "pip"]
    installed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "No matching distribution" in installed.stderr:
        pytest.skip(f"no package index has them: {installed.stderr.strip()}")
    assert installed.returncode == 0, installed.stderr

    assert run("containerize_deploy.classify", SAMPLE).stdout.count("%") == 360
    evaluated = run("containerize_deploy.classify", "--model", colour_run, "--evaluate", colour_images)
    assert evaluated.returncode == 0 and "草原" in evaluated.stdout
    copied = run("containerize_deploy.classify", "--set-threshold", "1", "--to", tmp_path / "copy.tflite")
    assert copied.returncode == 0, copied.stderr
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    assert megabytes < 200
    for name in ("tensorflow", "pandas", "flatbuffers"):
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode

    from tests.containerize_deploy.test_local_runtime import ask, serving

    with serving("--model", str(colour_run), python=python) as address:
        assert ask(address)["model"]["version"] == "0.1"


def test_what_is_asked_for_is_what_is_pinned():
    pinned = (MODEL_FILE.parent / "requirements.in").read_text()
    modules = {
        name.replace("-", "_").replace("pillow", "PIL") for name in re.findall(r"^[\w-]+", pinned, re.M)
    }
    assert set(PACKAGES) == modules
