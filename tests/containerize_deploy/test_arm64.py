"""The image for arm64, run under emulation: the same answers as here, also where Lambda hides its processors.

The Dockerfile is followed with wheels for arm64, and a processor that isn't there is stood in for by QEMU in its
user mode. QEMU 10, the emulated machine's C library and its Python 3.13 are Debian 13's (Debian 12's QEMU 7.2
crashes); they are downloaded into .cache/arm64 and unpacked, not installed. It takes minutes, hence `slow`.
"""

import base64
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from containerize_deploy.lambda_function import lambda_handler
from containerize_deploy.scene_model import MODEL_FILE
from tests.containerize_deploy.image_build import BuildError, ImageBuild
from tests.containerize_deploy.test_deploy_guides import blocks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLE = sorted((ROOT / "data_prep_eda" / "sample").glob("*/*.jpg"))
DEBIAN = "trixie"
PACKAGES = (
    "qemu-user:amd64",
    *(
        f"{name}:arm64"
        for name in (
            "python3.13-minimal",
            "libpython3.13-minimal",
            "libpython3.13-stdlib",
            "libc6",
            "libstdc++6",  # LiteRT is written in C++
            "libgcc-s1",
            "libexpat1",
            "libffi8",
            "zlib1g",
            "libbz2-1.0",
            "liblzma5",
        )
    ),
)
WHEELS = {
    "PIP_PLATFORM": " ".join(f"manylinux{tag}_aarch64" for tag in ("_2_28", "_2_27", "_2_17", "2014")),
    "PIP_PYTHON_VERSION": "3.13",
}
# Answers one event per line of standard input, one line each.
SERVICE = (
    "import json, sys; from containerize_deploy.lambda_function import lambda_handler as handle\n"
    "for line in sys.stdin: print('answer', json.dumps(handle(json.loads(line), None)), flush=True)"
)


def told(command: list, **options) -> str:
    """What a command prints; skips the test where it can't be run, with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"needs what isn't here: {error}")
    if done.returncode:
        pytest.skip(f"{' '.join(map(str, command[:2]))} can't do it here: {done.stderr.strip()[-500:]}")
    return done.stdout


def debian_packages() -> list[Path]:
    """The packages, downloaded once from where this machine's apt gets its own."""
    folder = ROOT / ".cache" / "arm64" / DEBIAN
    if not folder.is_dir():
        (address, *_) = told(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split() or [""]
        part = folder.with_name("part")
        shutil.rmtree(part, ignore_errors=True)
        for name in ("debs", "state/lists/partial", "cache/archives/partial"):
            (part / name).mkdir(parents=True)
        (part / "status").touch()
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (part / "sources.list").write_text(f"deb [signed-by={keys}] {address} {DEBIAN} main\n")
        options = {
            "Dir::Etc::SourceList": part / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State": part / "state",
            "Dir::State::status": part / "status",
            "Dir::Cache": part / "cache",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64,arm64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
        told([*apt, "update"])
        told([*apt, "download", *PACKAGES], cwd=part / "debs")
        (part / "debs").rename(folder)
        shutil.rmtree(part)
    return sorted(folder.glob("*.deb"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Path:
    """The image's file system for arm64 with a Python beside it, and an emulator that runs it."""
    if platform.machine() != "x86_64":
        pytest.skip(f"the emulator's package is for x86_64, this machine is {platform.machine()}")
    folder = tmp_path_factory.mktemp("arm64")
    try:
        image = ImageBuild(folder, environment=WHEELS)
    except BuildError as error:
        pytest.skip(f"the image can't be built for arm64 here: {error}")
    root = image.stage
    (root / "usr" / "lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    for package in debian_packages():
        told(["dpkg", "-x", package, root if "_arm64" in package.name else folder / "here"])
    shutil.copy(folder / "here" / "usr" / "bin" / "qemu-aarch64", root)
    assert run(root, "import platform; print(platform.machine())")[0] == ["aarch64"]
    return root


def run(root: Path, code: str, *arguments: str, sent: str = "") -> tuple[list[str], str]:
    """Runs Python in an emulated machine that sees its own files alone: no /sys and no /proc of this one.

    Returns:
        The lines that it printed, and what it logged.
    """
    inside = [
        "chroot",
        root,
        "/qemu-aarch64",
        "-E",
        "PYTHONPATH=/var/task",
        "/usr/bin/python3.13",
        "-c",
        code,
    ]
    if os.geteuid():
        inside = ["unshare", "--map-root-user", *inside]
    try:
        done = subprocess.run([*inside, *arguments], input=sent, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"needs what isn't here: {error}")
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"may not change the root folder here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def ask(root: Path, events: Iterable[dict]) -> tuple[list[dict], str]:
    """The service's answers to events, and what it logged on standard error."""
    lines, log = run(root, SERVICE, sent="".join(json.dumps(event) + "\n" for event in events))
    return [json.loads(line.removeprefix("answer ")) for line in lines if line.startswith("answer ")], log


def events_for(images: Iterable[Path]) -> list[dict]:
    return [{"image": base64.b64encode(image.read_bytes()).decode()} for image in images]


def assert_same(answers: list[dict], events: list[dict]) -> None:
    assert len(answers) == len(events)
    for answer, event in zip(answers, events, strict=True):
        expected = lambda_handler(event, None)
        assert answer["label"] == expected["label"] and answer["in_scope"] == expected["in_scope"]
        # The 8-bit part is the same to the bit; exponentials and logarithms in float differ in their last digits.
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-4)
        assert answer["model"] == expected["model"]


def test_arm64_gives_the_same_answers(machine):
    events = events_for(SAMPLE[::5])
    answers, log = ask(machine, events)
    assert_same(answers, events)
    assert log == ""  # with XNNPACK, though this machine shows no processors: the image brings the two lists


@pytest.mark.real_data
def test_arm64_gives_the_same_answers_on_real_photographs(machine, real_images):
    events = events_for(sorted(real_images.glob("*/*.jpg"))[::60])
    assert_same(ask(machine, events)[0], events)


def test_the_script_for_a_raspberry_pi_runs(machine):
    _, script, _ = blocks("devices.md", "python")
    for file in (MODEL_FILE, SAMPLE[0], SAMPLE[-1]):
        shutil.copy(file, machine)
    lines, log = run(machine, script, SAMPLE[0].name, SAMPLE[-1].name)
    for (image, line), event in zip(
        zip(SAMPLE[:: len(SAMPLE) - 1], lines, strict=True),
        events_for(SAMPLE[:: len(SAMPLE) - 1]),
        strict=True,
    ):
        answer = lambda_handler(event, None)
        label = answer["label"] if answer["in_scope"] else "none of these"
        assert line.startswith(f"{image.name}: {label} ({answer['label']} ")
    assert "Error" not in log


def test_without_its_lists_of_processors_it_says_that_xnnpack_is_missing(machine):
    """As Lambda's arm64 machines would be, if the image did not bring them."""
    lists = machine / "sys" / "devices" / "system" / "cpu"
    hidden = lists.rename(machine / "hidden")
    try:
        (answer,), log = ask(machine, events_for(SAMPLE[:1]))
    finally:
        hidden.rename(lists)
    (line,) = log.splitlines()
    assert "without XNNPACK" in line and "system/cpu/possible" in line
    assert answer["label"] == "coast"
