"""Calls the running service with an image and prints what it says.

    python containerize_deploy/test.py photo.jpg
    python containerize_deploy/test.py https://upload.wikimedia.org/…/photo.jpg
    python containerize_deploy/test.py --at https://….lambda-url.eu-central-1.on.aws/ photo.jpg

Without `--at` it calls the container on this machine (containerize.md). A Function URL that asks for signed
requests is called with curl instead (deploy_aws_lambda.md). Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LOCAL = "http://localhost:9000/2015-03-31/functions/function/invocations"


def main(arguments: list[str] | None = None) -> int:
    """Calls the service once per image; returns 1 if any was not classified."""
    parser = argparse.ArgumentParser(description="Ask the running service about images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file or http(s) URL")
    parser.add_argument(
        "--at", default=LOCAL, metavar="URL", help="the service; default: the local container"
    )
    options = parser.parse_args(arguments)
    failed = False
    for image in options.images:
        try:
            event = event_for(image)
        except OSError as error:
            print(f"{image}: {unreadable(error)}", file=sys.stderr)
            failed = True
            continue
        try:
            answer = call(options.at, event)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{image}: no answer from {options.at} ({error})", file=sys.stderr)
            return 1
        code = answer["error"].get("code") if isinstance(answer.get("error"), dict) else None
        print(f"{image}: {describe(answer)}" + (f" ({code})" if code else ""))
        failed |= "label" not in answer
    return int(failed)


def event_for(image: str) -> dict[str, str]:
    """The event that asks about a URL, or about a file by its content.

    Raises:
        OSError: the file cannot be read.
    """
    if image.startswith(("http://", "https://")):
        return {"url": image}
    return {"image": base64.b64encode(Path(image).read_bytes()).decode()}


def call(address: str, event: dict[str, str]) -> dict[str, Any]:
    """Posts an event and returns the answer, also where it is an error.

    Raises:
        OSError, ValueError, http.client.HTTPException: nothing that speaks JSON answers there.
    """
    request = urllib.request.Request(
        address, json.dumps(event).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:  # the service's own errors are JSON too
        answer = json.load(error)
    if not isinstance(answer, dict):
        raise ValueError("it answers with something else than a JSON object")
    return answer


def describe(answer: dict[str, Any]) -> str:
    """An answer as a line for people; the shell tool prints the same."""
    if "label" in answer:
        ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
        odds = ", ".join(f"{label} {probability:.1%}" for label, probability in ranked)
        return odds if answer["in_scope"] else f"none of these, or hard to tell ({odds})"
    error = answer.get("error")
    return error["message"] if isinstance(error, dict) and "message" in error else json.dumps(answer)


def unreadable(error: OSError) -> str:
    """Why a file cannot be read, as a sentence."""
    return (
        "There is no such file."
        if isinstance(error, FileNotFoundError)
        else f"The file cannot be read: {error.strerror}."
    )


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # file names are bytes, and not always text
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
