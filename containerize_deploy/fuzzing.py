"""Requests that nobody in their right mind would send, as Hypothesis strategies.

The tests draw a few hundred of them, `benchmark_serving.py` ten thousand. They need no network: the URLs among
them lead inside, or nowhere.
"""

from __future__ import annotations

import base64
import functools
import io
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

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
    "gopher://127.0.0.1/",
    "http://",
    "http://[",
    "//",
    "http://\x00/",
)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Small, sound images of every format, mode and kind that the mutations start from."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 255, (24, 32, 3), np.uint8)
    images = []
    for mode in ("RGB", "L", "RGBA", "P", "CMYK", "I;16"):
        image = Image.fromarray(levels).convert("L" if mode == "I;16" else mode)
        image = image.convert(mode)
        for fmt, options in {
            "JPEG": {"quality": 80},
            "PNG": {},
            "WEBP": {"quality": 80},
            "AVIF": {"quality": 50},
        }.items():
            stream = io.BytesIO()
            try:
                image.save(stream, fmt, **options)
            except (OSError, ValueError):  # not every format has every mode
                continue
            images.append(stream.getvalue())
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(levels).save(stream, "JPEG", progressive=True, exif=exif)
    images.append(stream.getvalue())
    stream = io.BytesIO()
    frames = [Image.fromarray(np.roll(levels, shift, 0)) for shift in range(3)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    images.append(stream.getvalue())
    return tuple(images)


@st.composite
def mutated_images(draw: st.DrawFn) -> bytes:
    """An image file to which one to six things have happened."""
    content = bytearray(draw(st.sampled_from(seeds())))
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
            content[at:] = draw(st.sampled_from(seeds()))[at:]
    return bytes(content)


def _text() -> st.SearchStrategy[str]:
    return st.one_of(
        st.text(max_size=40),
        st.sampled_from(URLS),
        mutated_images().map(lambda content: base64.b64encode(content).decode()),
        mutated_images().map(lambda content: base64.b64encode(content).decode()[:-1]),
    )


def _json() -> st.SearchStrategy[Any]:
    scalars = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text()
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
    """A payload 2.0 event in which any part may be missing or of another type."""
    body = draw(st.one_of(_text(), _plain().map(json.dumps), _json()))
    if draw(st.booleans()) and isinstance(body, str):
        body = base64.b64encode(body.encode("utf-8", "surrogatepass")).decode()
    event: dict[str, Any] = {
        "version": "2.0",
        "rawPath": draw(st.sampled_from(["/", "/prod/", "/favicon.ico", "", "//"]) | _json()),
        "headers": draw(st.just({"content-type": "application/json"}) | _json()),
        "requestContext": {
            "http": draw(
                st.fixed_dictionaries(
                    {"method": st.sampled_from(["POST", "POST", "GET", "OPTIONS", "HEAD", "PUT"]) | _json()}
                )
                | _json()
            ),
            "stage": draw(st.sampled_from(["$default", "prod", ""]) | _json()),
        },
        "body": body,
        "isBase64Encoded": draw(st.booleans() | _json()),
    }
    for key in draw(st.lists(st.sampled_from(sorted(event)), max_size=2, unique=True)):
        del event[key]
    return event


def events() -> st.SearchStrategy[Any]:
    """Events of every form, sound and unsound."""
    image = mutated_images().map(lambda content: {"image": base64.b64encode(content).decode()})
    return st.one_of(image, _plain(), _http(), _json())
