"""A function under Lambda's real runtime client, awslambdaric, which gets its events from a stand-in of the Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html documents the API.
"""

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

ROOT = Path(__file__).parents[2]
HANDLER = "containerize_deploy.lambda_function.lambda_handler"
TIMEOUT_S = 30


class FunctionError(Exception):
    """The function, or its start, failed; holds what the runtime client reported."""


class RuntimeApi(http.server.ThreadingHTTPServer):
    """The Runtime API at an `address` of the loopback, for one function."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
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
        request = str(uuid.uuid4())
        answer = self.answers[request] = Future()
        self.waiting.put((request, json.dumps(event).encode()))
        return json.loads(answer.result(TIMEOUT_S))

    def handle_error(self, *arguments: Any) -> None:
        """A runtime that is killed hangs up, which is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: RuntimeApi

    def do_GET(self) -> None:
        self.server.ready.set()
        request, event = self.server.waiting.get()
        deadline = int((time.time() + TIMEOUT_S) * 1000)
        self.reply(
            200,
            event,
            {"Lambda-Runtime-Aws-Request-Id": request, "Lambda-Runtime-Deadline-Ms": str(deadline)},
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request, kind = self.path.split("/")[-2:]
        if request == "init":
            self.server.failure = json.loads(body)["errorMessage"]
            self.server.ready.set()
        elif kind == "response":
            self.server.answers[request].set_result(body)
        else:
            self.server.answers[request].set_exception(FunctionError(body.decode(errors="replace")))
        self.reply(202, b'{"status": "OK"}', {})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(body),
            **headers,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def running(
    command: Sequence[str | Path] = (sys.executable, "-m", "awslambdaric", HANDLER),
    *,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    log: Any = subprocess.DEVNULL,
) -> Iterator[tuple[RuntimeApi, subprocess.Popen]]:
    """Starts a function under its runtime client and stops it in the end.

    Args:
        command: what the container would start.
        folder: where the function's files are, as `/var/task` in a container.
        environment: of the function, beside what Lambda itself sets; by default this process's own.
        log: where the function's output goes, as for `subprocess.Popen`.

    Yields:
        The API to send events through, and the function's process.

    Raises:
        FunctionError: the function could not be started.
    """
    with RuntimeApi() as api:
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
