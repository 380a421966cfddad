"""The AWS Lambda function: which of the model's classes does an image show?

Takes a plain event (`{"url": …}`, `{"image": "<base64>"}`, or a list of either as `urls` or `images`), or an
HTTP request as Function URLs, HTTP APIs, REST APIs and load balancers send it, whose body is such an event or
the image itself. README.md beside this file has the table of what goes in and what comes out.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import collections
import hashlib
import itertools
import json
import re
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    from containerize_deploy.answers import ServiceError, classify_bytes, fetch_image
    from containerize_deploy.scene_model import SceneModel
    from containerize_deploy.settings import Policy, cors_origin, memory_mb
    from data_prep_eda.preprocessing import MAX_BYTES
except ModuleNotFoundError as error:
    missing = (error.name or "a module").partition(".")[0]
    command = "python -m pip install --no-deps --requirement containerize_deploy/requirements.txt"
    raise ImportError(f"Expected {missing} to be installed, found it missing. Run: {command}") from None

Clock = Callable[[], float]  # how many seconds are left
Source = Callable[[], bytes]  # gives an image's bytes, or raises why there are none

MAX_IMAGES = 16  # of one request
FETCHES_AT_ONCE = 8  # and at most so many images in memory
RESERVE_S = 1.0  # kept back to write the answer
DECODE_S = 3.0  # kept back for an image: none that is accepted takes more than 2 s on such a processor


def _limit_memory() -> None:
    """Keeps the process below the function's memory: an allocation that fails is one image's fault.

    At Lambda's own limit the process ends, with every answer in it. The size that a file names proves nothing: AVIF's
    decoder allocates by the frame in the data. The other 15 % are for code, which doesn't count; below 512 MB the
    threads' stacks, which count in full and are hardly used, would leave too little.
    """
    if megabytes := memory_mb():
        limit = max(int(0.85 * megabytes), 512) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


# Read and loaded while Lambda starts the environment, where the CPU is fast, and kept for every request.
POLICY = Policy.from_environment()
CORS_ORIGIN = cors_origin()
MODEL = SceneModel()
_limit_memory()

FORMS = ("url", "image", "urls", "images")
PAGE = Path(__file__).with_name("upload_page.html")  # what GET on / answers to a browser


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Answers one request. Never raises: whatever goes wrong becomes an answer and a line in the log.

    Args:
        event: see the module.
        context: of the Lambda runtime; only the request's id and the time left are used. May be None.

    Returns:
        The answer, by `answer.schema.json`; to an HTTP request with status and headers, as JSON.
    """
    record = _Record()
    http = _http_request(event)
    try:
        status, answer, headers = _answer(event, http, _clock(context), record)
    except Exception as error:
        status, answer, headers = *record.failure(error), {}
    record.write(context, status)
    return answer if http is None else _envelope(http, status, answer, headers)


def _answer(event: Any, http: _Http | None, time_left: Clock, record: _Record) -> tuple[int, Any, dict]:
    """Status, answer (a page's is a text) and extra headers."""
    if http is None:
        return 200, _classify_event(event, time_left, record), {}
    if http.method == "POST":
        return 200, _classify_event(_body(event), time_left, record), {}
    if http.method == "OPTIONS":
        return 204, {}, _PREFLIGHT if CORS_ORIGIN else {}
    if http.method not in ("GET", "HEAD"):
        raise ServiceError("method_not_allowed", "POST classifies, GET on / tells how the service is.")
    if http.path != "/":
        raise ServiceError("not_found", "There is only /: POST classifies, GET tells how the service is.")
    if "text/html" in http.headers.get("accept", "") and PAGE.is_file():
        return 200, *_page()
    return 200, {"status": "ok", "model": MODEL.identity}, {}


def _classify_event(event: Any, time_left: Clock, record: _Record) -> dict[str, Any]:
    """Answers a plain event, or an image's bytes as they came in an HTTP body."""
    if isinstance(event, bytes):
        record.images = 1
        return {**classify_bytes(MODEL, event).to_json(), "model": MODEL.identity}
    form = _form(event)
    images = event[form] if form.endswith("s") else [event[form]]
    record.images = len(images)
    sources = _sources(images, form.startswith("image"), time_left)
    if not form.endswith("s"):
        return {**classify_bytes(MODEL, next(sources)()).to_json(), "model": MODEL.identity}
    answers = [_one_of_many(source, time_left, record) for source in sources]
    return {"answers": answers, "model": MODEL.identity}


def _form(event: Any) -> str:
    """Which of `FORMS` an event has, after checking that it has one, and well."""
    expected = f"Expected a JSON object with exactly one of {', '.join(FORMS)}"
    if not isinstance(event, dict):
        kinds = {list: "a list", str: "a text", type(None): "nothing"}
        raise ServiceError("malformed", f"{expected}, found {kinds.get(type(event), 'something else')}.")
    forms = [form for form in FORMS if form in event]
    if len(forms) != 1:
        raise ServiceError("malformed", f"{expected}, found {' and '.join(forms) or 'none of them'}.")
    (form,) = forms
    images = event[form]
    if not form.endswith("s"):
        if not isinstance(images, str):
            raise ServiceError("malformed", f"Expected {form} to be a string.")
    elif not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        raise ServiceError("malformed", f"Expected {form} to be a list of strings, with at least one.")
    elif len(images) > MAX_IMAGES:
        raise ServiceError("too_large", f"Expected at most {MAX_IMAGES} images, found {len(images)}.")
    return form


def _one_of_many(source: Source, time_left: Clock, record: _Record) -> dict[str, Any]:
    """The answer for one image of a list; its failure is its own."""
    try:
        content = source()
        if time_left() <= DECODE_S:
            raise _out_of_time()
        return classify_bytes(MODEL, content).to_json()
    except Exception as error:
        return record.failure(error)[1]


def _sources(images: list[str], encoded: bool, time_left: Clock) -> Iterator[Source]:
    """A source for each image.

    URLs are fetched at the same time, but never more of them ahead than `FETCHES_AT_ONCE`: the bytes of 16
    images would fill the function's memory.
    """
    budget = None  # of a single URL it is `fetch`'s own

    def bring(image: str) -> bytes:
        if encoded or _DATA_URL.match(image):
            return _from_base64(image)
        left = time_left() - RESERVE_S
        if left <= 0:
            raise _out_of_time()
        return fetch_image(image, POLICY, left, budget)

    if encoded or len(images) == 1:
        yield from (lambda image=image: bring(image) for image in images)
        return
    from concurrent.futures import ThreadPoolExecutor

    from containerize_deploy.fetching import Budget

    budget = Budget()
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        fetches = (pool.submit(bring, image) for image in images)
        ahead = collections.deque(itertools.islice(fetches, FETCHES_AT_ONCE))
        while ahead:
            yield ahead.popleft().result
            ahead.extend(itertools.islice(fetches, 1))


def _out_of_time() -> ServiceError:
    return ServiceError("out_of_time", "The time was up before this image's turn; send fewer at once.")


def _from_base64(text: str) -> bytes:
    """The bytes that base64 stands for, also as a data URL."""
    if found := _DATA_URL.match(text):
        text = text[found.end() :]
    # The base64 command breaks lines, which is the one liberty taken here.
    text = "".join(text.split()) if "\n" in text or " " in text else text
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise ServiceError("too_large", f"The image is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one
        raise ServiceError("malformed", "Expected the image as base64, found something else.") from None


_DATA_URL = re.compile(r"\s*data:[^,]{0,100};base64,", re.IGNORECASE)


@dataclass(frozen=True)
class _Http:
    """An HTTP request, whoever passed it on; method and path may be anything, as all in an event may."""

    method: Any
    path: Any
    headers: dict[str, str]  # names in lower case
    multi_value: bool  # headers come, and have to go, as lists: a load balancer's setting


def _http_request(event: Any) -> _Http | None:
    """The HTTP request that an event describes; None for a plain event.

    Function URLs and HTTP APIs send payload format 2.0, REST APIs format 1.0, and load balancers one like it.
    """
    if not isinstance(event, dict):
        return None
    context = event.get("requestContext")
    context = context if isinstance(context, dict) else {}
    http = context.get("http")
    if isinstance(http, dict):
        method, path = http.get("method"), event.get("rawPath") or http.get("path") or "/"
    elif "httpMethod" in event or "elb" in context:
        method, path = event.get("httpMethod"), event.get("path") or "/"
    else:
        return None
    # An HTTP API's path begins with its stage, unless that is `$default`.
    stage = context.get("stage")
    if isinstance(path, str) and stage and isinstance(stage, str) and f"{path}/".startswith(f"/{stage}/"):
        path = path.removeprefix(f"/{stage}") or "/"
    headers, lists = event.get("headers"), event.get("multiValueHeaders")
    multi_value = isinstance(lists, dict) and not isinstance(headers, dict)  # REST APIs send both
    texts: dict[str, str] = {}
    for name, value in (lists if multi_value else headers if isinstance(headers, dict) else {}).items():
        values = value if isinstance(value, list) else [value]
        texts[str(name).lower()] = ", ".join(text for text in values if isinstance(text, str))
    return _Http(method, path, texts, multi_value)


def _body(event: dict[str, Any]) -> Any:
    """The plain event, or the image's bytes, that an HTTP request carries.

    What the content type claims counts for nothing; no image starts like JSON.
    """
    body = event.get("body")
    expected = f"Expected an image's bytes as the body, or a JSON object with one of {', '.join(FORMS)}"
    if not isinstance(body, str) or not body:
        raise ServiceError("malformed", f"{expected}, found no body.")
    is_text = event.get("isBase64Encoded") is not True
    raw = body.encode("utf-8", "surrogatepass") if is_text else _from_base64(body)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # json knows these encodings by themselves
        return _from_json(raw)
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if raw.lstrip()[:1] in (b"{", b"[", b'"'):
        return _from_json(raw)
    if raw[:100].lstrip()[:5].lower() == b"data:":
        return _from_base64(raw.decode("utf-8", "replace"))
    for start, found in _MISTAKEN.items():
        if re.match(start, raw, re.IGNORECASE):
            raise ServiceError("malformed", f"{expected}, found {found}.")
    if is_text and re.match(rb"RIFF.{4,12}WEBP|.{4,12}ftyp", raw, re.DOTALL):
        raise ServiceError("malformed", f"{expected}, found {_MANGLED}.")
    return raw


_MANGLED = 'an image that something took for text (a REST API needs "*/*" among its binary media types)'
# What people send instead, by how it starts, and what helps.
_MISTAKEN = {
    rb"--[^\r\n]{1,100}\r?\ncontent-": 'a form (curl sends a file as it is with --data-binary "@image.jpg")',
    rb"(url|image)s?(\[\]|%5B%5D)?=": "a form's fields",
    rb"\s*https?://": 'an address (send {"url": "…"})',
    rb"/9j/|iVBORw0KGgo|UklGR|AAAA[GHI]GZ0eXB": 'base64 (send {"image": "…"})',
    rb"\x1f(\x8b|\xef\xbf\xbd|\xc2\x8b)\x08": "something compressed with gzip (send the image as it is)",
    # A byte that is no letter has become U+FFFD, or was read as Latin-1.
    rb"(\xef\xbf\xbd){3}|\xc3\xbf\xc3\x98|(\xef\xbf\xbd|\xc2\x89)PNG": _MANGLED,
}


def _from_json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ServiceError("malformed", "The body starts like JSON and goes on as something else.") from None


def _envelope(http: _Http, status: int, answer: Any, headers: dict[str, str]) -> dict[str, Any]:
    """The answer as Function URLs, APIs and load balancers send it on."""
    silent = status == 204 or http.method == "HEAD"
    headers = {"content-type": "application/json", "cache-control": "no-store", **headers}
    if status == 405:
        headers["allow"] = "GET, HEAD, OPTIONS, POST"
    if CORS_ORIGIN:
        headers["access-control-allow-origin"] = CORS_ORIGIN
    body = "" if silent else answer if isinstance(answer, str) else json.dumps(answer)
    sent = {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}
    if http.multi_value:
        sent["multiValueHeaders"] = {name: [text] for name, text in sent.pop("headers").items()}
    return sent


# What a browser wants to know before it lets another site's page post an image.
_PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST",
    "access-control-allow-headers": "content-type, authorization, x-amz-date, x-amz-security-token",
    "access-control-max-age": "86400",
}


def _page() -> tuple[str, dict[str, str]]:
    """The page for browsers, and headers that let it run its own style and script, call this, and no more."""
    page = PAGE.read_text(encoding="utf-8")

    def digest(tag: str) -> str:
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"

    return page, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": f"default-src 'none'; style-src {digest('style')}; script-src {digest('script')}; "
        "connect-src 'self'; img-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "vary": "accept",
        "x-content-type-options": "nosniff",
    }


def _clock(context: Any) -> Clock:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    ends_at = time.monotonic() + (remaining() / 1000 if callable(remaining) else 60.0)
    return lambda: ends_at - time.monotonic()


@dataclass
class _Record:
    """The log line of one request. It holds no URL, address or image: those are the caller's."""

    started: float = field(default_factory=time.perf_counter)
    images: int = 0
    errors: list[str] = field(default_factory=list)
    traceback: str | None = None

    def failure(self, error: Exception) -> tuple[int, dict[str, Any]]:
        """Notes what went wrong; returns the status, and as an answer what the caller may know of it.

        Not the error: a frame that held it, and that its traceback holds, would keep a broken image in memory.
        """
        if not isinstance(error, ServiceError):
            self.errors.append(f"internal: {type(error).__name__}")
            self.traceback = "".join(traceback.format_exception(error))
            error = ServiceError("internal", "Something went wrong here; the log has it, under its id.")
        else:
            self.errors.append(f"{error.code}: {error}")
        return error.status, error.to_json()

    def write(self, context: Any, status: int) -> None:
        line = {
            "level": "ERROR" if self.traceback else "WARNING" if self.errors else "INFO",
            "request_id": str(getattr(context, "aws_request_id", None)),
            "status": status,
            "images": self.images,
            "milliseconds": round((time.perf_counter() - self.started) * 1000, 1),
            "model": MODEL.version,
        }
        reasons = {"reason": self.errors, "traceback": self.traceback}
        print(json.dumps(line | {name: reason for name, reason in reasons.items() if reason}), flush=True)
