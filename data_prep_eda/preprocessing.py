"""The one way a photograph becomes pixels: in training, evaluation and serving.

Keras' loaders, TensorFlow's and Pillow's resizing defaults differ by 6 to 7 grey levels a pixel, which is
enough to change answers between the notebook and the service. Whatever reads a photograph therefore calls
`load_image`. This file needs Pillow and NumPy only: the Lambda image carries a copy of it.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

SCENES = ("coast", "forest", "mountain")  # the order of the model's outputs

VERSION = 1  # raise it when the pixels change: cached features of the old version are then not used

# What phones, cameras and browsers produce. Every further decoder is more code that strangers can feed.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif")

MAX_PIXELS = (
    64_000_000  # a 64-megapixel phone; decoding one takes up to 1 GB, which the Lambda function still has
)
MAX_SCANS = 100  # of a JPEG: cameras write 1, web encoders about 10; each costs a pass over all its pixels

# Pillow only warns between 89 and 179 megapixels; past our own limit that is a refusal, not a warning.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Broken metadata is common, does no harm here, and would fill the service's log with warnings.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ImageError(ValueError):
    """A photograph that cannot be used.

    Attributes:
        reason: `unsupported` (not an image of a supported format), `too_large` (more pixels than
            `MAX_PIXELS`) or `undecodable` (an image of a supported format, but broken).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def load_image(source: str | os.PathLike[str] | bytes, size: int) -> np.ndarray:
    """Decodes a photograph and resizes it to a square.

    The whole picture is kept: a photograph that is not square is squeezed, as in the original study, since
    a crop can lose the sea. The EXIF orientation is applied, transparency is laid over white, and palette,
    greyscale, CMYK and 16-bit images become 8-bit RGB. Of an animation the first frame counts.

    Args:
        source: path of an image file, or its bytes.
        size: edge length of the result in pixels.

    Returns:
        `uint8` array of shape `[size, size, 3]`, RGB.

    Raises:
        ImageError: the source is not a usable photograph; the message says why.
        FileNotFoundError: the path does not exist.
    """
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    if not content:
        raise ImageError("unsupported", "the file is empty (0 bytes)")

    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except Image.UnidentifiedImageError:
        raise ImageError("unsupported", f"not an image in one of the formats {', '.join(FORMATS)}") from None
    except Exception as error:  # broken headers raise whatever the decoder stumbled on
        raise ImageError("undecodable", f"broken image header ({type(error).__name__})") from None

    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(
                "too_large",
                f"{width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are decoded",
            )
        if content.startswith(b"\xff\xd8") and _jpeg_scans(content) > MAX_SCANS:
            raise ImageError("undecodable", f"a JPEG of more than {MAX_SCANS} scans")
        try:
            orientation = _orientation(image)
            # JPEG can be decoded at 1/2, 1/4 or 1/8 scale, which spares most of a big photograph's cost. Half as
            # much again as wanted is left for the resize: on average the result moves by 0.4 of 255 levels.
            image.draft(None, (3 * size // 2, 3 * size // 2))
            # Reducing by whole steps first makes big PNG and WebP files cheap; 3.0 is indistinguishable.
            image = _to_eight_bits(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
            rgb = _over_white(image) if image.has_transparency_data else image.convert("RGB")
        except MemoryError:
            raise ImageError("too_large", f"{width}x{height} pixels do not fit into memory") from None
        except Exception as error:  # truncated and corrupt data raise many types
            raise ImageError("undecodable", f"broken or truncated image ({type(error).__name__})") from None
    # The result is square, so turning it after the resize gives what turning the original would.
    if orientation != 1:
        rgb.getexif()[ExifTags.Base.Orientation] = orientation
        rgb = ImageOps.exif_transpose(rgb)
    return np.asarray(rgb, dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1, upright, where it is missing or makes no sense."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a photograph with broken metadata is still a photograph
        return 1
    return value if value in range(1, 9) else 1


def _jpeg_scans(content: bytes) -> int:
    """How many scans a JPEG file has, up to its end marker; phones append films after it.

    A progressive JPEG may bring the same few bytes of a scan ten thousand times over, and a file of 1 MB then
    takes ten minutes to decode.
    """
    scans, position = 0, 2
    while (marker := _MARKER.search(content, position)) and (kind := content[marker.end() - 1]) != 0xD9:
        scans += kind == 0xDA
        # Every marker but the one of a scan's data is followed by its length; it must not be searched inside.
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return scans


# In a scan's data, 00 makes a data byte of FF, and D0 to D7 are restarts; FF may be repeated before a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Any Pillow mode to one that resizes well: 8-bit RGB or greyscale, or RGBA where it is transparent.

    Greyscale stays greyscale for now, and transparent stays transparent: laying 64 megapixels over white, or
    tripling them, before nearly all are thrown away takes more memory than a Lambda function has.
    """
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit greyscale: Pillow would clip it at 255
        levels = np.asarray(image)
        eight_bits = np.empty(levels.shape, np.uint8)
        for row, line in enumerate(levels):  # by line, since twice the size of it all would be too much
            eight_bits[row] = (np.clip(line, 0, 65535).astype(np.uint32) + 128) // 257
        return Image.fromarray(eight_bits)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
