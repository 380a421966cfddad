"""Photographs made to cost a lot: what they may cost at most, and that honest ones are not taken for them."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.preprocessing import MAX_PIXELS, MAX_SCANS, ImageError, load_image

FUNCTION_MB = 1769  # of the Lambda function, see template.yaml


def progressive(size=(320, 240)) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize(size).save(stream, "JPEG", progressive=True)
    return stream.getvalue()


def test_a_jpeg_that_repeats_its_last_scan_is_refused():
    """Each repetition adds a hundred bytes and a pass over all pixels: 1 MB of them takes ten minutes."""
    jpeg = progressive()
    last_scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    load_image(jpeg, 64)
    with pytest.raises(ImageError, match="scans") as caught:
        load_image(jpeg[:-2] + last_scan * (MAX_SCANS + 1) + jpeg[-2:], 64)
    assert caught.value.reason == "undecodable"


def test_what_phones_append_to_a_jpeg_is_not_taken_for_scans():
    """Motion photographs carry a film behind the image, in which any bytes may occur."""
    film = np.random.default_rng(0).bytes(20_000) + b"\xff\xda" * 1000
    assert (load_image(progressive() + film, 64) == load_image(progressive(), 64)).all()


def test_what_metadata_holds_is_not_taken_for_scans():
    jpeg = progressive()
    note = b"\xff\xda" * 1000
    segment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
    assert (load_image(jpeg[:2] + segment + jpeg[2:], 64) == load_image(jpeg, 64)).all()


MEASURE = """
import sys, json
from data_prep_eda.preprocessing import load_image
load_image(sys.stdin.buffer.read(), 224)
with open("/proc/self/status") as status:
    print(json.dumps(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_the_largest_photograph_fits_the_function(mode):
    width = 8000
    image = Image.fromarray(np.zeros((MAX_PIXELS // width, width), np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=stream.getvalue(), capture_output=True, check=True
    )
    assert json.loads(done.stdout) < 0.6 * FUNCTION_MB


def test_sixteen_bits_become_eight_by_scaling():
    levels = np.repeat(np.arange(256, dtype=np.uint16)[:, None] * 257, 256, axis=1)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    assert (load_image(stream.getvalue(), 256)[:, 0, 0] == np.arange(256)).all()


def test_transparency_is_laid_over_white():
    half = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    half.paste((0, 0, 255, 255), (0, 0, 64, 32))
    stream = io.BytesIO()
    half.save(stream, "PNG")
    pixels = load_image(stream.getvalue(), 64)
    assert pixels[8, 8].tolist() == [0, 0, 255]
    assert pixels[56, 8].tolist() == [255, 255, 255]


def test_broken_metadata_is_passed_over_in_silence():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").save(stream, "JPEG", exif=exif)
    jpeg = stream.getvalue()
    at = jpeg.index(b"\x01\x12\x00\x03") + 4  # how many values the orientation has: 1, or nonsense
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=jpeg[:at] + b"\x00\xff\xff\xff" + jpeg[at + 4 :],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
