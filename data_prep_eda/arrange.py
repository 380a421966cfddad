"""Arranges images of further sources that somebody has, as an archive or a folder, into `other_sources/`.

    python -m data_prep_eda.arrange --source miml.zip --as miml      # an archive as it is published
    python -m data_prep_eda.arrange --source folder/of/sources       # what is arranged or named already

The images are those of `other_sources_manifest.csv`; README.md beside it says where each source is published and on
which terms. Nothing that lies in the target is replaced, and what is missing is listed in `<source>/missing.txt`.
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep_eda.archives import AcquisitionError, members_on_disk
from data_prep_eda.cache import REPOSITORY
from data_prep_eda.collection import Collection
from data_prep_eda.dataset import printable
from data_prep_eda.files import one_at_a_time
from data_prep_eda.manifests import OTHER_SOURCES, read_manifest
from data_prep_eda.other_sources import FOLDER

PUBLISHED = ("corel1k", "corel5k", "miml")  # their published archives name images by numbers


@functools.cache
def wanted() -> dict[str, str]:
    """`<source>/<label>/<name>` of the images of the manifest, to their SHA-256."""
    rows = read_manifest(OTHER_SOURCES)
    return {f"{row['source']}/{row['scene']}/{row['file']}": row["sha256"] for row in rows}


@functools.cache
def names(published: str | None = None) -> dict[str, str]:
    """What the images are known by, as `collection.match` reads it; those of a published archive also by their numbers."""
    known = {}
    for path in wanted():
        source, label, name = path.split("/")
        known[f"{label}/{name}"] = path
        if source != "pexels":  # of which the same names are in several folders
            known[f"*/{name}"] = path
        if source == published:
            known[f"*/{Path(name).stem.rpartition('_')[2]}"] = path
    return known


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser("python -m data_prep_eda.arrange", description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="zip or tar archive, or folder")
    parser.add_argument("--as", dest="name", choices=PUBLISHED, help="whose published archive it is")
    parser.add_argument("--out", type=Path, default=REPOSITORY / FOLDER, help="folder to fill")
    options = parser.parse_args(arguments)
    place, out = options.source.expanduser(), options.out.expanduser()
    try:
        with one_at_a_time(out):
            collection = Collection(out, wanted())
            collection.gather(members_on_disk(place), names(options.name))
            if not collection.available:
                found = f"found none. Of a published archive, say which: --as {' or '.join(PUBLISHED)}"
                raise AcquisitionError(f"Expected images of the manifest in {printable(place)}, {found}.")
            for source in {path.split("/")[0] for path in collection.available}:
                collection.write_missing(f"{source}/")
    except AcquisitionError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot use {printable(error.filename or place)}: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"{collection.table()}\n{collection.differing()}", end="")
    print(f"What a source lacks is listed in {printable(out)}/<source>/missing.txt.")
    return 0


if __name__ == "__main__":
    interruption.run(main)
