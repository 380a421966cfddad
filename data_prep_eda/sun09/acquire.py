"""Gets the 1,158 images of the study out of the SUN 09 archive, into `data_prep_eda/data_sun09/<scene>/`.

    python -m data_prep_eda.sun09                              # streams the archive (5.2 GB) from its web site
    python -m data_prep_eda.sun09 --source sun09.tar --out D   # or a tar, a zip, or a folder available

The archive is read once, member by member, and only the images named in `sun09_manifest.csv` are kept.
Each is decoded before it gets its name, so whatever is visible is whole; a run that was interrupted
continues where it was. `python -m data_prep_eda.split` goes on from here.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import functools
import hashlib
import io
import json
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from data_prep_eda.dataset import MANIFEST, REPOSITORY
from data_prep_eda.files import clear_leavings, one_at_a_time, replacing, write_json, write_text
from data_prep_eda.preprocessing import ImageError, load_image
from data_prep_eda.sun09 import CLASSES
from data_prep_eda.sun09.sources import (
    CHUNK,
    AcquisitionError,
    Member,
    is_tar_header,
    members_on_disk,
    read_image,
    tar_members,
)
from data_prep_eda.sun09.webfile import WebFile
from data_prep_eda.zips import ForeignFile, write_zip, zip_matches

ARCHIVE_URL = "http://groups.csail.mit.edu/vision/Hcontext/data/sun09.tar"
IMAGE_FOLDER = "static_sun09_database"  # the folder of the archive in which the images lie flat

POSITION = ".position.json"  # in the folder of the images: how far a web archive was read
SAVE_EVERY = 0.2  # seconds between two notes of the position; a killed run reads this much again


@functools.cache
def wanted() -> dict[str, str]:
    """File name to scene of the study's 1,158 images."""
    with MANIFEST.open(newline="") as stream:
        return {row["filename"]: row["class"] for row in csv.DictReader(stream)}


def match(path: str) -> str | None:
    """The wanted image that a path inside an archive or folder stands for.

    Names are matched by file name and folder: the archive's image folder, a folder named after the
    image's scene, or the top. What lies above doesn't matter. The path itself is never written to.

    Args:
        path: path inside the archive.

    Returns:
        The file name, or None for everything else: other files, absolute paths, paths with `..`.
    """
    if path.startswith("/") or "\\" in path or "\0" in path:
        return None
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[-1] not in wanted():
        return None
    if len(parts) == 1 or parts[-2] in (IMAGE_FOLDER, wanted()[parts[-1]]):
        return parts[-1]
    return None


class Collection:
    """The folder in which the images are gathered, and what is known about those that aren't there.

    Args:
        out: the folder; made if missing. What in it is no image is fetched again, and stays until then.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rejected: dict[str, str] = {}  # name to reason
        for scene in CLASSES:
            (out / scene).mkdir(parents=True, exist_ok=True)
            clear_leavings(out / scene)
        clear_leavings(out)
        self.found = {name for name in wanted() if self.path(name).is_file()}
        for name in sorted(self.found):
            try:
                load_image(self.path(name), 32)
            except ImageError:
                self.found.remove(name)

    def path(self, name: str) -> Path:
        """Where an image lies, or will."""
        return self.out / wanted()[name] / name

    @property
    def complete(self) -> bool:
        return len(self.found) == len(wanted())

    def offer(self, name: str, member: Member) -> bool:
        """Keeps a member as the image `name` if it is one; returns whether it was kept."""
        content, fault = read_image(member)
        if fault:
            self.rejected[name] = fault
            return False
        try:
            self._write(name, content)
        except FileNotFoundError:  # another run that began just now cleared the unfinished file away
            self._write(name, content)
        self.found.add(name)
        self.rejected.pop(name, None)
        return True

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.path(name)) as part:
            part.write_bytes(content)


def _read_position(url: str, collection: Collection) -> dict:
    """How far a web archive was read; empty if that isn't known, or images from before were deleted."""
    try:
        note = json.loads((collection.out / POSITION).read_text())
        holds = note["url"] == url and collection.found.issuperset(note["found"])
        if holds and isinstance(note["offset"], int) and isinstance(note["rejected"], dict):
            return note
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def acquire(
    source: str,
    out: Path,
    archive: Path | None = None,
    *,
    retries: int = 6,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Collection:
    """Gathers the study's images from a source.

    Args:
        source: address of the tar, or path of a tar, a zip or a folder.
        out: folder to fill: `<scene>/<name>`, `checksums.sha256` and `missing.txt`.
        archive: zip file to write with the images, or None for none.
        retries: see `WebFile`.
        timeout: see `WebFile`.
        pause: see `WebFile`.

    Returns:
        What was found and what was not.

    Raises:
        AcquisitionError: the source can't be read to its end, or holds none of the images.
        OSError: the folder can't be written to.
    """
    collection = Collection(out)
    if not collection.complete:
        if source.startswith(("http://", "https://")):
            _from_web(source, collection, retries, timeout, pause)
        elif "://" in source:
            raise AcquisitionError(f"Expected an http or https address, or a path, found {source}.")
        else:
            with members_on_disk(Path(source).expanduser(), out) as (members, total):
                for _ in _gather(members, collection, total):
                    pass
    if not collection.found:
        raise AcquisitionError(
            f"Expected images of SUN 09 in {source}, found none of the {len(wanted())}. They lie in "
            f"a folder {IMAGE_FOLDER}/ or in one folder per scene ({', '.join(CLASSES)})."
        )
    if collection.complete:
        (out / POSITION).unlink(missing_ok=True)
    _write_lists(collection)
    if archive is not None:
        paths = sorted(map(collection.path, collection.found))
        content = [(path.relative_to(out).as_posix(), path) for path in [*paths, out / "checksums.sha256"]]
        # An archive that was read from is the user's, wherever it lies.
        if archive.resolve() != Path(source).expanduser().resolve():
            with one_at_a_time(archive.parent):
                if not zip_matches(archive, content):
                    write_zip(archive, content)
    return collection


def _from_web(url: str, collection: Collection, retries: int, timeout: float, pause: float) -> None:
    note = _read_position(url, collection)
    with contextlib.closing(WebFile(url, retries, timeout, pause, say=tqdm.write)) as file:
        file.identity = note.get("identity")
        try:
            file.open(0 if note.get("end") else note.get("offset", 0))
        except AcquisitionError:
            if not note:
                raise
            note, file.identity = {}, None  # another archive than the one in the note
            file.open(0)
        collection.rejected |= note.get("rejected", {})
        if note.get("end"):
            return
        start = end = note.get("offset", 0)
        stream = io.BufferedReader(file, CHUNK)
        plain = bool(start) or _is_plain_tar(stream, url)

        def remember(finished: bool = False) -> None:
            if plain:  # positions in a compressed archive say nothing about bytes on the wire
                place = {"url": url, "identity": file.identity, "offset": end, "end": finished}
                place |= {"found": sorted(collection.found), "rejected": collection.rejected}
                write_json(collection.out / POSITION, place)

        finished, due = False, time.monotonic() + SAVE_EVERY
        try:
            with contextlib.closing(tar_members(stream, "r:" if plain else "r|*")) as members:
                for member in _gather(members, collection, file.length if plain else None, start):
                    end = member.end
                    if time.monotonic() > due:
                        remember()
                        due = time.monotonic() + SAVE_EVERY
            finished = True
        finally:
            remember(finished)


def _gather(
    members: Iterator[Member], collection: Collection, total: int | None, start: int = 0
) -> Iterator[Member]:
    """Offers the members to the collection until it is complete; yields each when it is dealt with."""
    to_terminal = sys.stderr.isatty()
    with tqdm(
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        desc="SUN 09",
        mininterval=0.2 if to_terminal else 30,  # a log file needs no animation
        dynamic_ncols=to_terminal,
    ) as bar:
        bar.set_postfix_str(f"{len(collection.found)}/{len(wanted())} images", refresh=False)
        for member in members:
            name = match(member.path)
            if name is not None and name not in collection.found and collection.offer(name, member):
                bar.set_postfix_str(f"{len(collection.found)}/{len(wanted())} images", refresh=False)
            bar.update(member.end - bar.n)
            yield member
            if collection.complete:
                return


def _is_plain_tar(stream: io.BufferedReader, url: str) -> bool:
    """Whether an uncompressed tar begins here; raises for what is evidently no archive."""
    head = stream.read(tarfile.BLOCKSIZE)
    stream.seek(0)  # still in the buffer
    if head.lstrip()[:1] == b"<":
        raise AcquisitionError(
            f"Expected a tar archive at {url}, the server sent a web page. Open the address in a browser "
            f"to see what it says, or name a copy available: --source sun09.tar."
        )
    return is_tar_header(head)


def _write_lists(collection: Collection) -> None:
    """Writes `checksums.sha256` and `missing.txt`, if they say something new."""
    lines = []
    for path in sorted(map(collection.path, collection.found)):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(collection.out).as_posix()}\n")
    lists = {"checksums.sha256": lines, "missing.txt": []}
    for name in sorted(wanted().keys() - collection.found, key=lambda name: (wanted()[name], name)):
        reason = collection.rejected.get(name, "not in the source")
        lists["missing.txt"].append(f"{wanted()[name]}/{name}: {reason}\n")
    for name, content in lists.items():
        path, text = collection.out / name, "".join(content)
        if not text:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_text() != text:
            write_text(path, text)


def table(collection: Collection) -> str:
    """Found and missing images per scene, as text."""
    lines = [f"{'scene':<10}{'wanted':>8}{'found':>8}{'missing':>9}"]
    all_wanted = Counter(wanted().values())
    found = Counter(wanted()[name] for name in collection.found)
    for scene in CLASSES:
        n, m = all_wanted[scene], found[scene]
        lines.append(f"{scene:<10}{n:>8}{m:>8}{n - m:>9}")
    n, m = all_wanted.total(), found.total()
    return "\n".join([*lines, f"{'total':<10}{n:>8}{m:>8}{n - m:>9}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep_eda.sun09", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--source", default=ARCHIVE_URL, help="address or path (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "data_prep_eda" / "data_sun09", help="folder to fill"
    )
    parser.add_argument("--zip", type=Path, help="zip file to write (default: OUT.zip)")
    parser.add_argument("--retries", type=int, default=6, help="attempts without progress (default: 6)")
    parser.add_argument(
        "--timeout", type=float, default=30.0, help="seconds that count as a stall (default: 30)"
    )
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before the first new attempt")
    options = parser.parse_args(arguments)
    out = options.out.expanduser().absolute()
    archive = (options.zip or out.with_name(out.name + ".zip")).expanduser().absolute()
    try:
        collection = acquire(
            options.source,
            out,
            archive,
            retries=options.retries,
            timeout=options.timeout,
            pause=options.pause,
        )
    except (AcquisitionError, ForeignFile) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(_os_error_sentence(error, out), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. What was found is kept; the same command continues.", file=sys.stderr)
        return 130
    print(table(collection))
    missing = len(wanted()) - len(collection.found)
    if missing:
        print(f"Missing: {missing}, listed in {out / 'missing.txt'}. The study goes on without them.")
    print(f"Images: {out}\nFor upload:  {archive}\nNext:        python -m data_prep_eda.split --source {out}")
    return 0


def _os_error_sentence(error: OSError, out: Path) -> str:
    place = error.filename or out
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"Expected room for about 120 MB (images and zip) at {out}, found the disk full. What was "
            f"found is kept. Free some space and run the command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Expected to be allowed to read and write {place}, found that it is not ({error.strerror}). Name another folder."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"Expected a folder at {out}, found that {place} is a file. Name another folder with --out."
    return f"Cannot read or write {place}: {error.strerror or error}. What was found is kept."
