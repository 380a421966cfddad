"""Damaged images are refused, expensive ones cost little, and honest ones are not taken for either."""

import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from data_prep_eda.image_checks import MAX_EDGE, MAX_SCANS
from data_prep_eda.preprocessing import ImageError, load_image
from tests.data_prep_eda import costly_images
from tests.data_prep_eda.costly_images import (
    encoded,
    more_scans,
    noise,
    png,
    png_chunk,
    progressive,
    refusal,
)

FUNCTION_MB = 1769  # of the Lambda function, see template.yaml

SOUND = {
    "JPEG": encoded(noise(48, 40), "JPEG", quality=85),
    "progressive JPEG": encoded(noise(48, 40), "JPEG", quality=85, progressive=True),
    "PNG": encoded(noise(16, 12), "PNG"),
    "WebP": encoded(noise(48, 40), "WEBP", quality=80),
    "lossless WebP": encoded(noise(48, 40), "WEBP", lossless=True),
    "AVIF": encoded(noise(48, 40), "AVIF", quality=60),
}


# Damage


@pytest.mark.parametrize("form", SOUND)
def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(form):
    load_image(SOUND[form], 64)
    end = len(SOUND[form]) - 12 * (
        form == "PNG"
    )  # a PNG is whole without the chunk that says so, and browsers show it
    for length in range(1, end, 7):
        refusal(SOUND[form][:length])
    refusal(SOUND[form][: end - 1])


def test_one_flipped_bit_in_a_png_is_refused_wherever_it_is():
    """Each flip used to give some picture, mostly a black one, and an answer with status 200."""
    for at in range(len(SOUND["PNG"])):
        damaged = bytearray(SOUND["PNG"])
        damaged[at] ^= 1 << at % 8
        if at < len(SOUND["PNG"]) - 12:
            refusal(bytes(damaged))
        else:  # in the chunk that says that this is the end
            assert (load_image(bytes(damaged), 64) == load_image(SOUND["PNG"], 64)).all()


@pytest.mark.parametrize("chunk", [b"tEXt", b"iCCP", b"eXIf", b"tIME"])
def test_damage_in_a_png_chunk_that_holds_no_pixels_is_passed_over(chunk):
    content = bytearray(png(8, 8, 8, 2, extra=png_chunk(chunk, b"some words")))
    content[content.index(b"words")] ^= 1
    assert (load_image(bytes(content), 64) == load_image(png(8, 8, 8, 2), 64)).all()


def test_what_libjpeg_only_warns_of_is_refused():
    restarts = encoded(noise(48, 40), "JPEG", quality=85, restart_marker_blocks=2)
    assert "restart" in str(refusal(restarts.replace(b"\xff\xd1", b"", 1)))
    early_end = SOUND["JPEG"][: len(SOUND["JPEG"]) // 2] + b"\xff\xd9"  # half the picture would be grey
    assert refusal(early_end).reason == "undecodable"


@pytest.mark.parametrize("form", SOUND)
def test_whatever_happens_to_a_file_ends_in_a_picture_or_in_a_sentence(form):
    chance = random.Random(0)
    for _ in range(100):
        damaged = bytearray(SOUND[form])
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            assert load_image(bytes(damaged), 64).shape == (64, 64, 3)
        except ImageError as error:
            assert error.reason in ("unsupported", "undecodable", "too_large")


# Cost


@pytest.mark.parametrize("before", [b"", b"\xff\x01", b"\xff\xff\xff", b"\xff\xd0"])
def test_a_jpeg_that_repeats_its_last_scan_is_refused(before):
    """Each repetition is a pass over all pixels, and it may hide behind a marker that has no length."""
    jpeg = progressive(320, 240)
    load_image(jpeg, 64)
    error = refusal(more_scans(jpeg, MAX_SCANS + 1, before))
    assert error.reason == "too_large" and "scans" in str(error)


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_jpeg_codings_that_no_browser_shows_are_refused(frame):
    jpeg = SOUND["JPEG"].replace(b"\xff\xc0", bytes([0xFF, frame]), 1)
    assert refusal(jpeg).reason == "unsupported"


@pytest.mark.parametrize(("width", "height"), [(1, MAX_EDGE + 1), (MAX_EDGE + 1, 1), (8000, 8001)])
def test_more_pixels_than_are_taken(width, height):
    assert refusal(png(width, height, 1, 0)).reason == "too_large"
    load_image(png(min(width, MAX_EDGE), 2, 16, 0), 64)


def test_a_small_picture_with_a_lot_of_metadata_is_decoded_without_it():
    for name, content in costly_images.bombs():
        outcome, _, peak = costly_images.measure(content)
        assert outcome == "decoded", name
        assert peak < 150, name


@pytest.mark.slow
def test_nothing_that_is_taken_needs_more_memory_than_the_function_has():
    for images in costly_images.GROUPS.values():
        for name, content in images():
            outcome, _, peak = costly_images.measure(content)
            assert outcome.startswith(("decoded", "refused: ")), name
            assert peak < 0.65 * FUNCTION_MB, name


def test_a_file_of_many_small_pieces_is_refused():
    content = encoded(noise(64, 64), "WEBP") + b"note\0\0\0\0" * 60_000
    content = content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:]
    assert refusal(content).reason == "undecodable"


# Honest files that look odd


def test_what_phones_append_to_a_jpeg_is_not_taken_for_scans():
    """Motion photographs carry a film behind the image, in which any bytes may occur."""
    film = np.random.default_rng(0).bytes(20_000) + b"\xff\xda" * 1000
    assert (load_image(progressive(320, 240) + film, 64) == load_image(progressive(320, 240), 64)).all()


def test_what_metadata_holds_is_not_taken_for_scans():
    jpeg = progressive(320, 240)
    note = b"\xff\xda" * 1000
    segment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
    assert (load_image(jpeg[:2] + segment + jpeg[2:], 64) == load_image(jpeg, 64)).all()


def test_a_long_run_of_fill_bytes_costs_no_more_than_its_length():
    jpeg = SOUND["JPEG"]
    for run in (b"\xff" * 2_000_000, b"\xff" * 2_000_000 + b"\0"):
        assert (load_image(jpeg[:2] + run + jpeg[2:], 64) == load_image(jpeg, 64)).all()


def test_restarts_and_fill_bytes_belong_to_jpeg():
    plain = encoded(noise(64, 64), "JPEG", restart_marker_blocks=3)
    filled = plain.replace(b"\xff\xda", b"\xff\xff\xff\xda")
    assert (load_image(filled, 64) == load_image(plain, 64)).all()


def test_sixteen_bits_become_eight_by_scaling():
    levels = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(levels / 257)
    assert (load_image(encoded(Image.fromarray(levels), "PNG"), 256)[:, :, 0] == expected).all()


def test_transparency_is_laid_over_white():
    half = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    half.paste((0, 0, 255, 255), (0, 0, 64, 32))
    pixels = load_image(encoded(half, "PNG"), 64)
    assert pixels[8, 8].tolist() == [0, 0, 255]
    assert pixels[56, 8].tolist() == [255, 255, 255]


def test_broken_metadata_is_passed_over_in_silence():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    jpeg = encoded(Image.linear_gradient("L"), "JPEG", exif=exif)
    at = jpeg.index(b"\x01\x12\x00\x03") + 4  # how many values the orientation has: 1, or nonsense
    done = subprocess.run(
        [sys.executable, "-c", costly_images.MEASURE],
        input=jpeg[:at] + b"\x00\xff\xff\xff" + jpeg[at + 4 :],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert b"decoded" in done.stdout
