"""Gets the 1,158 images of the study out of the SUN 09 archive, into `data_prep_eda/data_sun09/<class>/`.

    python -m data_prep_eda.sun09                              # streams the archive (5.2 GB) from its web site
    python -m data_prep_eda.sun09 --source sun09.tar --out D   # or a tar, a zip, or a folder available

Each image of `sun09_manifest.csv` is decoded before it gets its name, so what is visible is whole; a run that was
interrupted continues where it was. `python -m data_prep_eda.split` goes on from here.
"""

import argparse
import contextlib
import functools
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep_eda import split
from data_prep_eda.archives import AcquisitionError, Member, members_on_disk, tar_members
from data_prep_eda.cache import REPOSITORY
from data_prep_eda.collection import Collection
from data_prep_eda.dataset import DatasetError
from data_prep_eda.files import one_at_a_time, write_json, write_text
from data_prep_eda.manifests import MANIFEST, read_manifest
from data_prep_eda.sun09.webfile import WebFile
from data_prep_eda.zips import write_zip

ARCHIVE_URL = "http://groups.csail.mit.edu/vision/Hcontext/data/sun09.tar"
IMAGE_FOLDER = "static_sun09_database"  # the folder of the archive in which the images lie flat
POSITION = ".position.json"  # in the folder of the images: how far a web archive was read
PIECE = 2**23  # bytes that are asked for at a time, and after which the position is noted


@functools.cache
def wanted() -> dict[str, str]:
    """`<class>/<name>` of the study's 1,158 images, to their SHA-256."""
    return {f"{row['class']}/{row['filename']}": row["sha256"] for row in read_manifest(MANIFEST)}


@functools.cache
def names() -> dict[str, str]:
    """What the images are known by, as `collection.match` reads it: in these folders, or at the top."""
    files = [(path, path.split("/")[1]) for path in wanted()]
    return {key: path for path, name in files for key in (path, f"{IMAGE_FOLDER}/{name}", name)}


def acquire(source: str, out: Path, archive: Path | None = None) -> Collection:
    """Gathers the study's images from a source. Of two runs at once, one waits for the other.

    Args:
        source: address of the tar, or path of a tar, a zip or a folder.
        out: folder to fill: `<class>/<name>`, `checksums.sha256` and `missing.txt`.
        archive: zip file to write with the images, or None for none.

    Raises:
        AcquisitionError: the source can't be read to its end, or holds none of the images.
    """
    with one_at_a_time(out):
        collection = Collection(out, wanted())
        if not collection.complete:
            if source.startswith(("http://", "https://")):
                _from_web(source, collection)
            else:
                collection.gather(members_on_disk(Path(source).expanduser()), names())
        if not collection.available:
            found = f"none of the {len(wanted())}, in a folder {IMAGE_FOLDER}/ or one per class"
            why = "".join(f" {name}: {reason}." for name, reason in [*collection.rejected.items()][:1])
            raise AcquisitionError(f"Expected images of SUN 09 in {source}, found {found}.{why}")
        if collection.complete:
            (out / POSITION).unlink(missing_ok=True)
        collection.write_missing()
        digests = collection.digests()
        write_text(out / "checksums.sha256", "".join(f"{digests[path]}  {path}\n" for path in digests))
        # An archive that was read from is the user's, wherever it lies.
        if archive is not None and archive.resolve() != Path(source).expanduser().resolve():
            write_zip(archive, [(path, out / path) for path in (*digests, "checksums.sha256")])
    return collection


def _from_web(url: str, collection: Collection) -> None:
    file, position = WebFile(url), collection.out / POSITION

    def noted(members: Iterator[Member], start: int) -> Iterator[Member]:
        for member in members:
            yield member
            if member.end >= start + PIECE:
                start = member.end
                note = {"url": url, "identity": file.identity, "offset": start}
                note |= {"images": sorted(collection.available), "rejected": collection.rejected}
                write_json(position, note)

    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or an earlier release's
        note = json.loads(position.read_text(encoding="utf-8"))
        same = note["url"] == url and note["identity"] == file.identity
        if same and collection.available.issuperset(note["images"]):  # else some from before are gone
            file.position, collection.rejected = note["offset"], note["rejected"]
    start = file.position
    with io.BufferedReader(file, PIECE) as stream:
        collection.gather(noted(tar_members(stream, start), start), names(), file.identity[2] - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser("python -m data_prep_eda.sun09", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--source", default=ARCHIVE_URL, help="address or path (default: %(default)s)")
    add("--out", type=Path, default=REPOSITORY / "data_prep_eda" / "data_sun09", help="folder to fill")
    add("--zip", type=Path, help="zip file to write (default: OUT.zip)")
    add("--split", action="store_true", help="go on with python -m data_prep_eda.split --source OUT")
    options = parser.parse_args(arguments)
    out = options.out.expanduser().absolute()
    try:
        archive = split.zip_beside(out, options.zip)
        collection = acquire(options.source, out, archive)
    except (AcquisitionError, DatasetError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        advice = "What was found is kept. Make room, or name another folder with --out."
        found = f"found: {error.strerror or error}. {advice}"
        print(f"Expected to read and write {error.filename or out}, {found}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. What was found is kept; the same command continues.", file=sys.stderr)
        return 130
    print(collection.table())
    if missing := len(collection.wanted) - len(collection.available):
        print(f"Missing: {missing}, listed in {out / 'missing.txt'}. The study goes on without them.")
    print(f"{collection.differing()}Images:      {out}\nFor upload:  {archive}")
    if options.split:
        return split.main(["--source", str(out)])
    print(f"Next:        python -m data_prep_eda.split --source {out}")
    return 0
