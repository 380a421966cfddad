"""The guide your_own_classes.md, followed from a folder to answers from shell, page and container."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from containerize_deploy.page import website
from containerize_deploy.scene_model import MODEL_FILE
from tests.containerize_deploy.test_deploy_guides import (
    ROOT,
    SHELLS,
    after,
    docker,
    follow,
    steps,
    told,
    workspace,
)

__all__ = ["docker", "workspace"]  # fixtures

MAKE = """
# Stands in for make: runs the command of a target, but neither makes an environment nor serves until interrupted.
import os, shlex, shutil, subprocess, sys
target, arguments = sys.argv[1], shlex.split(sys.argv[2].removeprefix("ARGS="))
run = os.path.abspath("runs/20260101-120000")
if target == "run" and {model!r}:
    os.makedirs(run + "/models")
    shutil.copy({model!r}, run + "/models/scene-classifier-model.tflite")
elif target == "run":
    command = [sys.executable, "-m", "train_model.automation.run_study", *arguments, "--out", run]
    subprocess.run(command, check=True)
else:
    subprocess.run([sys.executable, "-m", "containerize_deploy.page", *arguments, "--no-serve"], check=True)
"""


def own_classes(
    workspace: Path, docker: Path, shell: str, model: str, leave_out: str
) -> list[tuple[str, str]]:
    """Follows your_own_classes.md; an empty `model` has `make run` train one."""
    shutil.copy(ROOT / "LICENSE", workspace)
    (docker / "make.py").write_text(MAKE.format(model=model))
    (docker / "make").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{docker}/make.py" "$@"\n')
    (docker / "make").chmod(0o755)
    try:
        packages = website.packages()
    except website.PageError:
        leave_out += "|A page"
    else:
        (workspace / "build").mkdir()
        (workspace / "build" / "npm").symlink_to(packages.parent)
    return follow(steps("your_own_classes.md", leave_out), shell, workspace, docker)


@pytest.mark.parametrize("shell", SHELLS)
def test_your_own_classes(workspace, docker, shell, tmp_path):
    """With the committed model in place of the one that a run would train."""
    results = own_classes(workspace, docker, shell, str(MODEL_FILE), leave_out="without TensorFlow")
    assert after(results, "RUN=").strip() == "runs/20260101-120000/"
    lines = after(results, 'python -m containerize_deploy.classify --model "${RUN}" new_images').splitlines()
    assert len(lines) == 10 and all(line.startswith("new_images/forest/forest_3") for line in lines)
    evaluated = after(results, 'python -m containerize_deploy.classify --model "${RUN}" --evaluate')
    assert re.search(r"^ +20 .* \(all\)$", evaluated, re.M) and "of 10 images of other things" in evaluated
    copied = after(
        results, 'python -m containerize_deploy.classify --model "${RUN}" --set-threshold'
    ).splitlines()
    assert copied[0].startswith("my-classes.tflite has the threshold 0.5") and len(copied) == 11
    assert "%" in after(results, "python containerize_deploy/test.py")
    assert [command[0] for command in told(docker)] == ["build", "run", "stop"]
    model = json.loads((docker / "model.json").read_text())
    assert model == "runs/20260101-120000/models/scene-classifier-model.tflite"


@pytest.mark.slow
def test_your_own_classes_with_a_run_and_the_small_environment(workspace, docker):
    """The model is trained on two folders of drawn images, and knows those two classes alone."""
    shutil.copy(ROOT / "pyproject.toml", workspace)
    results = own_classes(workspace, docker, "bash", "", leave_out="$^")
    lines = after(results, 'python -m containerize_deploy.classify --model "${RUN}" new_images').splitlines()
    assert all(re.search(r"(coast|forest) [\d.]+%, (coast|forest) [\d.]+%", line) for line in lines)
    assert "mountain" not in after(results, "python containerize_deploy/test.py")
