"""Images made to cost much time or memory, and what they do cost.

    python -m tests.data_prep_eda.costly_images

decodes each in a process of its own and prints a table: what came of it, seconds, and the process's peak memory.
"""

import base64
import functools
import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.image_checks import MAX_PIXELS
from data_prep_eda.preprocessing import ImageError, load_image

EDGE = 8000  # squared, the most pixels that are taken
assert EDGE**2 == MAX_PIXELS

MEASURE = """
import json, sys, time
from data_prep_eda.preprocessing import ImageError, load_image
content = sys.stdin.buffer.read()
started = time.process_time()
try:
    outcome = "decoded" if load_image(content, 224).shape == (224, 224, 3) else "another shape"
except ImageError as error:
    outcome = f"refused: {error}"
seconds = time.process_time() - started
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps([outcome, round(seconds, 2), round(peak)]))
"""


def measure(content: bytes) -> tuple[str, float, int]:
    """Decodes an image in a fresh process: what came of it, processor seconds, and peak memory in MB."""
    done = subprocess.run([sys.executable, "-c", MEASURE], input=content, capture_output=True, check=True)
    if done.stderr:
        raise AssertionError(done.stderr.decode())
    return tuple(json.loads(done.stdout))


def refusal(content: bytes) -> ImageError:
    """The error of a file that is refused."""
    with pytest.raises(ImageError) as caught:
        load_image(content, 64)
    assert caught.value.reason in ("unsupported", "undecodable", "too_large")
    assert not str(caught.value)[0].isupper() and "\n" not in str(caught.value)
    return caught.value


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    """An image as a file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour: int, *, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """A black PNG of any kind; `colour` is 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    adam7 = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)] if interlaced else [(1, 1)]
    squeeze, data = zlib.compressobj(1), b""
    for across, down in adam7:
        row = bytes(1 + (-(-width // across) * bits + 7) // 8)
        for _ in range(-(-height // down)):
            data += squeeze.compress(row)
    data += squeeze.flush()
    palette = png_chunk(b"PLTE", bytes(768)) + png_chunk(b"tRNS", bytes(256)) if colour == 3 else b""
    chunks = png_chunk(b"IHDR", header) + extra + palette + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def filtered_png(edge: int, depth: int, colour: int, kind: int) -> bytes:
    """A PNG of a pattern that packs well, all rows filtered: 1 Sub, 2 Up, 3 Average, 4 Paeth."""
    header = struct.pack(">IIBBBBB", edge, edge, depth, colour, 0, 0, 0)
    width = edge * depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour] // 8
    pattern = np.resize(np.random.default_rng(0).integers(0, 256, 997, np.uint8), width).tobytes()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 15, 9)
    data = b"".join(squeeze.compress(bytes([kind]) + pattern) for _ in range(edge)) + squeeze.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def progressive(width: int, height: int, mode: str = "RGB", **options) -> bytes:
    """A progressive JPEG of a gradient."""
    image = Image.linear_gradient("L").resize((width, height)).convert(mode)
    return encoded(image, "JPEG", progressive=True, **options)


def more_scans(jpeg: bytes, more: int, before: bytes = b"") -> bytes:
    """The JPEG with its last scan repeated, and something before the repetitions."""
    return jpeg[:-2] + before + jpeg[jpeg.rindex(b"\xff\xda") : -2] * more + jpeg[-2:]


@functools.cache
def exif_bomb(entries: int = 65_535, length: int = 10_000_000) -> bytes:
    """Metadata in which each entry claims to be as long as the file."""
    directory = b"".join(struct.pack(">HHII", tag, 7, length, 8) for tag in range(entries))
    return b"MM\0*" + struct.pack(">IH", 8, entries) + directory + bytes(length)


def noise(width: int, height: int) -> Image.Image:
    """An image that no encoder can make small."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


def taken() -> Iterator[tuple[str, bytes]]:
    """The most expensive images that are decoded."""
    yield "PNG, 16-bit grey", png(EDGE, EDGE, 16, 0)
    yield "PNG, RGBA", png(EDGE, EDGE, 8, 6)
    yield "PNG, RGBA, Average", filtered_png(EDGE, 8, 6, 3)
    yield "PNG, RGB, Paeth, 35 megapixels", filtered_png(5950, 8, 2, 4)
    yield "PNG, 16-bit RGBA, Paeth, 13 megapixels", filtered_png(3650, 16, 6, 4)
    yield "PNG, 16-bit RGBA, interlaced, 10 megapixels", png(3100, 3100, 16, 6, interlaced=True)
    yield (
        "PNG, 16-bit RGB, one colour transparent, 13 megapixels",
        png(3600, 3600, 16, 2, extra=png_chunk(b"tRNS", bytes(6))),
    )
    yield "PNG, transparent palette", png(EDGE, EDGE, 8, 3)
    yield "PNG, RGBA, 1,953 wide", png(MAX_PIXELS // 32_768, 32_768, 8, 6)
    gradient = Image.linear_gradient("L").resize((EDGE, EDGE)).convert("RGB")
    busy = noise(1000, 1000).resize((EDGE, EDGE))
    yield "JPEG, as from a phone", encoded(busy, "JPEG", quality=85)
    yield "JPEG, progressive", encoded(busy, "JPEG", quality=85, progressive=True)
    yield "JPEG, bytes before its end", encoded(busy, "JPEG", quality=80)[:-2] + bytes(99) + b"\xff\xd9"
    yield "JPEG, progressive, CMYK", progressive(EDGE, EDGE, "CMYK", subsampling=0)
    yield "JPEG, noise", encoded(noise(4000, 3000), "JPEG", quality=85, subsampling=0)
    yield "WebP", encoded(gradient, "WEBP", quality=80, method=0)
    plain = Image.new("RGBA", (EDGE, EDGE), (10, 20, 30, 40))
    yield "WebP, lossless RGBA", encoded(plain, "WEBP", lossless=True, quality=0, method=0)
    yield "WebP, busy, 36 megapixels", encoded(busy.resize((6000, 6000)), "WEBP", quality=70, method=0)
    yield "WebP, lossless noise", encoded(noise(3000, 2000), "WEBP", lossless=True, quality=0, method=0)
    yield "AVIF, 4:4:4 with alpha", encoded(gradient.convert("RGBA"), "AVIF", speed=10, subsampling="4:4:4")
    yield "AVIF, noise, 6 megapixels", encoded(noise(3000, 2000), "AVIF", speed=10, quality=90)
    yield "AVIF, busy, 36 megapixels", encoded(busy.resize((6000, 6000)), "AVIF", speed=10, quality=40)


def refused() -> Iterator[tuple[str, bytes]]:
    """Images that would be more expensive still, and are not decoded."""
    yield "PNG, 16-bit grey, 1x2,000,000", png(1, 2_000_000, 16, 0)
    yield "PNG, RGBA, 1x64,000,000", png(1, 64_000_000, 8, 6)
    yield "PNG, RGBA, 64,000,000x1", png(64_000_000, 1, 8, 6)
    yield "PNG, 100 megapixels", png(10_000, 10_000, 1, 0)
    yield "PNG, 16-bit RGB, Paeth", filtered_png(EDGE, 16, 2, 4)
    yield "PNG, RGB, Paeth", filtered_png(EDGE, 8, 2, 4)
    yield "WebP, lossy noise, 20 megapixels", encoded(noise(5000, 4000), "WEBP", quality=80, method=0)
    both = noise(3000, 2500)
    both.putalpha(both.getchannel(0))
    yield "AVIF, noise with alpha", encoded(both, "AVIF", speed=10, quality=80, subsampling="4:4:4")
    yield "AVIF of 64×64 whose frame has 16,384²", avif_bomb()
    yield "PNG, 400,000 chunks", png(64, 64, 8, 2, extra=png_chunk(b"note", b"") * 400_000)
    jpeg = progressive(320, 240)
    yield "JPEG, 20 scans of which 10 say the same", more_scans(progressive(EDGE, EDGE, subsampling=0), 10)
    yield "JPEG, 2,200 scans", more_scans(jpeg, 2200)
    yield "JPEG, 2,200 scans behind a TEM marker", more_scans(jpeg, 2200, b"\xff\x01")
    yield "JPEG, 2,200 scans behind fill bytes", more_scans(jpeg, 2200, b"\xff" * 5)
    yield "JPEG, 2,200 scans behind a restart", more_scans(jpeg, 2200, b"\xff\xd0")
    yield "JPEG, 90 scans of 64 megapixels", more_scans(progressive(EDGE, EDGE), 80)
    yield "JPEG, 4 million comments", jpeg[:2] + b"\xff\xfe\0\2" * 4_000_000 + jpeg[2:]


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small pictures whose metadata would fill the memory; they are decoded, and the metadata are not."""
    text = b"note\0\0" + zlib.compress(bytes(100_000_000))
    yield "PNG, 100 texts of 100 MB", png(64, 64, 8, 2, extra=png_chunk(b"zTXt", text) * 100)
    yield "PNG, colour profile of 100 MB", png(64, 64, 8, 2, extra=png_chunk(b"iCCP", text))
    yield "PNG, EXIF of 655 GB", png(64, 64, 8, 2, extra=png_chunk(b"eXIf", exif_bomb()))
    small = noise(64, 64)
    yield "WebP, EXIF of 655 GB", encoded(small, "WEBP", exif=exif_bomb())
    harmless = b"MM\0*" + struct.pack(">IH", 8, 0).ljust(len(exif_bomb()) - 4, b"\0")
    # Pillow unpacks metadata also when it writes an AVIF, so the bomb is put in afterwards.
    yield "AVIF, EXIF of 655 GB", encoded(small, "AVIF", exif=harmless).replace(harmless, exif_bomb())
    yield "JPEG, EXIF of 160 MB", encoded(small, "JPEG", exif=exif_bomb(3000, 25_000))


# An AVIF that names 64×64 pixels, while its frame and the alpha beside it hold 16,384² each, encoded from one colour.
_AVIF_BOMB = (
    "c-muNU{FXasVqn=%S>Yc0uY^>nP!-qnV9D5Xz0kmz}S|XT9U{B0g4$ZIYm%5LqTS82?HA7E66O#1+y4|SSK?lKN-YvVPIeaivTgF"
    "G6Mro4Umt_V_<N~%*+Ej0W2d0<fJk|%}FdXFm%q($p_nvkYR$zIOY^&Btm40Qqy4WNGz?$0ow_(^>AiEQ2~&in^};Y52Qshiwjbr"
    "DjlF$pdhm%6C}XQ!NCEfcoNGDog3}JYJ`*XbBgkkb1HzQ@iMSAKs*Xj&WKPfF9Q;=09x$~Vw4u;S>+a_rh^G5tK`h&0;}T6;*!+d"
    "Vk@AU%$&@`qDreonDgZ_3vyxM40JdPBU3XA0}~4)Ya2Vz1wV6B5=(>_xH#m$*Z=?jztzF$8J`5x0jUfJ2FouW#KY>gEd1nSc}Otm"
    "Nc&pB%ZCq7xwzUrZNnC0@0FpMd>4F$jtTDH$sk;A`6asOvyMx$sD)&lzR87At)p5;wT@~X)jFzmcxxqJC$Q4xwg*+Zf0wYBNI4k2"
    "l8_J<n6c9;bJ>iD8w?Eb=TB)KpCTSEFfZ-"
    "W9anB$eKX#mAlGwT>H5ztmgOvRJrTcc?<c8y%NAG}ty^o@5_>6fru3~T1^r95>9>ph`RAGF+30=ph{j31^cfmEqtc|$*$a8idHg>"
    "zZE=iZ!rW+vhQ#xyT%sMSwX1BGdPc=>`B;5z(XxvS0fjHlESBA;o6YKS=UCUeiagDBjeXA_zF6`<-"
    "EmiJ?Tdm&qmO?Lr8O@f<K38~S#4&&tSFa-"
    "YuBk;2XitRin6u{UOe}4_l-9a=D`cRN39sOV$_OJD@LstwPMtYQ7cBR7`0;53c^;<-Ua}!!w6y"
)


def avif_bomb() -> bytes:
    """An image whose decoder allocates 2 GB, by the frame in its data and not by the size that the file names."""
    return zlib.decompress(base64.b85decode(_AVIF_BOMB))


GROUPS: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
    "decoded": taken,
    "decoded without its metadata": bombs,
    "refused": refused,
}


def main() -> None:
    """Prints the table."""
    print("| image | bytes | outcome | seconds | peak MB |")
    print("| --- | ---: | --- | ---: | ---: |")
    for images in GROUPS.values():
        for name, content in images():
            outcome, seconds, peak = measure(content)
            print(f"| {name} | {len(content):,} | {outcome} | {seconds:.2f} | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
