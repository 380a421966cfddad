"""What images are taken from: tar archives, zip archives and folders, one member after the other.

Archives come from strangers: nothing here trusts a path, and memory stays flat whatever an archive claims.
"""

import functools
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, NamedTuple

from data_prep_eda.preprocessing import MAX_BYTES, ImageError, load_image

MAX_HEADERS = 2**22  # bytes of tar headers for one member; `tarfile` keeps them in memory
MAX_DIRECTORY = 2**24  # bytes of a zip's directory, which is read whole: that of 130,000 images
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks other methods without bounds
CHUNK = 2**18  # bytes read at a time
FAULT = (tarfile.TarError, zipfile.BadZipFile, BadGzipFile, zlib.error, EOFError, ValueError, RuntimeError)


class AcquisitionError(Exception):
    """The images cannot be had this way; the message says what was expected, found, and what to do."""


class Member(NamedTuple):
    """One file in a source."""

    path: str
    size: int  # bytes that it claims to have
    read: Callable[[], bytes]  # its bytes; of an archive, only before the next member is asked for
    end: int = 0  # position behind it, in a tar


def read_image(member: Member) -> tuple[bytes, str]:
    """A member's bytes, and why it is no usable image, or empty. Decodes it as training will."""
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


def members_on_disk(path: Path) -> Iterator[Member]:
    """The members of a tar, a zip or a folder. AcquisitionError: it can't be read to its end."""
    if path.is_dir():
        yield from _in_folder(path)
    elif not path.is_file():
        raise AcquisitionError(f"Expected a tar, a zip or a folder at {path}, found nothing. Check the path.")
    else:
        with path.open("rb") as stream:
            head = stream.peek(2)[:2]
            if head == b"PK":
                yield from _in_zip(stream, path)
            else:
                yield from tar_members(GzipFile(fileobj=stream) if head == b"\x1f\x8b" else stream)


class _Forward:
    """The file that `tarfile` sees: read forwards, whole or not at all, and no more headers than memory can bear.

    By itself `tarfile` unpacks without bounds and takes damage for the end.
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
        while self._position < end:
            piece = self._stream.read(min(end - self._position, CHUNK))
            if not piece:
                raise tarfile.ReadError("it ends too early")
            content += piece
            self._position += len(piece)
        return bytes(content)


def tar_members(stream: IO[bytes], position: int = 0) -> Iterator[Member]:
    """The members of a plain tar from the header at `position` on, where the stream is, in constant memory.

    AcquisitionError: it is no tar, truncated or damaged.
    """
    file = _Forward(stream, position)
    try:
        archive = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
        while info := archive.next():
            if info.isreg() and not info.issparse():
                yield Member(info.name, info.size, functools.partial(file.take, info.size), archive.offset)
            archive.members.clear()  # else they are all remembered
            archive.pax_headers.clear()
            file.allowance = MAX_HEADERS
        if file.last.strip(b"\0"):
            raise tarfile.ReadError("a header is damaged")
    except FAULT as error:
        expected = "Expected a whole tar archive, plain or on disk with gzip"
        found = f"found one that is truncated or damaged, or something else ({error})"
        advice = "What was found is kept. Fetch the archive anew, or name another copy with --source"
        raise AcquisitionError(f"{expected}, {found}. {advice}.") from None


def _in_zip(stream: IO[bytes], path: Path) -> Iterator[Member]:
    def read(info: zipfile.ZipInfo) -> bytes:
        if info.compress_type not in BOUNDED:
            raise ValueError(f"compressed by method {info.compress_type}; unpack it and name the folder")
        with archive.open(info) as member:
            return member.read(MAX_BYTES)  # whatever size it claimed

    stream.seek(max(0, stream.seek(0, os.SEEK_END) - 2**16 - 22))
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    try:
        if directory > MAX_DIRECTORY:  # also what stands for "see elsewhere"
            raise zipfile.BadZipFile(f"its directory takes {directory} bytes, more than {MAX_DIRECTORY}")
        archive = zipfile.ZipFile(stream)
    except FAULT as error:
        found = f"found a damaged one ({error}). Name another copy"
        raise AcquisitionError(f"Expected a whole zip file at {path}, {found}.") from None
    for info in archive.infolist():
        yield Member(info.filename, info.file_size, functools.partial(read, info))


def _in_folder(folder: Path) -> Iterator[Member]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for path in (Path(root, name) for name in sorted(files)):
            if path.is_file():  # no broken link or device
                yield Member(path.relative_to(folder).as_posix(), path.stat().st_size, path.read_bytes)
