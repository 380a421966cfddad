"""What the images are taken from: tar archives, zip archives and folders, one member after the other.

Archives come from strangers. Nothing here writes a file or trusts a path, and memory stays flat whatever an
archive claims. `data_prep_eda.sun09` and `data_prep_eda.arrange` decide which members they keep.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from data_prep_eda.preprocessing import MAX_BYTES, ImageError, load_image

MAX_HEADER = 2**20  # long names and extended tar headers are read into memory
MAX_MEMBER = 2**40  # more is damage; a compressed tar would be read on for it without end
CHUNK = 2**18  # bytes read at a time


class AcquisitionError(Exception):
    """The images cannot be had this way; the message says what was expected, found, and what to do."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One thing in a source.

    Attributes:
        path: path inside the source.
        size: bytes that it claims to have.
        oddity: why it is no plain file, or empty.
        read: returns its bytes.
        end: position in the source behind it, in bytes.
    """

    path: str
    size: int
    oddity: str
    read: Callable[[], bytes]
    end: int


def read_image(member: Member) -> tuple[bytes, str]:
    """A member's bytes, or why it is no usable image. Decodes it as training will."""
    if member.oddity:
        return b"", member.oddity
    if member.size > MAX_BYTES:
        return b"", f"claims {member.size} bytes, more than an image has"
    try:
        content = member.read()
        load_image(content, 32)
    except ImageError as error:
        return b"", str(error)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; bzip2 reports broken data as an OSError without a number
        return b"", f"unreadable in its archive ({error})"
    return content, ""


@contextlib.contextmanager
def members_on_disk(path: Path, out: Path) -> Iterator[tuple[Iterator[Member], int | None]]:
    """The members of a tar, a zip or a folder, and the position behind the last one, where that is known.

    Args:
        path: the archive or folder.
        out: folder that is being filled; left out where it lies in the source.

    Raises:
        AcquisitionError: there is nothing, or nothing that can be read to its end.
    """
    try:
        if path.is_dir():
            yield folder_members(path, out), None
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield zip_members(archive), path.stat().st_size
        elif path.is_file():
            with path.open("rb") as stream:
                plain = is_tar_header(stream.read(tarfile.BLOCKSIZE))
                stream.seek(0)  # a plain tar can be skipped through, a compressed one only read
                yield tar_members(stream, "r:" if plain else "r|*"), path.stat().st_size if plain else None
        else:
            raise AcquisitionError(
                f"Expected a tar, a zip or a folder at {path}, found nothing. Check the path."
            )
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise AcquisitionError(
            f"Expected a whole zip file at {path}, found a damaged one ({error}). Name another copy."
        ) from None


class _CheckedTarInfo(tarfile.TarInfo):
    """Tells a damaged archive from one that ended, which `tarfile` treats alike, and bounds its headers."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise  # the end mark: two blocks of zeros
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):
            raise tarfile.ReadError("it ends without an end mark") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        plain = (*tarfile.SUPPORTED_TYPES, tarfile.CONTTYPE)
        extended = info.type not in plain or info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            extended = True
        if extended and info.type not in tarfile.REGULAR_TYPES and info.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header claims {info.size} bytes")
        if info.size < 0:
            raise tarfile.ReadError("a member claims a negative size")
        return info


def tar_members(stream: IO[bytes], mode: str) -> Iterator[Member]:
    """Members of a tar archive, one after the other, in constant memory.

    Args:
        stream: the archive, at a member's header.
        mode: mode of `tarfile.open`: `r:` for a plain tar, `r|*` for a compressed one.

    Yields:
        One member after the other. Read it before asking for the next.

    Raises:
        AcquisitionError: the archive is not a tar, truncated or damaged.
    """
    with (
        _damage_in_words(),
        tarfile.open(fileobj=stream, mode=mode, bufsize=CHUNK, tarinfo=_CheckedTarInfo) as archive,
    ):
        while (info := archive.next()) is not None:
            archive.members.clear()  # tarfile would remember every member it has seen
            if not 0 <= archive.offset - info.offset_data <= MAX_MEMBER:
                raise tarfile.ReadError(f"a member claims {info.size} bytes")
            oddity = ""
            if not info.isreg() or info.issparse():
                oddity = "a link, device or folder in the archive, not a file"
            read = functools.partial(_read_member, archive, info)
            yield Member(info.name, info.size, oddity, read, archive.offset)


def _read_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    with _damage_in_words():
        return archive.extractfile(info).read()


@contextlib.contextmanager
def _damage_in_words() -> Iterator[None]:
    """Turns the many errors of `tarfile` and its decompressors into one sentence."""
    try:
        yield
    except (
        tarfile.TarError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:
        raise _damaged(error) from None
    except OSError as error:
        if error.errno is not None or isinstance(error, ConnectionError):
            raise  # the disk's or the network's
        raise _damaged(error) from None  # gzip and bzip2 report broken data as OSError


def _damaged(error: Exception) -> AcquisitionError:
    return AcquisitionError(
        f"Expected a whole tar archive, found one that is truncated or damaged, or something else "
        f"({error}). What was found is kept. Fetch the archive anew, or name another copy with --source."
    )


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Members of a zip archive, such as `data_sun09.zip`."""
    end = 0
    for info in archive.infolist():
        end += info.compress_size
        oddity = "a folder in the archive, not a file" if info.is_dir() else ""
        yield Member(
            info.filename, info.file_size, oddity, functools.partial(_read_zipped, archive, info), end
        )


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        return stream.read(MAX_BYTES)  # whatever size it claimed


def folder_members(folder: Path, out: Path) -> Iterator[Member]:
    """Files below a folder, without the output folder if that lies in it."""
    end = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if Path(root, f).resolve() != out.resolve())
        for name in sorted(files):
            path = Path(root, name)
            oddity = "" if path.is_file() else "a broken link or a device, not a file"
            size = 0 if oddity else path.stat().st_size
            end += size
            yield Member(path.relative_to(folder).as_posix(), size, oddity, path.read_bytes, end)


def is_tar_header(block: bytes) -> bool:
    """Whether the first block of a file is that of an uncompressed tar."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
