"""Arranges images of further sources that somebody has, as an archive or a folder, into `other_sources/`.

    python -m data_prep_eda.arrange --source miml.zip --as miml      # an archive as it is published
    python -m data_prep_eda.arrange --source folder/of/sources       # what is arranged or named already

The images are those of `other_sources_manifest.csv`, which has 4,587 names with source and scene; README.md beside it says
where each source is published and on which terms. Each image is decoded before it gets its name, nothing that lies in the
target is replaced, and what is missing is
listed in `<source>/missing.txt`. Notebooks 06 to 08 go on from there.
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
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from data_prep_eda.dataset import REPOSITORY, printable
from data_prep_eda.files import replacing, write_text
from data_prep_eda.other_sources import FOLDER
from data_prep_eda.sun09.sources import AcquisitionError, Member, members_on_disk, read_image

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
        if target is None or target.exists():
            continue
        content, fault = read_image(member)
        if fault:
            refused[name] = fault
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
        with members_on_disk(place, out) as (members, _):
            refused = arrange(members, out, options.name)
        found = sum(_count(source, out, refused) for source in sources)
    except AcquisitionError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot use {printable(error.filename or place)}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was arranged is kept; the same command goes on.", file=sys.stderr)
        return 130
    for name, reason in refused.items():
        print(f"left out: {printable(name)}: {reason}", file=sys.stderr)
    if not found:
        hint = f" Is it a published archive? Then say which: --as {' or '.join(sources)}."
        print(
            f"Expected images of the manifest in {printable(place)}, found none.{'' if options.name else hint}",
            file=sys.stderr,
        )
        return 1
    return 0


def _count(source: str, out: Path, refused: dict[str, str]) -> int:
    """Prints and returns how many images of a source are there; lists the others in its `missing.txt`."""
    mine = {name: scene for name, (owner, scene) in wanted().items() if owner == source}
    missing = sorted(name for name, scene in mine.items() if not (out / source / scene / name).is_file())
    found, listed = len(mine) - len(missing), out / source / "missing.txt"
    listed.unlink(missing_ok=True)
    if found and missing:
        reasons = ((name, refused.get(name, "not in what was arranged")) for name in missing)
        write_text(listed, "".join(f"{mine[name]}/{name}: {reason}\n" for name, reason in reasons))
    print(
        f"{source}: {found} of {len(mine)} images"
        + (f", the others listed in {printable(listed)}" if found and missing else "")
    )
    return found


if __name__ == "__main__":
    interruption.run(main)
