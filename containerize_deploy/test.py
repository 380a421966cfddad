"""Calls the running service with a photograph and prints what it says.

    python containerize_deploy/test.py photo.jpg
    python containerize_deploy/test.py https://upload.wikimedia.org/…/photo.jpg
    python containerize_deploy/test.py --at https://….lambda-url.eu-central-1.on.aws/ photo.jpg

Without `--at` it calls the container on this machine (containerize.md). A Function URL that asks for signed
requests is called with curl instead (deploy_aws_lambda.md). Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LOCAL = "http://localhost:9000/2015-03-31/functions/function/invocations"


def main(arguments: list[str] | None = None) -> int:
    """Calls the service once a photograph; returns 1 if any was not classified."""
    parser = argparse.ArgumentParser(description="Ask the running service about photographs.")
    parser.add_argument("photographs", nargs="+", metavar="PHOTO", help="image file or http(s) URL")
    parser.add_argument(
        "--at", default=LOCAL, metavar="URL", help="the service; default: the local container"
    )
    options = parser.parse_args(arguments)
    failed = False
    for photograph in options.photographs:
        try:
            answer = call(options.at, event_for(photograph))
        except (OSError, ValueError) as error:
            print(f"{photograph}: no answer from {options.at} ({error})", file=sys.stderr)
            return 1
        print(f"{photograph}: {describe(answer)}")
        failed |= "label" not in answer
    return int(failed)


def event_for(photograph: str) -> dict[str, str]:
    """The event that asks about a URL, or about a file by its content."""
    if photograph.startswith(("http://", "https://")):
        return {"url": photograph}
    return {"image": base64.b64encode(Path(photograph).read_bytes()).decode()}


def call(address: str, event: dict[str, str]) -> dict[str, Any]:
    """Posts an event and returns the answer, also where it is an error."""
    request = urllib.request.Request(
        address, json.dumps(event).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:  # the service's own errors are JSON too
        return json.load(error)


def describe(answer: dict[str, Any]) -> str:
    """An answer as a line for people."""
    if "label" not in answer:
        return json.dumps(answer.get("error", answer))
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    odds = ", ".join(f"{label} {probability:.1%}" for label, probability in ranked)
    return odds if answer["in_scope"] else f"none of these, or hard to tell ({odds})"


if __name__ == "__main__":
    sys.exit(main())
