"""Files, settings and requests that nobody in their right mind would send.

    python -m tests.containerize_deploy.fuzzing                    # 2,000 of each kind, about two minutes
    python -m tests.containerize_deploy.fuzzing --examples 10000

prints a table of what came of them. The tests draw a few hundred from the same. No network is needed: the URLs
among them lead inside, or nowhere.
"""

import argparse
import base64
import functools
import http.server
import io
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from containerize_deploy import lambda_function
from containerize_deploy.settings import Policy, SettingsError, cors_origin, memory_mb
from data_prep_eda.preprocessing import ImageError, load_image
from tests.containerize_deploy.runtime_api import running
from tests.data_prep_eda.costly_images import encoded, noise
from tests.data_prep_eda.unusual_images import mixed

SCHEMA = json.loads(Path(lambda_function.__file__).with_name("answer.schema.json").read_text())

URLS = (
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://[::1]:9001/2018-06-01/runtime/invocation/next",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:10.0.0.1]/",
    "http://10.0.0.1:22/",
    "file:///proc/self/environ",
    "data:image/png;base64,AAAA",
    "data:,hello",
    "gopher://127.0.0.1/",
    "http://",
    "http://[",
    "//",
    "http://\x00/",
    "http://127.0.0.1/\ud800",
    "http://\udfff/",
    "http://127。0。0。1/" + "ü" * 3000,
    "http://" + "ü" * 5000,
    "http://127.0.0.1:99999999999999999999/",
)


# Images


@functools.cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Small, sound images by format, in every mode and kind that the mutations start from."""
    chance = np.random.default_rng(0)
    levels = chance.integers(0, 255, (24, 32, 3), np.uint8)
    images: dict[str, list[bytes]] = {
        form: [] for form in ("JPEG", "progressive JPEG", "PNG", "WEBP", "AVIF")
    }

    def add(form: str, image: Image.Image, **options: Any) -> None:
        stream = io.BytesIO()
        image.save(stream, form.split()[-1], **options)
        images[form].append(stream.getvalue())

    for mode in ("RGB", "L", "RGBA", "P", "CMYK", "I;16"):
        image = Image.fromarray(levels).convert("L" if mode == "I;16" else mode).convert(mode)
        if mode in ("RGB", "L", "CMYK"):
            add("JPEG", image, quality=80)
            add("progressive JPEG", image, progressive=True)
        if mode != "CMYK":
            add("PNG", image)
        if mode in ("RGB", "RGBA"):
            add("WEBP", image, quality=80)
            add("WEBP", image, lossless=True)
            add("AVIF", image, quality=50)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(np.roll(levels, shift, 0)) for shift in range(3)]
    for form in images:
        add(form, frames[0], exif=exif)
    for form in ("PNG", "WEBP", "AVIF"):
        add(form, frames[0], save_all=True, append_images=frames[1:])
    return {form: tuple(files) for form, files in images.items()}


@st.composite
def mutated_images(draw: st.DrawFn) -> bytes:
    """An image file to which one to six things have happened."""
    sound = [content for files in seeds().values() for content in files]
    content = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        what = draw(st.sampled_from(["flip", "overwrite", "cut", "drop", "repeat", "insert", "splice"]))
        if what == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "overwrite":
            content[at : at + 4] = draw(st.sampled_from([b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"]))
        elif what == "cut":
            del content[at:]
        elif what == "drop":
            del content[at : at + draw(st.integers(1, 64))]
        elif what == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=32))
        elif what == "splice":
            content[at:] = draw(st.sampled_from(sound))[at:]
    return bytes(content)


def damaged(form: str, how: str, chance: random.Random) -> bytes:
    """A file of a format with one bit flipped, or cut somewhere."""
    content = bytearray(chance.choice(seeds()[form]))
    at = chance.randrange(len(content))
    if how == "cut":
        return bytes(content[:at])
    content[at] ^= 1 << chance.randrange(8)
    return bytes(content)


def outcome_of_image(content: bytes) -> str:
    """`decoded`, or why not."""
    try:
        assert load_image(content, 64).shape == (64, 64, 3)
        return "decoded"
    except ImageError as error:
        return error.reason


# Settings


def environments() -> st.SearchStrategy[dict[str, str]]:
    """Values that somebody might give to the settings, or by mistake."""
    text = st.text(max_size=30)
    switches = st.sampled_from(["on", "off", "ON ", "", "true", "false", "0", "yes", "on,off", "оn"]) | text
    entry = st.sampled_from(
        ["", " ", ".", "*", "*.example.org", "photos.example", ".example.org", "https://photos.example", "photos.example:443",
         "photos.example/", "küste.example", "faß.de", "EXAMPLE.org.", "a b", "..", "[::1]", "10.0.0.1", "x" * 300, "ü" * 300]
    ) | text  # fmt: skip
    hosts = st.lists(entry, max_size=3).map(",".join)
    origins = st.sampled_from(
        ["", "*", " ", "https://photos.example", "photos.example", "null", "https://a.example/"]
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "FETCH_URLS": switches,
            "FETCH_HOSTS": hosts,
            "FETCH_USER_AGENT": text,
            "CORS_ORIGIN": origins | text,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": st.sampled_from(["1769", "", "0", "128 MB"]) | text,
        },
    )


def outcome_of_settings(environment: dict[str, str]) -> str:
    """`accepted` or `refused`; asserts that neither opens what was meant to be shut."""
    try:
        policy = Policy.from_environment(environment)
        cors_origin(environment)
        memory_mb(environment)
    except SettingsError as error:
        name = str(error).split()[1]
        assert name in environment and "\n" not in str(error)
        return "refused"
    assert policy.enabled is (environment.get("FETCH_URLS", "on").strip().lower() == "on")
    if environment.get("FETCH_HOSTS"):
        assert policy.hosts and not policy.allows("elsewhere.example")
    return "accepted"


# Events


def _text() -> st.SearchStrategy[str]:
    return st.one_of(
        st.text(st.characters(), max_size=40),
        st.text(st.characters(categories=["Cs", "Nd", "Ll"]), max_size=10),  # with halves of characters
        st.sampled_from(URLS),
        mutated_images().map(lambda content: base64.b64encode(content).decode()),
        mutated_images().map(lambda content: base64.b64encode(content).decode()[:-1]),
    )


def _json() -> st.SearchStrategy[Any]:
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.just(10**400)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _text()
    )
    return st.recursive(
        scalars,
        lambda inside: (
            st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4)
        ),
        max_leaves=8,
    )


def _plain() -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["url", "image", "urls", "images", "Image", "requestContext", "body"])
    too_many = st.lists(st.just("AAAA"), min_size=15, max_size=18)
    values = st.one_of(_text(), st.lists(_text(), max_size=3), too_many, _json())
    return st.dictionaries(keys, values, max_size=2)


@st.composite
def _http(draw: st.DrawFn) -> dict[str, Any]:
    """An event of a Function URL, a REST API or a load balancer, any part of which may be missing or wrong."""
    body = draw(st.one_of(_text(), _plain().map(json.dumps), _json()))
    if draw(st.booleans()) and isinstance(body, str):
        body = base64.b64encode(body.encode("utf-8", "surrogatepass")).decode()
    method = draw(st.sampled_from(["POST", "POST", "GET", "OPTIONS", "HEAD", "PUT"]) | _json())
    path = draw(st.sampled_from(["/", "/prod/", "/favicon.ico", "", "//"]) | _json())
    context = {"stage": draw(st.sampled_from(["$default", "prod", ""]) | _json())}
    event: dict[str, Any] = {
        "headers": draw(
            st.just({"Accept": "text/html"}) | st.dictionaries(_text(), _json(), max_size=2) | _json()
        ),
        "body": body,
        "isBase64Encoded": draw(st.booleans() | _json()),
    }
    if draw(st.booleans()):  # as a load balancer may send them
        lists = st.dictionaries(_text(), st.lists(_text() | _json(), max_size=2) | _json(), max_size=2)
        event["multiValueHeaders"] = draw(st.just({"Accept": ["text/html"]}) | lists | _json())
        if draw(st.booleans()):
            del event["headers"]
    if draw(st.booleans()):
        context["http"] = draw(st.just({"method": method}) | _json())
        event |= {"version": "2.0", "rawPath": path, "requestContext": context}
    else:
        context["elb"] = {"targetGroupArn": "arn:aws:elasticloadbalancing:…"}
        event |= {"httpMethod": method, "path": path, "requestContext": draw(st.just(context) | _json())}
    for key in draw(st.lists(st.sampled_from(sorted(event)), max_size=2, unique=True)):
        del event[key]
    return event


def events() -> st.SearchStrategy[Any]:
    """Events of every form, sound and unsound."""
    image = mutated_images().map(lambda content: {"image": base64.b64encode(content).decode()})
    return st.one_of(image, _plain(), _http(), _json())


def outcome_of_answer(answer: dict[str, Any]) -> str:
    """`answered` or the error's code, after holding the answer to its schema."""
    if "statusCode" in answer:
        headers = answer.get("headers") or {
            name: text for name, (text,) in answer["multiValueHeaders"].items()
        }
        if "json" not in headers["content-type"] or not answer["body"]:
            return f"status {answer['statusCode']}"
        answer = json.loads(answer["body"])
    Draft202012Validator(SCHEMA).validate(answer)
    code = answer.get("error", {}).get("code", "answered")
    assert code != "internal", "an event met the unexpected"
    return code


BATCH = """
import sys
from containerize_deploy import fetching
fetching.PORTS, fetching.is_public = {"http": int(sys.argv[1]), "https": 443}, lambda address: True
from containerize_deploy.lambda_function import MAX_IMAGES, lambda_handler
answer = lambda_handler({"urls": [f"http://127.0.0.1:{sys.argv[1]}/"] * MAX_IMAGES}, None)
assert all("label" in one for one in answer["answers"]), answer
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")))
"""


def peak_of_a_batch() -> tuple[int, int]:
    """Peak memory in MB of a function that fetches as many of the largest files as one request may name; their bytes."""
    content = encoded(noise(4000, 3000), "JPEG", quality=84, subsampling=0)

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [sys.executable, "-c", BATCH, str(server.server_port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        server.shutdown()
    return int(done.stdout.splitlines()[-1]), len(content)


# All of it


def run(
    strategy: st.SearchStrategy[Any], outcome: Callable[[Any], str], examples: int
) -> tuple[Counter[str], float]:
    """What came of examples of a strategy, and the longest that one took, in seconds."""
    outcomes: Counter[str] = Counter()
    slowest = 0.0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def ask(example: Any) -> None:
        nonlocal slowest
        started = time.perf_counter()
        outcomes[outcome(example)] += 1
        slowest = max(slowest, time.perf_counter() - started)

    ask()
    return outcomes, slowest


def main() -> None:
    """Prints a table with a line per kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, default=2000, help="of each kind")
    examples = parser.parse_args().examples
    print("| kind | examples | what came of them | slowest |\n| --- | ---: | --- | ---: |")

    def report(kind: str, outcomes: Counter[str], slowest: float) -> None:
        told = ", ".join(f"{name} {count:,}" for name, count in outcomes.most_common())
        print(f"| {kind} | {outcomes.total():,} | {told} | {1000 * slowest:.0f} ms |", flush=True)

    chance = random.Random(0)
    for form in seeds():
        for how in ("one bit flipped", "cut"):
            outcomes: Counter[str] = Counter()
            slowest = 0.0
            for _ in range(examples):
                started = time.perf_counter()
                outcomes[outcome_of_image(damaged(form, how, chance))] += 1
                slowest = max(slowest, time.perf_counter() - started)
            report(f"{form}, {how}", outcomes, slowest)
    outcomes, slowest = Counter(), 0.0
    # That these look as in a browser is asked by tests.data_prep_eda.unusual_images.
    for _ in range(examples):
        _, content = mixed(chance)
        started = time.perf_counter()
        outcomes[outcome_of_image(content)] += 1
        slowest = max(slowest, time.perf_counter() - started)
    report("image, whole, with odd headers", outcomes, slowest)
    report("image, one to six mutations", *run(mutated_images(), outcome_of_image, examples))
    report("settings", *run(environments(), outcome_of_settings, examples))
    # In a process of its own: Hypothesis remembers what it drew, which would hide a leak.
    with running() as (api, process):
        outcomes, slowest = run(events(), lambda event: outcome_of_answer(api.invoke(event)), examples)
        status = Path(f"/proc/{process.pid}/status")
        peak = "".join(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    report("events, under the Lambda runtime", outcomes, slowest)
    print(f"\nPeak memory of the function: {int(peak.split()[1]) // 1024} MB")
    print("Peak memory with 16 images of {1:,} bytes each to fetch: {0} MB".format(*peak_of_a_batch()))


if __name__ == "__main__":
    main()
