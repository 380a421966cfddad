"""Lambda on this machine, without Docker: the real runtime client against a stand-in of Lambda's Runtime API.

    python -m containerize_deploy.local_runtime --port 9000 --model runs/<timestamp>

then answers at the address where the container's emulator would, so that test.py can call it, and at any other
as a Function URL, so that a browser can. The Runtime API is documented at
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html; its client is awslambdaric, as in the base image.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.server
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from containerize_deploy.installed import require_packages

ROOT = Path(__file__).resolve().parents[1]
HANDLER = "containerize_deploy.lambda_function.lambda_handler"
INVOCATIONS = "/2015-03-31/functions/function/invocations"  # where the emulator listens
RUNTIME = "/2018-06-01/runtime/"  # where the runtime client asks
TIMEOUT_S = 30
JSON = {"Content-Type": "application/json"}


class FunctionError(Exception):
    """The function, or its start, failed; holds what the runtime client reported."""


class LocalLambda(http.server.ThreadingHTTPServer):
    """For one function the Runtime API, the emulator and the Function URL, at one `address` of the loopback."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.address = f"127.0.0.1:{self.server_port}"
        self.ready = threading.Event()  # set when the runtime asks for its first request, or has failed
        self.failure: str | None = None  # what it then reported
        self.waiting: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: dict[str, Future[bytes]] = {}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def invoke(self, event: Any) -> Any:
        """Has the function answer an event.

        Raises:
            FunctionError: the function raised.
            TimeoutError: no answer in `TIMEOUT_S`.
        """
        return json.loads(self.invoke_raw(json.dumps(event).encode()))

    def invoke_raw(self, event: bytes) -> bytes:
        """`invoke` for JSON that is already text."""
        request = str(uuid.uuid4())
        answer = self.answers[request] = Future()
        self.waiting.put((request, event))
        try:
            return answer.result(TIMEOUT_S)
        finally:
            del self.answers[request]

    def handle_error(self, *arguments: Any) -> None:
        """A runtime that is killed hangs up, which is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LocalLambda

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = JSON
        try:
            if self.path.startswith(RUNTIME):
                status, body, headers = self.to_runtime(body)
            elif self.command == "POST" and self.path == INVOCATIONS:
                status, body = 200, self.server.invoke_raw(body)
            else:
                answer = self.server.invoke(self.event(body))
                status, body, headers = answer["statusCode"], answer["body"].encode(), answer["headers"]
        except (FunctionError, TimeoutError) as error:
            status, body = 502, json.dumps({"errorMessage": str(error)}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_OPTIONS = do_PUT = do_POST = respond

    def to_runtime(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """The next event; or thanks for an answer, an error, or the report of a failed start."""
        request, kind = self.path.split("/")[-2:]
        if kind == "next":
            self.server.ready.set()
            request, event = self.server.waiting.get()
            deadline = str(int((time.time() + TIMEOUT_S) * 1000))
            names = ("Lambda-Runtime-Aws-Request-Id", "Lambda-Runtime-Deadline-Ms")
            return 200, event, JSON | dict(zip(names, (request, deadline), strict=True))
        if request == "init":
            self.server.failure = json.loads(body)["errorMessage"]
            self.server.ready.set()
        elif answer := self.server.answers.get(request):  # else nobody waits any more
            if kind == "response":
                answer.set_result(body)
            else:
                answer.set_exception(FunctionError(body.decode(errors="replace")))
        return 202, b'{"status": "OK"}', JSON

    def event(self, body: bytes) -> dict[str, Any]:
        """The request as a Function URL hands it on, in payload format 2.0."""
        path, _, query = self.path.partition("?")
        event = {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": query,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "requestContext": {"http": {"method": self.command, "path": path}, "stage": "$default"},
            "isBase64Encoded": True,
        }
        return event | ({"body": base64.b64encode(body).decode()} if body else {})

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def running(
    command: Sequence[str | Path] = (sys.executable, "-m", "awslambdaric", HANDLER),
    *,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    port: int = 0,
    log: Any = subprocess.DEVNULL,
) -> Iterator[tuple[LocalLambda, subprocess.Popen]]:
    """Starts a function under its runtime client and stops it in the end.

    Args:
        command: what the container would start.
        folder: where the function's files are, as `/var/task` in a container.
        environment: of the function, beside what Lambda itself sets; by default this process's own.
        port: of the server; 0 takes a free one.
        log: where the function's output goes, as for `subprocess.Popen`.

    Yields:
        The server to send events through, and the function's process.

    Raises:
        FunctionError: the function could not be started.
        OSError, OverflowError: the port can't be used.
    """
    with LocalLambda(port) as server:
        of_lambda = {
            "AWS_LAMBDA_RUNTIME_API": server.address,
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": HANDLER,
        }
        environment = {**(os.environ if environment is None else environment), **of_lambda}
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            while not server.ready.wait(0.05):
                if process.poll() is not None:
                    raise FunctionError(
                        f"the runtime ended with status {process.returncode}, as its log says"
                    )
            if server.failure:
                raise FunctionError(server.failure)
            yield server, process
        finally:
            process.kill()
            process.wait()
            server.shutdown()


def main() -> None:
    """Serves the function at the emulator's address until interrupted."""
    require_packages("awslambdaric")
    from containerize_deploy.scene_model import ModelError, find_model

    parser = argparse.ArgumentParser(description="Serve the Lambda function on this machine, without Docker.")
    parser.add_argument("--port", type=int, default=9000, help="of 127.0.0.1; 0 takes a free one")
    parser.add_argument("--model", help=".tflite file or a run's folder; default: this repository's model")
    options = parser.parse_args()
    try:
        model = {"SCENES_MODEL": str(find_model(options.model).resolve())}
        with (
            contextlib.suppress(KeyboardInterrupt),
            running(environment=os.environ | model, port=options.port, log=sys.stderr) as (server, process),
        ):
            address = f"http://{server.address}"
            print(f"Listening at {address}{INVOCATIONS}; for browsers at {address}/", flush=True)
            sys.exit(f"The function ended with status {process.wait()}, as its log says.")
    except (FunctionError, ModelError) as error:
        sys.exit(f"The function did not start: {error}")
    except (OSError, OverflowError) as error:
        sys.exit(f"Port {options.port} can't be used ({error}); name another with --port.")


if __name__ == "__main__":
    main()
