"""`test.py`, the client that calls the running service; it needs nothing but Python."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from containerize_deploy import classify, test
from containerize_deploy.local_runtime import INVOCATIONS, make_server
from tests.containerize_deploy.colours import draw


@pytest.fixture(scope="module")
def service():
    """The function at an address, as the container's emulator or a Function URL would have it."""
    with make_server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def photo(tmp_path) -> Path:
    return draw(tmp_path / "b.jpg", (90, 120, 160))


def call(address: str, *images: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs the client, without anything of this project on Python's path."""
    return subprocess.run(
        [sys.executable, "-I", test.__file__, "--at", address, *images],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("path", [INVOCATIONS, "/"])
def test_it_calls_the_container_and_function_urls_past_any_proxy(service, photo, path):
    proxy = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy")}
    good = call(service + path, "b.jpg", folder=photo.parent, **proxy)
    assert good.returncode == 0
    classify.main([str(photo)])
    bad = call(service + path, "http://10.0.0.1/photo.jpg", folder=photo.parent)
    assert bad.returncode == 1 and '"code": "not_allowed"' in bad.stdout


def test_it_says_of_an_image_what_classify_says(service, photo, capsys):
    asked = call(service + "/", photo, folder=photo.parent)
    capsys.readouterr()  # the service's log
    classify.main([str(photo)])
    assert asked.stdout == capsys.readouterr().out


def test_it_escapes_what_classify_escapes():
    text = "".join(map(chr, range(0x3000))) + "\ud800"
    assert test.printable(text) == classify.printable(text)


def test_files_that_are_not_there_and_names_that_are_no_text_are_sentences(service, photo):
    done = call(
        service + "/",
        "nofile.jpg",
        "\udcff.jpg",
        "http://photos.example/\udcff",
        "b.jpg",
        folder=photo.parent,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "nofile.jpg: The file can't be read: No such" in done.stderr
        and r"\udcff.jpg: The file" in done.stderr
    )
    assert "The URL has" in done.stdout and "b.jpg: " in done.stdout


def test_it_says_when_nobody_answers(photo):
    done = call("http://127.0.0.1:1/", photo, folder=photo.parent)
    assert done.returncode == 1
    assert "no answer from http://127.0.0.1:1/" in done.stderr and "Traceback" not in done.stderr


def test_production_code_does_not_import_it():
    package = Path(test.__file__).parent
    assert not [path for path in package.rglob("*.py") if "containerize_deploy.test" in path.read_text()]
