"""The one way an image file becomes pixels: in training, evaluation and serving.

Keras' loaders, TensorFlow's and Pillow's resizing defaults differ by 6 to 7 grey levels per pixel, which is
enough to change answers between the notebook and the service. Whatever reads an image therefore calls
`load_image`. The Lambda image carries a copy of this file, which needs Pillow, NumPy and simplejpeg only.

Strangers send files, so each format's structure is checked before anything is decoded:

| format | damage that is found | and what is not |
|---|---|---|
| PNG | any: every chunk has a checksum | |
| JPEG | a cut, a broken segment, whatever libjpeg warns of (codes that do not exist, data that ends too early or too late) | flipped bits that stand for other valid codes; there is no checksum |
| WebP, AVIF | a cut, sizes that do not add up, what the decoder refuses | flipped bits inside the compressed data; there is no checksum |
"""

from __future__ import annotations

import io
import os
import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

SCENES = ("coast", "forest", "mountain")  # the order of the model's outputs

VERSION = 1  # raise it when the pixels change: cached features of the old version are then not used

# What phones, cameras and browsers produce. Every further decoder is more code that strangers can feed.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif")

# What decoding may cost: no more than the photograph of a 64-megapixel phone.
MAX_BYTES = 20_000_000  # of a file
MAX_PIXELS = 64_000_000
MAX_EDGE = 32_768  # also AVIF's own limit; Pillow spends 8 bytes per row however short it is
MAX_SCANS = 100  # of a JPEG: cameras write 1, web encoders about 10; each costs a pass over all its pixels
MAX_SCANNED_PIXELS = 20 * MAX_PIXELS  # scans times pixels
MAX_SEGMENTS = 50_000  # of a file: PNG writers cut 20 MB into a few thousand

# Pillow only warns between 89 and 179 megapixels; past our own limit that is a refusal, not a warning.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Broken metadata is common, does no harm here, and would fill the service's log with warnings.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ImageError(ValueError):
    """An image that cannot be used.

    Attributes:
        reason: `unsupported` (not an image of a supported format), `too_large` (more bytes or pixels than
            are taken) or `undecodable` (an image of a supported format, but damaged).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def load_image(source: str | os.PathLike[str] | bytes, size: int) -> np.ndarray:
    """Decodes an image and resizes it to a square.

    All of it is kept: an image that is not square is squeezed, as in the original project, since a crop can
    lose the sea. The EXIF orientation is applied, transparency is laid over white, and palette, greyscale,
    CMYK and 16-bit images become 8-bit RGB. Of an animation the first frame counts.

    Args:
        source: path of an image file, or its bytes.
        size: edge length of the result in pixels.

    Returns:
        `uint8` array of shape `[size, size, 3]`, RGB.

    Raises:
        ImageError: the source is not a usable image; the message says why.
        FileNotFoundError: the path does not exist.
    """
    content = source if isinstance(source, bytes) else _read(Path(source))
    if not content:
        raise ImageError("unsupported", "the file is empty (0 bytes)")
    if len(content) > MAX_BYTES:
        raise ImageError("too_large", f"the file is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        for starts, decode in _DECODERS:
            if starts.match(content):
                image, orientation = decode(content, size)
                break
        else:
            raise ImageError("unsupported", f"not an image in one of the formats {', '.join(FORMATS)}")
        # Reducing by whole steps first makes big PNG and WebP files cheap; 3.0 is indistinguishable.
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    except MemoryError:
        raise ImageError("too_large", "the pixels do not fit into memory") from None
    rgb = _over_white(image) if image.mode == "RGBA" else image.convert("RGB")
    # The result is square, so turning it after the resize gives what turning the original would.
    if orientation in _TURNS:
        rgb = rgb.transpose(_TURNS[orientation])
    return np.asarray(rgb, dtype=np.uint8)


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_EDGE:
        raise ImageError(
            "too_large",
            f"{width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are decoded, "
            f"and {MAX_EDGE} along an edge",
        )


def _damaged(how: str) -> ImageError:
    return ImageError("undecodable", f"damaged image: {how}")


def _truncated() -> ImageError:
    return _damaged("the file ends too early")


# Each decoder takes a file's bytes and the edge length that is wanted in the end, and returns an image in
# mode L, RGB or RGBA with its EXIF orientation. A JPEG may come back at 1/2, 1/4 or 1/8 of its size.


def _decode_jpeg(content: bytes, size: int) -> tuple[Image.Image, int]:
    # simplejpeg and not Pillow, since only simplejpeg tells of libjpeg's warnings; the pixels are the same.
    width, height, components, inverted, orientation = _read_jpeg(content)
    # Decoding at reduced scale spares most of a big photograph's cost. Half as much again as wanted is left
    # for the resize: on average the result moves by 0.4 of 255 levels.
    room = min(width, height) // (3 * size // 2)
    scale = next(scale for scale in (8, 4, 2, 1) if scale <= max(1, room))
    try:
        pixels = simplejpeg.decode_jpeg(
            content,
            colorspace={1: "GRAY", 3: "RGB", 4: "CMYK"}[components],
            min_width=-(-width // scale),
            min_height=-(-height // scale),
            strict=True,
        )
    except ValueError as error:
        raise _damaged(str(error)) from None
    if components == 1:
        return Image.fromarray(pixels[:, :, 0]), orientation
    if components == 3:
        return Image.fromarray(pixels), orientation
    # Adobe's programs store inks inverted, and leave their mark.
    return Image.fromarray(255 - pixels if inverted else pixels, "CMYK").convert("RGB"), orientation


def _read_jpeg(content: bytes) -> tuple[int, int, int, bool, int]:
    """Checks a JPEG's segments up to its end marker; phones append films after it.

    A progressive JPEG may bring the same few bytes of a scan ten thousand times over, and a file of 1 MB
    would then take ten minutes to decode.

    Returns:
        Width, height, colour components, whether Adobe's mark is there, and the EXIF orientation.
    """
    frame: tuple[int, int, int] | None = None
    scans, position, adobe, exif = 0, 2, False, b""
    for _ in range(MAX_SEGMENTS):
        marker = _JPEG_MARKER.match(content, position)
        if marker is None:
            raise _truncated() if position >= len(content) - 1 else _damaged("bytes between JPEG segments")
        kind, position = content[marker.end() - 1], marker.end()
        if kind == 0xD9:
            break
        if kind == 0x01 or 0xD0 <= kind <= 0xD7:  # these markers stand alone
            continue
        end = position + max(2, int.from_bytes(content[position : position + 2], "big"))
        if end > len(content):
            raise _truncated()
        segment = content[position + 2 : end]
        position = end
        if kind in (0xC0, 0xC1, 0xC2):
            if frame or len(segment) < 6 or segment[0] != 8 or segment[5] not in (1, 3, 4):
                raise ImageError("unsupported", "a JPEG in a coding that browsers do not show")
            frame = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big"), segment[5]
            _check_size(*frame[:2])
        elif 0xC3 <= kind <= 0xCF and kind != 0xC4:  # lossless, hierarchical and arithmetic codings
            raise ImageError("unsupported", "a JPEG in a coding that browsers do not show")
        elif kind == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif = exif or segment
        elif kind == 0xEE and segment.startswith(b"Adobe"):
            adobe = True
        elif kind == 0xDA:
            if frame is None:
                raise _damaged("a JPEG scan without its frame")
            scans += 1
            if scans > MAX_SCANS or scans * frame[0] * frame[1] > MAX_SCANNED_PIXELS:
                raise _damaged(f"a JPEG of more than {scans - 1} scans at this size")
            found = _JPEG_SCAN_END.search(content, position)
            position = found.start() if found else len(content)
    else:
        raise _damaged(f"more than {MAX_SEGMENTS} segments")
    if frame is None or not scans:
        raise _damaged("a JPEG without an image")
    return *frame, adobe, _orientation(exif)


# FF may be repeated before a marker. In a scan's data, FF 00 is a data byte and D0 to D7 are restarts.
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)
_JPEG_SCAN_END = re.compile(
    rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL
)  # which is found twenty times faster than \xff+


def _decode_png(content: bytes, size: int) -> tuple[Image.Image, int]:
    # Only what makes up the pixels reaches the decoder: no animation, and no text to be inflated.
    kept, exif, position = [content[:8]], b"", 8
    for _ in range(MAX_SEGMENTS):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        if end > len(content):
            raise _truncated()
        kind, chunk = content[position + 4 : position + 8], content[position:end]
        if zlib.crc32(memoryview(chunk)[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise _damaged("a PNG chunk does not have its checksum")
        position = end
        if kind == b"IHDR":
            _check_size(int.from_bytes(chunk[8:12], "big"), int.from_bytes(chunk[12:16], "big"))
        if kind == b"eXIf":
            exif = chunk[8:-4]
        elif kind == b"tRNS" or not kind[0] & 0x20:  # an upper case letter marks a chunk as indispensable
            kept.append(chunk)
        if kind == b"IEND":
            break
    else:
        raise _damaged(f"more than {MAX_SEGMENTS} PNG chunks")
    return _decode_by_pillow(b"".join(kept), "PNG"), _orientation(exif)


def _decode_webp(content: bytes, size: int) -> tuple[Image.Image, int]:
    end, position, exif = 8 + int.from_bytes(content[4:8], "little"), 12, b""
    if end > len(content):
        raise _truncated()
    for _ in range(MAX_SEGMENTS):
        if position >= end:
            break
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        if content[position : position + 4] == b"EXIF":
            exif = content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    if position != end:
        raise _damaged("the WebP chunks do not add up to the file")
    return _decode_by_pillow(content[:end], "WEBP"), _orientation(exif)


def _decode_avif(content: bytes, size: int) -> tuple[Image.Image, int]:
    kept, position = [], 0
    for _ in range(MAX_SEGMENTS):
        if position >= len(content):
            break
        length, kind = (
            int.from_bytes(content[position : position + 4], "big"),
            content[position + 4 : position + 8],
        )
        if length == 1:
            length = int.from_bytes(content[position + 8 : position + 16], "big")
        end = position + length if length else len(content)
        if end > len(content) or end < position + 8:
            raise _truncated() if end > len(content) else _damaged("an AVIF box without a length")
        box = content[position:end]
        # An AVIF is turned by properties of its own, and EXIF counts for nothing; Pillow would unpack all of it.
        kept.append(box if kind == b"mdat" else box.replace(b"Exif", b"skip"))
        position = end
    else:
        raise _damaged(f"more than {MAX_SEGMENTS} AVIF boxes")
    image = _decode_by_pillow(b"".join(kept), "AVIF")
    return image, _orientation(image.info.get("exif", b""))


def _decode_by_pillow(content: bytes, form: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=[form]) as image:
            _check_size(*image.size)
            image.load()
            return _to_eight_bits(image)
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except Exception as error:  # broken data raise whatever the decoder stumbled on
        raise _damaged(f"{form} data that cannot be decoded ({type(error).__name__})") from None


_DECODERS = (
    (re.compile(rb"\xff\xd8\xff"), _decode_jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _decode_png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _decode_webp),
    (re.compile(rb"....ftyp(?:....){0,15}?avi[fs]", re.DOTALL), _decode_avif),  # HEIC has other brands
)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Any Pillow mode to one that resizes well: 8-bit RGB or greyscale, or RGBA where it is transparent.

    Greyscale stays greyscale for now, and transparent stays transparent: laying 64 megapixels over white, or
    tripling them, before nearly all are thrown away takes more memory than a Lambda function has.
    """
    if image.mode == "I;16":  # 16-bit greyscale, which Pillow would clip at 255
        levels = np.array(image)
        # round(level / 257) in place, since twice the size of it all would be too much
        np.minimum(levels, 65_535 - 128, out=levels)
        levels += 128
        levels //= 257
        return Image.fromarray(levels.astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1 to 8; 1, upright, where it is missing or makes no sense.

    Pillow would copy out every value that the metadata point to: 65,535 of them may each be as long as the file.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    first = number(4, 4) + 2
    for entry in range(first, first + 12 * number(first - 2, 2), 12):
        if number(entry, 2) == 0x0112:
            return number(entry + 8, {1: 1, 4: 4}.get(number(entry + 2, 2), 2))
    return 1


# How to set upright what a camera stored in each EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
