"""Zip files of images, ready to upload to a cloud notebook: `data_sun09.zip` and `data.zip`."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path


def zip_matches(archive: Path, content: Sequence[tuple[str, Path]]) -> bool:
    """Whether a zip file holds exactly these files: names in order, sizes and checksums."""
    try:
        with zipfile.ZipFile(archive) as found:
            entries = [(info.filename, info.file_size, info.CRC) for info in found.infolist()]
    except (OSError, zipfile.BadZipFile):
        return False
    wanted = ((name, path.stat().st_size, zipfile.crc32(path.read_bytes())) for name, path in content)
    return entries == list(wanted)


def write_zip(archive: Path, content: Sequence[tuple[str, Path]]) -> None:
    """Writes files into a zip under a temporary name, then renames it.

    JPEGs don't shrink, so they are stored; the dates are fixed, so that the same images make the same
    file, byte for byte.

    Args:
        archive: file to write.
        content: name in the archive, and file.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f".{archive.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as target:
            for name, path in content:
                info = zipfile.ZipInfo(name, date_time=(2009, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                target.writestr(info, path.read_bytes())
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
