"""The service's contract: every form of request, every error, and answers that follow the schema."""

import base64
import gc
import gzip
import hashlib
import io
import json
import os
import re
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from PIL import Image

from containerize_deploy import fetching, lambda_function
from containerize_deploy.answers import STATUS
from containerize_deploy.lambda_function import FETCHES_AT_ONCE, MAX_IMAGES, MODEL, lambda_handler
from containerize_deploy.scene_model import MODEL_FILE, SceneModel, find_model
from data_prep_eda.preprocessing import MAX_BYTES, MAX_PIXELS, load_image
from tests.containerize_deploy.colours import COLOURS, draw
from tests.containerize_deploy.fuzzing import events, mutated_images, outcome_of_answer
from tests.containerize_deploy.runtime_api import FunctionError, running
from tests.data_prep_eda.costly_images import avif_bomb
from train_model import tflite

SCHEMA = json.loads(Path(lambda_function.__file__).with_name("answer.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)

HALF = "\ud800"  # half of a character, which no encoding has
CONTEXT = types.SimpleNamespace(aws_request_id="a-request", get_remaining_time_in_millis=lambda: 30_000)


def image_file(size=(320, 240), fmt="JPEG", mode="RGB", seed=0, **options) -> bytes:
    """A synthetic landscape as an image file: sky over ground with some texture."""
    random = np.random.default_rng(seed)
    down = np.linspace(0, 1, size[1])[:, None, None]
    levels = np.array([120, 160, 220]) * (1 - down) + np.array([60, 90, 40]) * down
    levels = levels + random.normal(0, 12, (size[1], size[0], 3))
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def blank(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def http_event(method="POST", path="/", body=None, encoded=False, stage="$default", headers=None) -> dict:
    """A payload 2.0 event, with the fields that Function URLs send."""
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/octet-stream", **(headers or {})},
        "requestContext": {"http": {"method": method, "path": path}, "stage": stage, "requestId": "an-id"},
        "isBase64Encoded": encoded,
    }
    return event if body is None else {**event, "body": body}


def ask(event, context=CONTEXT) -> dict:
    """The handler's answer, after checking its form; an HTTP answer's body is unpacked."""
    answer = lambda_handler(event, context)
    json.dumps(answer, allow_nan=False)
    if "statusCode" in answer:
        assert set(answer) == {"statusCode", "headers", "body", "isBase64Encoded"}
        assert answer["isBase64Encoded"] is False
        assert answer["headers"]["content-type"] == "application/json"
        body = json.loads(answer["body"])
        assert answer["statusCode"] == body.get("error", {}).get("status", 200)
        answer = body
    VALIDATOR.validate(answer)
    if "error" in answer:
        assert answer["error"]["status"] == STATUS[answer["error"]["code"]]
    return answer


def code_of(event) -> str:
    return ask(event)["error"]["code"]


# What goes in


def test_an_image_is_classified():
    answer = ask({"image": base64_of(image_file())})
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert tuple(answer["probabilities"]) == MODEL.labels
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert answer["in_scope"] is (answer["score"] >= MODEL.score_threshold)
    assert answer["model"] == {"version": MODEL.version, "digest": f"sha256:{MODEL.digest}"}


def test_labels_are_the_models_whatever_they_are(monkeypatch, colour_run, tmp_path):
    monkeypatch.setattr(lambda_function, "MODEL", SceneModel(find_model(colour_run)))
    for label, colour in COLOURS.items():
        answer = ask({"image": base64_of(draw(tmp_path / "image.jpg", colour).read_bytes())})
        assert (answer["label"], list(answer["probabilities"])) == (label, list(COLOURS))


def test_every_way_in_gives_the_same_answer(monkeypatch):
    content = image_file()
    monkeypatch.setattr(fetching, "fetch", lambda url, policy, **limits: content)
    text = base64_of(content)
    once = ask({"image": text})
    assert ask({"url": "https://photos.example/coast.jpg"}) == once
    assert ask(http_event(body=json.dumps({"image": text}))) == once
    assert (
        ask(http_event(body=base64_of(json.dumps({"url": "https://photos.example"}).encode()), encoded=True))
        == once
    )
    assert ask(http_event(body=text, encoded=True)) == once
    assert ask(http_event(body=text, encoded=True, headers={"content-type": "application/json"})) == once
    one_of_many = {key: once[key] for key in once if key != "model"}
    assert ask({"images": [text, text]}) == {"answers": [one_of_many, one_of_many], "model": once["model"]}
    assert ask({"urls": ["https://photos.example"] * 11})["answers"] == [one_of_many] * 11
    data_url = f"data:image/jpeg;base64,{text}"
    assert ask({"image": data_url}) == ask({"url": data_url}) == ask(http_event(body=data_url)) == once
    assert ask(http_event(body="\ufeff" + json.dumps({"image": text}))) == once  # Windows' editors begin so
    assert ask(http_event(body=base64_of(json.dumps({"image": text}).encode("utf-16")), encoded=True)) == once
    assert (
        ask({"image": "\n".join(re.findall(".{1,76}", text)) + "\n"}) == once
    )  # as the base64 command writes it


def test_the_answer_is_the_notebooks(sample_images):
    """The notebooks run the model by `train_model.tflite`; the service must say the same, to the last bit."""
    interpreter = tflite.load_interpreter(MODEL_FILE)
    for path in sample_images:
        expected = tflite.run(interpreter, load_image(path, MODEL.size))
        answer = ask({"image": base64_of(path.read_bytes())})
        values = sorted([*answer["probabilities"].values(), answer["score"]])
        assert values == sorted(np.concatenate([np.ravel(value) for value in expected.values()]))


@pytest.mark.real_data
def test_the_answer_is_the_notebooks_on_real_images(real_images):
    paths = sorted(Path(real_images).glob("*/*.jpg"))[::50]
    test_the_answer_is_the_notebooks(paths)
    labels = [ask({"image": base64_of(path.read_bytes())})["label"] for path in paths]
    right = [label == path.parent.name for label, path in zip(labels, paths, strict=True)]
    assert np.mean(right) > 0.9


@pytest.fixture
def sample_images() -> list[Path]:
    sample = Path(__file__).parents[2] / "data_prep_eda" / "sample"
    return sorted(sample.glob("*/*.jpg"))[::20]


def test_one_bad_image_of_many_does_not_stop_the_others():
    answer = ask(
        {
            "images": [
                base64_of(image_file()),
                "no base64!",
                base64_of(b"GIF89a"),
                base64_of(image_file(seed=1)),
            ]
        }
    )
    codes = [one.get("error", {}).get("code") for one in answer["answers"]]
    assert codes == [None, "malformed", "not_an_image", None]


# HTTP


def test_get_on_the_root_tells_how_the_service_is():
    assert ask(http_event("GET")) == {"status": "ok", "model": MODEL.identity}
    assert ask(http_event("GET", "/prod/", stage="prod"))["status"] == "ok"
    assert ask(http_event("GET", "/prod", stage="prod"))["status"] == "ok"


def test_head_answers_without_a_body():
    answer = lambda_handler(http_event("HEAD"), CONTEXT)
    assert (answer["statusCode"], answer["body"]) == (200, "")


def test_other_methods_and_paths_are_declined():
    assert code_of(http_event("GET", "/favicon.ico")) == "not_found"
    assert code_of(http_event("DELETE")) == "method_not_allowed"
    assert lambda_handler(http_event("DELETE"), CONTEXT)["headers"]["allow"] == "GET, HEAD, OPTIONS, POST"


def test_browsers_of_other_sites_may_ask(monkeypatch):
    preflight = lambda_handler(http_event("OPTIONS"), CONTEXT)
    assert preflight["statusCode"] == 204
    assert preflight["headers"]["access-control-allow-origin"] == "*"
    assert "POST" in preflight["headers"]["access-control-allow-methods"]
    assert "content-type" in preflight["headers"]["access-control-allow-headers"]
    answer = lambda_handler(http_event(body="{}"), CONTEXT)
    assert answer["statusCode"] == 400
    assert (
        answer["headers"]["access-control-allow-origin"] == "*"
    )  # without it a page could not read the error
    monkeypatch.setattr(lambda_function, "CORS_ORIGIN", "https://scenes.example")
    answer = lambda_handler(http_event("GET"), CONTEXT)
    assert answer["headers"]["access-control-allow-origin"] == "https://scenes.example"
    monkeypatch.setattr(lambda_function, "CORS_ORIGIN", "")
    assert not any(
        name.startswith("access-control")
        for name in lambda_handler(http_event("OPTIONS"), CONTEXT)["headers"]
    )


@pytest.mark.parametrize(
    "context",
    [{"resourcePath": "/", "stage": "prod"}, {"elb": {"targetGroupArn": "arn:aws:…"}}],
    ids=["REST", "ALB"],
)
def test_rest_apis_and_load_balancers_may_ask_too(context):
    event = {"httpMethod": "GET", "path": "/", "headers": {}, "requestContext": context, "body": None}
    assert ask(event)["status"] == "ok"
    posted = {**event, "httpMethod": "POST", "body": base64_of(image_file()), "isBase64Encoded": True}
    assert ask(posted) == ask({"image": base64_of(image_file())})
    assert lambda_handler({**event, "httpMethod": "POST"}, CONTEXT)["statusCode"] == 400
    assert lambda_handler({**event, "httpMethod": "PUT"}, CONTEXT)["statusCode"] == 405


def test_a_load_balancers_headers_come_and_go_as_lists():
    event = {"httpMethod": "GET", "path": "/", "requestContext": {"elb": {}}, "body": ""}
    event["multiValueHeaders"] = {"Accept": ["image/avif", "text/html"], HALF: None, "accept-language": [1]}
    answer = lambda_handler(event, CONTEXT)
    assert "headers" not in answer
    assert answer["multiValueHeaders"]["content-type"] == ["text/html; charset=utf-8"]
    assert lambda_handler({**event, "multiValueHeaders": {}}, CONTEXT)["body"].startswith('{"status"')
    rest = {**event, "headers": {"Accept": "application/json"}, "requestContext": {}}
    assert lambda_handler(rest, CONTEXT)["headers"]["content-type"] == "application/json"


def test_a_browser_gets_a_page_that_may_run_its_own_script_only():
    accept = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = lambda_handler(http_event("GET", headers=accept), CONTEXT)
    assert answer["statusCode"] == 200 and answer["headers"]["content-type"].startswith("text/html")
    policy = answer["headers"]["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    script = re.search("<script>(.*?)</script>", answer["body"], re.DOTALL)[1]
    assert base64_of(hashlib.sha256(script.encode()).digest()) in policy
    assert not re.search(r"https?://|onclick=|style=", answer["body"])  # self-contained, and allowed to run
    assert ask(http_event("GET", headers={"accept": "application/json"}))["status"] == "ok"
    assert ask(http_event("GET", headers={"accept": "*/*"}))["status"] == "ok"


# Errors


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "http://photos.example/photo.jpg",
        42,
        {},
        {"url": None},
        {"url": ["http://photos.example"]},
        {"urls": "http://photos.example"},
        {"urls": []},
        {"urls": [None]},
        {"images": {}},
        {"image": b"bytes"},
        {"image": "not base64"},
        {"image": "Zm9v=YmFy"},
        {"image": "é"},
        {"url": "http://photos.example", "image": "Zm9v"},
        {"url": "not a url but a rather long sentence"},
        {"url": "http://"},
        http_event(),
        http_event(body=""),
        http_event(body=17),
        http_event(body="{"),
        http_event(body="{}"),
        http_event(body='{"image": 1}'),
        http_event(body='{"a":' * 100_000),
        http_event(body="not base64", encoded=True),
    ],
)
def test_malformed_requests(event):
    assert code_of(event) == "malformed"


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ('--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n…', "--data-binary"),
        ("url=https%3A%2F%2Fphotos.example%2Fcoast.jpg", "form"),
        ("https://photos.example/coast.jpg", '{"url": "…"}'),
        (base64_of(image_file()), '{"image": "…"}'),
        ('["https://photos.example/coast.jpg"]', "found a list"),
        ('"https://photos.example/coast.jpg"', "found a text"),
        ("", "found no body"),
        ('{"photo": "…"}', "found none of them"),
    ],
)
def test_what_is_not_understood_gets_a_hint(body, hint):
    error = ask(http_event(body=body))["error"]
    assert error["code"] == "malformed"
    assert hint in error["message"] and "url, image, urls" in error["message"]


@pytest.mark.parametrize("decode", ["utf-8", "latin-1"])
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_an_image_that_was_taken_for_text_on_its_way_gets_a_hint(fmt, decode):
    """As REST APIs do it without binary media types, and clients that read a file as text."""
    mangled = image_file(fmt=fmt).decode(decode, "replace")
    assert "binary media types" in ask(http_event(body=mangled))["error"]["message"]
    if fmt in ("JPEG", "PNG"):
        mangled = base64_of(mangled.encode())
        assert "binary media types" in ask(http_event(body=mangled, encoded=True))["error"]["message"]


def test_a_compressed_body_gets_a_hint():
    body = gzip.compress(image_file())
    for event in (
        http_event(body=base64_of(body), encoded=True, headers={"content-encoding": "gzip"}),
        http_event(body=body.decode("utf-8", "replace")),
    ):
        error = ask(event)["error"]
        assert error["code"] == "malformed" and "gzip" in error["message"]


@pytest.mark.parametrize(
    "event",
    [
        {"url": f"http://photos.example/{HALF}"},
        {"url": f"http://{HALF}.example/"},
        {"url": f"http://photos.example/?{HALF}"},
        {"url": HALF},
        {"image": HALF},
        {"image": f"data:image/png;base64,{HALF}"},
        {HALF: HALF},
        http_event(body=HALF),
        http_event(body='{"url": "http://photos.example/\\ud800"}'),
        http_event(body='{"url": %s}' % ("9" * 10_000)),
        http_event(body='{"url": NaN}'),
        {"url": "http://" + "ü" * 5000},
        {"url": "http://photos.example:" + "9" * 5000},
        {"url": 10**1000},
    ],
)  # fmt: skip
def test_nothing_that_a_caller_sends_is_our_mistake(event):
    assert ask(event)["error"]["code"] in ("malformed", "not_an_image")


@pytest.mark.parametrize("odd", [HALF, 10**400, float("nan"), [[]], {}, None, True])
def test_no_part_of_an_http_event_can_break_the_handler(odd):
    sound = http_event(body="{}", headers={HALF: HALF})
    for key in sound:
        lambda_handler({**sound, key: odd}, CONTEXT)
    for key in ("method", "path"):
        http = {**sound["requestContext"]["http"], key: odd}
        ask({**sound, "rawPath": None, "requestContext": {"http": http, "stage": odd}})
    ask({"httpMethod": odd, "path": odd, "headers": {"accept": odd}, "requestContext": {"elb": odd}})


def test_one_items_trouble_stays_its_own(monkeypatch, capsys):
    def fetch(url, policy, **limits):
        if "stumble" in url:
            raise RuntimeError("unforeseen")
        return image_file()

    good = "https://photos.example/coast.jpg"
    monkeypatch.setattr(fetching, "fetch", fetch)
    answer = ask({"urls": [good, "https://photos.example/stumble.jpg", "data:,hello", good]})
    codes = [one.get("error", {}).get("code") for one in answer["answers"]]
    assert codes[:2] == [None, "internal"] and codes[3] is None
    monkeypatch.undo()
    codes = [
        one["error"]["code"]
        for one in ask({"urls": [f"http://photos.example/{HALF}", "http://10.0.0.1/"]})["answers"]
    ]
    assert codes == ["malformed", "not_allowed"]
    assert json.loads(capsys.readouterr().out.splitlines()[0])["level"] == "ERROR"


def test_the_images_of_a_batch_are_let_go_after_their_turn(monkeypatch):
    """16 addresses of 20 MB each used to lie in memory together."""

    class Content(bytes):
        """Bytes that are counted."""

    def fetch(url, policy, **limits):
        return Content(image_file())

    at_once = []

    def count(model, content):
        at_once.append(sum(isinstance(thing, Content) for thing in gc.get_objects()))
        return classify_bytes(model, content)

    classify_bytes = lambda_function.classify_bytes
    monkeypatch.setattr(fetching, "fetch", fetch)
    monkeypatch.setattr(lambda_function, "classify_bytes", count)
    ask({"urls": ["https://photos.example"] * MAX_IMAGES})
    assert len(at_once) == MAX_IMAGES
    assert 0 < max(at_once) <= FETCHES_AT_ONCE


def test_the_urls_of_an_event_share_a_budget(monkeypatch):
    budgets = []
    monkeypatch.setattr(
        fetching, "fetch", lambda url, policy, budget, **limits: budgets.append(budget) or image_file()
    )
    ask({"urls": ["https://photos.example"] * 3})
    ask({"urls": ["https://photos.example"] * 2})
    first, *_, last = map(id, budgets)
    assert [id(budget) for budget in budgets] == [first] * 3 + [last] * 2 and first != last


@pytest.mark.parametrize("value", ["false", ""])
def test_a_wrong_setting_stops_the_function_with_a_sentence(value):
    with (
        pytest.raises(FunctionError) as caught,
        running(environment={**os.environ, "FETCH_URLS": value}),
    ):
        pass
    assert f"Expected FETCH_URLS to be 'on' or 'off', found {value!r}." in str(caught.value)


def test_an_image_that_would_fill_the_functions_memory_is_refused_and_leaves_nothing_behind():
    with running() as (api, process):

        def megabytes(name: str) -> float:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024

        for _ in range(3):
            bomb = api.invoke({"image": base64_of(avif_bomb())})
            assert bomb["error"]["code"] in ("undecodable", "too_large")
        assert megabytes("VmHWM") < 1769
        assert api.invoke({"image": base64_of(image_file())})["label"] in MODEL.labels
        assert megabytes("VmRSS") < 400


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_an_image"),
        (b"%PDF-1.7", "not_an_image"),
        (image_file(fmt="GIF"), "not_an_image"),
        (image_file()[:5000], "undecodable"),
        (blank(20_000, MAX_PIXELS // 20_000 + 1), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_what_is_no_usable_image(content, code):
    assert code_of({"image": base64_of(content)}) == code


def test_too_much_at_once():
    assert code_of({"image": "A" * (MAX_BYTES * 4 // 3 + 100)}) == "too_large"
    assert code_of({"images": ["Zm9v"] * (MAX_IMAGES + 1)}) == "too_large"


def test_fetching_stops_before_lambda_does(monkeypatch):
    deadlines = []
    monkeypatch.setattr(
        fetching, "fetch", lambda url, policy, deadline_s, **_: deadlines.append(deadline_s) or image_file()
    )
    soon, late = (types.SimpleNamespace(get_remaining_time_in_millis=lambda ms=ms: ms) for ms in (4000, 10))
    ask({"url": "http://photos.example"}, soon)
    assert 0 < deadlines[0] <= 3
    assert ask({"url": "http://photos.example"}, late)["error"]["code"] == "out_of_time"
    assert ask({"images": [base64_of(image_file())]}, late)["answers"][0]["error"]["code"] == "out_of_time"


def test_the_unexpected_is_logged_and_not_told(monkeypatch, capsys):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")

    def stumble(*arguments):
        raise RuntimeError(f"/var/task/secret.py: {os.environ['AWS_SECRET_ACCESS_KEY']}")

    monkeypatch.setattr(lambda_function, "classify_bytes", stumble)
    answer = json.dumps(ask({"image": base64_of(image_file())}))
    assert json.loads(answer)["error"]["code"] == "internal"
    for secret in ("sesame", "/var/task", "RuntimeError", "Traceback"):
        assert secret not in answer
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["request_id"], line["status"]) == ("ERROR", "a-request", 500)
    assert "RuntimeError" in line["traceback"]


def test_the_log_is_one_line_of_json_a_request_and_keeps_the_callers_secrets(capsys):
    url = "http://127.0.0.1/photo.jpg?X-Amz-Signature=secret\n{"
    ask({"image": base64_of(image_file())})
    ask({"url": url})
    ask({"urls": [url, "http://10.0.0.1/private"]})
    lines = capsys.readouterr().out.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["level"] for record in records] == ["INFO", "WARNING", "WARNING"]
    assert [record["images"] for record in records] == [1, 1, 2]
    assert records[2]["reason"][1].startswith("not_allowed: ")
    assert "secret" not in "".join(lines) and "10.0.0.1" not in "".join(lines)


# Any image that people send


@pytest.mark.parametrize(
    ("fmt", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"),
     ("PNG", "LA"), ("PNG", "I;16"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("AVIF", "RGB")],
)  # fmt: skip
def test_every_format_and_mode_is_classified(fmt, mode):
    assert "label" in ask({"image": base64_of(image_file(fmt=fmt, mode=mode))})


def test_big_jpegs_are_decoded_small_and_get_the_same_answer(sample_images):
    """12 megapixels are decoded at an eighth of the size; the answer is that of decoding them whole."""
    for path in sample_images:
        whole = Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        whole.save(stream, "JPEG")
        decoded = Image.open(stream)
        slow = np.asarray(decoded.convert("RGB").resize((MODEL.size, MODEL.size), Image.Resampling.BILINEAR))
        expected = MODEL.classify(slow)
        answer = ask({"image": base64_of(stream.getvalue())})
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=0.05)


# Fuzz: a small helping of what `python -m tests.containerize_deploy.fuzzing` does 2,000 times


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(events())
def test_no_event_breaks_the_handler(event):
    outcome_of_answer(lambda_handler(event, CONTEXT))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated_images())
def test_no_mutated_image_breaks_the_handler(content):
    answer = ask({"image": base64_of(content)})
    assert answer.get("error", {}).get("code") in (None, "not_an_image", "undecodable", "too_large")
