"""The one way an image file becomes pixels: in training, evaluation and, as a copy with `image_checks.py`, serving.

Resizing in Keras, TensorFlow and Pillow differs by 6 to 7 grey levels, enough to change answers.

    >>> load_image("data_prep_eda/sample/coast/coast_00.jpg", 224).shape
    (224, 224, 3)
"""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from data_prep_eda import image_checks as checks
from data_prep_eda.image_checks import FORMATS, MAX_BYTES, MAX_PIXELS, SUFFIXES, Checked, ImageError

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "SUFFIXES", "VERSION", "ImageError", "load_image"]

VERSION = 1  # raise it when the pixels change: cached features of the old version are then not used

# Pillow only warns between 89 and 179 megapixels; past our own limit that is a refusal, not a warning.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Broken metadata is common, does no harm here, and would fill the service's log with warnings.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def load_image(source: str | os.PathLike[str] | bytes, size: int) -> np.ndarray:
    """Decodes an image and resizes it to a square.

    An image that is not square is squeezed, since a crop can lose the sea. The orientation is applied, transparency is
    laid over white, and palette, greyscale, CMYK and 16-bit images become 8-bit RGB. Of an animation the first frame
    counts. Colour profiles are ignored.

    Args:
        source: path of an image file, or its bytes.
        size: edge length of the result in pixels; it is a `uint8` array of shape `[size, size, 3]`, RGB.

    Raises:
        ImageError: the source is not a usable image; the message says why.
        FileNotFoundError: the path does not exist.
    """
    if not isinstance(source, bytes):
        with Path(source).open("rb") as stream:
            source = stream.read(MAX_BYTES + 1)
    file = checks.check(source)
    try:
        image, turned = _decode_jpeg(file, size) if file.form == "JPEG" else _decode_by_pillow(file)
        # Reducing by whole steps first makes big PNG and WebP files cheap; 3.0 is indistinguishable.
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    except MemoryError:
        raise ImageError("too_large", "the pixels do not fit into memory") from None
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, file.ground), image)
    rgb = image.convert("RGB")
    # The result is square, so turning it after the resize gives what turning the original would.
    rgb.getexif()[ExifTags.Base.Orientation] = turned
    return np.asarray(ImageOps.exif_transpose(rgb))


def _decode_jpeg(file: Checked, size: int) -> tuple[Image.Image, int]:
    # Decoding at reduced scale spares most of a big photograph's cost. Half as much again as wanted is left
    # for the resize: on average the result moves by 0.4 of 255 levels.
    room = min(file.size) // (3 * size // 2)
    pixels = checks.decode_jpeg(file, next(scale for scale in (8, 4, 2, 1) if scale <= max(1, room)))
    if file.components == 4:  # inks are stored inverted, as Adobe's programs do and browsers always expect
        return Image.fromarray(255 - pixels, "CMYK").convert("RGB"), file.orientation
    return Image.fromarray(pixels[:, :, 0] if file.components == 1 else pixels), file.orientation


def _decode_by_pillow(file: Checked) -> tuple[Image.Image, int]:
    try:
        with Image.open(io.BytesIO(file.content), formats=[file.form]) as image:
            checks.check_size(*image.size)
            image.load()
            turned = file.orientation
            if file.form == "AVIF":  # Pillow names its turns as if EXIF had named them
                turned = checks.orientation(image.info.get("exif", b""))
            return checks.shown_part(_to_eight_bits(image, file), file), turned
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except Exception as error:  # broken data raise whatever the decoder stumbled on
        raise checks.damaged(f"{file.form} data that cannot be decoded ({type(error).__name__})") from None


def _to_eight_bits(image: Image.Image, file: Checked) -> Image.Image:
    """Any Pillow mode to one that resizes well and takes little memory: 8-bit greyscale or RGB, or RGBA if transparent."""
    clear = checks.transparent_pixels(image, file)
    if image.mode == "I;16":  # 16-bit greyscale, which Pillow would clip at 255
        levels = np.array(image)  # round(level / 257) in place, since twice the memory would be too much
        np.minimum(levels, 65_535 - 128, out=levels)
        levels += 128
        levels //= 257
        image = Image.fromarray(levels.astype(np.uint8))
    elif image.has_transparency_data:
        return image.convert("RGBA")
    else:
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if clear is not None:
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return image
