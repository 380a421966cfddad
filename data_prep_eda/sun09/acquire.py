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
import json
import os
import shutil
import sys
import tarfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from data_prep_eda.dataset import MANIFEST, REPOSITORY
from data_prep_eda.preprocessing import SCENES, ImageError, load_image
from data_prep_eda.sun09.sources import (
    MAX_BYTES,
    AcquisitionError,
    Member,
    folder_members,
    is_tar_header,
    tar_members,
    zip_members,
)
from data_prep_eda.sun09.webfile import ForwardFile, WebFile
from data_prep_eda.zips import ForeignFile, write_zip, zip_matches

try:
    import fcntl
except ImportError:  # Windows: two runs at once then merely do the work twice
    fcntl = None

ARCHIVE_URL = "http://groups.csail.mit.edu/vision/Hcontext/data/sun09.tar"
IMAGE_FOLDER = "static_sun09_database"  # the folder of the archive in which the images lie flat

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
        out: the folder; made if missing.

    Raises:
        AcquisitionError: another run is writing to the folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.part = out / ".part"
        self.rejected: dict[str, str] = {}  # name to reason
        self.part.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(out, os.O_RDONLY) if fcntl else None
        if fcntl:
            try:
                fcntl.flock(
                    self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB
                )  # ends with the process, however it ends
            except BlockingIOError:
                os.close(self._lock)
                raise AcquisitionError(
                    f"Expected to be the only run that writes to {out}, found another one at work. "
                    f"Wait for it, or name another folder with --out."
                ) from None
        for scene in SCENES:
            (out / scene).mkdir(exist_ok=True)
        for leaving in self.part.iterdir():
            leaving.unlink()
        self.found = {name for name in wanted() if self.path(name).is_file()}
        for name in sorted(self.found):
            if self._fault(self.path(name)):
                self.path(name).unlink()  # not an image, whoever put it there: fetch it again
                self.found.remove(name)

    def path(self, name: str) -> Path:
        """Where an image lies, or will."""
        return self.out / wanted()[name] / name

    @property
    def complete(self) -> bool:
        return len(self.found) == len(wanted())

    def offer(self, name: str, member: Member) -> bool:
        """Keeps a member as the image `name` if it is one; returns whether it was kept."""
        if member.oddity:
            self.rejected[name] = member.oddity
            return False
        if member.size > MAX_BYTES:
            self.rejected[name] = f"claims {member.size} bytes, more than an image has"
            return False
        try:
            content = member.read()
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
            self.rejected[name] = f"unreadable in its archive ({error})"
            return False
        part = self.part / name
        part.write_bytes(content)
        if fault := self._fault(part):
            self.rejected[name] = fault
            part.unlink()
            return False
        part.replace(self.path(name))
        self.found.add(name)
        self.rejected.pop(name, None)
        return True

    @staticmethod
    def _fault(path: Path) -> str:
        """Why a file is no usable image; empty if it is one. Decodes it as training will."""
        try:
            load_image(path, 32)
        except ImageError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Removes what only a run at work needs."""
        shutil.rmtree(self.part, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


class Position:
    """Remembers, beside the images, how far a web archive was read, to continue there.

    The note holds only if the archive is still the same and the images found up to there still exist.

    Args:
        path: file of the note.
        url: address of the archive.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self._saved = 0.0

    def load(self, collection: Collection) -> dict:
        """The last note; an empty one if there is none that holds."""
        try:
            note = json.loads(self.path.read_text())
            holds = note["url"] == self.url and collection.found.issuperset(note["found"])
            if holds and isinstance(note["offset"], int) and isinstance(note["rejected"], dict):
                return note
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}

    def save(self, identity: dict | None, offset: int, collection: Collection, *, end: bool = False) -> None:
        """Notes that everything before `offset` is dealt with, and whether that was the end."""
        note = {"url": self.url, "identity": identity, "offset": offset, "end": end}
        note |= {"found": sorted(collection.found), "rejected": collection.rejected}
        part = collection.part / "position"
        part.write_text(json.dumps(note))
        part.replace(self.path)
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last note is old enough for a new one."""
        return time.monotonic() - self._saved > SAVE_EVERY


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
    try:
        if not collection.complete:
            if source.startswith(("http://", "https://")):
                _from_web(source, collection, retries, timeout, pause)
            elif "://" in source:
                raise AcquisitionError(f"Expected an http or https address, or a path, found {source}.")
            else:
                _from_disk(Path(source).expanduser(), collection)
        if not collection.found:
            raise AcquisitionError(
                f"Expected images of SUN 09 in {source}, found none of the {len(wanted())}. They lie in "
                f"a folder {IMAGE_FOLDER}/ or in one folder a scene ({', '.join(SCENES)})."
            )
        _write_lists(collection)
        if archive is not None:
            names = [
                path.relative_to(out).as_posix() for path in map(collection.path, sorted(collection.found))
            ]
            content = [(name, out / name) for name in sorted(names)]
            content.append(("checksums.sha256", out / "checksums.sha256"))
            # An archive that was read from is the user's, wherever it lies.
            if archive != Path(source).expanduser().absolute() and not zip_matches(archive, content):
                write_zip(archive, content)
    finally:
        collection.close()
    return collection


def _from_web(url: str, collection: Collection, retries: int, timeout: float, pause: float) -> None:
    position = Position(collection.out / ".position.json", url)
    file = WebFile(url, retries, timeout, pause, say=tqdm.write)
    try:
        with contextlib.closing(file):
            note = position.load(collection)
            file.identity = note.get("identity")
            try:
                file.open(0 if note.get("end") else note.get("offset", 0))
            except AcquisitionError:
                if not note:
                    raise
                note, file.identity = {}, None  # another archive than the one in the note
                file.open(0)
            if note.get("end"):
                collection.rejected |= note["rejected"]
                return
            collection.rejected |= note.get("rejected", {})
            start = note.get("offset", 0)
            stream = ForwardFile(file)
            plain = bool(start) or _is_plain_tar(stream, url)
            end, finished = start, False
            try:
                with contextlib.closing(tar_members(stream, "r:" if plain else "r|*")) as members:
                    for member in _gather(members, collection, file.length if plain else None, start):
                        end = member.end
                        if plain and position.due:
                            position.save(file.identity, end, collection)
                finished = True
            finally:
                if plain:  # positions in a compressed archive say nothing about bytes on the wire
                    position.save(file.identity, end, collection, end=finished)
    finally:
        if collection.complete:
            position.path.unlink(missing_ok=True)


def _from_disk(path: Path, collection: Collection) -> None:
    try:
        if path.is_dir():
            _exhaust(_gather(folder_members(path, collection.out), collection, None))
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _exhaust(_gather(zip_members(archive), collection, path.stat().st_size))
        elif path.is_file():
            with path.open("rb") as stream:
                plain = is_tar_header(stream.read(tarfile.BLOCKSIZE))
                stream.seek(0)
                members = tar_members(stream, "r:" if plain else "r|*")  # a plain one can be skipped through
                _exhaust(_gather(members, collection, path.stat().st_size if plain else None))
        else:
            raise AcquisitionError(
                f"Expected a tar, a zip or a folder at {path}, found nothing. Check the path; without "
                f"--source the archive is streamed from {ARCHIVE_URL}."
            )
    except zipfile.BadZipFile as error:
        raise AcquisitionError(
            f"Expected a whole zip file at {path}, found a damaged one ({error}). Name another copy."
        ) from None


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


def _exhaust(steps: Iterator) -> None:
    for _ in steps:
        pass


def _is_plain_tar(stream: ForwardFile, url: str) -> bool:
    """Whether an uncompressed tar begins here; raises for what is evidently no archive."""
    head = stream.peek(tarfile.BLOCKSIZE)
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
            part = collection.part / name
            part.write_text(text)
            part.replace(path)


def table(collection: Collection) -> str:
    """Found and missing images per scene, as text."""
    lines = [f"{'scene':<10}{'wanted':>8}{'found':>8}{'missing':>9}"]
    all_wanted = Counter(wanted().values())
    found = Counter(wanted()[name] for name in collection.found)
    for scene in SCENES:
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
