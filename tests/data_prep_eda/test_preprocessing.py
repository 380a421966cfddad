"""One way from a file to pixels, whatever people hand in."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from data_prep_eda.preprocessing import ImageError, load_image
from tests.data_prep_eda.costly_images import encoded

RED = (200, 30, 30)

# How a camera that was held in the way that an EXIF orientation names stores an upright picture.
UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def test_gives_a_square_of_rgb_bytes():
    pixels = load_image(encoded(Image.new("RGB", (300, 200), RED), "JPEG"), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 3


def test_path_and_bytes_give_the_same(tmp_path):
    content = encoded(Image.effect_noise((256, 256), 60).convert("RGB"), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content)
    assert np.array_equal(load_image(tmp_path / "a.jpg", 224), load_image(content, 224))


@pytest.mark.parametrize(
    "image, expected",
    [
        (Image.new("L", (50, 50), 120), (120, 120, 120)),
        (Image.new("1", (50, 50), 1), (255, 255, 255)),
        (Image.new("RGB", (50, 50), RED).quantize(8), RED),
        (Image.new("RGBA", (50, 50), (*RED, 255)), RED),
        (Image.new("RGBA", (50, 50), (*RED, 0)), (255, 255, 255)),
        (Image.new("LA", (50, 50), (40, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((50, 50), 257 * 90, np.uint16)), (90, 90, 90)),
    ],
    ids=[
        "grey",
        "black and white",
        "palette",
        "opaque",
        "transparent is white",
        "grey with alpha",
        "16-bit grey",
    ],
)
def test_any_mode_becomes_rgb(image, expected):
    pixels = load_image(encoded(image), 32)
    assert np.abs(pixels.astype(int) - expected).max() <= 2


def test_cmyk_becomes_rgb():
    pixels = load_image(encoded(Image.new("CMYK", (50, 50), (0, 255, 255, 0)), "JPEG", quality=95), 32)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.new("RGB", (64, 64), "white")
    upright.paste("red", (0, 0, 32, 32))  # one red corner and one blue edge: every orientation moves them
    upright.paste("blue", (0, 60, 64, 64))
    stored = upright.transpose(UNDO[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert np.array_equal(load_image(encoded(stored, exif=exif), 64), np.asarray(upright))


def test_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert tuple(load_image(content, 8)[0, 0]) == (255, 0, 0)


def test_a_big_jpeg_decoded_at_reduced_scale_gives_the_same_pixels():
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).resize(
        (3200, 2400), Image.Resampling.BICUBIC
    )
    content = encoded(blobs, "JPEG", quality=92)
    full = np.asarray(
        Image.open(io.BytesIO(content)).resize((224, 224), Image.Resampling.BILINEAR), dtype=int
    )
    assert np.abs(load_image(content, 224) - full).mean() < 1.0


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "unsupported"),
        (b"not an image at all", "unsupported"),
        (encoded(Image.new("RGB", (50, 50)), "GIF"), "unsupported"),
        (encoded(Image.effect_noise((256, 256), 90).convert("RGB"), "JPEG")[:4000], "undecodable"),
        (encoded(Image.effect_noise((256, 256), 90))[:4000], "undecodable"),
        (encoded(Image.new("1", (9000, 9000))), "too_large"),
        (encoded(Image.new("1", (14000, 14000))), "too_large"),
    ],
    ids=["empty", "text", "gif", "truncated jpeg", "truncated png", "81 megapixels", "196 megapixels"],
)
def test_unusable_input_is_named(content, reason):
    with pytest.raises(ImageError) as error:
        load_image(content, 224)
    assert error.value.reason == reason
    assert len(str(error.value)) > 10


@pytest.mark.real_data
def test_photographs_at_the_training_size_are_resized_by_pillow_alone(real_images):
    path = next((real_images / "coast").iterdir())
    plain = np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    assert np.array_equal(load_image(path, 224), plain)
