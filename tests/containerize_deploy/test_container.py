"""The container without a container engine: its recipe is followed by hand, and what it starts is run.

`ImageBuild` carries the Dockerfile's instructions out one by one in an empty folder, with a clean Python and with
the base image's tools, as a build would. Then the command of its CMD is started under the real runtime client of
Lambda, with a stand-in of Lambda's Runtime API, and with its files read-only. Where a Docker engine runs, the
last test builds the image. test_arm64.py does the same for the other platform.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from containerize_deploy.local_runtime import INVOCATIONS
from containerize_deploy.scene_model import MODEL_FILE, SceneModel
from tests.containerize_deploy.colours import COLOURS, FILE
from tests.containerize_deploy.image_build import (
    DOCKERFILE,
    BuildError,
    ImageBuild,
    NoPackageIndex,
    python_for_the_image,
)
from tests.containerize_deploy.runtime_api import FunctionError, running

ROOT = Path(__file__).parents[2]


def photograph() -> str:
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "JPEG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> ImageBuild:
    """The image, built into a folder, with its files write-protected as Lambda has them."""
    folder = tmp_path_factory.mktemp("image with spaces, größer")
    try:
        built = ImageBuild(folder)
    except NoPackageIndex as error:
        pytest.skip(str(error))
    # The base image brings the runtime client; the same version as in this environment will do.
    client = subprocess.run(
        [built.python, "-m", "pip", "install", "-q", "awslambdaric==" + version("awslambdaric")],
        capture_output=True,
        text=True,
    )
    if client.returncode:
        pytest.skip(f"the runtime client cannot be installed: {client.stderr.strip()}")
    subprocess.run(["chmod", "-R", "a-w", built.task], check=True)
    yield built
    subprocess.run(["chmod", "-R", "u+w", built.task], check=True)


def sealed(command: list) -> list:
    """A command that cannot write where the permissions say so; root is held to them too."""
    return ["setpriv", "--bounding-set=-dac_override", *command] if os.geteuid() == 0 else command


def environment_of(image: ImageBuild, scratch: Path) -> dict[str, str]:
    return {"PATH": f"{image.python.parent}:/usr/bin:/bin", "HOME": str(scratch), "TMPDIR": str(scratch)}


@pytest.fixture(scope="module")
def function(image):
    """The function as Lambda starts it, ready for requests."""
    (handler,) = image.command
    task = image.task
    command = sealed([image.python, "-m", "awslambdaric", handler])
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as log:
        environment = environment_of(image, Path(scratch))
        with running(command, folder=task, environment=environment, log=log) as (api, _):
            yield api, log, Path(scratch)


def test_the_files_cannot_be_written(image):
    """Else the tests below would prove nothing about Lambda's read-only file system."""
    task = image.task
    attempt = sealed([image.python, "-c", "open('written', 'w')"])
    done = subprocess.run(attempt, cwd=task, capture_output=True, text=True)
    assert "PermissionError" in done.stderr


def test_the_image_answers(function):
    api, log, _ = function
    answer = api.invoke({"image": photograph()})
    assert set(answer) == {"label", "probabilities", "in_scope", "score", "model"}
    assert answer["model"]["digest"] == "sha256:" + hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()
    log.seek(0)
    lines = [json.loads(line) for line in log.read().splitlines()]  # nothing else gets in between
    assert lines[-1]["status"] == 200
    assert len(lines[-1]["request_id"]) == 36


def test_the_image_answers_http_and_errors(function):
    api, _, _ = function
    event = {"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "GET", "path": "/"}}}
    assert api.invoke(event)["statusCode"] == 200
    assert api.invoke({"image": "no base64!"})["error"]["code"] == "malformed"
    assert api.invoke(None)["error"]["code"] == "malformed"


def test_the_image_does_not_fetch_from_the_runtime_that_feeds_it(function):
    """The Runtime API is on the loopback, and would hand out other people's photographs."""
    api, _, _ = function
    for url in (
        f"http://{api.address}/2018-06-01/runtime/invocation/next",
        "http://127.0.0.1/",
        "file:///etc/passwd",
    ):
        assert api.invoke({"url": url})["error"]["code"] == "not_allowed"


def test_the_function_leaves_nothing_behind(image, function):
    api, _, scratch = function
    api.invoke({"image": photograph()})
    assert list(scratch.iterdir()) == []


def test_only_the_images_own_packages_are_used(image):
    """Not one of this environment's, and not TensorFlow by some detour."""
    task = image.task
    show = (
        "import json, sys, containerize_deploy.lambda_function as f; f.lambda_handler({}, None);"
        "print(json.dumps({name: getattr(module, '__file__', None) for name, module in sys.modules.items()}))"
    )
    done = subprocess.run([image.python, "-c", show], cwd=task, capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout.splitlines()[-1])
    for name in (
        "numpy",
        "PIL",
        "ai_edge_litert",
        "data_prep_eda.preprocessing",
        "containerize_deploy.answers",
    ):
        assert modules[name].startswith(str(task))
    assert not {"tensorflow", "keras", "tflite_runtime", "requests", "ssl"} & set(modules)


def test_the_image_carries_what_it_needs_and_no_more(image):
    task = image.task
    files = {str(path.relative_to(task)) for path in task.rglob("*") if path.is_file()}
    for path in (task / "data_prep_eda").glob("*.py"):  # the very files that training uses
        assert path.read_bytes() == (ROOT / "data_prep_eda" / path.name).read_bytes()
    assert {
        "containerize_deploy/lambda_function.py",
        "containerize_deploy/scene-classifier-model.tflite",
    } <= files
    assert not [
        name for name in files if "WebGpu" in name or "/tests/" in name or name.endswith((".ipynb", ".jpg"))
    ]
    assert not [
        name for name in files if re.match(r"containerize_deploy/(test|classify|evaluation|benchmark)", name)
    ]
    assert not [name for name in files if name.startswith("train_model")]
    modules = [name for name in files if re.fullmatch(r"containerize_deploy/\w+\.py", name)]
    compiled = [name for name in files if name.startswith("containerize_deploy/__pycache__/")]
    assert len(compiled) == len(modules)
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in task.rglob("*"))


def test_the_recipe_is_pinned_and_drops_root(image):
    assert re.fullmatch(r"public\.ecr\.aws/lambda/python:3\.13\.\d{4}(\.\d\d){3}", image.base)
    assert image.user.isdecimal() and image.user != "0"
    pins = re.findall(
        r"^[\w-]+==[\w.]+ \\$", (DOCKERFILE.parent / "requirements.txt").read_text(), re.MULTILINE
    )
    wanted = re.findall(r"^[\w-]+", (DOCKERFILE.parent / "requirements.in").read_text(), re.MULTILINE)
    assert [pin.split("==")[0] for pin in pins] == sorted(wanted)


def test_a_function_that_cannot_start_says_so(image, tmp_path):
    task = image.task
    broken = tmp_path / "task"
    shutil.copytree(task, broken, symlinks=True)
    subprocess.run(["chmod", "-R", "u+w", broken], check=True)
    (broken / "containerize_deploy" / "scene-classifier-model.tflite").write_bytes(b"something else")
    with (
        pytest.raises(FunctionError, match="metadata of scene-classifier-model"),
        running(
            [image.python, "-m", "awslambdaric", *image.command],
            folder=broken,
            environment=environment_of(image, tmp_path),
        ),
    ):
        pass


# A model of one's own


def context_with(folder: Path, **models: str) -> Path:
    """A copy of the build's context with models in it, and a Dockerfile that installs nothing; returns the latter."""
    for name in ("containerize_deploy", "data_prep_eda"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("sample", "page", "__pycache__")
        )
    shutil.copy(ROOT / ".dockerignore", folder)
    for model in models.values():
        (folder / model).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FILE, folder / model)
    dockerfile = folder / "containerize_deploy" / "Dockerfile"
    text = re.sub(r"^RUN python -m pip (\\\n|.)*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    dockerfile.write_text(text)
    return dockerfile


@pytest.mark.parametrize(
    "model", ["runs/20260101-120000/models/scene-classifier-model.tflite", "mine.tflite"]
)
def test_the_image_takes_the_model_of_a_run_at_its_build(tmp_path, model):
    context, folder = tmp_path / "context", tmp_path / "image"
    dockerfile = context_with(context, model=model)
    folder.mkdir()
    built = ImageBuild(folder, Path(sys.executable), dockerfile, MODEL=model)
    assert SceneModel(built.task / "containerize_deploy" / MODEL_FILE.name).labels == tuple(COLOURS)


def test_what_else_lies_in_a_run_stays_out_of_the_build(tmp_path):
    other = "runs/20260101-120000/metrics.json"
    dockerfile = context_with(tmp_path / "context", model=other)
    with pytest.raises(BuildError, match=r"\.dockerignore keeps runs/.*metrics\.json out"):
        ImageBuild(tmp_path, Path(sys.executable), dockerfile, MODEL=other)


# What the stand-in for the base image gives, and what it keeps away


def dockerfile_with(folder: Path, run: str) -> Path:
    """A build context whose Dockerfile runs one command."""
    (folder / "recipes").mkdir()
    (folder / ".dockerignore").write_text("")
    (folder / "recipes" / "Dockerfile").write_text(f"FROM base AS build\nWORKDIR /build\nRUN {run}\n")
    return folder / "recipes" / "Dockerfile"


@pytest.mark.parametrize(
    "tool", ["find", "xargs", "tar", "unzip", "gzip", "curl", "which", "awk", "sed", "git", "make"]
)
def test_a_run_that_needs_more_than_the_base_image_has_fails(tmp_path, tool):
    """AWS's images on Amazon Linux 2023 have no find, and a build there ends with 127."""
    dockerfile = dockerfile_with(tmp_path, f"mkdir a && {tool} --version")
    with pytest.raises(BuildError, match=rf"status 127[^$]*{tool}: (command )?not found"):
        ImageBuild(tmp_path, Path(sys.executable), dockerfile)


def test_a_run_has_coreutils_bash_and_python(tmp_path):
    command = "mkdir -p a/b && echo 0-1 > a/b/c && cp a/b/c d && rm -rf a* && [[ -f d ]] && chmod a+r d && python -V"
    build = ImageBuild(tmp_path, Path(sys.executable), dockerfile_with(tmp_path, command))
    assert [path.name for path in build.workdir.iterdir()] == ["d"]


def test_a_run_cannot_reach_this_machines_files(tmp_path):
    with pytest.raises(BuildError, match="relative paths only"):
        ImageBuild(tmp_path, Path(sys.executable), dockerfile_with(tmp_path, "ls /usr/bin"))


def stub(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'  # as a version manager leaves it


def test_pythons_that_do_not_run_are_passed_over(tmp_path, monkeypatch):
    for name in ("python3.13", "python3.12", "python3"):
        stub(tmp_path / "bin", name, SHIM)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    subprocess.run([python_for_the_image(), "-c", "import venv"], check=True)


def test_without_any_python_each_refusal_is_told(tmp_path, monkeypatch):
    stub(tmp_path / "bin", "python3.13", SHIM)
    (tmp_path / "bin" / "python3.11").write_text("no program")
    (tmp_path / "bin" / "python3.11").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(BuildError, match=r"command not found(.|\n)*3\.11(.|\n)*nowhere"):
        python_for_the_image()


def why_docker_does_not_run() -> str | None:
    """What keeps this machine from building images; None if nothing does."""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no Docker engine: {error}"
    # Some other program of the name may end well and say nothing.
    if done.returncode or not done.stdout.strip()[:1].isdigit():
        return f"no Docker engine: {(done.stderr or done.stdout).strip() or done.returncode}"
    return None


@pytest.mark.parametrize("script", [SHIM, "exit 0", "echo Client only; exit 1", "echo podman"])
def test_a_docker_that_runs_nothing_is_no_engine(tmp_path, monkeypatch, script):
    stub(tmp_path / "bin", "docker", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert why_docker_does_not_run().startswith("no Docker engine: ")


@pytest.mark.slow
def test_the_tests_pass_on_a_machine_of_stubs(tmp_path):
    """A folder with spaces and other letters, next to no variables, and a PATH whose programs run nothing."""
    for name in (
        "python3.11",
        "python3.12",
        "python3.13",
        "docker",
        "chromium",
        "node",
        "zsh",
        "qemu-aarch64",
    ):
        stub(tmp_path / "bin", name, SHIM)
    folder = tmp_path / "Küste und Wälder"
    shutil.copytree(
        ROOT,
        folder,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", ".cache", "runs", "data", "build"),
    )
    names = ("container", "deploy_guides", "template")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-k", "not machine_of_stubs", "-rs", "-p", "no:cacheprovider"]
        + [f"tests/containerize_deploy/test_{name}.py" for name in names],
        cwd=folder,
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
        | {name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"SKIPPED .*no Docker engine: .*command not found", done.stdout)
    assert "no zsh works here" in done.stdout


def test_what_the_runtime_complains_of_is_logged_once(image, tmp_path):
    """As on Lambda's arm64 machines, if it were not for the two lists in the image; test_arm64.py hides them."""
    code = """if True:
        import os
        from containerize_deploy import scene_model

        class Interpreter(scene_model.Interpreter):
            def __init__(self, **arguments):
                os.write(2, b"Error in cpuinfo: failed to parse both lists\\n")
                super().__init__(**arguments)

        scene_model.SceneModel()  # which LiteRT announces, but for which it has no complaint
        scene_model.SceneModel()  # which it does not even announce
        scene_model.Interpreter = Interpreter
        scene_model.SceneModel()
        scene_model.SceneModel()
    """
    done = subprocess.run(
        [image.python, "-c", code], cwd=image.task, capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "WARNING"
    assert "without XNNPACK" in line and "cpuinfo" in line and done.stdout == ""


def test_hadolint_has_no_complaints():
    done = subprocess.run(["hadolint", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.docker
def test_docker_builds_and_runs_the_image():
    """The same with a real engine and the emulator in the base image."""
    if reason := why_docker_does_not_run():
        pytest.skip(reason)
    tag = "scene-classifier:test"
    build = ["docker", "build", "--provenance=false", "--file", DOCKERFILE, "--tag", tag, ROOT]
    subprocess.run(build, check=True)
    run = [
        "docker",
        "run",
        "--rm",
        "--detach",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--publish",
        "127.0.0.1::8080",
        tag,
    ]
    container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    try:
        port = subprocess.run(
            ["docker", "port", container, "8080"], check=True, capture_output=True, text=True
        )
        address = f"http://{port.stdout.splitlines()[0]}{INVOCATIONS}"
        for _ in range(50):
            try:
                with urllib.request.urlopen(
                    address, json.dumps({"image": photograph()}).encode()
                ) as response:
                    assert "label" in json.load(response)
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail(f"nobody answers at {address}")
    finally:
        subprocess.run(["docker", "kill", container], check=True, capture_output=True)
