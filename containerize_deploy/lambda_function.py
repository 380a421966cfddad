"""The AWS Lambda function: which of the model's classes does an image show?

Takes a plain event (`{"url": …}`, `{"image": "<base64>"}`, or a list of either as `urls` or `images`), or an HTTP
request of a Function URL, an API or a load balancer, whose body is such an event or the image itself. README.md has
the table of what goes in and what comes out.
"""

import base64
import binascii
import codecs
import functools
import hashlib
import json
import re
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from containerize_deploy.answers import ServiceError, classify_bytes
from containerize_deploy.scene_model import SceneModel
from containerize_deploy.settings import Policy, cors_origin, memory_mb
from data_prep_eda.preprocessing import MAX_BYTES

Source = Callable[[], bytes]  # gives an image's bytes, or raises why there are none

MAX_IMAGES = 16  # of one request
FETCHES_AT_ONCE = 8  # and at most so many images in memory
RESERVE_S = 1.0  # kept back to write the answer
DECODE_S = 3.0  # kept back for an image: none that is accepted takes more than 2 s on such a processor
OUT_OF_TIME = "out_of_time", "The time was up before this image's turn; send fewer at once."
FORMS = ("url", "image", "urls", "images")
PAGE = Path(__file__).with_name("upload_page.html")  # what GET on / answers to a browser

# Read and loaded while Lambda starts the environment, where the CPU is fast, and kept for every request.
POLICY = Policy.from_environment()
CORS_ORIGIN = cors_origin()
MODEL = SceneModel()
if megabytes := memory_mb():
    # An allocation that fails is one image's fault, where Lambda would end the process with every answer in it. The
    # other 15 % are for code, which doesn't count; below 512 MB the threads' stacks, which do, leave too little.
    limit = max(int(0.85 * megabytes), 512) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Answers one request by `answer.schema.json`, an HTTP one with status and headers, whatever goes wrong.

    The context is the Lambda runtime's, for the request's id and the time left; it may be None.
    """
    record, http = _Record(context), _http_request(event)
    status, answer, headers = 200, {"status": "ok", "model": MODEL.identity}, {}
    try:
        if http is None or http.method == "POST":
            answer = _classify_event(event if http is None else _body(event), record)
        elif http.method == "OPTIONS":
            status, headers = 204, _PREFLIGHT if CORS_ORIGIN else {}
        elif http.method not in ("GET", "HEAD"):
            raise ServiceError("method_not_allowed", "POST classifies, GET on / tells how the service is.")
        elif http.path != "/":
            raise ServiceError("not_found", "There is only /: POST classifies, GET tells how the service is.")
        elif http.for_browser:
            answer, headers = _page()
    except Exception as error:
        status, answer = record.failure(error)
    record.write(status)
    return answer if http is None else _envelope(http, status, answer, headers)


def _classify_event(event: Any, record: "_Record") -> dict[str, Any]:
    """Answers a plain event, or an image's bytes as they came in an HTTP body."""
    form, images = ("image", [event]) if isinstance(event, bytes) else _form_and_images(event)
    record.images = len(images)
    sources = _sources(images, form.startswith("image"), record)
    if form.endswith("s"):
        answer = {"answers": [_one_of_many(source, record) for source in sources]}
    else:
        answer = classify_bytes(MODEL, next(sources)()).to_json()
    return {**answer, "model": MODEL.identity}


def _form_and_images(event: Any) -> tuple[str, list[str]]:
    """Which of `FORMS` an event has, and its images, after checking that it has one, and well."""
    forms = [form for form in FORMS if form in event] if isinstance(event, dict) else []
    if len(forms) != 1:
        kinds = {dict: "none of them", list: "a list", str: "a text", type(None): "nothing"}
        found = " and ".join(forms) or kinds.get(type(event), "something else")
        expected = f"a JSON object with exactly one of {', '.join(FORMS)}"
        raise ServiceError("malformed", f"Expected {expected}, found {found}.")
    (form,) = forms
    images = event[form] if form.endswith("s") else [event[form]]
    if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        kind = "a list of strings, with at least one" if form.endswith("s") else "a string"
        raise ServiceError("malformed", f"Expected {form} to be {kind}.")
    if len(images) > MAX_IMAGES:
        raise ServiceError("too_large", f"Expected at most {MAX_IMAGES} images, found {len(images)}.")
    return form, images


def _one_of_many(source: Source, record: "_Record") -> dict[str, Any]:
    """The answer for one image of a list; its failure is its own."""
    try:
        content = source()
        if record.time_left() <= DECODE_S:
            raise ServiceError(*OUT_OF_TIME)
        return classify_bytes(MODEL, content).to_json()
    except Exception as error:
        return record.failure(error)[1]


def _sources(images: list[Any], encoded: bool, record: "_Record") -> Iterator[Source]:
    """A source for each image; `FETCHES_AT_ONCE` URLs are fetched at once: all their bytes would fill the memory."""
    budget = None  # of a single URL it is `fetch`'s own

    def bring(image: Any) -> bytes:
        if isinstance(image, bytes):
            return image
        if encoded or _DATA_URL.match(image):
            return _from_base64(image)
        if (left := record.time_left() - RESERVE_S) <= 0:
            raise ServiceError(*OUT_OF_TIME)
        from containerize_deploy import fetching  # late: TLS costs 30 ms at a cold start

        return fetching.fetch(image, POLICY, deadline_s=left, budget=budget)

    if encoded or len(images) == 1:
        yield from (functools.partial(bring, image) for image in images)
        return
    from concurrent.futures import ThreadPoolExecutor

    from containerize_deploy.fetching import Budget

    budget = Budget()
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        for start in range(0, len(images), FETCHES_AT_ONCE):
            fetches = [pool.submit(bring, image) for image in images[start : start + FETCHES_AT_ONCE]]
            yield from (fetch.result for fetch in fetches)


def _from_base64(text: str) -> bytes:
    """The bytes that base64 stands for, also as a data URL, and in lines, as the base64 command breaks it."""
    text = _DATA_URL.sub("", text, count=1)
    text = "".join(text.split()) if "\n" in text or " " in text else text
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise ServiceError("too_large", f"The image is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one
        raise ServiceError("malformed", "Expected the image as base64, found something else.") from None


_DATA_URL = re.compile(r"\A\s*data:[^,]{0,100};base64,", re.IGNORECASE)


class _Http(NamedTuple):
    """An HTTP request, whoever passed it on; method and path may be anything, as all in an event may."""

    method: Any
    path: Any
    for_browser: bool  # it accepts HTML
    multi_value: bool  # headers come, and have to go, as lists: a load balancer's setting


def _http_request(event: Any) -> _Http | None:
    """The HTTP request that an event describes; None for a plain event."""
    if not isinstance(event, dict):
        return None
    context = event.get("requestContext")
    context = context if isinstance(context, dict) else {}
    http = context.get("http")
    if isinstance(http, dict):  # payload format 2.0, of Function URLs and HTTP APIs
        method, path = http.get("method"), event.get("rawPath") or http.get("path") or "/"
    elif "httpMethod" in event or "elb" in context:  # format 1.0, of REST APIs, and load balancers' own
        method, path = event.get("httpMethod"), event.get("path") or "/"
    else:
        return None
    # An HTTP API's path begins with its stage, unless that is `$default`.
    stage = context.get("stage")
    if isinstance(path, str) and stage and isinstance(stage, str) and f"{path}/".startswith(f"/{stage}/"):
        path = path.removeprefix(f"/{stage}") or "/"
    headers, lists = event.get("headers"), event.get("multiValueHeaders")
    multi_value = isinstance(lists, dict) and not isinstance(headers, dict)  # REST APIs send both
    headers = lists if multi_value else headers if isinstance(headers, dict) else {}
    accepted = [value for name, value in headers.items() if str(name).lower() == "accept"]
    texts = [text for value in accepted for text in (value if isinstance(value, list) else [value])]
    for_browser = any(isinstance(text, str) and "text/html" in text for text in texts)
    return _Http(method, path, for_browser, multi_value)


def _body(event: dict[str, Any]) -> Any:
    """The plain event, or the image's bytes, that an HTTP request carries, whatever its content type claims."""
    body = event.get("body")
    expected = f"Expected an image's bytes as the body, or a JSON object with one of {', '.join(FORMS)}"
    if not isinstance(body, str) or not body:
        raise ServiceError("malformed", f"{expected}, found no body.")
    is_text = event.get("isBase64Encoded") is not True
    raw = body.encode("utf-8", "surrogatepass") if is_text else _from_base64(body)
    raw = raw.removeprefix(codecs.BOM_UTF8)
    # No image starts like JSON, which may come in UTF-16.
    if raw.lstrip().startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{", b"[", b'"')):
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise ServiceError("malformed", "The body starts like JSON and goes on otherwise.") from None
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
    insides = [re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1] for tag in ("style", "script")]
    digests = [base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode() for inside in insides]
    return page, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "connect-src 'self'; img-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "vary": "accept",
        "x-content-type-options": "nosniff",
    }


@dataclass
class _Record:
    """The log line of one request. It holds no URL, address or image: those are the caller's."""

    context: Any
    started: float = field(default_factory=time.perf_counter)
    images: int = 0
    errors: list[str] = field(default_factory=list)
    traceback: str | None = None

    def time_left(self) -> float:  # in seconds
        return self.context.get_remaining_time_in_millis() / 1000 if self.context else 60.0

    def failure(self, error: Exception) -> tuple[int, dict[str, Any]]:
        """Notes what went wrong; returns the status, and as an answer what the caller may know of it.

        Not the error: a frame that held it, and that its traceback holds, would keep a broken image in memory.
        """
        reason = str(error)
        if not isinstance(error, ServiceError):
            reason, self.traceback = type(error).__name__, "".join(traceback.format_exception(error))
            error = ServiceError("internal", "Something went wrong here; the log has it, under its id.")
        self.errors.append(f"{error.code}: {reason}")
        return error.status, error.to_json()

    def write(self, status: int) -> None:
        line = {
            "level": "ERROR" if self.traceback else "WARNING" if self.errors else "INFO",
            "request_id": str(getattr(self.context, "aws_request_id", None)),
            "status": status,
            "images": self.images,
            "milliseconds": round((time.perf_counter() - self.started) * 1000, 1),
            "model": MODEL.version,
        }
        reasons = {"reason": self.errors, "traceback": self.traceback}
        print(json.dumps(line | {name: reason for name, reason in reasons.items() if reason}), flush=True)
