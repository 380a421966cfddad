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

HANDLER = "containerize_deploy.lambda_function.lambda_handler"
INVOCATIONS = "/2015-03-31/functions/function/invocations"  # where the emulator listens


class FunctionError(Exception):
    """The function, or its start, failed; holds what the runtime client reported."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class RuntimeApi(http.server.ThreadingHTTPServer):
    """A stand-in of the Runtime API on the loopback, for one function at a time."""

    daemon_threads = True

    def __init__(self, timeout_s: float = 30.0) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeHandler)
        self.timeout_s = timeout_s
        self.address = f"127.0.0.1:{self.server_port}"  # as AWS_LAMBDA_RUNTIME_API wants it
        self.ready = threading.Event()  # set when the runtime asks for its first request, or has failed
        self.failure: str | None = None  # what it then reported
        self.waiting: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: dict[str, Future[bytes]] = {}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def invoke(self, event: Any) -> Any:
        """Has the function answer an event.

        Raises:
            FunctionError: the function raised.
            TimeoutError: no answer in `timeout_s`.
        """
        return json.loads(self.invoke_raw(json.dumps(event).encode()))

    def invoke_raw(self, event: bytes) -> bytes:
        """`invoke` for JSON that is already text."""
        request = str(uuid.uuid4())
        answer = self.answers[request] = Future()
        self.waiting.put((request, event))
        try:
            return answer.result(self.timeout_s)
        finally:
            del self.answers[request]

    def handle_error(self, *arguments: Any) -> None:
        """A runtime that is killed hangs up, which is no news."""


class _RuntimeHandler(_Handler):
    server: RuntimeApi

    def do_GET(self) -> None:
        self.server.ready.set()
        request, event = self.server.waiting.get()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": request,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self.server.timeout_s) * 1000)),
        }
        self.reply(200, event, headers)

    def do_POST(self) -> None:
        body, (request, kind) = self.body(), self.path.split("/")[-2:]
        if request == "init":
            self.server.failure = json.loads(body)["errorMessage"]
            self.server.ready.set()
        elif answer := self.server.answers.get(request):  # else nobody waits any more
            if kind == "response":
                answer.set_result(body)
            else:
                answer.set_exception(FunctionError(body.decode(errors="replace")))
        self.reply(202, b'{"status": "OK"}')


@contextlib.contextmanager
def running(
    command: Sequence[str | Path] = (sys.executable, "-m", "awslambdaric", HANDLER),
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
    log: Any = subprocess.DEVNULL,
) -> Iterator[tuple[RuntimeApi, subprocess.Popen]]:
    """Starts a function under its runtime client and stops it in the end.

    Args:
        command: what the container would start.
        folder: where the function's files are, as `/var/task` in a container; by default this repository.
        environment: of the function, beside what Lambda itself sets; by default this process's own.
        timeout_s: the function's time limit.
        log: where the function's output goes, as for `subprocess.Popen`.

    Yields:
        The API to send events through, and the function's process.

    Raises:
        FunctionError: the function could not be started.
    """
    folder = folder or Path(__file__).resolve().parents[1]
    with RuntimeApi(timeout_s) as api:
        of_lambda = {
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": HANDLER,
        }
        environment = {**(os.environ if environment is None else environment), **of_lambda}
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            while not api.ready.wait(0.05):
                if process.poll() is not None:
                    raise FunctionError(
                        f"the runtime ended with status {process.returncode}, as its log says"
                    )
            if api.failure:
                raise FunctionError(api.failure)
            yield api, process
        finally:
            process.kill()
            process.wait()
            api.shutdown()


def emulator(api: RuntimeApi, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A web server on the loopback in front of a function; its caller runs and closes it.

    Events posted to `INVOCATIONS` are answered as by the container's emulator, else as by a Function URL.
    """

    class Emulator(_Handler):
        def do_POST(self) -> None:
            try:
                if self.command == "POST" and self.path == INVOCATIONS:
                    self.reply(200, api.invoke_raw(self.body()))
                else:
                    answer = api.invoke(self.event())
                    self.reply(answer["statusCode"], answer["body"].encode(), answer["headers"])
            except (FunctionError, TimeoutError) as error:
                self.reply(502, json.dumps({"errorMessage": str(error)}).encode())

        do_GET = do_HEAD = do_OPTIONS = do_PUT = do_POST

        def event(self) -> dict[str, Any]:
            """The request in payload format 2.0."""
            body, (path, _, query) = self.body(), self.path.partition("?")
            event = {
                "version": "2.0",
                "rawPath": path,
                "rawQueryString": query,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "requestContext": {"http": {"method": self.command, "path": path}, "stage": "$default"},
                "isBase64Encoded": True,
            }
            return event | ({"body": base64.b64encode(body).decode()} if body else {})

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Emulator)


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
            running(environment=os.environ | model, log=sys.stderr) as (api, _),
            emulator(api, options.port) as server,
            contextlib.suppress(KeyboardInterrupt),
        ):
            address = f"http://127.0.0.1:{server.server_port}"
            print(f"Listening at {address}{INVOCATIONS}; for browsers at {address}/", flush=True)
            server.serve_forever()
    except (FunctionError, ModelError) as error:
        sys.exit(f"The function did not start: {error}")
    except (OSError, OverflowError) as error:
        sys.exit(f"Port {options.port} can't be used ({error}); name another with --port.")


if __name__ == "__main__":
    main()
