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

from data_prep_eda.collection import Collection, Wanted, inner_parts, read_wanted
from data_prep_eda.dataset import REPOSITORY, printable
from data_prep_eda.files import one_at_a_time
from data_prep_eda.other_sources import FOLDER
from data_prep_eda.sun09.sources import AcquisitionError, members_on_disk

MANIFEST = Path(__file__).with_name("other_sources_manifest.csv")
# Their published archives name images by numbers. The images of pexels were made smaller by hand and have names only.
PUBLISHED = ("corel1k", "corel5k", "miml")


def wanted() -> dict[str, Wanted]:
    """The images of the manifest, by file name."""
    return read_wanted(MANIFEST)


@functools.cache
def numbered(source: str) -> dict[str, str]:
    """The original's number, which its published archive has as the file's name, to the name in the manifest."""
    names = [name for name, image in wanted().items() if image.source == source]
    return {re.sub(r".*_|\.\w+$", "", name): name for name in names}


def match(path: str, source: str | None = None) -> str | None:
    """The name in the manifest that a path in an archive or folder stands for, or None.

    Args:
        path: path inside the archive.
        source: the source whose published archive this is: then numbers count as names.
    """
    *_, name = inner_parts(path) or ("",)
    if name in wanted():
        return name
    return numbered(source).get(PurePosixPath(name).stem) if source else None


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
            collection = Collection(out, wanted(), by_source=True)
            for _ in collection.gather(members, functools.partial(match, source=options.name), total):
                pass
            for source in dict.fromkeys(image.source for image in wanted().values()):
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
    for name, reason in collection.rejected.items():
        print(f"left out: {printable(name)}: {reason}", file=sys.stderr)
    if different := collection.differing(collection.digests()):
        print(different)
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
    names = {name for name, image in wanted().items() if image.source == source}
    listed = collection.out / source / "missing.txt"
    there = len(names & collection.available)
    if missing := there and collection.write_missing(listed, names):
        print(
            f"{source}: {len(names) - missing} of {len(names)} images, the others listed in {printable(listed)}"
        )
    else:
        print(f"{source}: {there} of {len(names)} images")


if __name__ == "__main__":
    interruption.run(main)
