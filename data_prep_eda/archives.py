"""What images are taken from: tar archives, zip archives and folders, one member after the other.

Archives come from strangers: nothing here trusts a path, and memory stays flat whatever an archive claims.
"""

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from data_prep_eda.preprocessing import MAX_BYTES, ImageError, load_image

MAX_HEADERS = 2**22  # bytes of tar headers for one member; `tarfile` keeps them in memory
MAX_MEMBER = 2**40  # more is damage; a compressed tar would be read on for it without end
MAX_DIRECTORY = 2**24  # bytes of a zip's directory, which is read whole: that of 130,000 images
MAX_WINDOW = 2**28  # bytes that a decoder of xz may take; `xz -9` needs a quarter
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks other methods without bounds
CHUNK = 2**18  # bytes read at a time
BLOCK = tarfile.BLOCKSIZE
FAULT = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)


class AcquisitionError(Exception):
    """The images cannot be had this way; the message says what was expected, found, and what to do."""


class Member(NamedTuple):
    """One thing in a source."""

    path: str
    size: int  # bytes that it claims to have
    oddity: str  # why it is no plain file, or empty
    read: Callable[[], bytes]  # its bytes; of an archive, only before the next member is asked for
    end: int  # position in the source behind it, in bytes


def read_image(member: Member) -> tuple[bytes, str]:
    """A member's bytes, and why it is no usable image, or empty. Decodes it as training will."""
    if member.oddity:
        return b"", member.oddity
    if member.size > MAX_BYTES:
        return b"", f"claims {member.size} bytes, more than an image has"
    try:
        content = member.read()
        load_image(content, 32)
    except ImageError as error:
        return b"", str(error)
    except FAULT as error:
        return b"", f"unreadable in its archive ({error})"
    return content, ""


class _Xz:
    """Unpacks xz as `lzma.LZMAFile` does, and bounds the memory that a file's header may ask for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._decoder = stream, lzma.LZMADecompressor(memlimit=MAX_WINDOW)

    def read(self, size: int) -> bytes:
        while True:
            packed = b""
            if self._decoder.eof:  # another compressed stream may follow
                packed = (self._decoder.unused_data or self._stream.read(CHUNK)).lstrip(b"\0")
                if not packed:
                    return b""
                self._decoder = lzma.LZMADecompressor(memlimit=MAX_WINDOW)
            elif self._decoder.needs_input and not (packed := self._stream.read(CHUNK)):
                raise EOFError("it ends too early")
            if content := self._decoder.decompress(packed, size):
                return content


UNPACK = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": _Xz}  # by what a file begins with


@contextlib.contextmanager
def members_on_disk(path: Path, out: Path) -> Iterator[tuple[Iterator[Member], int | None]]:
    """The members of a tar, a zip or a folder, and the position behind the last one, where that is known.

    The folder `out`, which is being filled, is left out. AcquisitionError: nothing there can be read to its end.
    """
    if path.is_dir():
        yield _in_folder(path, out), None
        return
    if not path.is_file():
        raise AcquisitionError(f"Expected a tar, a zip or a folder at {path}, found nothing. Check the path.")
    size = path.stat().st_size
    with path.open("rb") as stream:
        if not stream.peek(2).startswith(b"PK"):
            members, plain = tar_members(stream)
            yield members, size if plain else None
            return
        try:
            _check_directory(stream, size)
            with zipfile.ZipFile(stream) as archive:
                yield _in_zip(archive), size
        except (zipfile.BadZipFile, NotImplementedError) as error:
            found = f"found a damaged one ({error}). Name another copy"
            raise AcquisitionError(f"Expected a whole zip file at {path}, {found}.") from None


def tar_members(stream: io.BufferedReader, position: int = 0) -> tuple[Iterator[Member], bool]:
    """Members of a tar archive, one after the other, in constant memory, and whether it is uncompressed.

    The stream stands at `position`, at a member's header; only an uncompressed archive is read from its middle.
    AcquisitionError: it is no tar, truncated or damaged; most come while members are asked for.
    """
    head = stream.peek(BLOCK)[:BLOCK]
    if head.lstrip().startswith(b"<"):
        advice = "See in a browser what it says, or name a copy available: --source sun09.tar"
        raise AcquisitionError(f"Expected a tar archive, found a web page. {advice}.")
    unpack = next((unpack for magic, unpack in UNPACK.items() if head.startswith(magic)), None)
    tar = unpack(stream) if unpack else stream
    return _in_tar(_Forward(tar, position)), not unpack and head != bytes(BLOCK)


class _Forward:
    """The file that `tarfile` sees: read forwards, whole or not at all, and no more headers than memory can bear.

    By itself `tarfile` unpacks without bounds (526 bytes of bzip2 became 1.7 GB) and takes damage for the end.
    """

    def __init__(self, stream: IO[bytes], position: int) -> None:
        self._stream, self._position = stream, position
        self.allowance = MAX_HEADERS
        self.last = b""  # what was read last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        while self._position < position:
            self.take(min(position - self._position, CHUNK))

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.allowance:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        self.allowance -= size
        self.last = self.take(size)
        return self.last

    def take(self, size: int) -> bytes:
        content, end = bytearray(), self._position + size
        with _damage_in_words():
            while self._position < end:
                piece = self._stream.read(min(end - self._position, CHUNK))
                if not piece:
                    raise tarfile.ReadError("it ends too early")
                content += piece
                self._position += len(piece)
        return bytes(content)


def _in_tar(file: _Forward) -> Iterator[Member]:
    with _damage_in_words():
        archive = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
        while info := archive.next():
            if not 0 <= info.size <= MAX_MEMBER:
                raise tarfile.ReadError(f"a member claims {info.size} bytes")
            plain = info.isreg() and not info.issparse()
            oddity = "" if plain else "a link, device or folder in the archive, not a file"
            read = functools.partial(file.take, info.size)
            yield Member(info.name, info.size, oddity, read, archive.offset)
            archive.members.clear()  # else they are all remembered
            archive.pax_headers.clear()
            file.allowance = MAX_HEADERS
        if file.last.strip(b"\0"):
            raise tarfile.ReadError("a header is damaged")


@contextlib.contextmanager
def _damage_in_words() -> Iterator[None]:
    """Turns the many errors of a damaged archive into one sentence."""
    try:
        yield
    except (*FAULT, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or isinstance(error, ConnectionError)):
            raise  # the disk's or the network's; gzip and bzip2 report broken data as an OSError without a number
        found = f"found one that is truncated or damaged, or something else ({error})"
        advice = "What was found is kept. Fetch the archive anew, or name another copy with --source"
        raise AcquisitionError(f"Expected a whole tar archive, {found}. {advice}.") from None


def _check_directory(stream: IO[bytes], size: int) -> None:
    """Refuses a zip whose directory, which `zipfile` reads whole, is larger than one of images is."""
    stream.seek(max(0, size - 2**16 - 22))
    tail = stream.read()
    start = tail.rfind(b"PK\5\6")
    directory = int.from_bytes(tail[start + 12 : start + 16], "little")
    if directory > MAX_DIRECTORY:  # also what stands for "see elsewhere"
        raise zipfile.BadZipFile(f"its directory takes {directory} bytes, more than {MAX_DIRECTORY}")


def _in_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    def read(info: zipfile.ZipInfo) -> bytes:
        with archive.open(info) as stream:
            return stream.read(MAX_BYTES)  # whatever size it claimed

    end = 0
    for info in archive.infolist():
        end += info.compress_size
        oddity = "a folder in the archive, not a file" if info.is_dir() else ""
        if (method := info.compress_type) not in BOUNDED:
            oddity = f"compressed by method {method}, which is not read; unpack it and name the folder"
        yield Member(info.filename, info.file_size, oddity, functools.partial(read, info), end)


def _in_folder(folder: Path, out: Path) -> Iterator[Member]:
    end = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if Path(root, f).resolve() != out.resolve())
        for path in sorted(Path(root, name) for name in files):
            oddity = "" if path.is_file() else "a broken link or a device, not a file"
            size = 0 if oddity else path.stat().st_size
            end += size
            yield Member(path.relative_to(folder).as_posix(), size, oddity, path.read_bytes, end)
