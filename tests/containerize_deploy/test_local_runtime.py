"""Lambda on this machine: what answers at the emulator's address and as a Function URL, and how a failed start is told."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerize_deploy.local_runtime import INVOCATIONS
from tests.containerize_deploy.colours import COLOURS, FILE, draw

ROOT = Path(__file__).parents[2]
COMMAND = ["-m", "containerize_deploy.local_runtime"]
DEAD_PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "HTTP_PROXY", "all_proxy")}


@contextmanager
def serving(*options: str, python: str | Path = sys.executable, log=subprocess.DEVNULL, **environment: str):
    """The command, started; its address."""
    process = subprocess.Popen(
        [python, *COMMAND, "--port", "0", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process.stdout.readline().rsplit(" ", 1)[1].strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def ask(address: str, body: bytes | None = None) -> dict:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(address, body, {"Accept": "application/json"})) as response:
        return json.load(response)


def test_it_serves_a_runs_model_to_programs_and_browsers(colour_run, tmp_path):
    """Also where the environment names a proxy, which leads nowhere."""
    content = draw(tmp_path / "a.jpg", COLOURS["गाँव"]).read_bytes()
    with serving("--model", str(colour_run), **DEAD_PROXY) as address:
        assert ask(address)["model"]["version"] == "0.1"
        assert ask(address, content)["label"] == "गाँव"
        event = json.dumps({"image": base64.b64encode(content).decode()}).encode()
        assert ask(address.rstrip("/") + INVOCATIONS, event)["label"] == "गाँव"


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        (["--port", "99999"], {}, "can't be used"),
        (
            [],
            {"FETCH_URLS": "perhaps"},
            "The function did not start: Expected FETCH_URLS to be 'on' or 'off'",
        ),
        (["--model", "nowhere"], {}, "found no file at nowhere"),
    ],
)
def test_a_start_that_fails_says_why_in_its_last_line(options, settings, said):
    done = subprocess.run(
        [sys.executable, *COMMAND, *options], capture_output=True, text=True, env={**os.environ, **settings}
    )
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1]
    assert 'local_runtime.py", line' not in done.stderr


def test_what_is_no_json_is_an_error_of_that_request_alone():
    with serving() as address:
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(address.rstrip("/") + INVOCATIONS, b"hello")
        assert "Expected JSON" in json.load(refused.value)["errorMessage"]
        assert ask(address)["status"] == "ok"


def test_the_log_has_a_line_per_request_with_its_id(tmp_path):
    with (tmp_path / "log").open("w+") as log, serving(log=log) as address:
        ask(address)
        log.seek(0)
        (line,) = map(json.loads, log)
    assert line["status"] == 200 and len(line["request_id"]) == 36


def test_the_variable_names_the_model_of_the_function():
    with serving(SCENES_MODEL=str(FILE)) as address:
        assert ask(address)["model"]["version"] == "0.1"
