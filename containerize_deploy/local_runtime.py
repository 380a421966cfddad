"""Lambda on this machine, without Docker: the real runtime client against a stand-in of Lambda's Runtime API.

    python -m containerize_deploy.local_runtime --port 9000

then answers at the address where the container's emulator would, so that test.py can call it, and at any other
as a Function URL, so that a browser can. The tests and
`benchmark_serving.py` use the classes below. The Runtime API is documented at
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
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

HANDLER = "containerize_deploy.lambda_function.lambda_handler"
INVOCATIONS = "/2015-03-31/functions/function/invocations"  # where the emulator listens

_API = "/2018-06-01/runtime"
_OF_REQUEST = re.compile(_API + r"/invocation/([^/]+)/(response|error)")


class FunctionError(Exception):
    """The function, or its start, failed; holds what the runtime client reported."""


class RuntimeApi:
    """A stand-in of the Runtime API on the loopback, for one function at a time.

    Attributes:
        address: `host:port`, as `AWS_LAMBDA_RUNTIME_API` wants it.
        initialisation_error: what the runtime client reported when the function could not be started.
    """

    def __init__(self, timeout_s: float = 30.0) -> None:
        self.timeout_s = timeout_s
        self.initialisation_error: dict[str, Any] | None = None
        self.ready = threading.Event()  # set when the runtime asks for its first request
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._running: dict[str, Future[bytes]] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: (
            None
        )  # a runtime that is killed hangs up; that is no news
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def invoke(self, event: Any) -> Any:
        """Has the function answer an event.

        Raises:
            FunctionError: the function raised, or its runtime could not start.
            TimeoutError: no answer in `timeout_s`.
        """
        return json.loads(self.invoke_raw(json.dumps(event).encode()))

    def invoke_raw(self, event: bytes) -> bytes:
        """`invoke` for JSON that is already text."""
        request, future = str(uuid.uuid4()), Future()
        self._running[request] = future
        self._waiting.put((request, event))
        try:
            return future.result(self.timeout_s)
        finally:
            del self._running[request]

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()

    def _next(self) -> tuple[str, bytes]:
        self.ready.set()
        return self._waiting.get()

    def _done(self, request: str, kind: str, body: bytes) -> None:
        future = self._running.get(request)
        if future is None:  # nobody waits any more
            return
        if kind == "response":
            future.set_result(body)
        else:
            future.set_exception(FunctionError(body.decode(errors="replace")))

    def _failed_to_start(self, body: bytes) -> None:
        self.initialisation_error = json.loads(body)
        self.ready.set()


def _handler(api: RuntimeApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path != f"{_API}/invocation/next":
                return self._reply(404)
            request, event = api._next()
            deadline_ms = int((time.time() + api.timeout_s) * 1000)
            self._reply(
                200,
                event,
                {
                    "Lambda-Runtime-Aws-Request-Id": request,
                    "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:local:000000000000:function:function",
                    "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
                },
            )

        def do_POST(self) -> None:
            body = self._body()
            if self.path == f"{_API}/init/error":
                api._failed_to_start(body)
            elif match := _OF_REQUEST.fullmatch(self.path):
                api._done(match[1], match[2], body)
            else:
                return self._reply(404)
            return self._reply(202, b'{"status": "OK"}')

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def running(
    command: Sequence[str] = (sys.executable, "-m", "awslambdaric", HANDLER),
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
    api = RuntimeApi(timeout_s)
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={
            **(os.environ if environment is None else environment),
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_REGION": "local",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": HANDLER,
        },
    )
    try:
        while not api.ready.wait(0.05):
            if process.poll() is not None:
                raise FunctionError(
                    f"The runtime ended with status {process.returncode} before it was ready."
                )
        if api.initialisation_error:
            raise FunctionError(json.dumps(api.initialisation_error))
        yield api, process
    finally:
        process.kill()
        process.wait()
        api.close()


def emulator(api: RuntimeApi, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A web server on the loopback in front of a function; its caller runs and closes it.

    Events posted to `INVOCATIONS` are answered as by the container's emulator, everything else as by a Function
    URL.

    Args:
        api: of the function, as `running` gives it.
        port: 0 takes a free one.
    """

    class Emulator(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                if self.path == INVOCATIONS:
                    status, headers, answer = 200, {"content-type": "application/json"}, api.invoke_raw(body)
                else:
                    sent = api.invoke(self._event(body))
                    status, headers, answer = sent["statusCode"], sent["headers"], sent["body"].encode()
            except (FunctionError, TimeoutError) as error:
                status, headers = 502, {"content-type": "application/json"}
                answer = json.dumps({"errorMessage": str(error)}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_HEAD = do_OPTIONS = do_PUT = do_POST

        def _event(self, body: bytes) -> dict[str, Any]:
            """The request in payload format 2.0."""
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

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Emulator)


def main() -> None:
    """Serves the function at the emulator's address until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the Lambda function on this machine, without Docker.")
    parser.add_argument("--port", type=int, default=9000, help="of 127.0.0.1; 0 takes a free one")
    options = parser.parse_args()
    try:
        with running(log=sys.stderr) as (api, _), emulator(api, options.port) as server:
            address = f"http://127.0.0.1:{server.server_port}"
            print(f"Listening at {address}{INVOCATIONS}; for browsers at {address}/", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
    except FunctionError:
        sys.exit("The function did not start; its log, above, says why.")
    except (OSError, OverflowError) as error:
        sys.exit(f"Port {options.port} can't be used ({error}); name another with --port.")


if __name__ == "__main__":
    main()
