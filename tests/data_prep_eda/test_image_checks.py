"""What a browser shows is taken and looks the same; what lacks a part, or costs too much, is refused in a sentence."""

import json
import random
import struct
from collections import Counter

import numpy as np
import pytest

from data_prep_eda import image_checks
from data_prep_eda.preprocessing import load_image
from tests.data_prep_eda import unusual_images
from tests.data_prep_eda.costly_images import (
    avif_bomb,
    encoded,
    filtered_png,
    noise,
    png,
    progressive,
    refusal,
)
from tests.data_prep_eda.unusual_images import DOCUMENTED, FORMATS, RECORD, quarters

SEEN = json.loads(RECORD.read_text())


@pytest.mark.parametrize("form", FORMATS)
def test_unusual_files_look_as_chromium_shows_them(form):
    """Chromium's pixels are in unusual_images.json, which `python -m tests.data_prep_eda.unusual_images` writes."""
    for name, content in FORMATS[form]():
        seen = SEEN[form][name]
        if seen is None or name in DOCUMENTED[form]:
            message = str(refusal(content))
            assert not any(word in message for word in ("tj", "libjpeg", "Corrupt", "0x", "()")), message
        else:
            assert np.abs(np.array(quarters(load_image(content, 32).astype(int))) - seen).max() <= 6, name


@pytest.mark.slow
def test_chromium_shows_the_same_today():
    if unusual_images.browser() is None:
        pytest.skip("needs Chromium, Node.js and npm's packages: run the tests of the page first")
    chance = random.Random()
    kinds = [(form, *kind) for form, kinds in FORMATS.items() for kind in kinds()]
    kinds += [("mixed", *unusual_images.mixed(chance)) for _ in range(200)]
    images = unusual_images.shown([content for _, _, content in kinds])
    outcomes: Counter[str] = Counter()
    for (form, name, content), image in zip(kinds, images, strict=True):
        outcome = unusual_images.compare(content, image)
        if name not in DOCUMENTED.get(form, ()):
            outcomes[outcome] += 1
            assert outcome in ("the same", "both refuse"), (form, name)
    assert outcomes["the same"] > 400


def test_stray_bytes_do_not_hide_damage():
    """Only the first of libjpeg's warnings is told; bytes that are left over come first here, and are no damage."""
    scans = unusual_images._separate_scans(progressive(96, 64))
    whole = b"".join(scans) + b"\xff\xd9"
    stray = scans[0] + b"some words" * 9 + b"".join(scans[1:]) + b"\xff\xd9"
    assert (load_image(stray, 64) == load_image(whole, 64)).all()
    cut = scans[0] + b"some words" * 9 + b"".join(scans[1:-1]) + scans[-1][:-40] + b"\xff\xd9"
    assert "too early" in str(refusal(cut))


def test_an_unusual_sampling_does_not_hide_a_cut():
    jpeg = dict(unusual_images.jpegs())["sampling 42 11 11"]
    assert "too early" in str(refusal(jpeg[:-8] + b"\xff\xd9"))


def test_work_beyond_two_seconds_is_too_large(monkeypatch):
    monkeypatch.setattr(image_checks, "MAX_PNG_WORK", 100_000)
    load_image(filtered_png(180, 8, 2, 3), 32)  # 97,380 bytes of pixels
    assert refusal(filtered_png(180, 8, 2, 4)).reason == "too_large"  # the Paeth filter counts three times
    assert refusal(png(180, 180, 8, 2, interlaced=True)).reason == "too_large"
    webp, avif = encoded(noise(64, 64), "WEBP"), encoded(noise(64, 64), "AVIF")
    monkeypatch.setattr(image_checks, "MAX_WEBP_WORK", 64 * 64 + 7 * len(webp))
    monkeypatch.setattr(image_checks, "MAX_AVIF_WORK", 64 * 64 + 23 * len(avif))  # its metadata do not count
    load_image(webp, 32)
    load_image(avif, 32)
    clear = noise(64, 64)
    clear.putalpha(clear.getchannel(0))
    for form in ("WEBP", "AVIF"):
        error = refusal(encoded(clear, form))
        assert error.reason == "too_large" and "2 seconds" in str(error)


def test_an_avif_costs_what_its_frames_hold_not_what_it_says():
    assert refusal(avif_bomb()).reason == "too_large"
    frame = encoded(noise(64, 64), "AVIF", quality=30)
    start = frame.index(b"mdat") + 4
    assert image_checks._av1(frame[start:], image_checks._counted()) == (64, 64, 1)
    assert image_checks._av1(frame[start:] * 10, image_checks._counted()) == (64, 64, 10)


def test_an_avif_that_lists_its_data_over_and_over_is_refused_at_once():
    """A list of 60,000 images of 60,000 pieces each, all of the whole file, in half a megabyte."""
    avif = encoded(noise(64, 64), "AVIF")
    at, end = avif.index(b"iloc") - 4, avif.index(b"iinf") - 4
    entry = struct.pack(">HHH", 1, 0, 60_000)
    for sizes, entries in ((b"\0\0", [entry] * 60_000), (b"\x40\0", [entry + bytes(4 * 60_000)])):
        body = b"iloc" + bytes(4) + sizes + struct.pack(">H", len(entries)) + b"".join(entries)
        listed = avif[:at] + struct.pack(">I", len(body) + 4) + body + avif[end:]
        meta, more = avif.index(b"meta") - 4, len(listed) - len(avif)
        size = int.from_bytes(avif[meta : meta + 4], "big") + more
        listed = listed[:meta] + struct.pack(">I", size) + listed[meta + 4 :]
        assert refusal(listed).reason == "undecodable"


def test_an_avif_names_its_size_in_either_header():
    long_header = "0000" + "0" + "0" + "0" + "00000" + "0" * 12 + "00101" + "1001" + "1001"
    bits = long_header + f"{799:010b}" + f"{599:010b}"
    header = int(bits.ljust(80, "0"), 2).to_bytes(10, "big")
    assert image_checks._av1_size(header) == (800, 600)


def test_an_orientation_counts_only_as_exif_writes_it():
    for order in "<>":
        assert image_checks.orientation(unusual_images.exif(6, order=order)) == 6
        assert image_checks.orientation(b"Exif\0\0" + unusual_images.exif(8, order=order)) == 8
        assert image_checks.orientation(unusual_images.exif(6, kind=4, order=order)) == 1
        assert image_checks.orientation(unusual_images.exif(9, order=order)) == 1
    assert image_checks.orientation(b"MM\0*" + struct.pack(">I", 2**32 - 1)) == 1
    assert image_checks.orientation(b"") == 1
