"""What a stranger's file may be, and what it may cost, before anything of it is decoded.

The measure is what a browser shows. A file that it shows whole is taken, however odd its headers; one that lacks part
of its picture is refused, and so is one that costs more than 2 s of processor time or 1.1 GB:

| format | damage that is found | and what is not | most work that is taken |
|---|---|---|---|
| PNG | any in what makes up the pixels: each chunk has a checksum, and every row must be there | | `MAX_PNG_WORK` |
| JPEG | a cut, codes that do not exist, data that end too early, missing restarts | other valid codes | `MAX_SCANS`, `MAX_JPEG_WORK` |
| WebP, AVIF | a cut, sizes that do not add up, what the decoder refuses | other compressed data | `MAX_WEBP_WORK`, `MAX_AVIF_WORK` |

`check` returns the file as a decoder should get it: no metadata, and none of the oddities that touch no pixel.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import simplejpeg
from PIL import Image

# What phones, cameras and browsers produce. Every further decoder is more code that strangers can feed.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif")

MAX_BYTES = 20_000_000  # of a file
MAX_PIXELS = 64_000_000  # the photograph of a 64-megapixel phone
MAX_EDGE = 32_768  # also AVIF's own limit; Pillow spends 8 bytes per row however short it is
MAX_SEGMENTS = 50_000  # of a file: PNG writers cut 20 MB into a few thousand
MAX_SCANS = 100  # of a JPEG: cameras write 1, web encoders about 10
# tests/data_prep_eda/costly_images.py measures what these cost.
MAX_JPEG_WORK = 20 * MAX_PIXELS  # pixels, once for each scan
MAX_PNG_WORK = (
    320_000_000  # bytes of pixels, three times where Paeth, interlaced, or 16 bits with a transparent colour
)
MAX_WEBP_WORK = 100_000_000  # pixels, half as many again where lossless or transparent, and 7 for each byte
MAX_AVIF_WORK = 144_000_000  # pixels of all frames, tiles and alpha, and 23 for each byte of theirs


class ImageError(ValueError):
    """An image that cannot be used.

    Attributes:
        reason: `unsupported` (not an image of a supported format), `too_large` (more bytes, pixels or work than
            are taken) or `undecodable` (an image of a supported format, but damaged).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Checked:
    """An image file that may be decoded, and what is to be done with its pixels."""

    form: str  # one of FORMATS
    content: bytes  # what a decoder should get
    size: tuple[int, int] = (0, 0)  # of a JPEG or PNG: width and height of what the decoder gives
    orientation: int = 1  # as EXIF counts, 1 to 8
    components: int = 3  # of a JPEG
    scans: tuple[int, ...] = ()  # of a JPEG: where in `content` each scan's data end
    key: tuple[int, ...] | None = None  # of a PNG of 16 bits: the colour that is transparent
    canvas: tuple[int, int, int, int] | None = (
        None  # of an animated PNG: size, and the first frame's place in it
    )
    aperture: bytes = b""  # of an AVIF: its `clap` property
    ground: str = "white"  # the colour behind transparent pixels


def check(content: bytes) -> Checked:
    """Looks at a file's structure, all of it.

    Raises:
        ImageError: it is no image, too large, too expensive or damaged.
    """
    if not content:
        raise ImageError("unsupported", "the file is empty (0 bytes)")
    if len(content) > MAX_BYTES:
        raise ImageError("too_large", f"the file is larger than {MAX_BYTES // 1_000_000} MB")
    for starts, check_format in _CHECKS:
        if starts.match(content):
            try:
                return check_format(content)
            except (IndexError, KeyError, StopIteration, struct.error):
                raise damaged("a length or a name in it is wrong") from None
    raise ImageError("unsupported", f"not an image in one of the formats {', '.join(FORMATS)}")


def check_size(width: int, height: int) -> None:
    """Raises an `ImageError` for more pixels than are taken."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_EDGE:
        raise ImageError(
            "too_large",
            f"{width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are decoded, "
            f"and {MAX_EDGE} along an edge",
        )


def damaged(how: str) -> ImageError:
    """The error of an image that lacks something."""
    return ImageError("undecodable", f"damaged image: {how}")


def _truncated() -> ImageError:
    return damaged("the file ends too early")


def _check_work(work: float, most: int, what: str) -> None:
    if work > most:
        raise ImageError(
            "too_large", f"{what} would take more than 2 seconds to decode; a smaller copy is taken"
        )


# JPEG

_BASELINE, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_MARKER = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)  # FF may be repeated before a marker
# In a scan's data FF 00 is a data byte, and D0 to D7 are restarts. This is found twenty times faster than \xff+.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


def _check_jpeg(content: bytes) -> Checked:
    """Takes what makes up the pixels out of a JPEG, in the order and with the tolerance of libjpeg and the browsers.

    Left out are what cameras add or get wrong without any harm: metadata, profiles, bytes between segments, versions
    of JFIF, unknown codes of Adobe, scan parameters that a sequential JPEG has no use for, films behind the end.
    A progressive JPEG may bring the same few bytes of a scan ten thousand times over, and a file of 1 MB would then
    take ten minutes to decode: scans are counted.
    """
    frame = coded = b""
    kept, ends, position = [b"\xff\xd8", b""], [], 2
    jfif, adobe, exif, ended, process = False, -1, None, False, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(content, position)
        if marker is None:
            break
        kind, position = content[marker.end() - 1], marker.end()
        if kind == 0xD9:
            ended = True
            break
        if kind == 0x01 or 0xD0 <= kind <= 0xD7:  # these markers stand alone
            continue
        end = position + int.from_bytes(content[position : position + 2], "big")
        if end > len(content):
            break
        segment = content[position + 2 : end]
        position = max(end, position + 2)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            if (
                frame
                or kind not in (*_BASELINE, _PROGRESSIVE)
                or segment[0] != 8
                or segment[5] not in (1, 3, 4)
            ):
                raise ImageError("unsupported", "a JPEG in a coding that browsers do not show")
            check_size(*struct.unpack(">HH", segment[1:5]))
            frame, process = segment, kind
        elif kind == 0xE0 and segment.startswith(b"JFIF\0") and len(segment) >= 14:
            jfif = jfif or not ends
        elif kind == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = adobe if ends else segment[11]
        elif kind == 0xE1 and segment.startswith(b"Exif\0") and exif is None and not ends:
            exif = segment[6:]
        elif kind == 0xDA:
            if not frame:
                raise damaged("a JPEG scan without its frame")
            ends.append(0)
            width, height = struct.unpack(">HH", frame[3:5] + frame[1:3])
            if len(ends) > MAX_SCANS or len(ends) * width * height > MAX_JPEG_WORK:
                raise ImageError("too_large", f"a JPEG of more than {len(ends) - 1} scans at this size")
            coded += segment[1 : 1 + 2 * segment[0] : 2]
            if process in _BASELINE:
                segment = segment[: 1 + 2 * segment[0]] + b"\0\x3f\0"
        elif not (0xE0 <= kind <= 0xEF or kind in (0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE)):
            raise damaged("a JPEG marker that does not exist")
        if kind in (0xC4, 0xDA, 0xDB, 0xDD) or kind in (*_BASELINE, _PROGRESSIVE):
            kept.append(bytes([0xFF, kind]) + struct.pack(">H", len(segment) + 2) + segment)
        if kind == 0xDA:
            next_marker = _SCAN_END.search(content, position)
            start, position = position, next_marker.start() if next_marker else len(content)
            kept.append(content[start:position].rstrip(b"\xff"))
            ends[-1] = sum(map(len, kept))
    else:
        raise damaged(f"more than {MAX_SEGMENTS} segments")
    # Browsers lose the last rows of a JPEG that has no end marker.
    if not ended or not frame or not set(frame[6 : 6 + 3 * frame[5] : 3]) <= set(coded):
        raise damaged("a JPEG without an image") if ended and not ends else _truncated()
    kept[1] = _colour_marker(frame[5], jfif, adobe)
    ends = tuple(end + len(kept[1]) for end in ends)
    return Checked(
        "JPEG", b"".join(kept) + b"\xff\xd9", (width, height), orientation(exif or b""), frame[5], ends
    )


def _colour_marker(components: int, jfif: bool, adobe: int) -> bytes:
    """The segment that makes a decoder read the colours as browsers do: JFIF before Adobe, unknown codes as YCbCr."""
    if components == 3 and jfif:
        return b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    if components == 1 or adobe < 0:
        return b""
    usual = {3: 1, 4: 2}[components]
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([0 if adobe == 0 else usual])


def decode_jpeg(jpeg: Checked, scale: int) -> np.ndarray:
    """Decodes a JPEG at 1/`scale` of its size, and refuses what is damaged.

    libjpeg goes on after nearly everything and only warns; simplejpeg makes an error of the first warning. Bytes that
    are left over behind a scan's data are one, and no damage: they are cut away, so that what hides behind them shows.

    Returns:
        `uint8` array `[height, width, components]`: grey, RGB, or CMYK as stored.

    Raises:
        ImageError: codes that do not exist, data that end too early, restarts that are missing.
    """
    content, ends, work = jpeg.content, list(jpeg.scans), 0

    def decode(content: bytes) -> tuple[np.ndarray | None, str]:
        nonlocal work
        work += len(ends) * jpeg.size[0] * jpeg.size[1]
        again = work > len(ends) * jpeg.size[0] * jpeg.size[1]
        _check_work(work * (1 + again), MAX_JPEG_WORK, "a JPEG with bytes left over behind its scans")
        colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}[jpeg.components]
        width, height = (-(-edge // scale) for edge in jpeg.size)
        try:
            return simplejpeg.decode_jpeg(
                content, colours, min_width=width, min_height=height, strict=True
            ), ""
        except ValueError as error:
            return None, str(error)

    while True:
        pixels, warning = decode(content)
        if pixels is not None:
            return pixels
        if "subsampling" in warning:
            return _decode_jpeg_of_any_sampling(content, jpeg, scale)
        extra = re.search(r"(\d+) extraneous bytes before marker 0x([^d].|d[^0-7])", warning)
        if extra is None:
            raise _jpeg_damage(warning)
        count, scan = int(extra[1]), len(ends) - 1
        if extra[2] != "d9":  # not behind the last scan: the first scans up to which the warning comes
            scan = bisect_left(ends[:-1], True, key=lambda end: bool(decode(content[:end] + b"\xff\xd9")[1]))
        content = content[: ends[scan] - count] + content[ends[scan] :]
        ends[scan:] = [end - count for end in ends[scan:]]


def _jpeg_damage(message: str) -> ImageError:
    """The error for what libjpeg says."""
    kinds = {
        "premature end": "its data end too early",
        "bad Huffman code": "codes in it do not exist",
        "instead of RST": "a restart marker is missing",
        "before marker": "data are left over before a restart marker",
        "progression": "its scans are out of order",
    }
    known = next((kind for words, kind in kinds.items() if words in message), "it cannot be decoded")
    return damaged(f"a JPEG, and {known}")


def _decode_jpeg_of_any_sampling(content: bytes, jpeg: Checked, scale: int) -> np.ndarray:
    """Decodes with Pillow, which knows each sampling of the colours but passes over warnings.

    That the data are complete shows in that further data change nothing.
    """

    def decode(content: bytes) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                image.draft(None, (-(-image.width // scale), -(-image.height // scale)))
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError):
            raise damaged("a JPEG, and it cannot be decoded") from None
        return 255 - pixels if jpeg.components == 4 else pixels.reshape(*pixels.shape[:2], -1)

    pixels = decode(content)
    if not np.array_equal(pixels, decode(content[:-2] + b"\xa5" * 99 + content[-2:])):
        raise _jpeg_damage("premature end")
    return pixels


# PNG

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _check_png(content: bytes) -> Checked:
    """Takes the header, the palette, the transparency and the pixels out of a PNG; of an animation the first frame."""
    header = palette = frame = b""
    transparency = exif = None
    frames, numbered, pixels, position, animated, hidden, between = 0, 0, [], 8, False, False, False
    for _ in range(MAX_SEGMENTS):
        if position + 8 > len(content):
            break
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        kind, data = content[position + 4 : position + 8], content[position + 8 : end - 4]
        if end > len(content) and kind != b"IEND":
            break
        whole = zlib.crc32(kind + data) == int.from_bytes(content[end - 4 : end], "big")
        position = end
        if (kind == b"IHDR") == bool(header):
            raise damaged("a PNG whose header is not first, or not alone")
        if not whole and kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"):
            raise damaged("a PNG chunk does not have its checksum")
        if kind == b"IEND":
            break
        if not whole:
            continue  # a note, and browsers pass over it
        if kind == b"IHDR":
            header = data
            check_size(*struct.unpack(">II", header[:8]))
        elif kind == b"PLTE":
            if palette or pixels:
                raise damaged("a PNG with two palettes")
            palette = data
        elif kind == b"tRNS" and transparency is None and not pixels:
            transparency = data if palette or header[9] != 3 else None
        elif kind == b"eXIf" and exif is None and not pixels:
            exif = b"" if data.startswith(b"Exif") else data
        elif kind == b"acTL" and not pixels:
            animated = data[:4] > bytes(4)
        elif kind == b"IDAT" and not hidden:
            if between:
                raise damaged("a PNG whose pixels are in two places")
            pixels.append(data)
        elif kind in (b"fcTL", b"fdAT") and animated and frames < 2:
            frames += kind == b"fcTL"
            if frames == 2:
                continue
            if data[:4] != struct.pack(">I", numbered):
                raise damaged("an animated PNG whose frames are not in order")
            numbered += 1
            if kind == b"fcTL":
                frame, hidden = data, bool(pixels)
                if hidden:  # what came before is for viewers that know no animations
                    pixels = []
            elif hidden:
                pixels.append(data[4:])
        elif not kind[0] & 0x20 and not pixels:  # an upper case letter marks a chunk as indispensable
            raise damaged("a PNG with a chunk that is not known")
        between = bool(pixels) and kind != b"IDAT" and not hidden
    else:
        raise damaged(f"more than {MAX_SEGMENTS} PNG chunks")
    if not header or not pixels:
        raise _truncated()
    return _png(header, palette, transparency, pixels, frame if animated else None, orientation(exif or b""))


def _png(
    header: bytes,
    palette: bytes,
    transparency: bytes | None,
    pixels: list[bytes],
    frame: bytes | None,
    turned: int,
) -> Checked:
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    if colour not in _SAMPLES or depth not in (1, 2, 4, 8, 16):
        raise damaged("a PNG of a colour type that does not exist")
    canvas = None
    if frame is not None:
        if not frame:
            raise damaged("an animated PNG without a frame")
        size, (left, upper) = struct.unpack(">II", frame[4:12]), struct.unpack(">II", frame[12:20])
        if left + size[0] > width or upper + size[1] > height or 0 in size:
            raise damaged("an animated PNG whose first frame does not fit")
        if size != (width, height):
            canvas, (width, height) = (width, height, left, upper), size
            header = struct.pack(">II", width, height) + header[8:]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = [
        (1 + (-(-(width - x) // across) * depth * _SAMPLES[colour] + 7) // 8, -(-(height - y) // down))
        for x, y, across, down in passes
        if x < width and y < height
    ]
    _check_rows(pixels, rows, interlaced or (depth == 16 and colour in (0, 2) and transparency is not None))
    chunks, samples, key = [b"IHDR" + header], _SAMPLES[colour], None
    palette = palette[: len(palette) // 3 * 3]
    if colour == 3:
        if not palette:
            raise damaged("a PNG without its palette")
        # Browsers show a colour beyond the palette's end as its last one.
        chunks.append(b"PLTE" + (palette + palette[-3:] * 256)[:768])
        if transparency is not None:
            alphas = transparency.ljust(len(palette) // 3, b"\xff")[: len(palette) // 3]
            chunks.append(b"tRNS" + (alphas + alphas[-1:] * 256)[:256])
    elif colour in (0, 2) and transparency is not None and len(transparency) >= 2 * samples:
        key = tuple(level % 2**depth for level in struct.unpack_from(f">{samples}H", transparency))
        if depth < 16:  # Pillow compares with the grey levels that it makes of fewer bits
            scale = 255 // (2**depth - 1) if depth > 1 else 1
            chunks.append(b"tRNS" + struct.pack(f">{samples}H", *(level * scale for level in key)))
            key = None
    chunks += [b"IDAT" + b"".join(pixels), b"IEND"]
    kept = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    png = b"\x89PNG\r\n\x1a\n" + b"".join(kept)
    return Checked("PNG", png, (width, height), turned, key=key, canvas=canvas)


def _check_rows(pixels: list[bytes], rows: list[tuple[int, int]], dear: bool) -> None:
    """Inflates a PNG's pixels once, a megabyte at a time, to see that no row is missing and what they will cost.

    Args:
        pixels: the compressed data.
        rows: bytes per row, the filter's included, and number of rows, of each pass.
        dear: whether every row is as expensive as can be.
    """
    total = sum(length * number for length, number in rows)
    work, seen = total * (4 if dear else 1), 0
    _check_work(work, MAX_PNG_WORK, "a PNG of this size and depth")
    inflate = zlib.decompressobj()
    try:
        for data in pixels:
            while data and seen < total and not inflate.eof:
                piece = inflate.decompress(data, 1_000_000)
                if not dear:
                    work += 2 * rows[0][0] * piece[-seen % rows[0][0] :: rows[0][0]].count(4)
                seen, data = seen + len(piece), inflate.unconsumed_tail
            _check_work(work, MAX_PNG_WORK, "a PNG of this size, with such filters,")
    except zlib.error:
        raise damaged("a PNG whose pixels cannot be unpacked") from None
    if seen < total:
        raise damaged(f"a PNG with {100 * seen // total}% of its pixels")


# WebP


def _check_webp(content: bytes) -> Checked:
    """Takes EXIF out of a WebP, which browsers do not turn by it, and announces the transparency that they show."""
    end, position, chunks = 8 + int.from_bytes(content[4:8], "little"), 12, []
    if end > len(content):
        raise _truncated()
    while position < end and len(chunks) < MAX_SEGMENTS:
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        chunks.append(content[position : position + 8 + length + length % 2])
        position += 8 + length + length % 2
    if position != end:
        raise damaged("the WebP chunks do not add up to the file")
    head, ground = chunks[0], "white"
    frames = [chunk for chunk in chunks if chunk[:4] in (b"VP8 ", b"VP8L", b"ANMF")]
    if head.startswith(b"VP8X"):
        size = tuple(1 + int.from_bytes(head[at : at + 3], "little") for at in (12, 15))
        if len(frames) == 1 and not head[8] & 0x10:  # what is not announced is left out, or black if lossless
            ground, chunks = "black", [chunk for chunk in chunks if not chunk.startswith(b"ALPH")]
        chunks[0] = head[:8] + bytes([head[8] | 0x10]) + head[9:]
    elif head.startswith(b"VP8L"):
        bits = int.from_bytes(head[9:13], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif head.startswith(b"VP8 "):
        size = tuple(edge & 0x3FFF for edge in struct.unpack_from("<HH", head, 14))
    else:
        raise damaged("a WebP that does not begin with its image")
    check_size(*size)
    kept = [chunk for chunk in chunks if chunk[:4] in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")]
    rate = 7 if b"VP8 " in frames[0] else 2
    work = size[0] * size[1] * (1 if head.startswith(b"VP8 ") else 1.5) + rate * len(frames[0])
    _check_work(work, MAX_WEBP_WORK, "a WebP of so many pixels and bytes")
    body = b"".join(kept)
    return Checked("WEBP", b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body, ground=ground)


# AVIF


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box between two positions."""
    for _ in range(MAX_SEGMENTS):
        if end - start < 8:
            return
        length, body = int.from_bytes(content[start : start + 4], "big"), start + 8
        if length == 1:
            length, body = int.from_bytes(content[start + 8 : start + 16], "big"), start + 16
        stop = start + length if length else end
        if stop > end:
            raise _truncated()
        if stop < body:
            raise damaged("an AVIF box without a length")
        yield content[start + 4 : start + 8], body, stop
        start = stop
    raise damaged(f"more than {MAX_SEGMENTS} AVIF boxes")


def _check_avif(content: bytes) -> Checked:
    """Takes EXIF out of an AVIF, reads its clean aperture, and counts the pixels of every frame in it.

    An AVIF does not have to name the size of the frames in it, by which its decoder allocates, nor their number.
    """
    kept, last, streams, aperture = [], 0, [], b""
    try:
        for kind, start, stop in _boxes(content, 0, len(content)):
            if kind == b"meta":
                items, aperture = _items(content, start + 4, stop)
                streams += items
            elif kind == b"moov":
                streams += _first_samples(content, start, stop)
            # An AVIF is turned by properties of its own, and EXIF counts for nothing; Pillow would unpack all of it.
            box = content[last:stop]
            kept.append(box if kind == b"mdat" else box.replace(b"Exif", b"skip"))
            last = stop
    except ImageError:
        if not streams or not any(box[4:8] == b"mdat" for box in kept):  # else it is something behind the end
            raise
    work = 0
    for data in streams:
        width, height, frames = _av1(data)
        check_size(width, height)
        work += width * height * frames + 23 * len(data) * (frames > 0)
    if not work:
        raise damaged("an AVIF without an image")
    _check_work(work, MAX_AVIF_WORK, "an AVIF of so many pixels and bytes")
    return Checked("AVIF", b"".join(kept), aperture=aperture)


def _items(content: bytes, start: int, stop: int) -> tuple[list[bytes], bytes]:
    """The data of each item in an AVIF's `meta` box, and its clean aperture."""
    boxes = {kind: (begin, end) for kind, begin, end in _boxes(content, start, stop)}

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(content[at - size : at], "big")

    items, (at, end) = [], boxes[b"iloc"]
    version, _, sizes = number(1), number(3), number(2)
    for _ in range(number(2 if version < 2 else 4)):
        number(2 if version < 2 else 4)
        inside = version and number(2) & 15
        number(2)
        base, data = number(sizes >> 4 & 15) + (boxes[b"idat"][0] if inside else 0), b""
        for _ in range(number(2)):
            number((sizes & 15) * (version > 0))
            offset = base + number(sizes >> 12)
            data += content[offset : offset + (number(sizes >> 8 & 15) or len(content))]
        items.append(data)
        if at > end or sum(map(len, items)) > 2 * len(content):
            raise damaged("an AVIF whose list of images is wrong")
    properties = {kind: (begin, end) for kind, begin, end in _boxes(content, *boxes[b"iprp"])}
    listed = {kind: content[begin:end] for kind, begin, end in _boxes(content, *properties[b"ipco"])}
    return items, listed.get(b"clap", b"")


def _first_samples(content: bytes, start: int, stop: int) -> list[bytes]:
    """The first frame of each track of an animated AVIF."""
    samples = []
    for kind, begin, end in _boxes(content, start, stop):
        if kind == b"trak":
            for name in (b"mdia", b"minf", b"stbl"):
                begin, end = next((b, e) for kind, b, e in _boxes(content, begin, end) if kind == name)
            table = {kind: b for kind, b, _ in _boxes(content, begin, end)}
            wide, at = (4, table[b"stco"]) if b"stco" in table else (8, table[b"co64"])
            offset = int.from_bytes(content[at + 8 : at + 8 + wide], "big")
            sizes = table[b"stsz"]
            same, _, first = struct.unpack_from(">III", content, sizes + 4)
            samples.append(content[offset : offset + (same or first)])
    return samples


def _av1(data: bytes) -> tuple[int, int, int]:
    """Width, height and number of the frames in AV1 data, by their headers; zeros if they are something else."""
    at, size, frames = 0, (0, 0), 0
    while at < len(data):
        header = data[at]
        kind, at, length = header >> 3 & 15, at + 1 + (header >> 2 & 1), len(data)
        if header & 2:  # it says its length, 7 bits at a time
            length, shift = 0, 0
            while True:
                length |= (data[at] & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if data[at - 1] < 0x80 or shift > 56:
                    break
        if kind == 1:
            size = max(size, _av1_size(data[at : at + 64]))
        frames += kind in (3, 6)  # a frame's header, or a frame with its header
        at += length
    return *size, frames


def _av1_size(header: bytes) -> tuple[int, int]:
    """The largest width and height of a frame, from an AV1 sequence header (section 5.5 of the specification)."""
    bits, at = "".join(f"{byte:08b}" for byte in header), 0

    def read(number: int) -> int:
        nonlocal at
        at += number
        return int(bits[at - number : at] or "0", 2)

    read(4)  # profile, still picture
    if read(1):  # reduced header
        read(5)
    else:
        model = delay = 0
        if read(1):  # timing
            read(64)
            if read(1):
                read(2 * bits[at:].index("1") + 1)
            if model := read(1):
                delay = read(5) + 1
                read(42)
        display = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if model and read(1):
                read(2 * delay + 1)
            if display and read(1):
                read(4)
    across, down = read(4) + 1, read(4) + 1
    return read(across) + 1, read(down) + 1


# What is done with pixels of such files


def transparent_pixels(image: Image.Image, file: Checked) -> np.ndarray | None:
    """Where a PNG of 16 bits has the colour that it declares transparent, `[height, width]`, or None.

    Pillow keeps the upper byte of 16-bit RGB; the lower one is decoded for this.
    """
    if file.key is None:
        return None
    if image.mode == "I;16":
        return np.asarray(image) == file.key[0]
    with Image.open(io.BytesIO(file.content), formats=["PNG"]) as lower:
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        same = np.asarray(lower) == [level & 255 for level in file.key]
    return (same & (np.asarray(image) == [level >> 8 for level in file.key])).all(2)


def shown_part(image: Image.Image, file: Checked) -> Image.Image:
    """An AVIF without what its clean aperture hides, an animated PNG's first frame where it lies on the canvas."""
    if file.canvas:
        width, height, left, upper = file.canvas
        canvas = Image.new("RGBA", (width, height))
        canvas.paste(image.convert("RGBA"), (left, upper))
        return canvas
    if len(file.aperture) == 32:
        fields = struct.unpack(">IIIIiIiI", file.aperture)
        if all(fields[1::2]):
            width, height, across, down = (
                Fraction(*pair) for pair in zip(fields[::2], fields[1::2], strict=True)
            )
            centred = (2 * across, 2 * down) == (width - image.width, height - image.height)
            # Browsers heed an aperture that begins at the upper left corner, in whole pixels.
            if centred and width.denominator == height.denominator == 1 and width and height:
                return image.crop((0, 0, int(width), int(height)))
    return image


# EXIF


def orientation(exif: bytes) -> int:
    """EXIF orientation 1 to 8; 1, upright, where it is missing or not written as EXIF has it.

    Pillow would copy out every value that the metadata point to: 65,535 of them may each be as long as the file.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        first = struct.unpack_from(order + "I", exif, 4)[0] + 2
        for entry in range(first, first + 12 * struct.unpack_from(order + "H", exif, first - 2)[0], 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", exif, entry)
            if (tag, kind, count) == (0x0112, 3, 1):
                return value if 1 <= value <= 8 else 1
    except (TypeError, struct.error):  # no byte order; metadata that end too early
        pass
    return 1


_CHECKS = (
    (re.compile(rb"\xff\xd8\xff"), _check_jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _check_png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _check_webp),
    (re.compile(rb"....ftyp(?:....){0,15}?avi[fs]", re.DOTALL), _check_avif),  # HEIC has other brands
)
