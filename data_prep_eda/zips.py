"""Zip files of images, ready to upload to a cloud notebook: `data_sun09.zip` and `data.zip`."""

import contextlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from data_prep_eda.dataset import DatasetError, printable
from data_prep_eda.files import clear_leavings, replacing

MARK = b"written by the scene classifier"  # comment of its archives, by which it knows them again


def write_zip(archive: Path, content: Sequence[tuple[str, Path]]) -> bool:
    """Writes files into a zip, whole or not at all and always the same bytes, unless it holds exactly these already.

    Args:
        archive: file to write.
        content: name in the archive, and file, of each; they are stored, since JPEGs don't shrink.

    Returns:
        Whether it was written.

    Raises:
        DatasetError: there is a file that was not written here, which is therefore left alone.
    """
    entries = [(printable(name), path.stat().st_size, crc32(path.read_bytes())) for name, path in content]
    if archive.exists():
        comment, present = b"", []
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(archive) as opened:
            comment = opened.comment
            present = [(info.filename, info.file_size, info.CRC) for info in opened.infolist()]
        if present == entries:
            return False
        if comment != MARK:
            found = "found another file. It is left alone; name another one with --zip"
            raise DatasetError(f"Expected {archive} to be free or written by this command, {found}.")
    clear_leavings(archive.parent, archive.name)
    with replacing(archive) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as target:
        target.comment = MARK
        for name, path in content:
            info = zipfile.ZipInfo(printable(name), date_time=(2009, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            target.writestr(info, path.read_bytes())
    return True
