"""Arranges images of further sources that somebody has, as an archive or a folder, into `other_sources/`.

    python -m data_prep_eda.arrange --source miml.zip --as miml      # an archive as it is published
    python -m data_prep_eda.arrange --source folder/of/sources       # what is arranged or named already

The images are those of `other_sources_manifest.csv`, which has 4,817 names with source and label; README.md beside it says
where each source is published and on which terms. Each image is decoded before it gets its name, nothing that lies in the
target is replaced, and what is missing is listed in `<source>/missing.txt`. Notebooks 06 to 08 go on from there.
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from data_prep_eda.collection import Collection, inner_parts
from data_prep_eda.dataset import REPOSITORY, printable, read_manifest
from data_prep_eda.files import one_at_a_time
from data_prep_eda.other_sources import FOLDER
from data_prep_eda.sun09.sources import AcquisitionError, members_on_disk

MANIFEST = Path(__file__).with_name("other_sources_manifest.csv")
# Their published archives name images by numbers. The images of pexels were made smaller by hand and have names only.
PUBLISHED = ("corel1k", "corel5k", "miml")


@functools.cache
def wanted() -> dict[str, str]:
    """`<source>/<label>/<name>` of the images of the manifest, to their SHA-256."""
    return {f"{row['source']}/{row['scene']}/{row['file']}": row["sha256"] for row in read_manifest(MANIFEST)}


@functools.cache
def _known(source: str | None) -> dict[str, str]:
    """Names, and names with their folder, to paths of the manifest; of a published archive the original's numbers too."""
    known = {}
    for path in wanted():
        owner, label, name = path.split("/")
        known[f"{label}/{name}"] = path
        if owner != "pexels":  # of which the same names are in several folders
            known[name] = path
        if owner == source:
            known[re.sub(r".*_|\.\w+$", "", name)] = path
    return known


def match(path: str, source: str | None = None) -> str | None:
    """The path in the manifest that a path in an archive or folder stands for, or None.

    Args:
        path: path inside the archive.
        source: the source whose published archive this is: then numbers count as names.
    """
    parts, known = inner_parts(path) or ("",), _known(source)
    return known.get("/".join(parts[-2:])) or known.get(parts[-1]) or known.get(PurePosixPath(parts[-1]).stem)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep_eda.arrange", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--source", type=Path, required=True, help="zip or tar archive, or folder")
    parser.add_argument("--as", dest="name", choices=PUBLISHED, help="whose published archive it is")
    parser.add_argument("--out", type=Path, default=REPOSITORY / FOLDER, help="folder to fill")
    options = parser.parse_args(arguments)
    place, out = options.source.expanduser(), options.out.expanduser()
    try:
        with members_on_disk(place, out) as (members, total), one_at_a_time(out):
            collection = Collection(out, wanted())
            for _ in collection.gather(members, functools.partial(match, source=options.name), total):
                pass
            for source in sorted({path.split("/")[0] for path in wanted()}):
                _count(source, collection)
    except AcquisitionError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot use {printable(error.filename or place)}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was arranged is kept; the same command goes on.", file=sys.stderr)
        return 130
    for path, reason in collection.rejected.items():
        print(f"left out: {path}: {reason}", file=sys.stderr)
    print(end=collection.differing())
    if not collection.available:
        hint = f" Is it a published archive? Then say which: --as {' or '.join(PUBLISHED)}."
        print(
            f"Expected images of the manifest in {printable(place)}, found none.{'' if options.name else hint}",
            file=sys.stderr,
        )
        return 1
    return 0


def _count(source: str, collection: Collection) -> None:
    """Prints how many images of a source are there; lists the others in its `missing.txt`."""
    every, there = (
        sum(path.startswith(f"{source}/") for path in paths) for paths in (wanted(), collection.available)
    )
    missing = there and collection.write_missing(f"{source}/")
    listed = f", the others listed in {printable(collection.out / source / 'missing.txt')}" if missing else ""
    print(f"{source}: {there} of {every} images{listed}")


if __name__ == "__main__":
    interruption.run(main)
