"""Whole images with odd headers, as cameras and programs write them, and a few that only look whole.

    python -m tests.data_prep_eda.unusual_images [--mixed 200] [--record]

compares each with what Chromium shows of it, and as many random mixtures, and prints a table. `--record` writes what
it shows into unusual_images.json, with which the tests compare where there is no browser. Most show one picture of
four flat colours.
"""

import argparse
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from data_prep_eda.image_checks import _ADAM7
from data_prep_eda.preprocessing import ImageError, load_image
from tests.data_prep_eda.costly_images import encoded, png_chunk

WIDTH, HEIGHT = 96, 64
COLOURS = ((40, 90, 170), (210, 210, 60), (180, 50, 120), (60, 150, 90))  # row by row
PICTURE = Image.new("RGB", (WIDTH, HEIGHT))
for _at, _colour in enumerate(COLOURS):
    _left, _top = _at % 2 * WIDTH // 2, _at // 2 * HEIGHT // 2
    PICTURE.paste(_colour, (_left, _top, _left + WIDTH // 2, _top + HEIGHT // 2))
LEVELS = np.asarray(PICTURE)

Kind = tuple[str, bytes]


def exif(orientation: int = 6, kind: int = 3, count: int = 1, order: str = ">") -> bytes:
    """EXIF data (without their name) whose orientation may be of another type or count than a camera's."""
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I", 8: "h2x"}.get(kind, "H2x"), orientation)
    start = (b"MM" if order == ">" else b"II") + struct.pack(order + "HIH", 42, 8, 1)
    return start + struct.pack(order + "HHI", 0x0112, kind, count) + value + bytes(4)


def shorts(*numbers: int) -> bytes:
    """Numbers of 16 bits."""
    return struct.pack(f">{len(numbers)}H", *numbers)


# JPEG


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment with its length."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def app1(content: bytes) -> bytes:
    """A JPEG segment of EXIF data."""
    return segment(0xE1, b"Exif\0\0" + content)


def _sampled(factors: tuple[int, ...]) -> bytes:
    """The picture as a JPEG whose components have other sampling factors, as 0x21 is 2 by 1; in one flat colour.

    Flat since a file that is only relabelled has too few blocks, or too many, for anything else.
    """
    across = max(factor >> 4 for factor in factors)
    down = max(factor & 15 for factor in factors)
    blocks = sum((factor >> 4) * (factor & 15) for factor in factors)
    mcus = -(-WIDTH // (8 * across)) * -(-HEIGHT // (8 * down))
    flat = Image.new("RGB", (8 * mcus, 8), COLOURS[0]).convert("YCbCr")
    single = encoded(Image.merge("YCbCr", flat.split()).convert("RGB"), "JPEG", subsampling=0, quality=95)
    frame, scan = single.index(b"\xff\xc0"), single.index(b"\xff\xda")
    levels = [b for b in flat.getpixel((0, 0))]
    tables = single[:frame]
    huffman = single[frame + 19 : scan]
    bits = _flat_bits(single, factors, levels, mcus)
    assert blocks <= 10
    sof = struct.pack(">BHHB", 8, HEIGHT, WIDTH, 3)
    for index, factor in enumerate(factors):
        sof += bytes([index + 1, factor, min(index, 1)])
    return tables + segment(0xC0, sof) + huffman + single[scan : scan + 14] + bits + b"\xff\xd9"


def _flat_bits(jpeg: bytes, factors: tuple[int, ...], levels: list[int], mcus: int) -> bytes:
    """Entropy-coded data of flat blocks by the standard Huffman tables."""
    dc = [("00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110", "11111110"),
          ("00", "01", "10", "110", "1110", "11110", "111110", "1111110", "11111110", "111111110", "1111111110")]  # fmt: skip
    end_of_block = ("1010", "00")
    at = jpeg.index(b"\xff\xdb")
    first = jpeg[at + 5]
    second = jpeg[jpeg.index(b"\xff\xdb", at + 4) + 5]
    text, before = [], [0, 0, 0]
    for _ in range(mcus):
        for index, factor in enumerate(factors):
            for _ in range((factor >> 4) * (factor & 15)):
                value = round((levels[index] - 128) * 8 / (second if index else first))
                step, before[index] = value - before[index], value
                size = abs(step).bit_length()
                text.append(dc[min(index, 1)][size])
                if size:
                    text.append(format(step if step > 0 else step + (1 << size) - 1, f"0{size}b"))
                text.append(end_of_block[min(index, 1)])
    joined = "".join(text)
    joined += "1" * (-len(joined) % 8)
    return int(joined, 2).to_bytes(len(joined) // 8, "big").replace(b"\xff", b"\xff\0")


def _separate_scans(jpeg: bytes) -> list[bytes]:
    """A progressive JPEG in pieces: the header with its tables, then each scan with the tables before it."""
    pieces, start, at = [], 0, jpeg.index(b"\xff\xc2")
    while True:
        scan = jpeg.index(b"\xff\xda", at)
        end = scan + 2
        while not (jpeg[end] == 0xFF and jpeg[end + 1] not in (0, *range(0xD0, 0xD8))):
            end += 1
        pieces.append(jpeg[start:end])
        if jpeg[end + 1] == 0xD9:
            return pieces
        start = at = end


def jpegs() -> Iterator[Kind]:
    """JPEGs that are whole."""
    plain = encoded(PICTURE, "JPEG", quality=95, subsampling=0)
    scan = plain.index(b"\xff\xda")
    quantisation = plain.index(b"\xff\xdb")
    progressive = encoded(PICTURE, "JPEG", quality=95, subsampling=0, progressive=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def icc(number: int, of: int, content: bytes = profile) -> bytes:
        return segment(0xE2, b"ICC_PROFILE\0" + bytes([number, of]) + content)

    def within(extra: bytes, at: int = quantisation, jpeg: bytes = plain) -> bytes:
        return jpeg[:at] + extra + jpeg[at:]

    yield "plain", plain
    yield "progressive", progressive
    for name, parameters in {"0 0 0": b"\0\0\0", "0 1 0": b"\0\1\0", "1 63 0": b"\1\x3f\0", "0 63 16": b"\0\x3f\x10", "9 200 255": b"\x09\xc8\xff"}.items():  # fmt: skip
        yield f"scan parameters {name}", plain[: scan + 11] + parameters + plain[scan + 14 :]
    for name, junk in {"zeros": bytes(2040), "ones": b"\xff" * 64, "text": b"Copyright Camera 2026", "one byte": b"\x5a", "noise": bytes(np.random.default_rng(0).integers(0, 255, 3000, np.uint8)), "stuffed": b"\xff\0\x80" * 40}.items():  # fmt: skip
        yield f"{name} before the end marker", plain[:-2] + junk + plain[-2:]
    yield "progressive, zeros before the end marker", progressive[:-2] + bytes(512) + progressive[-2:]
    scans = _separate_scans(progressive)
    yield "progressive, zeros after each scan", bytes(300).join(scans) + bytes(300) + b"\xff\xd9"
    yield "progressive, text after the second scan", b"".join(scans[:2]) + b"some words here" * 3 + b"".join(scans[2:]) + b"\xff\xd9"  # fmt: skip
    yield "progressive without its last scan", b"".join(scans[:-1]) + b"\xff\xd9"
    yield "00 E1 between segments", within(b"\0\xe1" + b"Exif\0\0MM" + bytes(9))
    yield "zeros between segments", within(bytes(300))
    yield "text between segments", within(b"made by a camera", scan)
    yield "junk right behind the start", within(b"\0\0junk", 2)
    yield "fill bytes before every segment", plain[:scan].replace(b"\xff\xdb", b"\xff" * 7 + b"\xdb") + b"\xff" * 3 + plain[scan:]  # fmt: skip
    yield "profile twice", within(icc(1, 1) * 2)
    yield "profile 0 of 0", within(icc(0, 0))
    yield "profile 1 of 2", within(icc(1, 2, profile[:300]))
    yield "profile 2 of 2, 1 of 2", within(icc(2, 2, profile[300:]) + icc(1, 2, profile[:300]))
    yield "profile 3 of 2", within(icc(3, 2))
    yield "profile of nothing", within(icc(1, 1, b""))
    for name, version in {"2.0": b"\2\0", "0.0": b"\0\0", "1.9": b"\1\x09", "255.255": b"\xff\xff"}.items():
        at = plain.index(b"JFIF\0") + 5
        yield f"JFIF {name}", plain[:at] + version + plain[at + 2 :]
    yield "JFIF cut short", plain[:2] + segment(0xE0, b"JFIF\0\1\1") + plain[quantisation:]
    yield "JFIF with a thumbnail that is missing", plain[:2] + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\x40\x40") + plain[quantisation:]  # fmt: skip
    yield "JFIF twice", within(plain[2:quantisation])
    yield "no JFIF", plain[:2] + plain[quantisation:]
    bare = plain[:2] + plain[quantisation:]
    for code in (1, 2, 5, 255):
        yield f"Adobe {code}", within(segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([code])), 2, bare)
        yield f"JFIF and Adobe {code}", within(segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([code])))
    yield "JFIF and Adobe 0", within(segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"))
    yield "Adobe cut short", within(segment(0xEE, b"Adobe\0\x64"))
    yield "RGB by Adobe 0", encoded(PICTURE, "JPEG", quality=98, subsampling=0, keep_rgb=True)
    frame = bare.index(b"\xff\xc0") + 10
    renamed = bytearray(bare)
    for index in range(3):
        renamed[frame + 3 * index] = renamed[bare.index(b"\xff\xda") + 5 + 2 * index] = b"RGB"[index]
    yield "YCbCr whose components are called RGB", bytes(renamed)
    odd = bytearray(bare)
    for index in range(3):
        odd[frame + 3 * index] = odd[bare.index(b"\xff\xda") + 5 + 2 * index] = 7 + index
    yield "components called 7, 8, 9", bytes(odd)
    for factors in ((0x42, 0x11, 0x11), (0x31, 0x11, 0x11), (0x13, 0x11, 0x11), (0x22, 0x21, 0x11), (0x22, 0x11, 0x21), (0x21, 0x12, 0x11),
                    (0x11, 0x21, 0x21), (0x22, 0x22, 0x22), (0x41, 0x21, 0x21), (0x14, 0x11, 0x11), (0x21, 0x21, 0x11), (0x22, 0x12, 0x21),
                    (0x31, 0x31, 0x11), (0x33, 0x11, 0x11)):  # fmt: skip
        if sum((f >> 4) * (f & 15) for f in factors) <= 10:
            yield f"sampling {' '.join(f'{factor:02x}' for factor in factors)}", _sampled(factors)
    for name, subsampling in {"4:2:0": 2, "4:2:2": 1}.items():
        yield f"sampling {name}", encoded(PICTURE, "JPEG", quality=95, subsampling=subsampling)
    ink = Image.merge("CMYK", [*(channel.point(lambda level: 255 - level) for channel in PICTURE.split()), Image.new("L", PICTURE.size)])  # fmt: skip
    cmyk = encoded(ink, "JPEG", quality=98, subsampling=0)
    adobe = cmyk.index(b"\xff\xee")
    unmarked = cmyk[:adobe] + cmyk[adobe + 16 :]
    yield "CMYK with Adobe's mark", cmyk
    yield "CMYK without Adobe's mark", unmarked
    yield "CMYK with Adobe's mark 2", cmyk[: adobe + 15] + b"\2" + cmyk[adobe + 16 :]
    yield "CMYK with Adobe's mark 7", cmyk[: adobe + 15] + b"\7" + cmyk[adobe + 16 :]
    yield "CMYK with JFIF alone", unmarked[:2] + plain[2:quantisation] + unmarked[2:]
    dark = Image.merge("CMYK", [*ink.split()[:3], Image.new("L", PICTURE.size, 90)])
    yield "CMYK with black", encoded(dark, "JPEG", quality=98, subsampling=0)
    yield "CMYK with black, halved colours", encoded(dark, "JPEG", quality=98, subsampling=2)
    grey = encoded(PICTURE.convert("L"), "JPEG", quality=95)
    yield "grey", grey
    at = grey.index(b"\xff\xc0") + 11
    yield "grey, sampling 22", grey[:at] + b"\x22" + grey[at + 1 :]
    yield "grey, sampling 41", grey[:at] + b"\x41" + grey[at + 1 :]
    yield "grey with Adobe 9", within(segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09"), 2, grey)
    yield "no end marker", plain[:-2]
    yield "half an end marker", plain[:-1]
    yield "grey, no end marker", grey[:-2]
    yield "trailing film", plain + bytes(range(256)) * 8
    yield "trailing JPEG (MPO)", plain + encoded(Image.new("RGB", (640, 480), "red"), "JPEG")
    restarts = encoded(PICTURE, "JPEG", quality=95, subsampling=0, restart_marker_blocks=5)
    yield "restarts", restarts
    yield "restart interval 0", within(segment(0xDD, b"\0\0"))
    yield "16-bit quantisation tables", _wide_tables(plain)
    yield "segment of odd length", within(segment(0xE5, b"odd"))
    yield "segment of length 2", within(segment(0xE5, b""))
    yield "segment of length 0", within(b"\xff\xe5\0\0")
    yield "comment of 65,533 bytes", within(segment(0xFE, bytes(65533)))
    yield "TEM and restart markers between segments", within(b"\xff\x01\xff\xd3")
    yield "DNL behind the scan", plain[:-2] + segment(0xDC, shorts(HEIGHT)) + plain[-2:]
    yield "no Huffman tables (Motion JPEG)", _without(plain, 0xC4)
    yield "arithmetic conditioning, unused", within(segment(0xCC, b"\0\x10"))
    yield "SOF1", plain.replace(b"\xff\xc0", b"\xff\xc1", 1)
    yield "baseline labelled progressive", plain.replace(b"\xff\xc0", b"\xff\xc2", 1)
    yield "two start markers", plain[:2] + plain
    yield "reserved marker", within(b"\xff\x4f\0\4ab")
    yield "height by DNL", _height_by_dnl(plain)
    yield "two frames", within(plain[plain.index(b"\xff\xc0") : plain.index(b"\xff\xc0") + 19], scan)
    yield "Exif cut short", within(app1(b"MM\0*\0\0"))
    yield "Exif, offset beyond it", within(app1(b"MM\0*\xff\xff\xff\xf0"))
    for orientation in range(10):
        yield f"Exif orientation {orientation}", within(app1(exif(orientation)), 2)
    for kind in (1, 2, 4, 8, 9, 0):
        yield f"Exif orientation of type {kind}", within(app1(exif(kind=kind)), 2)
        yield f"Exif orientation of type {kind}, little-endian", within(app1(exif(kind=kind, order="<")), 2)  # fmt: skip
    for count in (0, 2, 3, 0x00FFFFFF):
        yield f"Exif orientation {count} times", within(app1(exif(count=count)), 2)
    yield "Exif with a bad magic", within(app1(exif().replace(b"\0*", b"\0+")), 2)
    yield "Exif with FF in its name", within(segment(0xE1, b"Exif\0\xff" + exif()), 2)
    yield "Exif of two orientations", within(app1(exif(6)) + app1(exif(3)), 2)
    content = within(app1(b"MM\0*\0\0\0\x08\0\0\0\0\0\0") + app1(exif(3)), 2)
    yield "Exif without, then with orientation", content
    content = within(app1(b"MM\0*\0\0\0\x08\0\2" + exif(6)[10:22] + exif(3)[10:22] + bytes(4)), 2)
    yield "Exif whose directory has two orientations", content
    yield (
        "Exif, wrong then right orientation",
        within(
            segment(
                0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\2" + exif(6, kind=4)[10:22] + exif(3)[10:22] + bytes(4)
            ),
            2,
        ),
    )
    yield "Exif behind the tables", within(app1(exif()), scan)
    yield "Exif behind the scan", plain[:-2] + app1(exif()) + plain[-2:]


def _without(jpeg: bytes, marker: int) -> bytes:
    at = jpeg.find(bytes([0xFF, marker]))
    while at > 0:
        jpeg = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]
        at = jpeg.find(bytes([0xFF, marker]))
    return jpeg


def _wide_tables(jpeg: bytes) -> bytes:
    at, tables = jpeg.index(b"\xff\xdb"), b""
    start = at
    while jpeg[at + 1] == 0xDB:
        table = jpeg[at + 4 : at + 69]
        tables += segment(0xDB, bytes([0x10 | table[0]]) + b"".join(b"\0" + bytes([q]) for q in table[1:]))
        at += 69
    return jpeg[:start] + tables + jpeg[at:]


def _height_by_dnl(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + b"\0\0" + jpeg[at + 2 : -2] + segment(0xDC, shorts(HEIGHT)) + jpeg[-2:]


# PNG

PNG_START = b"\x89PNG\r\n\x1a\n"
idat, exif_chunk = partial(png_chunk, b"IDAT"), partial(png_chunk, b"eXIf")


def png_of(
    rows: np.ndarray, depth: int, colour: int, before: bytes = b"", after: bytes = b"", interlaced: bool = False,
    level: int = 9,
) -> bytes:  # fmt: skip
    """A PNG of samples `[height, width, channels]` as they are; chunks go before and after the pixels."""
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = before + idat(zlib.compress(scanlines(rows, depth, interlaced), level)) + after
    return PNG_START + png_chunk(b"IHDR", header) + chunks + png_chunk(b"IEND", b"")


def scanlines(rows: np.ndarray, depth: int, interlaced: bool = False) -> bytes:
    """Unfiltered scanlines of samples `[height, width, channels]`."""
    if interlaced:
        return b"".join(scanlines(rows[y::down, x::across], depth) for x, y, across, down in _ADAM7)
    data = b""
    for row in rows.reshape(len(rows), -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        elif depth == 8:
            packed = row.astype(np.uint8).tobytes()
        else:
            bits = (row[:, None].astype(int) >> np.arange(depth)[::-1]) & 1
            packed = np.packbits(bits.astype(np.uint8)).tobytes()
        data += b"\0" + packed
    return data


def _indices() -> np.ndarray:
    """The picture as an index of its colours, `[height, width, 1]`."""
    right, below = np.arange(WIDTH) >= WIDTH // 2, np.arange(HEIGHT) >= HEIGHT // 2
    return (right[None, :] + 2 * below[:, None])[..., None].astype(int)


PALETTE = png_chunk(b"PLTE", bytes(sum(COLOURS, ())))


def fctl(number: int, width: int = WIDTH, height: int = HEIGHT, x: int = 0, y: int = 0) -> bytes:
    """A chunk that begins a frame of an animated PNG; it lasts a minute."""
    return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, x, y, 60, 1, 0, 0))


def pngs() -> Iterator[Kind]:
    """PNGs of every colour type and depth, transparent and animated."""
    rgb, index = LEVELS.astype(int), _indices()
    alpha = np.where(index == 3, 0, 255)
    half = np.where(index == 3, 128, 255)
    rgb_with = partial(png_of, rgb, 8, 2)
    plain = rgb_with()
    raw = zlib.compress(scanlines(rgb, 8))
    yield "plain", plain
    for interlaced in (False, True):
        note = ", interlaced" * interlaced
        for depth in (1, 2, 4, 8, 16):
            top = 2**depth - 1
            grey = index % (top + 1) * (top // 3 or 1)
            yield f"grey {depth}{note}", png_of(grey, depth, 0, interlaced=interlaced)
            for key in (0, top // 3 or 1):
                trns = png_chunk(b"tRNS", shorts(key))
                content = png_of(grey, depth, 0, trns, interlaced=interlaced)
                yield f"grey {depth}, transparent {key}{note}", content
            if depth <= 8:
                few = index % (top + 1)
                yield f"palette {depth}{note}", png_of(few, depth, 3, _palette(top), interlaced=interlaced)
                trns = png_chunk(b"tRNS", b"\xff\0\x80"[: top + 1])
                content = png_of(few, depth, 3, _palette(top) + trns, interlaced=interlaced)
                yield f"palette {depth}, transparent{note}", content
        for depth in (8, 16):
            wide = rgb * (257 if depth == 16 else 1)
            scale = 257 if depth == 16 else 1
            key = tuple(int(level) * scale for level in COLOURS[3])
            near = (key[0], key[1], key[2] + 1)
            yield f"RGB {depth}{note}", png_of(wide, depth, 2, interlaced=interlaced)
            for name, levels in {"one colour": key, "a colour that is near": near}.items():
                trns = png_chunk(b"tRNS", shorts(*levels))
                content = png_of(wide, depth, 2, trns, interlaced=interlaced)
                yield f"RGB {depth}, transparent {name}{note}", content
            for name, levels in {"transparent": alpha, "half transparent": half}.items():
                content = png_of(np.dstack([wide, levels * scale]), depth, 6, interlaced=interlaced)
                yield f"RGBA {depth}, {name}{note}", content
                grey = wide[..., :1]
                content = png_of(np.dstack([grey, levels * scale]), depth, 4, interlaced=interlaced)
                yield f"grey with alpha {depth}, {name}{note}", content
    trns = png_chunk(b"tRNS", shorts(*COLOURS[3]))
    content = rgb_with(png_chunk(b"tRNS", shorts(*(256 + c for c in COLOURS[3]))))
    yield "RGB 8, key with bits beyond the depth", content
    yield "grey 4, key with bits beyond the depth", png_of(index * 5, 4, 0, png_chunk(b"tRNS", b"\x01\x05"))
    content = png_of(index + 0x4000, 16, 0, png_chunk(b"tRNS", b"\x40\x02"))
    yield "grey 16 of one high byte, transparent 2", content
    content = png_of(np.dstack([index + 0x4000] * 3), 16, 2, png_chunk(b"tRNS", b"\x40\x02" * 3))
    yield "RGB 16 of one high byte, transparent", content
    yield "tRNS cut short", rgb_with(png_chunk(b"tRNS", b"\0\0"))
    yield "tRNS too long", rgb_with(png_chunk(b"tRNS", shorts(*COLOURS[3], 0)))
    yield "tRNS behind the pixels", rgb_with(after=trns)
    yield "tRNS twice", rgb_with(trns + png_chunk(b"tRNS", shorts(*COLOURS[0])))
    yield "tRNS with alpha", png_of(np.dstack([rgb, half]), 8, 6, trns)
    yield "tRNS before its palette", png_of(index, 8, 3, png_chunk(b"tRNS", b"\0") + PALETTE)
    content = png_of(index, 8, 3, PALETTE + png_chunk(b"tRNS", b"\xff" * 3 + bytes(9)))
    yield "tRNS longer than its palette", content
    yield "tRNS with a wrong checksum", rgb_with(trns[:-1] + b"\0")
    yield "indices beyond the palette", png_of(np.where(index == 3, 200, index), 8, 3, PALETTE)
    yield "palette cut short", png_of(index, 8, 3, png_chunk(b"PLTE", PALETTE[8:-4][:9]))
    yield "palette of RGB", rgb_with(PALETTE)
    yield "palette of grey", png_of(index * 80, 8, 0, PALETTE)
    yield "palette of 10 bytes", png_of(index, 8, 3, png_chunk(b"PLTE", bytes(10)))
    yield "palette twice", png_of(index, 8, 3, PALETTE + png_chunk(b"PLTE", bytes(12)))
    content = png_of(index, 2, 3, png_chunk(b"PLTE", bytes(sum(COLOURS, ())) + bytes(36)))
    yield "palette of 16 for 2 bits", content
    yield "no palette", png_of(index, 8, 3)
    for name, kept in {
        "half the rows": 0.5,
        "all rows but one": 1 - 1 / HEIGHT,
        "no rows": 0,
        "one row too many": 1 + 1 / HEIGHT,
    }.items():
        lines = (scanlines(rgb, 8) + bytes(1 + 3 * WIDTH))[: round(kept * HEIGHT) * (1 + 3 * WIDTH)]
        yield name, _with_data(zlib.compress(lines))
    content = _with_data(zlib.compress(scanlines(rgb, 8, True)[: 1 + 3 * WIDTH * HEIGHT // 2]), 1)
    yield "half the rows, interlaced", content
    content = _with_data(zlib.compress(scanlines(rgb, 8, True)[: -HEIGHT // 2 * (1 + 3 * WIDTH)]), 1)
    yield "all passes but the last", content
    yield "half the compressed data", _with_data(raw[: len(raw) // 2])
    yield "data without its checksum", _with_data(raw[:-4])
    yield "data with a wrong checksum", _with_data(raw[:-4] + b"abcd")
    yield "bytes behind the data", _with_data(raw + bytes(100))
    yield "filter 5", _with_data(zlib.compress(b"\5" + scanlines(rgb, 8)[1:]))
    yield "a chunk of data behind the data", rgb_with(after=idat(bytes(100)))
    pieces = [raw[at : at + 7] for at in range(0, len(raw), 7)]
    yield "many small chunks of data", _with(b"".join(idat(piece) for piece in pieces))
    yield "empty chunks of data", _with(idat(b"") + b"".join(idat(piece) + idat(b"") for piece in pieces))
    content = _with(idat(raw[:50]) + png_chunk(b"tEXt", b"a\0b") + idat(raw[50:]))
    yield "a note between chunks of data", content
    yield "a wrong checksum of a note", rgb_with(png_chunk(b"tEXt", b"a\0b")[:-1] + b"\0")
    content = rgb_with(after=png_chunk(b"tEXt", b"a\0b")[:-1] + b"\0")
    yield "a wrong checksum of a note behind the pixels", content
    yield "a wrong checksum of the pixels", _with(idat(raw)[:-1] + b"\0")
    yield "a wrong checksum of the end", plain[:-1] + b"\0"
    yield "a wrong checksum of the palette", png_of(index, 8, 3, PALETTE[:-1] + b"\0")
    yield "an unknown critical chunk", rgb_with(png_chunk(b"ABCD", b"abc"))
    yield "an unknown critical chunk behind the pixels", rgb_with(after=png_chunk(b"ABCD", b"abc"))
    yield "a chunk that is called 1234", rgb_with(png_chunk(b"1234", b"abc"))
    yield "Apple's CgBI", PNG_START + png_chunk(b"CgBI", bytes(4)) + plain[8:]
    yield "the header is not first", PNG_START + png_chunk(b"tEXt", b"a\0b") + plain[8:]
    yield "two headers", PNG_START + plain[8:33] + plain[8:]
    yield "no end", plain[:-12]
    yield "half an end", plain[:-3]
    yield "data behind the end", plain + plain
    yield "broken profile", rgb_with(png_chunk(b"iCCP", b"a\0\0nonsense"))
    yield "profile of another method", rgb_with(png_chunk(b"iCCP", b"a\0\7" + zlib.compress(bytes(128))))
    yield "sBIT", rgb_with(png_chunk(b"sBIT", b"\5\5\5"))
    yield "bKGD and transparency", png_of(np.dstack([rgb, alpha]), 8, 6, png_chunk(b"bKGD", bytes(6)))
    for orientation in range(10):
        yield f"eXIf orientation {orientation}", rgb_with(exif_chunk(exif(orientation)))
    yield "eXIf with its name", rgb_with(exif_chunk(b"Exif\0\0" + exif()))
    yield "eXIf behind the pixels", rgb_with(after=exif_chunk(exif()))
    yield "eXIf twice", rgb_with(exif_chunk(exif(6)) + exif_chunk(exif(3)))
    yield "eXIf with a wrong checksum", rgb_with(exif_chunk(exif())[:-1] + b"\0")
    for kind in (1, 4, 8):
        yield f"eXIf orientation of type {kind}", rgb_with(exif_chunk(exif(kind=kind)))
    yield from _animated_pngs()


def _animated_pngs() -> Iterator[Kind]:
    rgb = LEVELS.astype(int)
    control = png_chunk(b"acTL", struct.pack(">II", 2, 0))
    red = zlib.compress(scanlines(np.broadcast_to([255, 0, 0], rgb.shape), 8))
    frame = zlib.compress(scanlines(rgb, 8))
    quarter = zlib.compress(scanlines(rgb[: HEIGHT // 2, : WIDTH // 2], 8))
    red_first = idat(red)

    def data(number: int, content: bytes) -> bytes:
        return png_chunk(b"fdAT", struct.pack(">I", number) + content)

    second = fctl(1) + data(2, red)
    yield "animated", _with(control + fctl(0) + idat(frame) + second)
    one = png_chunk(b"acTL", struct.pack(">II", 1, 0))
    yield "animated, default image hidden", _with(one + red_first + fctl(0) + data(1, frame))
    two = control + red_first + fctl(0) + data(1, frame) + fctl(2) + data(3, red)
    yield "animated, default image hidden, 2 frames", _with(two)
    content = _with(one + red_first + fctl(0) + data(1, frame[:40]) + data(2, frame[40:]))
    yield "animated, first frame in pieces", content
    small = fctl(0, WIDTH // 2, HEIGHT // 2, 16, 8)
    yield "animated, hidden, first frame smaller", _with(one + red_first + small + data(1, quarter))
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 200)])[: HEIGHT // 2, : WIDTH // 2]
    clear = zlib.compress(scanlines(np.zeros((HEIGHT, WIDTH, 4), int), 8))
    content = _with(one + idat(clear) + small + data(1, zlib.compress(scanlines(rgba, 8))), colour=6)
    yield "animated, hidden, smaller and transparent", content
    trns = png_chunk(b"tRNS", shorts(*COLOURS[3]))
    yield "animated, hidden, one colour transparent", _with(trns + one + red_first + fctl(0) + data(1, frame))
    index = zlib.compress(scanlines(_indices(), 8))
    yield (
        "animated, hidden, palette",
        _with(
            one
            + PALETTE
            + png_chunk(b"tRNS", b"\xff\0")
            + idat(zlib.compress(scanlines(_indices() * 0, 8)))
            + fctl(0)
            + data(1, index),
            colour=3,
        ),
    )
    yield "animated by name alone (no frames)", _with(png_chunk(b"acTL", bytes(8)) + idat(frame))
    yield "animated without acTL", _with(idat(frame) + fctl(0) + data(1, red))
    yield "animated, acTL behind the pixels", _with(idat(frame) + one + fctl(0) + data(1, red))
    content = _with(one + idat(frame) + fctl(0, WIDTH, HEIGHT, 9, 9) + data(1, red))
    yield "animated, frame beyond the canvas", content
    yield "animated, hidden, first frame missing", _with(one + idat(frame) + fctl(0))
    yield "animated, no frame at all", _with(one + idat(frame))
    content = _with(one + red_first + fctl(0) + data(1, zlib.compress(scanlines(rgb[: HEIGHT // 2], 8))))
    yield "animated, hidden, half of the first frame", content
    yield "animated, numbers out of order", _with(one + idat(frame) + fctl(5) + data(9, red))
    yield "animated, the first frame's size is not the image's", _with(control + small + idat(frame) + second)
    yield "animated, eXIf", _with(exif_chunk(exif(6)) + one + red_first + fctl(0) + data(1, frame))


def _palette(top: int) -> bytes:
    return PALETTE if top >= 3 else png_chunk(b"PLTE", PALETTE[8:14])


def _with_data(data: bytes, interlaced: int = 0) -> bytes:
    return _with(idat(data), interlaced)


def _with(chunks: bytes, interlaced: int = 0, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, colour, 0, 0, interlaced)
    return PNG_START + png_chunk(b"IHDR", header) + chunks + png_chunk(b"IEND", b"")


# WebP


def riff(chunk: bytes, content: bytes) -> bytes:
    """A chunk of a WebP, padded to an even length."""
    return chunk + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


exif_riff = partial(riff, b"EXIF")


def webp_of(chunks: bytes) -> bytes:
    """A WebP of chunks."""
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _vp8x(flags: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return riff(
        b"VP8X",
        struct.pack("<I", flags) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3],
    )


def extended(flags: int, chunks: bytes) -> bytes:
    """A WebP of a header with flags and chunks."""
    return webp_of(_vp8x(flags) + chunks)


def _anmf(
    content: bytes, x: int = 0, y: int = 0, width: int = WIDTH, height: int = HEIGHT, flags: int = 0
) -> bytes:
    fields = (x // 2, y // 2, width - 1, height - 1, 60_000)
    return riff(
        b"ANMF", b"".join(struct.pack("<I", field)[:3] for field in fields) + bytes([flags]) + content
    )


def webps() -> Iterator[Kind]:
    """WebPs, transparent, animated and with flags that contradict their chunks."""
    alpha, icc, has_exif, animated = 0x10, 0x20, 0x08, 0x02
    see_through = PICTURE.copy().convert("RGBA")
    see_through.paste((*COLOURS[3], 0), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    half = PICTURE.copy().convert("RGBA")
    half.paste((*COLOURS[3], 128), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    lossy = encoded(PICTURE, "WEBP", quality=95)
    lossless = encoded(PICTURE, "WEBP", lossless=True)
    clear = encoded(see_through, "WEBP", lossless=True, exact=True)
    chunk, clear_chunk = lossy[12:], clear[12:]
    lossy_clear = encoded(see_through, "WEBP", quality=95)
    parts = lossy_clear[lossy_clear.index(b"ALPH") :]
    yield "lossy", lossy
    yield "lossless", lossless
    yield "lossless, transparent", clear
    yield "lossless, half transparent", encoded(half, "WEBP", lossless=True)
    yield "lossy, transparent", lossy_clear
    yield "lossy, transparent, without the flag", extended(0, parts)
    yield "lossless, transparent, without the flag", extended(0, clear_chunk)
    yield "opaque with the flag of transparency", extended(alpha, chunk)
    yield "simple, behind an ALPH", webp_of(parts)
    yield "flags of a profile and EXIF that are missing", extended(icc | has_exif, chunk)
    yield "unknown chunks", extended(0, riff(b"ABCD", b"abc") + chunk + riff(b"EFGH", b"odd"))
    yield "unknown chunk first", webp_of(riff(b"ABCD", b"abcd") + chunk)
    yield "unknown chunk last, simple", webp_of(chunk + riff(b"ABCD", b"abcd"))
    yield "a last chunk without its padding", _resized(extended(0, chunk + riff(b"EFGH", b"odd")), -1)
    yield "bytes behind the end", lossy + bytes(99)
    yield "size of the file too large by 1", _claims(lossy, 1)
    yield "size of the file too large by 100", _claims(lossy, 100)
    yield "size of the file too small by 2", _claims(lossy, -2)
    yield "size of the file 0", lossy[:4] + bytes(4) + lossy[8:]
    yield "size of the file FFFFFFFF", lossy[:4] + b"\xff" * 4 + lossy[8:]
    yield "canvas larger than the image", webp_of(_vp8x(0, 200, 200) + chunk)
    yield "canvas smaller than the image", webp_of(_vp8x(0, 20, 20) + chunk)
    yield "two images", extended(0, chunk + encoded(Image.new("RGB", (WIDTH, HEIGHT), "red"), "WEBP")[12:])
    for orientation in (1, 3, 6, 8):
        data = exif(orientation)
        yield f"EXIF orientation {orientation}", extended(has_exif, chunk + exif_riff(data))
        content = extended(has_exif, chunk + exif_riff(b"Exif\0\0" + data))
        yield f"EXIF orientation {orientation}, with its name", content
    yield "EXIF without the flag", extended(0, chunk + exif_riff(exif()))
    yield "EXIF before the image", extended(has_exif, exif_riff(exif()) + chunk)
    yield "EXIF twice", extended(has_exif, chunk + exif_riff(exif(6)) + exif_riff(exif(3)))
    for kind in (1, 4, 8):
        yield f"EXIF orientation of type {kind}", extended(has_exif, chunk + exif_riff(exif(kind=kind)))
    control = riff(b"ANIM", struct.pack("<IH", 0xFF0000FF, 0))
    red = _anmf(encoded(Image.new("RGB", (WIDTH, HEIGHT), "red"), "WEBP")[12:])
    for name, flags in {"": animated | alpha, ", without the flag of transparency": animated}.items():
        yield f"animated{name}", extended(flags, control + _anmf(chunk) + red)
        yield f"animated, transparent{name}", extended(flags, control + _anmf(clear_chunk) + red)
        content = extended(flags, control + _anmf(clear_chunk, flags=2) + red)
        yield f"animated, transparent, not blended{name}", content
        yield f"animated, lossy and transparent{name}", extended(flags, control + _anmf(parts) + red)
        yield f"animated, one frame, transparent{name}", extended(flags, control + _anmf(clear_chunk))
        smaller = encoded(PICTURE.crop((0, 0, 48, 32)), "WEBP", lossless=True)[12:]
        content = extended(flags, control + _anmf(smaller, 20, 10, 48, 32) + red)
        yield f"animated, first frame smaller{name}", content
    yield "animated without its control chunk", extended(animated, _anmf(chunk))
    yield "animated, no flag of animation", extended(0, control + _anmf(chunk))
    yield "animated, no frames", extended(animated, control)
    content = extended(animated | alpha, control + _anmf(chunk) + _anmf(chunk[:60]))
    yield "animated, second frame broken", content
    yield "animated, EXIF", extended(animated | has_exif, control + _anmf(chunk) + red + exif_riff(exif()))


def _claims(webp: bytes, more: int) -> bytes:
    return webp[:4] + struct.pack("<I", len(webp) - 8 + more) + webp[8:]


def _resized(webp: bytes, more: int) -> bytes:
    return _claims(webp[:more], 0)


# AVIF


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def with_properties(avif: bytes, *properties: bytes, essential: bool = True, before: bool = False) -> bytes:
    """An AVIF whose image has further properties (boxes of `ipco`), the offsets of its data adapted."""
    added = sum(map(len, properties))
    ipco = avif.index(b"ipco") - 4
    size = int.from_bytes(avif[ipco : ipco + 4], "big")
    children, at = 0, ipco + 8
    while at < ipco + size:
        at += int.from_bytes(avif[at : at + 4], "big")
        children += 1
    ipma = avif.index(b"ipma") + 4
    count_at = ipma + 4 + 4 + 2
    numbers = bytes((0x80 if essential else 0) | (children + 1 + n) for n in range(len(properties)))
    links = len(numbers)
    where = count_at + 1 if before else count_at + 1 + avif[count_at]
    content = bytearray(avif)
    content[count_at] += links
    content[where:where] = numbers
    content[ipco + size : ipco + size] = b"".join(properties)
    for name, more in {
        b"ipco": added,
        b"ipma": links,
        b"iprp": added + links,
        b"meta": added + links,
    }.items():
        start = avif.index(name) - 4 + (added if name == b"ipma" else 0)
        old = int.from_bytes(content[start : start + 4], "big")
        content[start : start + 4] = struct.pack(">I", old + more)
    return bytes(_moved(bytes(content), added + links))


def _moved(avif: bytes, by: int) -> bytes:
    """Adds to the offsets in `iloc` (version 0, 4-byte offsets and lengths, as libavif writes it)."""
    content, at = bytearray(avif), avif.index(b"iloc") + 8
    sizes = content[at], content[at + 1]
    assert sizes[0] == 0x44
    items = int.from_bytes(content[at + 2 : at + 4], "big")
    at += 4
    base = sizes[1] >> 4
    for _ in range(items):
        at += 4 + base
        extents = int.from_bytes(content[at : at + 2], "big")
        at += 2
        for _ in range(extents):
            offset = int.from_bytes(content[at : at + 4], "big")
            content[at : at + 4] = struct.pack(">I", offset + by)
            at += 8
    return bytes(content)


def clap(width: int, height: int, x: int, y: int, of: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A clean aperture of a size whose left upper corner is at x, y."""
    across, down = 2 * x + width - of[0], 2 * y + height - of[1]  # twice the distance of the centres
    return _box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, across, 2, down, 2))


def avifs() -> Iterator[Kind]:
    """AVIFs: turned, cropped, transparent, animated."""

    def turn(angle: int) -> bytes:
        return _box(b"irot", bytes([angle]))

    def mirror(axis: int) -> bytes:
        return _box(b"imir", bytes([axis]))

    avif = partial(encoded, form="AVIF", quality=95, subsampling="4:4:4")
    plain = avif(PICTURE)
    having = partial(with_properties, plain)
    clear = PICTURE.copy().convert("RGBA")
    clear.paste((*COLOURS[3], 0), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    half = PICTURE.copy().convert("RGBA")
    half.paste((*COLOURS[3], 128), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    yield "plain", plain
    for subsampling in ("4:2:2", "4:2:0", "4:0:0"):
        yield subsampling, encoded(PICTURE, "AVIF", quality=95, subsampling=subsampling)
    for scope in ("full", "limited"):
        yield f"{scope} range", encoded(PICTURE, "AVIF", quality=95, subsampling="4:2:0", range=scope)
    yield "transparent", avif(clear)
    yield "half transparent", avif(half)
    yield "half transparent, premultiplied", avif(half, alpha_premultiplied=True)
    yield "grey", encoded(PICTURE.convert("L"), "AVIF", quality=95)
    yield "grey with alpha", encoded(clear.convert("LA"), "AVIF", quality=95)
    yield (
        "animated",
        encoded(
            PICTURE,
            "AVIF",
            quality=95,
            subsampling="4:4:4",
            range="limited",  # of full range Chromium 156 shows more contrast, and Firefox does not
            save_all=True,
            append_images=[Image.new("RGB", PICTURE.size, "red")],
            duration=60_000,
        ),
    )
    content = avif(clear, range="limited", save_all=True, append_images=[half], duration=60_000)
    yield "animated, transparent", content
    for angle in range(4):
        yield f"turned by {angle}", having(turn(angle))
    for axis in range(2):
        yield f"mirrored {axis}", having(mirror(axis))
        for angle in (1, 2, 3):
            yield f"turned by {angle}, mirrored {axis}", having(turn(angle), mirror(axis))
    yield "mirrored, then turned (out of order)", having(mirror(0), turn(1))
    yield "clean aperture, left upper corner", having(clap(64, 48, 0, 0))
    yield "clean aperture, middle", having(clap(64, 48, 16, 8))
    yield "clean aperture, right lower corner", having(clap(48, 32, 48, 32))
    yield "clean aperture, odd", having(clap(63, 47, 0, 0))
    yield "clean aperture, all", having(clap(WIDTH, HEIGHT, 0, 0))
    yield "clean aperture beyond the image", having(clap(64, 48, 60, 30))
    yield "clean aperture of nothing", having(_box(b"clap", bytes(32)))
    content = having(_box(b"clap", struct.pack(">IIIIiIiI", 127, 2, 48, 1, 0, 1, 0, 1)))
    yield "clean aperture, not whole", content
    yield "clean aperture, not essential", having(clap(64, 48, 0, 0), essential=False)
    yield "clean aperture and turned", having(clap(64, 48, 0, 0), turn(1))
    yield "clean aperture, mirrored", having(clap(64, 48, 0, 0), mirror(1))
    yield "clean aperture, turned and mirrored", having(clap(64, 48, 0, 0), turn(3), mirror(0))
    yield "clean aperture, middle, turned", having(clap(64, 48, 16, 8), turn(1))
    content = with_properties(encoded(PICTURE, "AVIF", quality=95), clap(63, 47, 3, 3))
    yield "clean aperture, 4:2:0, odd origin", content
    yield "clean aperture, transparent", with_properties(avif(clear), clap(64, 48, 0, 0))
    yield "pixels that are not square", having(_box(b"pasp", struct.pack(">II", 2, 1)))
    yield "unknown property", having(_box(b"abcd", bytes(4)), essential=False)
    yield "unknown essential property", having(_box(b"abcd", bytes(4)))
    with_exif = avif(PICTURE, exif=exif(6))
    yield "EXIF orientation", with_exif
    yield "EXIF orientation, not turned", with_exif.replace(b"irot", b"free")
    yield "boxes behind the end", plain + _box(b"free", bytes(100))
    yield "bytes behind the end", plain + bytes(3)
    yield "an unknown box first", _moved(_after_ftyp(plain, _box(b"abcd", bytes(40))), 48)
    yield "the last box of length 0", _last_box_open(plain)
    yield "brand mif1 first", plain.replace(b"ftypavif", b"ftypmif1", 1)


def _after_ftyp(avif: bytes, box: bytes) -> bytes:
    at = int.from_bytes(avif[:4], "big")
    return avif[:at] + box + avif[at:]


def _last_box_open(avif: bytes) -> bytes:
    at = avif.index(b"mdat") - 4
    return avif[:at] + bytes(4) + avif[at + 4 :]


# Mixtures


def mixed(chance: random.Random) -> Kind:
    """A whole file of any format, depth, transparency and orientation, with several oddities at once."""
    width, height = chance.randint(20, 120), chance.randint(20, 120)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    slopes = [(chance.uniform(-90, 90), chance.uniform(-90, 90)) for _ in range(4)]
    levels = (
        np.stack([128 + a * (across - 0.5) + b * (down - 0.5) for a, b in slopes], -1).round().astype(int)
    )
    form = chance.choice(list(FORMATS))
    return f"mixed {form}", globals()[f"_mixed_{form.lower()}"](levels, chance)


def _mixed_jpeg(levels: np.ndarray, chance: random.Random) -> bytes:
    channels = chance.choice([3, 3, 3, 1, 4])
    image = Image.fromarray(
        levels.astype(np.uint8)[..., :channels].squeeze(), {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    )
    options = {"progressive": chance.random() < 0.3, "quality": chance.randint(60, 98)}
    if channels > 1:
        options["subsampling"] = chance.randint(0, 2)
    if chance.random() < 0.2:
        options["restart_marker_blocks"] = chance.randint(1, 9)
    jpeg = encoded(image, "JPEG", **options)
    turned = exif(
        chance.randint(0, 9), chance.choice([3, 3, 3, 1, 4]), chance.choice([1, 1, 2]), chance.choice("<>")
    )
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([chance.choice([1, 2, 5, 255])]))
    oddities = [
        segment(0xE1, b"Exif\0\0" + turned),
        segment(0xE2, b"ICC_PROFILE\0" + bytes([chance.randint(0, 3), chance.randint(0, 3)]) + bytes(50)),
        b"" if channels == 4 else adobe,
        segment(chance.randint(0xE3, 0xED), chance.randbytes(chance.randint(0, 99))),
        chance.randbytes(chance.randint(1, 40)).replace(b"\xff", b"a"),
        b"\xff" * chance.randint(1, 9),
    ]
    for oddity in chance.sample(oddities, chance.randint(0, 4)):
        at = chance.choice([2, jpeg.index(b"\xff\xdb"), jpeg.index(b"\xff\xc4")])
        if jpeg[at - 1] != 0xFF:
            jpeg = jpeg[:at] + oddity + jpeg[at:]
    if chance.random() < 0.3:
        jpeg = jpeg.replace(b"JFIF\0\1", b"JFIF\0" + bytes([chance.randint(0, 9)]), 1)
    scan = jpeg.index(b"\xff\xda")
    if not options["progressive"] and chance.random() < 0.3:
        at = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big") - 3
        jpeg = jpeg[:at] + chance.randbytes(3) + jpeg[at + 3 :]
    if chance.random() < 0.3:
        jpeg = jpeg[:-2] + bytes(chance.randint(1, 3000)) + jpeg[-2:]
    return jpeg + chance.randbytes(chance.choice([0, 0, 500]))


def _mixed_png(levels: np.ndarray, chance: random.Random) -> bytes:
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    colour = chance.choice(list(depths))
    depth, channels = chance.choice(depths[colour]), {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    samples = levels[..., :channels] * (257 if depth == 16 else 1) >> max(0, 8 - depth)
    before = b""
    if chance.random() < 0.4:
        before += png_chunk(
            b"eXIf", exif(chance.randint(0, 9), chance.choice([3, 3, 4]), 1, chance.choice("<>"))
        )
    entries = chance.randint(1, min(2**depth, 256))
    if colour == 3:
        before += png_chunk(b"PLTE", chance.randbytes(3 * entries))
    if colour in (0, 2, 3) and chance.random() < 0.6:
        key = struct.pack(f">{channels}H", *samples[len(samples) // 2, samples.shape[1] // 2])
        before += png_chunk(b"tRNS", chance.randbytes(chance.randint(1, entries)) if colour == 3 else key)
    if chance.random() < 0.3:
        before += png_chunk(b"tEXt", b"a\0note")[: -chance.randint(0, 1) or None].ljust(18, b"\7")
    after = exif_chunk(exif()) if chance.random() < 0.2 else b""
    return png_of(samples, depth, colour, before, after, chance.random() < 0.3) + chance.randbytes(
        chance.choice([0, 9])
    )


def _mixed_webp(levels: np.ndarray, chance: random.Random) -> bytes:
    channels = chance.choice([3, 4])
    image = Image.fromarray(levels.astype(np.uint8)[..., :channels])
    chunks = encoded(image, "WEBP", lossless=chance.random() < 0.5, quality=90)[12:]
    size, flags = image.size, 0x10 if channels == 4 else 0
    if chunks.startswith(b"VP8X"):
        chunks = chunks[18:]
    tail = exif_riff(exif(chance.randint(1, 8))) if chance.random() < 0.5 else riff(b"ABCD", b"odd")
    if chance.random() < 0.4:
        red = encoded(Image.new("RGB", size, "red"), "WEBP")[12:]
        control = riff(b"ANIM", struct.pack("<IH", chance.getrandbits(32), 0))
        frames = _anmf(chunks, 0, 0, *size, flags=chance.choice([0, 1, 2])) + _anmf(red, 0, 0, *size)
        return webp_of(_vp8x(flags | 2, *size) + control + frames + tail)
    return webp_of(_vp8x(flags | chance.choice([0, 8, 0x20]), *size) + chunks + tail) + chance.randbytes(
        chance.choice([0, 9])
    )


def _mixed_avif(levels: np.ndarray, chance: random.Random) -> bytes:
    channels = chance.choice([1, 3, 3, 4])
    # Chromium 156 takes the alpha of an AVIF for one of limited range, which only all or nothing survives.
    levels[..., 3] = 255 * (levels[..., 3] > 128)
    image = Image.fromarray(levels.astype(np.uint8)[..., :channels].squeeze())
    options = {
        "subsampling": chance.choice(["4:4:4", "4:2:2", "4:2:0"]),
        "range": chance.choice(["full", "limited"]),
    }
    avif = encoded(image, "AVIF", quality=95, speed=10, **options)
    properties = []
    if chance.random() < 0.4:
        corner = chance.choice([(0, 0), (0, 0), (1, 2)])
        size = chance.randint(1, image.width - 2), chance.randint(1, image.height - 2)
        properties.append(clap(*size, *corner, of=image.size))
    if chance.random() < 0.5:
        properties.append(_box(b"irot", bytes([chance.randint(0, 3)])))
    if chance.random() < 0.5:
        properties.append(_box(b"imir", bytes([chance.randint(0, 1)])))
    return (with_properties(avif, *properties) if properties else avif) + chance.randbytes(
        chance.choice([0, 3])
    )


# What a browser shows

FORMATS = {"JPEG": jpegs, "PNG": pngs, "WebP": webps, "AVIF": avifs}
RECORD = Path(__file__).with_suffix(".json")
# Of these a browser shows part of the picture, or an empty place, and `load_image` an error.
DOCUMENTED = {
    "JPEG": {"no end marker", "half an end marker", "grey, no end marker", "baseline labelled progressive"},
    "PNG": {
        "tRNS with a wrong checksum", "no palette", "half the rows", "all rows but one", "no rows", "half the rows, interlaced",
        "all passes but the last", "half the compressed data", "data with a wrong checksum", "filter 5", "a note between chunks of data",
        "a wrong checksum of the pixels", "animated, frame beyond the canvas", "animated, hidden, first frame missing",
        "animated, no frame at all", "animated, hidden, half of the first frame", "animated, numbers out of order",
    },
    "WebP": {"size of the file too large by 1", "size of the file too large by 100"},
    "AVIF": set(),
}  # fmt: skip


def browser() -> dict[str, str] | None:
    """The environment in which `shown` works: where Chromium and npm's packages are; None without one of them."""
    from containerize_deploy.page.website import PACKAGES

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    packages = Path(os.environ.get("PACKAGES", PACKAGES / "node_modules"))
    if not chromium or not shutil.which("node") or not (packages / "puppeteer-core").exists():
        return None
    return {**os.environ, "CHROMIUM": chromium, "PACKAGES": str(packages)}


def shown(contents: list[bytes]) -> list[Image.Image | None]:
    """What Chromium shows of image files, on white; None where it shows nothing."""
    script = Path(__file__).parents[1] / "containerize_deploy" / "page" / "shown.mjs"
    images: list[Image.Image | None] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(contents):
            (Path(folder) / f"{number:05}").write_bytes(content)
        paths = "".join(f"{folder}/{number:05}\n" for number in range(len(contents)))
        done = subprocess.run(
            ["node", script], input=paths, capture_output=True, text=True, check=True, env=browser()
        )
        for answer in map(json.loads, done.stdout.splitlines()):
            if "error" in answer:
                images.append(None)
                continue
            size, pixels = (answer["width"], answer["height"]), Path(answer["file"]).read_bytes()
            images.append(Image.frombytes("RGBA", size, pixels).convert("RGB"))
    return images


def compare(content: bytes, shown: Image.Image | None) -> str:
    """What `load_image` makes of a file beside what the browser shows of it."""
    try:
        pixels = load_image(content, 32).astype(int)
    except ImageError:
        return "both refuse" if shown is None else "refused"
    if shown is None:
        return "taken, and the browser shows nothing"
    difference = np.abs(pixels - small(shown)).max()
    return "the same" if difference <= 6 else "another picture"


def small(image: Image.Image) -> np.ndarray:
    """An image as `load_image` resizes it, `[32, 32, 3]`."""
    return np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=3.0)).astype(int)


def quarters(pixels: np.ndarray) -> list[list[int]]:
    """The colours in the middle of the four quarters of `[32, 32, 3]` pixels."""
    return pixels[8::16, 8::16].reshape(4, 3).tolist()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mixed", type=int, default=200, help="random mixtures to try")
    parser.add_argument(
        "--record", action="store_true", help="write what Chromium shows into unusual_images.json"
    )
    options = parser.parse_args()
    record: dict[str, dict[str, list[list[int]] | None]] = {}
    chance = random.Random(0)
    groups = {form: list(kinds()) for form, kinds in FORMATS.items()}
    groups["mixed"] = [mixed(chance) for _ in range(options.mixed)]
    print("| files | number | what came of them |\n| --- | ---: | --- |")
    for form, kinds in groups.items():
        outcomes: Counter[str] = Counter()
        record[form] = {}
        images = shown([content for _, content in kinds])
        for number, ((name, content), image) in enumerate(zip(kinds, images, strict=True)):
            outcome = compare(content, image)
            if outcome == "refused" and name in DOCUMENTED.get(form, ()):
                outcome = "refused, as documented"
            elif outcome not in ("the same", "both refuse"):
                print(f"  {form}, {name} ({number}): {outcome}")
            outcomes[outcome] += 1
            record[form][name] = image and quarters(small(image))
        came = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
        print(f"| {form} | {len(kinds)} | {came} |", flush=True)
    if options.record:
        del record["mixed"]
        text = ",\n".join(
            f'"{form}": {{\n'
            + ",\n".join(f"{json.dumps(name)}: {json.dumps(seen)}" for name, seen in kinds.items())
            + "\n}"
            for form, kinds in record.items()
        )
        RECORD.write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
