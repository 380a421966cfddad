"""The container image without a container engine: follows the Dockerfile in a folder.

Each stage's file system is a folder, each RUN a shell in it that finds what the base image has and no more:
bash, coreutils and Python. `rpm -qa` in AWS's Python images on Amazon Linux 2023 lists grep and a small curl
too, but neither find nor xargs, tar or unzip (aws/aws-lambda-base-images issues 173 and 196), and what is there
changes between releases; a recipe that needs coreutils alone outlives that.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "containerize_deploy" / "Dockerfile"
OF_BASE_IMAGE = {"LAMBDA_TASK_ROOT": "/var/task"}  # what the Dockerfile takes from its base image
COREUTILS = """[ arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown cksum comm cp csplit cut date dd df
    dir dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id install join link ln
    logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pinky pr printenv printf
    ptx pwd readlink realpath rm rmdir runcon seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort
    split stat stdbuf stty sum sync tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq
    unlink users vdir wc who whoami yes"""


class BuildError(Exception):
    """A step of the Dockerfile failed, or asks for what only a container engine can do."""


class NoPackageIndex(BuildError):
    """The packages cannot be had from here: no package index answers."""


class ImageBuild:
    """A Dockerfile, followed.

    A RUN may only name relative paths: an absolute one would reach this machine, not the stage.

    Attributes:
        base: the base image's name.
        stage: folder that stands for the last stage's `/`.
        task: folder that stands for `/var/task`, where Lambda has the function's files.
        python: the Python of the stages.
        user: whom the image runs as.
        command: of the image.
    """

    def __init__(
        self,
        folder: Path,
        python: Path | None = None,
        dockerfile: Path = DOCKERFILE,
        environment: Mapping[str, str] | None = None,
        **arguments: str,
    ) -> None:
        """Follows every step.

        Args:
            folder: where the stages go; must exist.
            python: stands for the base image's; by default that of a virtual environment made for it.
            dockerfile: the build context is the folder above its own.
            environment: of every RUN, beside what pip needs to find a package index on this machine.
            arguments: values of ARGs, as `docker build --build-arg` takes them.

        Raises:
            BuildError: a step failed.
            NoPackageIndex: it failed since packages could not be downloaded.
        """
        from dockerfile_parse import DockerfileParser

        self.folder, self.context = folder, dockerfile.resolve().parents[1]
        self.python = python or _virtual_environment(folder / "python")
        self.environment = dict(environment or {})
        self.tools = _base_image_tools(folder / "tools")
        self.stages: dict[str, Path] = {}
        self.arguments: dict[str, str] = {}
        self.given = arguments
        self.user, self.command = "root", []
        with dockerfile.open("rb") as stream:
            steps = DockerfileParser(fileobj=stream).structure
        for step in steps:
            follow = getattr(self, f"_{step['instruction'].lower()}", None)
            if follow is None:
                raise BuildError(f"Expected instructions known here, found {step['content'].strip()}")
            follow(step["value"])
        self.task = self.stage / OF_BASE_IMAGE["LAMBDA_TASK_ROOT"].lstrip("/")

    def _comment(self, value: str) -> None:
        pass

    _label = _comment

    def _arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        self.arguments[name] = self.given.get(name, default)

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
        if not destination.endswith("/"):  # a file
            directory, _, name = destination.rpartition("/")
            self._copy_file(sources[0], self._place(directory) / name)
            return
        target = self._place(destination)
        if sources[0].startswith("--from="):
            stage = self.stages[sources[0].removeprefix("--from=")]
            for source in sources[1:]:
                shutil.copytree(stage / source.lstrip("/"), target, dirs_exist_ok=True)
            return
        for source in sources:
            self._copy_file(source, target)

    def _copy_file(self, source: str, target: Path) -> None:
        if self._is_ignored(source):
            raise BuildError(f".dockerignore keeps {source} out of the build")
        if not (self.context / source).is_file():
            raise BuildError(f"there is no file {source} in the build's context")
        shutil.copy(self.context / source, target)

    def _is_ignored(self, source: str) -> bool:
        from docker.utils.build import PatternMatcher

        return PatternMatcher((self.context / ".dockerignore").read_text().splitlines()).matches(source)

    def _run(self, value: str) -> None:
        if re.search(r"(^|[\s=\"'])/", value):
            raise BuildError(f"Expected relative paths only, found an absolute one in RUN {value}")
        done = subprocess.run(
            [self.tools / "sh", "-c", value],
            cwd=self.workdir,
            env={
                **{name: text for name, text in os.environ.items() if name.startswith("PIP_")},
                **self.environment,
                **OF_BASE_IMAGE,
                "PATH": f"{self.python.parent}:{self.tools}",
            },
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return
        if re.search(r"NewConnectionError|NameResolutionError|No matching distribution", done.stderr):
            raise NoPackageIndex("no package index can be reached from here")
        raise BuildError(f"RUN {value}\nended with status {done.returncode}:\n{done.stderr}")

    def _expand(self, value: str) -> str:
        known = {**self.arguments, **OF_BASE_IMAGE}
        return re.sub(r"\$\{(\w+)\}", lambda name: known[name[1]], value)

    def _place(self, path: str) -> Path:
        """Where a path of the stage is on this machine; made if it isn't there yet."""
        place = self.stage / path.lstrip("/") if path.startswith("/") else self.workdir / path
        place.mkdir(parents=True, exist_ok=True)
        return place


def python_for_the_image() -> str:
    """A Python 3.13, as in the base image; else one that the pinned packages have wheels for.

    Every candidate is tried, since a name on the PATH may be a version manager's shim that runs nothing.

    Raises:
        BuildError: none works; says what each said.
    """
    managed = sorted(Path.home().glob(".pyenv/versions/3.13.*/bin/python"), reverse=True)
    named = filter(None, map(shutil.which, ("python3.13", "python3.11")))
    refusals = []
    for candidate in (*map(str, managed), *named, sys.executable):
        try:
            done = subprocess.run(
                [candidate, "-c", "import ensurepip, venv"], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            refusals.append(f"{candidate}: {error}")
            continue
        if done.returncode == 0:
            return candidate
        refusals.append(f"{candidate}: {(done.stderr or done.stdout).strip() or done.returncode}")
    raise BuildError("Expected a working Python 3.13 or 3.11, found " + "; ".join(refusals))


def _virtual_environment(folder: Path) -> Path:
    """Makes a virtual environment with pip and gives its Python."""
    done = subprocess.run([python_for_the_image(), "-m", "venv", folder], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"Expected to make a virtual environment, found: {done.stderr or done.stdout}")
    return folder / "bin" / "python"


def _base_image_tools(folder: Path) -> Path:
    """A folder that holds what a RUN finds on the base image's PATH, Python aside."""
    folder.mkdir()
    bash = shutil.which("bash")
    if bash is None:
        raise BuildError("Expected bash on this machine, found none")
    for name in ("bash", "sh"):  # Amazon Linux' sh is bash
        (folder / name).symlink_to(bash)
    for name in COREUTILS.split():
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder
