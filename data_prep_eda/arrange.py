"""Arranges images of further sources that somebody has, as an archive or a folder, into `other_sources/`.

    python -m data_prep_eda.arrange --source miml.zip --as miml      # an archive as it is published
    python -m data_prep_eda.arrange --source folder/of/sources       # what is arranged or named already

The images are those of `other_sources_manifest.csv`, which has 4,587 names with source and scene; README.md beside it says
where each source is published and on which terms. Each image is decoded before it gets its name, nothing that lies in the
target is replaced, and what is missing is listed. Notebooks 06 to 08 go on from there.
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import csv
import functools
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from data_prep_eda.dataset import REPOSITORY, printable
from data_prep_eda.files import replacing
from data_prep_eda.other_sources import FOLDER
from data_prep_eda.preprocessing import MAX_BYTES, ImageError, load_image
from data_prep_eda.sun09.sources import AcquisitionError, Member, folder_members, tar_members, zip_members

MANIFEST = Path(__file__).parent / "other_sources_manifest.csv"


@functools.cache
def wanted() -> dict[str, tuple[str, str]]:
    """File name to source and scene of the images of the manifest."""
    with MANIFEST.open(newline="", encoding="utf-8") as stream:
        return {row["file"]: (row["source"], row["scene"]) for row in csv.DictReader(stream)}


@functools.cache
def numbered(source: str) -> dict[str, str]:
    """The original's number, which its published archive has as the file's name, to the name in the manifest."""
    return {re.sub(r".*_|\.\w+$", "", name): name for name, (owner, _) in wanted().items() if owner == source}


def match(path: str, source: str | None = None) -> str | None:
    """The name in the manifest that a path in an archive or folder stands for, or None.

    Args:
        path: path inside the archive.
        source: the source whose published archive this is: then numbers count as names.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        return None
    if parts[-1] in wanted():
        return parts[-1]
    return numbered(source).get(PurePosixPath(parts[-1]).stem) if source else None


def arrange(members: Iterator[Member], out: Path, source: str | None = None) -> dict[str, str]:
    """Writes the members that the manifest names to `<out>/<source>/<scene>/<name>`.

    Args:
        members: of an archive or a folder.
        out: folder of the sources; files that are there already stay as they are.
        source: see `match`.

    Returns:
        Name to the reason why a member that was named could not be used.
    """
    refused = {}
    for member in members:
        name = match(member.path, source)
        target = name and out.joinpath(*wanted()[name], name)
        if target is None or target.exists() or member.oddity:
            continue
        try:
            content = member.read() if member.size <= MAX_BYTES else b""
            load_image(content, 32)
        except ImageError as error:
            refused[name] = str(error)
        else:
            refused.pop(name, None)
            with replacing(target) as part:
                part.write_bytes(content)
    return refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    sources = sorted({source for source, _ in wanted().values()})
    parser = argparse.ArgumentParser(
        prog="python -m data_prep_eda.arrange", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--source", type=Path, required=True, help="zip or tar archive, or folder")
    parser.add_argument("--as", dest="name", choices=sources, help="whose published archive it is")
    parser.add_argument("--out", type=Path, default=REPOSITORY / FOLDER, help="folder to fill")
    options = parser.parse_args(arguments)
    place, out = options.source.expanduser(), options.out.expanduser()
    try:
        refused = _arrange_from(place, out, options.name)
    except AcquisitionError as error:
        print(error, file=sys.stderr)
        return 1
    except (zipfile.BadZipFile, tarfile.TarError):
        print(
            f"Expected a whole zip or tar archive at {printable(place)}, found a damaged one.",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"Cannot use {printable(error.filename or place)}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was arranged is kept; the same command goes on.", file=sys.stderr)
        return 130
    there = {name for name, folders in wanted().items() if out.joinpath(*folders, name).is_file()}
    for source in sources:
        mine = [name for name, (owner, _) in wanted().items() if owner == source]
        print(f"{source}: {sum(name in there for name in mine)} of {len(mine)} images")
    for name, reason in refused.items():
        print(f"left out: {printable(name)}: {reason}", file=sys.stderr)
    if not there:
        hint = (
            ""
            if options.name
            else f" Is it a published archive? Then say which: --as {' or '.join(sources)}."
        )
        print(f"Expected images of the manifest in {printable(place)}, found none.{hint}", file=sys.stderr)
        return 1
    return 0


def _arrange_from(place: Path, out: Path, name: str | None) -> dict[str, str]:
    if place.is_dir():
        return arrange(folder_members(place, out), out, name)
    if not place.is_file():
        raise AcquisitionError(
            f"Expected an archive or a folder at {printable(place)}, found nothing. Check the path."
        )
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            return arrange(zip_members(archive), out, name)
    with place.open("rb") as stream:
        return arrange(tar_members(stream, "r|*"), out, name)


if __name__ == "__main__":
    interruption.run(main)
