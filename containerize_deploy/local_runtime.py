"""The Lambda function on this machine, without Docker.

    python -m containerize_deploy.local_runtime --port 9000 --model runs/<timestamp>

then answers at the address where the container's emulator would, so that test.py can call it, and at any other
as a Function URL, so that a browser can.
"""

import argparse
import base64
import contextlib
import http.server
import json
import os
import sys
import threading
import time
import uuid
from types import SimpleNamespace
from typing import Any

from containerize_deploy.installed import require_packages

INVOCATIONS = "/2015-03-31/functions/function/invocations"  # where the emulator listens
TIMEOUT_S = 30  # as in template.yaml


def make_server(port: int = 0) -> http.server.ThreadingHTTPServer:
    """A web server on the loopback in front of the function; its caller runs and closes it.

    Raises:
        OSError, OverflowError: the port can't be used.
    """
    from containerize_deploy.lambda_function import lambda_handler

    one_at_a_time = threading.Lock()  # as in Lambda, where the next request goes to another environment

    def invoke(event: Any) -> Any:
        with one_at_a_time:
            ends_at = time.monotonic() + TIMEOUT_S
            context = SimpleNamespace(
                aws_request_id=str(uuid.uuid4()),
                get_remaining_time_in_millis=lambda: 1000 * (ends_at - time.monotonic()),
            )
            return lambda_handler(event, context)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "POST" and self.path == INVOCATIONS:
                try:
                    status, answer = 200, invoke(json.loads(body))
                except ValueError as error:
                    status, answer = 502, {"errorMessage": f"Expected JSON, found: {error}"}
                headers, text = {"Content-Type": "application/json"}, json.dumps(answer)
            else:
                path, _, query = self.path.partition("?")
                event = {  # payload format 2.0
                    "version": "2.0",
                    "rawPath": path,
                    "rawQueryString": query,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "requestContext": {"http": {"method": self.command, "path": path}, "stage": "$default"},
                    "isBase64Encoded": True,
                    "body": base64.b64encode(body).decode(),
                }
                answer = invoke(event)
                status, headers, text = answer["statusCode"], answer["headers"], answer["body"]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())

        do_GET = do_HEAD = do_OPTIONS = do_PUT = do_POST

        log_message = lambda *arguments: None  # noqa: E731

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


def main() -> None:
    """Serves the function until interrupted; its log goes to the standard error stream."""
    require_packages()
    from containerize_deploy.scene_model import ModelError, find_model
    from containerize_deploy.settings import SettingsError

    parser = argparse.ArgumentParser(description="Serve the Lambda function on this machine, without Docker.")
    parser.add_argument("--port", type=int, default=9000, help="of 127.0.0.1; 0 takes a free one")
    parser.add_argument("--model", help=".tflite file or a run's folder; default: this repository's model")
    options = parser.parse_args()
    os.environ.setdefault("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")  # the function keeps below it
    try:
        os.environ["SCENES_MODEL"] = str(find_model(options.model).resolve())
        with make_server(options.port) as server, contextlib.suppress(KeyboardInterrupt):
            address = f"http://127.0.0.1:{server.server_port}"
            print(f"Listening at {address}{INVOCATIONS}; for browsers at {address}/", flush=True)
            with contextlib.redirect_stdout(sys.stderr):
                server.serve_forever()
    except (ModelError, SettingsError) as error:
        sys.exit(f"The function did not start: {error}")
    except (OSError, OverflowError) as error:
        sys.exit(f"Port {options.port} can't be used ({error}); name another with --port.")


if __name__ == "__main__":
    main()
