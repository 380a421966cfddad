"""Lambda on this machine: what answers at the emulator's address and as a Function URL, and how a failed start is told."""

import base64
import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerize_deploy.local_runtime import INVOCATIONS, FunctionError, running
from tests.containerize_deploy.colours import COLOURS, FILE, draw

ROOT = Path(__file__).parents[2]
COMMAND = ["-m", "containerize_deploy.local_runtime"]
DEAD_PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "HTTP_PROXY", "all_proxy")}


@contextmanager
def serving(*options: str, python: str | Path = sys.executable, **environment: str):
    """The command, started; its address."""
    process = subprocess.Popen(
        [python, *COMMAND, "--port", "0", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
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


def test_a_function_that_raises_is_an_error_of_that_request_alone(tmp_path):
    (tmp_path / "handler.py").write_text("def answer(event, context):\n    return 1 / event\n")
    command = [sys.executable, "-m", "awslambdaric", "handler.answer"]
    with running(command, folder=tmp_path) as (api, _):
        with pytest.raises(FunctionError, match="ZeroDivisionError"):
            api.invoke(0)
        assert api.invoke(2) == 0.5


def test_a_runtime_that_ends_before_it_is_ready_is_told(tmp_path):
    with (
        pytest.raises(FunctionError, match="ended with status 3"),
        running([sys.executable, "-c", "raise SystemExit(3)"], folder=tmp_path),
    ):
        pass


def test_the_variable_names_the_model_of_the_function():
    with running(environment={**os.environ, "SCENES_MODEL": str(FILE)}) as (api, _):
        assert api.invoke({"image": "no base64!"})["error"]["code"] == "malformed"
        event = {"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "GET", "path": "/"}}}
        assert '"version": "0.1"' in api.invoke(event)["body"]
