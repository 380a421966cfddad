"""Calls the running service with an image and prints what it says.

    python containerize_deploy/test.py photo.jpg
    python containerize_deploy/test.py https://upload.wikimedia.org/…/photo.jpg
    python containerize_deploy/test.py --at https://….lambda-url.eu-central-1.on.aws/ photo.jpg

Without `--at` it calls the container on this machine (containerize.md). A Function URL that asks for signed
requests is called with curl instead (deploy_aws_lambda.md). Needs nothing but Python, and no other file.
"""

import argparse
import base64
import http.client
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LOCAL = "http://localhost:9000/2015-03-31/functions/function/invocations"
# Control characters, halves of characters, and what turns the direction of writing.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def main() -> int:
    """Calls the service once per image; returns 1 if any was not classified."""
    parser = argparse.ArgumentParser(description="Ask the running service about images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file or http(s) URL")
    parser.add_argument("--at", default=LOCAL, metavar="URL", help="default: the container on this machine")
    options = parser.parse_args()
    failed = False
    for image in options.images:
        event = {"url": image}
        try:
            if not image.startswith(("http://", "https://")):
                event = {"image": base64.b64encode(Path(image).read_bytes()).decode()}
        except OSError as error:
            print(printable(f"{image}: The file can't be read: {error.strerror}."), file=sys.stderr)
            failed = True
            continue
        try:
            answer = call(options.at, event)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(printable(f"{image}: no answer from {options.at} ({error})"), file=sys.stderr)
            return 1
        print(printable(f"{image}: {describe(answer)}"))
        failed |= "label" not in answer
    return int(failed)


def call(address: str, event: dict[str, str]) -> dict[str, Any]:
    """Posts an event and returns the answer, also where it is an error.

    Raises:
        OSError, ValueError, http.client.HTTPException: nothing that speaks JSON answers there.
    """
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(event).encode(), headers)
    here = urllib.parse.urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    # No proxy, whatever the environment names, leads back to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if here else None))
    try:
        with opener.open(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:  # the service's own errors are JSON too
        answer = json.load(error)
    if not isinstance(answer, dict):
        raise ValueError("it answers with something else than a JSON object")
    return answer


def describe(answer: dict[str, Any]) -> str:
    """An answer as a line for people, as `classify` prints it; errors as they come."""
    if "label" in answer:
        ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:5]
        odds = ", ".join(f"{label} {probability:.1%}" for label, probability in ranked)
        return odds if answer["in_scope"] else f"none of these, or hard to tell ({odds})"
    return json.dumps(answer)  # an error, or another program's answer


def printable(text: str) -> str:
    """A text with escapes in place of what a terminal obeys: strangers name files and labels."""
    return OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # file names are bytes, and not always text
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
