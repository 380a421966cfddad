"""The AWS Lambda function: coast, forest or mountain?

Takes a plain event (`{"url": …}`, `{"image": "<base64>"}`, or a list of either as `urls` or `images`), or an
HTTP request in payload format 2.0, as Function URLs and HTTP APIs send it, whose body is such an event or the
image itself. README.md beside this file has the table of what goes in and what comes out.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from containerize_deploy.answers import MAX_BYTES, ServiceError, classify, fetch_photograph
from containerize_deploy.scene_model import SceneModel

MAX_PHOTOGRAPHS = 16  # of one request
FETCHES_AT_ONCE = 8
RESERVE_S = 1.0  # kept back to write the answer

# Loaded while Lambda starts the environment, where the CPU is fast, and kept for every request.
MODEL = SceneModel()

_FORMS = "Expected exactly one of url, image, urls and images"


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Answers one request. Never raises: whatever goes wrong becomes an answer and a line in the log.

    Args:
        event: see the module.
        context: of the Lambda runtime; only the request's id and the time left are used. May be None.

    Returns:
        For a plain event the answer, for an HTTP request status, headers and the answer as JSON. Either way
        the answer follows `answer.schema.json`.
    """
    record = _Record()
    http = _http_request(event)
    try:
        status, answer, headers = _answer(event, http, _clock(context), record)
    except ServiceError as error:
        status, answer, headers = error.status, error.to_json(), {}
        record.errors.append(f"{error.code}: {error}")
    except Exception as error:
        unexpected = ServiceError(
            "internal", "Something went wrong here; the log knows what, under this request's id."
        )
        status, answer, headers = unexpected.status, unexpected.to_json(), {}
        record.errors.append(f"internal: {type(error).__name__}")
        record.traceback = traceback.format_exc()
    record.write(context, status)
    return answer if http is None else _envelope(http, status, answer, headers)


def _answer(
    event: Any, http: dict[str, Any] | None, time_left: Callable[[], float], record: _Record
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, answer and extra headers."""
    if http is None:
        return 200, _classify_event(event, time_left, record), {}
    method, path = http.get("method"), _path(event, http)
    if method == "POST":
        return 200, _classify_event(_body(event), time_left, record), {}
    if method == "OPTIONS":
        return 204, {}, _preflight()
    if method not in ("GET", "HEAD"):
        raise ServiceError(
            "method_not_allowed", "POST classifies a photograph, GET on / tells how the service is."
        )
    if path != "/":
        raise ServiceError(
            "not_found", "There is only / here: POST classifies, GET tells how the service is."
        )
    return 200, {"status": "ok", "model": MODEL.identity}, {}


def _classify_event(event: Any, time_left: Callable[[], float], record: _Record) -> dict[str, Any]:
    """Answers a plain event, or an image's bytes as they came in an HTTP body."""
    if isinstance(event, bytes):
        record.photographs = 1
        return {**classify(MODEL, event).to_json(), "model": MODEL.identity}
    forms = [key for key in ("url", "image", "urls", "images") if isinstance(event, dict) and key in event]
    if len(forms) != 1:
        raise ServiceError("malformed", f"{_FORMS}, found {' and '.join(forms) or 'none of them'}.")
    (form,) = forms
    wanted = event[form]
    one = form in ("url", "image")
    if one and not isinstance(wanted, str):
        raise ServiceError("malformed", f"Expected {form} to be a string.")
    if not one:
        if not isinstance(wanted, list) or not wanted or not all(isinstance(item, str) for item in wanted):
            raise ServiceError("malformed", f"Expected {form} to be a list of strings, with at least one.")
        if len(wanted) > MAX_PHOTOGRAPHS:
            raise ServiceError(
                "too_large", f"Expected at most {MAX_PHOTOGRAPHS} photographs, found {len(wanted)}."
            )
    photographs = [wanted] if one else wanted
    record.photographs = len(photographs)
    sources = _fetch_all(photographs, time_left) if form in ("url", "urls") else map(_decoder, photographs)
    if one:
        (source,) = sources
        return {**classify(MODEL, source()).to_json(), "model": MODEL.identity}
    answers = [_one_of_many(source, time_left, record) for source in sources]
    return {"answers": answers, "model": MODEL.identity}


def _one_of_many(
    source: Callable[[], bytes], time_left: Callable[[], float], record: _Record
) -> dict[str, Any]:
    """The answer for one photograph of a list; its failure is its own."""
    try:
        photograph = source()
        if time_left() <= RESERVE_S:
            raise ServiceError(
                "out_of_time", "The time was up before this photograph's turn; send fewer at once."
            )
        return classify(MODEL, photograph).to_json()
    except ServiceError as error:
        record.errors.append(f"{error.code}: {error}")
        return error.to_json()


def _decoder(text: str) -> Callable[[], bytes]:
    return lambda: _from_base64(text)


def _from_base64(text: str) -> bytes:
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise ServiceError("too_large", f"The photograph is larger than {MAX_BYTES / 1e6:.0f} MB.")
    try:
        # The base64 command breaks lines, which is the one liberty taken here.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ServiceError("malformed", "Expected the image as base64, found something else.") from None


def _fetch_all(urls: list[str], time_left: Callable[[], float]) -> list[Callable[[], bytes]]:
    """Fetches at the same time; each result is a function that gives the bytes or raises why not."""
    left = time_left() - RESERVE_S

    def fetch(url: str) -> bytes:
        remaining = min(left, time_left() - RESERVE_S)
        if remaining <= 0:
            raise ServiceError(
                "out_of_time", "The time was up before this photograph's turn; send fewer at once."
            )
        return fetch_photograph(url, deadline_s=remaining)

    if len(urls) == 1:
        return [lambda: fetch(urls[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        return [pool.submit(fetch, url).result for url in urls]


# HTTP


def _http_request(event: Any) -> dict[str, Any] | None:
    """The part of a payload-2.0 event that describes the HTTP request; None for a plain event."""
    request_context = event.get("requestContext") if isinstance(event, dict) else None
    http = request_context.get("http") if isinstance(request_context, dict) else None
    return http if isinstance(http, dict) else None


def _path(event: dict[str, Any], http: dict[str, Any]) -> str:
    """The path without the HTTP API's stage, which comes first unless the stage is `$default`."""
    path = event.get("rawPath") or http.get("path") or "/"
    stage = event["requestContext"].get("stage")
    if not isinstance(path, str):
        return ""
    if isinstance(stage, str) and stage and (path == f"/{stage}" or path.startswith(f"/{stage}/")):
        path = path.removeprefix(f"/{stage}")
    return path or "/"


def _body(event: dict[str, Any]) -> Any:
    """The plain event, or the image's bytes, that an HTTP request carries.

    What the content type claims counts for nothing; no image starts with a brace.
    """
    body = event.get("body")
    if not isinstance(body, str) or not body:
        raise ServiceError("malformed", f"Expected an image or JSON in the body. {_FORMS}, found no body.")
    raw = (
        _from_base64(body) if event.get("isBase64Encoded") is True else body.encode("utf-8", "surrogatepass")
    )
    if raw.lstrip()[:1] != b"{":
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ServiceError("malformed", "The body starts like JSON and goes on as something else.") from None


def _envelope(
    http: dict[str, Any], status: int, answer: dict[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    """The answer as Function URLs and HTTP APIs send it on."""
    silent = status == 204 or http.get("method") == "HEAD"
    headers = {"content-type": "application/json", "cache-control": "no-store", **headers}
    if status == 405:
        headers["allow"] = "GET, HEAD, OPTIONS, POST"
    if origin := _cors_origin():
        headers["access-control-allow-origin"] = origin
    body = "" if silent else json.dumps(answer)
    return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}


def _preflight() -> dict[str, str]:
    """What a browser wants to know before it lets another site's page post a photograph."""
    if not _cors_origin():
        return {}
    return {
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "content-type, authorization, x-amz-date, x-amz-security-token",
        "access-control-max-age": "86400",
    }


def _cors_origin() -> str:
    """Whose pages may call: `CORS_ORIGIN`; any by default (no cookie is involved), none if empty."""
    return os.environ.get("CORS_ORIGIN", "*").strip()


# Time and log


def _clock(context: Any) -> Callable[[], float]:
    """A function that tells how many seconds this request has left."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    ends_at = time.monotonic() + (remaining() / 1000 if callable(remaining) else 60.0)
    return lambda: ends_at - time.monotonic()


@dataclass
class _Record:
    """The log line of one request. It holds no URL, address or image: those are the caller's."""

    started: float = field(default_factory=time.perf_counter)
    photographs: int = 0
    errors: list[str] = field(default_factory=list)
    traceback: str | None = None

    def write(self, context: Any, status: int) -> None:
        line = {
            "level": "ERROR" if status == 500 else "WARNING" if self.errors else "INFO",
            "request_id": str(getattr(context, "aws_request_id", None)),
            "status": status,
            "photographs": self.photographs,
            "milliseconds": round((time.perf_counter() - self.started) * 1000, 1),
            "model": MODEL.version,
        }
        if self.errors:
            line["reason"] = self.errors
        if self.traceback:
            line["traceback"] = self.traceback
        print(json.dumps(line), flush=True)
