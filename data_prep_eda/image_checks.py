"""What a stranger's file may be, before anything of it is decoded: what a browser shows whole, however odd its headers,
and what costs no more than 2 s of processor time and 1.1 GB."""

import contextlib
import io
import itertools
import re
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
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
MAX_PNG_WORK = 320_000_000  # bytes of pixels, three or four times where rows are dear, see _check_rows
MAX_WEBP_WORK = 100_000_000  # pixels, half as many again where lossless or transparent, and 7 for each byte
MAX_AVIF_WORK = 144_000_000  # pixels of all frames, tiles and alpha, and 23 for each byte of theirs


class ImageError(ValueError):
    """An image that cannot be used; its `reason` is one of three words.

    `unsupported` (of no supported format), `too_large` (more bytes, pixels or work than are taken), or `undecodable`
    (of a supported format, but damaged).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Checked:
    """An image file that may be decoded, and what is to be done with its pixels."""

    form: str  # one of FORMATS
    content: bytes  # what a decoder should get: no metadata, and none of the oddities that touch no pixel
    size: tuple[int, int] = (0, 0)  # of a JPEG or PNG: width and height of what the decoder gives
    orientation: int = 1  # as EXIF counts, 1 to 8
    components: int = 3  # of a JPEG
    scans: tuple[int, ...] = ()  # of a JPEG: where in `content` each scan's data end
    key: tuple[int, ...] | None = None  # of a PNG of 16 bits: the colour that is transparent
    canvas: tuple[int, ...] | None = None  # of an animated PNG: size, and the first frame's place in it
    aperture: bytes = b""  # of an AVIF: its `clap` property
    ground: str = "white"  # the colour behind transparent pixels


def check(content: bytes) -> Checked:
    """Looks at a file's structure, all of it; ImageError if it is no image, too large, too expensive or damaged."""
    if not content:
        raise ImageError("unsupported", "the file is empty (0 bytes)")
    if len(content) > MAX_BYTES:
        raise ImageError("too_large", f"the file is larger than {MAX_BYTES // 1_000_000} MB")
    check_format = next((check for starts, check in _CHECKS if re.match(starts, content, re.DOTALL)), None)
    if check_format is None:
        raise ImageError("unsupported", f"not an image in one of the formats {', '.join(FORMATS)}")
    try:
        return check_format(content)
    except (IndexError, KeyError, StopIteration, struct.error):
        raise damaged("a length or a name in it is wrong") from None


def check_size(width: int, height: int) -> None:
    """Raises an `ImageError` for more pixels than are taken."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_EDGE:
        most = f"{MAX_PIXELS // 1_000_000} megapixels, and {MAX_EDGE} along an edge"
        raise ImageError("too_large", f"{width}x{height} pixels; at most {most}, are decoded")


def damaged(how: str) -> ImageError:
    """The error of an image that lacks something."""
    return ImageError("undecodable", f"damaged image: {how}")


def _expect(sound: object, otherwise: str = "the file ends too early") -> None:
    if not sound:
        raise damaged(otherwise)


def _check_work(work: float, most: int, what: str) -> None:
    if work > most:
        raise ImageError("too_large", f"{what} would take more than 2 seconds to decode; send a smaller copy")


def _counted() -> Iterator[None]:
    """Ends a loop over what a file consists of, if there is too much of it, with an `ImageError`."""
    yield from itertools.repeat(None, MAX_SEGMENTS)
    raise damaged(f"it is in more than {MAX_SEGMENTS} pieces")


# JPEG

_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_KEPT = (0xC4, 0xDA, 0xDB, 0xDD, *_FRAMES)
_PASSED_OVER = (0xCC, 0xD9, 0xDC, 0xFE, *range(0xE0, 0xF0))
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # FF 00 is a byte, D0 to D7 are restarts


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content and, of a scan, data of each segment of a JPEG."""
    position = 2
    for _ in _counted():
        marker = _MARKER.search(content, position)
        if marker is None:
            return
        kind, position = content[marker.end() - 1], marker.end()
        if kind == 0xD9:
            yield kind, b"", b""
            return
        if kind == 0x01 or 0xD0 <= kind <= 0xD7:  # these markers stand alone
            continue
        end = position + int.from_bytes(content[position : position + 2], "big")
        if end > len(content):
            return
        segment, position, data = content[position + 2 : end], max(end, position + 2), b""
        if kind == 0xDA:
            following = _SCAN_END.search(content, position)
            start, position = position, following.start() if following else len(content)
            data = content[start:position].rstrip(b"\xff")
        yield kind, segment, data


def _check_jpeg(content: bytes) -> Checked:
    """Takes what makes up the pixels out of a JPEG, as libjpeg and browsers do, and counts the scans, all passes over it."""
    frame = coded = b""
    kept, ends, jfif, adobe, exif, kind = [b"\xff\xd8", b""], [], False, -1, None, 0
    for kind, segment, data in _segments(content):
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            if frame or kind not in _FRAMES or segment[0] != 8 or segment[5] not in (1, 3, 4):
                raise ImageError("unsupported", "a JPEG in a coding that browsers do not show")
            height, width = struct.unpack(">HH", segment[1:5])
            check_size(width, height)
            frame, sequential = segment, kind != 0xC2
        elif kind == 0xE0 and segment.startswith(b"JFIF\0") and len(segment) >= 14:
            jfif = jfif or not ends
        elif kind == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = adobe if ends else segment[11]
        elif kind == 0xE1 and segment.startswith(b"Exif\0") and exif is None and not ends:
            exif = segment[6:]
        elif kind == 0xDA:
            _expect(frame, "a JPEG scan without its frame")
            if len(ends) == MAX_SCANS or (len(ends) + 1) * width * height > MAX_JPEG_WORK:
                raise ImageError("too_large", f"a JPEG of more than {len(ends)} scans at this size")
            coded += segment[1 : 1 + 2 * segment[0] : 2]
            if sequential:
                segment = segment[: 1 + 2 * segment[0]] + b"\0\x3f\0"
        else:
            _expect(kind in _KEPT or kind in _PASSED_OVER, "a JPEG marker that does not exist")
        if kind in _KEPT:
            kept.append(bytes([0xFF, kind]) + struct.pack(">H", len(segment) + 2) + segment + data)
        if kind == 0xDA:
            ends.append(sum(map(len, kept)))
    # Browsers lose the last rows of a JPEG that has no end marker.
    _expect(kind == 0xD9)
    _expect(ends, "a JPEG without an image")
    _expect(set(frame[6 : 6 + 3 * frame[5] : 3]) <= set(coded))
    kept[1] = _colour_marker(frame[5], jfif, adobe)
    ends = tuple(end + len(kept[1]) for end in ends)
    jpeg = b"".join(kept) + b"\xff\xd9"
    return Checked("JPEG", jpeg, (width, height), orientation(exif or b""), frame[5], ends)


def _colour_marker(components: int, jfif: bool, adobe: int) -> bytes:
    """The segment that makes a decoder read the colours as browsers do: JFIF before Adobe, unknown codes as YCbCr."""
    if components == 3 and jfif:
        return b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    if components == 1 or adobe < 0:
        return b""
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([adobe and {3: 1, 4: 2}[components]])


def decode_jpeg(jpeg: Checked, scale: int) -> np.ndarray:
    """Decodes a JPEG at 1/`scale` of its size to `uint8 [height, width, components]`: grey, RGB, or CMYK as stored.

    simplejpeg makes an error of libjpeg's first warning. Bytes left over behind a scan's data are one, and no damage:
    they are cut away, so that what hides behind them shows.
    """
    content, ends, runs = jpeg.content, list(jpeg.scans), 0
    colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}[jpeg.components]
    width, height = (-(-edge // scale) for edge in jpeg.size)

    def decode(content: bytes) -> np.ndarray | str:
        """Pixels, or libjpeg's first warning."""
        nonlocal runs
        runs += 1
        if runs > 1:
            work = 2 * runs * len(ends) * jpeg.size[0] * jpeg.size[1]
            _check_work(work, MAX_JPEG_WORK, "a JPEG with bytes left over behind its scans")
        try:
            return simplejpeg.decode_jpeg(content, colours, min_width=width, min_height=height)
        except ValueError as error:
            return str(error)

    def warns(end: int) -> bool:
        return isinstance(decode(content[:end] + b"\xff\xd9"), str)

    while isinstance(decoded := decode(content), str):
        if "subsampling" in decoded:
            return _decode_jpeg_of_any_sampling(content, jpeg, scale)
        extra = re.search(r"(\d+) extraneous bytes before marker 0x([^d].|d[^0-7])", decoded)
        if extra is None:
            known = (kind for words, kind in _JPEG_DAMAGE.items() if words in decoded)
            raise damaged(f"a JPEG, and {next(known, 'it cannot be decoded')}")
        count, scan = int(extra[1]), len(ends) - 1
        if extra[2] != "d9":  # not behind the last scan: the first scans up to which the warning comes
            scan = bisect_left(ends[:-1], True, key=warns)
        content = content[: ends[scan] - count] + content[ends[scan] :]
        ends[scan:] = [end - count for end in ends[scan:]]
    return decoded


_JPEG_DAMAGE = {  # by what libjpeg says
    "premature end": "its data end too early",
    "bad Huffman code": "codes in it do not exist",
    "instead of RST": "a restart marker is missing",
    "before marker": "data are left over before a restart marker",
    "progression": "its scans are out of order",
}


def _decode_jpeg_of_any_sampling(content: bytes, jpeg: Checked, scale: int) -> np.ndarray:
    """Decodes with Pillow, which passes over warnings: complete data are those that further data do not change."""

    def decode(content: bytes) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                image.draft(None, (-(-image.width // scale), -(-image.height // scale)))
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError):
            raise damaged("a JPEG, and it cannot be decoded") from None
        return 255 - pixels if jpeg.components == 4 else pixels.reshape(*pixels.shape[:2], -1)

    pixels = decode(content)
    longer = decode(content[:-2] + b"\xa5" * 99 + content[-2:])
    _expect(np.array_equal(pixels, longer), "a JPEG, and its data end too early")
    return pixels


# PNG

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_PNG_CHECKED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT")
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and data of each chunk of a PNG, and whether it has its checksum."""
    position = 8
    for _ in _counted():
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        kind, data = content[position + 4 : position + 8], content[position + 8 : end - 4]
        if len(kind) < 4 or (end > len(content) and kind != b"IEND"):
            return
        yield kind, data, zlib.crc32(kind + data) == int.from_bytes(content[end - 4 : end], "big")
        position = end


def _check_png(content: bytes) -> Checked:
    """Takes the header, the palette, the transparency and the pixels out of a PNG; of an animation the first frame."""
    header = palette = frame = b""
    transparency = exif = None
    frames, numbered, pixels, animated, hidden, between = 0, 0, [], False, False, False
    for kind, data, whole in _chunks(content):
        _expect((kind == b"IHDR") != bool(header), "a PNG whose header is not first, or not alone")
        if kind == b"IEND":
            break
        if not whole:  # browsers pass over it if it is a note
            _expect(kind not in _PNG_CHECKED, "a PNG chunk does not have its checksum")
            continue
        if kind == b"IHDR":
            header = data
            check_size(*struct.unpack(">II", header[:8]))
        elif kind == b"PLTE":
            _expect(not palette and not pixels, "a PNG with two palettes")
            palette = data
        elif kind == b"tRNS" and transparency is None and not pixels:
            transparency = data if palette or header[9] != 3 else None
        elif kind == b"eXIf" and exif is None and not pixels:
            exif = b"" if data.startswith(b"Exif") else data
        elif kind == b"acTL" and not pixels:
            animated = data[:4] > bytes(4)
        elif kind == b"IDAT" and not hidden:
            _expect(not between, "a PNG whose pixels are in two places")
            pixels.append(data)
        elif kind in (b"fcTL", b"fdAT") and animated and frames < 2:
            frames += kind == b"fcTL"
            if frames == 2:
                continue
            _expect(data[:4] == struct.pack(">I", numbered), "an animated PNG whose frames are not in order")
            numbered += 1
            if kind == b"fcTL":  # what came before is for viewers that know no animations
                frame, hidden, pixels = data, bool(pixels), []
            elif hidden:
                pixels.append(data[4:])
        elif not pixels:  # an upper case letter marks a chunk as indispensable
            _expect(kind[0] & 0x20, "a PNG with a chunk that is not known")
        between = bool(pixels) and kind != b"IDAT" and not hidden
    _expect(header and pixels)
    width, height = struct.unpack(">II", header[:8])
    canvas = None
    if animated:  # only the first frame is left
        _expect(frame, "an animated PNG without a frame")
        canvas = (width, height, *struct.unpack(">II", frame[12:20]))
        width, height = struct.unpack(">II", frame[4:12])
        fits = width and height and canvas[2] + width <= canvas[0] and canvas[3] + height <= canvas[1]
        _expect(fits, "an animated PNG whose first frame does not fit")
        header = frame[4:12] + header[8:]
        canvas = None if (width, height) == canvas[:2] else canvas
    _check_rows(pixels, header, transparency is not None)
    chunks, key = _colours(header, palette, transparency)
    kept = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (b"IHDR" + header, *chunks, b"IDAT" + b"".join(pixels), b"IEND")
    )
    turned = orientation(exif or b"")
    return Checked("PNG", content[:8] + kept, (width, height), turned, key=key, canvas=canvas)


def _colours(header: bytes, palette: bytes, transparency: bytes | None) -> tuple[list[bytes], tuple | None]:
    """Palette and transparency as Pillow needs them to see what browsers do; the transparent colour of 16 bits."""
    depth, colour = header[8:10]
    samples, entries = _SAMPLES[colour], len(palette) // 3
    if colour == 3:
        _expect(entries, "a PNG without its palette")
        palette = palette[: 3 * entries]
        # Browsers show a colour beyond the palette's end as its last one.
        chunks = [b"PLTE" + (palette + palette[-3:] * 256)[:768]]
        if transparency is not None:
            alphas = transparency.ljust(entries, b"\xff")[:entries]
            chunks.append(b"tRNS" + (alphas + alphas[-1:] * 256)[:256])
        return chunks, None
    if colour not in (0, 2) or transparency is None or len(transparency) < 2 * samples:
        return [], None
    key = tuple(level % 2**depth for level in struct.unpack_from(f">{samples}H", transparency))
    if depth == 16:
        return [], key
    # Pillow compares with the grey levels that it makes of fewer bits.
    scale = 255 // (2**depth - 1) if depth > 1 else 1
    return [b"tRNS" + struct.pack(f">{samples}H", *(level * scale for level in key))], None


def _check_rows(pixels: list[bytes], header: bytes, transparent: bool) -> None:
    """Inflates a PNG's pixels once, a megabyte at a time, to see that no row is missing and what they will cost."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    _expect(colour in _SAMPLES and depth in (1, 2, 4, 8, 16), "a PNG of a colour type that does not exist")
    rows = [  # bytes per row, the filter's included, and number of rows, of each pass
        (1 + (-(-(width - x) // across) * depth * _SAMPLES[colour] + 7) // 8, -(-(height - y) // down))
        for x, y, across, down in (_ADAM7 if interlaced else [(0, 0, 1, 1)])
        if x < width and y < height
    ]
    dear = interlaced or (depth == 16 and colour in (0, 2) and transparent)
    total = sum(length * number for length, number in rows)
    work, seen = total * (4 if dear else 1), 0
    _check_work(work, MAX_PNG_WORK, "a PNG of this size and depth")
    inflate = zlib.decompressobj()
    try:
        for data in pixels:
            while data and seen < total and not inflate.eof:
                piece = inflate.decompress(data, 1_000_000)
                if not dear:  # rows with the Paeth filter count three times
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
    _expect(end <= len(content))
    while position < end and len(chunks) < MAX_SEGMENTS:
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        start, position = position, position + 8 + length + length % 2
        chunks.append(content[start:position])
    _expect(position == end, "the WebP chunks do not add up to the file")
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
    else:
        _expect(head.startswith(b"VP8 "), "a WebP that does not begin with its image")
        size = tuple(edge & 0x3FFF for edge in struct.unpack_from("<HH", head, 14))
    check_size(*size)
    work = size[0] * size[1] * (1 if head.startswith(b"VP8 ") else 1.5)
    work += len(frames[0]) * (7 if b"VP8 " in frames[0] else 2)
    _check_work(work, MAX_WEBP_WORK, "a WebP of so many pixels and bytes")
    kept = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
    body = b"WEBP" + b"".join(chunk for chunk in chunks if chunk[:4] in kept)
    return Checked("WEBP", b"RIFF" + struct.pack("<I", len(body)) + body, ground=ground)


# AVIF


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box between two positions."""
    for _ in _counted():
        if end - start < 8:
            return
        length, body = int.from_bytes(content[start : start + 4], "big"), start + 8
        if length == 1:
            length, body = int.from_bytes(content[start + 8 : start + 16], "big"), start + 16
        stop = start + length if length else end
        _expect(stop <= end)
        _expect(stop >= body, "an AVIF box without a length")
        yield content[start + 4 : start + 8], body, stop
        start = stop


def _inside(content: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    return {kind: (begin, stop) for kind, begin, stop in _boxes(content, start, end)}


def _reader(data: bytes) -> Callable[[int], int]:
    """A function that reads so many further bits, and raises an `IndexError` at the end."""
    at = 0

    def read(bits: int) -> int:
        nonlocal at
        first, at = at // 8, at + bits
        last = -(-at // 8)
        if last > len(data):
            raise IndexError
        return int.from_bytes(data[first:last], "big") >> -at % 8 & (1 << bits) - 1

    return read


def _check_avif(content: bytes) -> Checked:
    """Takes EXIF out of an AVIF, reads its clean aperture, and counts the pixels of every frame, which it may not name."""
    kept, last, streams, aperture = [], 0, [], b""
    try:
        for kind, start, stop in _boxes(content, 0, len(content)):
            if kind == b"meta":
                items, aperture = _items(content, start + 4, stop)
                streams += items
            elif kind == b"moov":
                streams += [*_first_samples(content, start, stop)]
            # An AVIF is turned by properties of its own, and EXIF counts for nothing; Pillow would unpack all of it.
            box = content[last:stop]
            kept.append(box if kind == b"mdat" else box.replace(b"Exif", b"skip"))
            last = stop
    except ImageError:
        if not streams or not any(box[4:8] == b"mdat" for box in kept):  # else it is something behind the end
            raise
    listed = sum(len(piece) for pieces in streams for piece in pieces)
    _expect(listed <= 2 * len(content), "an AVIF whose list of images is wrong")
    work, units = 0, _counted()
    for pieces in streams:
        data = b"".join(pieces)
        width, height, frames = _av1(data, units)
        check_size(width, height)
        work += width * height * frames + 23 * len(data) * (frames > 0)
    _expect(work, "an AVIF without an image")
    _check_work(work, MAX_AVIF_WORK, "an AVIF of so many pixels and bytes")
    return Checked("AVIF", b"".join(kept), aperture=aperture)


def _items(content: bytes, start: int, stop: int) -> tuple[list[list[memoryview]], bytes]:
    """The data of each item in an AVIF's `meta` box, in pieces, and its clean aperture."""
    boxes = _inside(content, start, stop)
    read, view, count = _reader(content[slice(*boxes[b"iloc"])]), memoryview(content), _counted()
    version, _ = read(8), read(24)
    offset_bits, length_bits, base_bits, index_bits = (8 * read(4) for _ in range(4))
    number, items = 16 if version < 2 else 32, []
    for _ in range(read(number)):
        next(count)
        read(number)
        inside = version and read(16) & 15
        read(16)
        base, pieces = read(base_bits) + (boxes[b"idat"][0] if inside else 0), []
        for _ in range(read(16)):
            next(count)
            read(index_bits * (version > 0))
            offset = base + read(offset_bits)
            pieces.append(view[offset : offset + (read(length_bits) or len(content))])
        items.append(pieces)
    properties = _inside(content, *_inside(content, *boxes[b"iprp"])[b"ipco"])
    return items, content[slice(*properties.get(b"clap", (0, 0)))]


def _first_samples(content: bytes, start: int, stop: int) -> Iterator[list[memoryview]]:
    """The first frame of each track of an animated AVIF."""
    for kind, *place in _boxes(content, start, stop):
        if kind == b"trak":
            for name in (b"mdia", b"minf", b"stbl"):
                place = _inside(content, *place)[name]
            table = _inside(content, *place)
            at, wide = (table[b"stco"][0], 4) if b"stco" in table else (table[b"co64"][0], 8)
            offset = int.from_bytes(content[at + 8 : at + 8 + wide], "big")
            same, _, first = struct.unpack_from(">III", content, table[b"stsz"][0] + 4)
            yield [memoryview(content)[offset : offset + (same or first)]]


def _av1(data: bytes, units: Iterator[None]) -> tuple[int, int, int]:
    """Width, height and number of the frames in AV1 data, by their headers; zeros if they are something else."""
    at, size, frames = 0, (0, 0), 0
    while at < len(data):
        next(units)
        header = data[at]
        kind, at, length = header >> 3 & 15, at + 1 + (header >> 2 & 1), len(data)
        if header & 2:  # it says its length, 7 bits at a time
            length = 0
            for shift in range(0, 63, 7):
                length |= (data[at] & 0x7F) << shift
                at += 1
                if data[at - 1] < 0x80:
                    break
        if kind == 1:
            size = max(size, _av1_size(data[at : at + length]))
        frames += kind in (3, 6)  # a frame's header, or a frame with its header
        at += length
    return *size, frames


def _av1_size(header: bytes) -> tuple[int, int]:
    """The largest width and height of a frame, from an AV1 sequence header (section 5.5 of the specification)."""
    read = _reader(header)
    read(4)  # profile, still picture
    if read(1):  # reduced header
        read(5)
    else:
        model = delay = 0
        if read(1):  # timing
            read(64)
            if read(1):  # a number that is written as many bits as there are zeros before it
                zeros = next(zeros for zeros in range(32) if read(1))
                read(zeros)
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
    """Where a PNG of 16 bits has the colour that it declares transparent, `bool [height, width]`, or None."""
    if file.key is None:
        return None
    if image.mode == "I;16":
        return np.asarray(image) == file.key[0]
    with Image.open(io.BytesIO(file.content), formats=["PNG"]) as lower:  # Pillow keeps the upper byte alone
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
    try:
        fields = struct.unpack(">IIIIiIiI", file.aperture)
        width, height, across, down = map(Fraction, fields[::2], fields[1::2])
    except (struct.error, ZeroDivisionError):  # none, or none that means anything
        return image
    centred = (2 * across, 2 * down) == (width - image.width, height - image.height)
    # Browsers heed an aperture that begins at the upper left corner, in whole pixels.
    if centred and width.denominator == height.denominator == 1 and width and height:
        return image.crop((0, 0, int(width), int(height)))
    return image


# EXIF


def orientation(exif: bytes) -> int:
    """EXIF orientation 1 to 8; 1, upright, where it is missing or not as EXIF has it. Pillow would copy all of EXIF out."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    with contextlib.suppress(TypeError, struct.error):  # no byte order; metadata that end too early
        first = struct.unpack_from(order + "I", exif, 4)[0] + 2
        for entry in range(first, first + 12 * struct.unpack_from(order + "H", exif, first - 2)[0], 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", exif, entry)
            if (tag, kind, count) == (0x0112, 3, 1):
                return value if 1 <= value <= 8 else 1
    return 1


_CHECKS = (
    (rb"\xff\xd8\xff", _check_jpeg),
    (rb"\x89PNG\r\n\x1a\n", _check_png),
    (rb"RIFF....WEBP", _check_webp),
    (rb"....ftyp(?:....){0,15}?avi[fs]", _check_avif),  # HEIC has other brands
)
