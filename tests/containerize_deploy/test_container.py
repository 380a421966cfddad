"""The container without a container engine: its recipe is followed by hand, and what it starts is run.

The Dockerfile's instructions are carried out one by one in an empty folder with a clean Python, as a build
would. Then the command of its CMD is started under the real runtime client of Lambda, with a stand-in of
Lambda's Runtime API, and with its files read-only. Where a Docker engine runs, the last test builds the image.
"""

import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
from docker.utils.build import PatternMatcher
from dockerfile_parse import DockerfileParser
from PIL import Image

from containerize_deploy.local_runtime import INVOCATIONS, FunctionError, running
from containerize_deploy.scene_model import MODEL_FILE

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "containerize_deploy" / "Dockerfile"
OF_BASE_IMAGE = {"LAMBDA_TASK_ROOT": "/var/task"}  # what the Dockerfile takes from its base image


def photograph() -> str:
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "JPEG")
    return base64.b64encode(stream.getvalue()).decode()


class Build:
    """Follows a Dockerfile: each stage's file system is a folder, each RUN a shell in it.

    A RUN may only name relative paths: an absolute one would reach this machine, not the stage.
    """

    def __init__(self, dockerfile: Path, context: Path, folder: Path, python: Path) -> None:
        self.context, self.folder, self.python = context, folder, python
        self.ignored = PatternMatcher((context / ".dockerignore").read_text().splitlines())
        self.stages: dict[str, Path] = {}
        self.arguments: dict[str, str] = {}
        self.user, self.command = "root", []
        with dockerfile.open("rb") as stream:
            steps = DockerfileParser(fileobj=stream).structure
        for step in steps:
            getattr(self, f"_{step['instruction'].lower()}")(step["value"])

    def _comment(self, value: str) -> None:
        pass

    _label = _comment

    def _arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        self.arguments[name] = default

    def _from(self, value: str) -> None:
        image, _, name = value.partition(" AS ")
        self.base = self._expand(image)
        self.stage = self.stages[name] = self.folder / f"stage-{len(self.stages)}"
        self.workdir = self._place(OF_BASE_IMAGE["LAMBDA_TASK_ROOT"])
        self.user = "root"

    def _workdir(self, value: str) -> None:
        self.workdir = self._place(value)

    def _user(self, value: str) -> None:
        self.user = value

    def _cmd(self, value: str) -> None:
        self.command = json.loads(value)

    def _copy(self, value: str) -> None:
        *sources, destination = shlex.split(self._expand(value))
        target = self._place(destination)
        if sources[0].startswith("--from="):
            (source,) = sources[1:]
            shutil.copytree(
                self.stages[sources[0].removeprefix("--from=")] / source.lstrip("/"),
                target,
                dirs_exist_ok=True,
            )
            return
        for source in sources:
            assert not self.ignored.matches(source), f".dockerignore keeps {source} out of the build"
            shutil.copy(self.context / source, target)

    def _run(self, value: str) -> None:
        assert not re.search(r"(^|[\s=\"'])/", value), f"an absolute path in RUN {value}"
        environment = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        environment |= {"PATH": f"{self.python.parent}:{os.environ['PATH']}", **OF_BASE_IMAGE}
        done = subprocess.run(
            ["/bin/sh", "-euc", value], cwd=self.workdir, env=environment, capture_output=True, text=True
        )
        if "pip install" in value and re.search(
            r"(NewConnectionError|No matching distribution)", done.stderr
        ):
            pytest.skip("no package index can be reached from here")
        assert done.returncode == 0, done.stderr

    def _expand(self, value: str) -> str:
        known = {**self.arguments, **OF_BASE_IMAGE}
        return re.sub(r"\$\{(\w+)\}", lambda name: known[name[1]], value)

    def _place(self, path: str) -> Path:
        """Where a path of the stage is on this machine; made if it isn't there yet."""
        place = self.stage / path.lstrip("/") if path.startswith("/") else self.workdir / path
        place.mkdir(parents=True, exist_ok=True)
        return place


def python_for_the_image() -> str:
    """Python 3.13, as in the base image; else 3.11, for which the pinned packages have wheels too."""
    found = sorted(Path.home().glob(".pyenv/versions/3.13.*/bin/python"), reverse=True)
    candidates = [*map(str, found), shutil.which("python3.13"), shutil.which("python3.11"), sys.executable]
    return next(filter(None, candidates))


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Build:
    """The image, built into a folder, with its files write-protected as Lambda has them."""
    folder = tmp_path_factory.mktemp("image")
    clean = folder / "python"
    subprocess.run([python_for_the_image(), "-m", "venv", clean], check=True)
    built = Build(DOCKERFILE, ROOT, folder, clean / "bin" / "python")
    # The base image brings the runtime client; the same version as in this environment will do.
    client = subprocess.run(
        [clean / "bin" / "pip", "install", "-q", "awslambdaric==" + version_of("awslambdaric")],
        capture_output=True,
        text=True,
    )
    if client.returncode:
        pytest.skip("no package index can be reached from here")
    task = built.stage / "var" / "task"
    subprocess.run(["chmod", "-R", "a-w", task], check=True)
    yield built
    subprocess.run(["chmod", "-R", "u+w", task], check=True)


def version_of(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def sealed(command: list) -> list:
    """A command that cannot write where the permissions say so; root is held to them too."""
    return ["setpriv", "--bounding-set=-dac_override", *command] if os.geteuid() == 0 else command


def environment_of(image: Build, scratch: Path) -> dict[str, str]:
    return {"PATH": f"{image.python.parent}:/usr/bin:/bin", "HOME": str(scratch), "TMPDIR": str(scratch)}


@pytest.fixture(scope="module")
def function(image):
    """The function as Lambda starts it, ready for requests."""
    (handler,) = image.command
    task = image.stage / "var" / "task"
    command = sealed([image.python, "-m", "awslambdaric", handler])
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as log:
        environment = environment_of(image, Path(scratch))
        with running(command, folder=task, environment=environment, log=log) as (api, _):
            yield api, log, Path(scratch)


def test_the_files_cannot_be_written(image):
    """Else the tests below would prove nothing about Lambda's read-only file system."""
    task = image.stage / "var" / "task"
    attempt = sealed([image.python, "-c", "open('written', 'w')"])
    done = subprocess.run(attempt, cwd=task, capture_output=True, text=True)
    assert "PermissionError" in done.stderr


def test_the_image_answers(function):
    api, log, _ = function
    answer = api.invoke({"image": photograph()})
    assert set(answer) == {"label", "probabilities", "in_scope", "score", "model"}
    digest = json.loads(MODEL_FILE.with_suffix(".json").read_text())["sha256"]
    assert answer["model"]["digest"] == f"sha256:{digest}"
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
    task = image.stage / "var" / "task"
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
    task = image.stage / "var" / "task"
    files = {str(path.relative_to(task)) for path in task.rglob("*") if path.is_file()}
    assert (task / "train_model" / "preprocessing.py").read_bytes() == (
        ROOT / "data_prep_eda/preprocessing.py"
    ).read_bytes()
    assert {
        "containerize_deploy/lambda_function.py",
        "containerize_deploy/scene-classifier-model.tflite",
    } <= files
    assert not [
        name for name in files if "WebGpu" in name or "/tests/" in name or name.endswith((".ipynb", ".jpg"))
    ]
    assert not [name for name in files if re.match(r"containerize_deploy/(test|classify|benchmark)", name)]
    modules = {
        name for name in files if name.endswith(".py") and name.count("/") == 1 and "containerize" in name
    }
    compiled = {name for name in files if name.startswith("containerize_deploy/__pycache__/")}
    assert len(compiled) == len(modules) == 5
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
    task = image.stage / "var" / "task"
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


def test_hadolint_has_no_complaints():
    done = subprocess.run(["hadolint", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.docker
def test_docker_builds_and_runs_the_image():
    """The same with a real engine and the emulator in the base image."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine runs here")
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
