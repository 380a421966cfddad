"""Collects images that a manifest names, from archives and folders, into folders of their labels.

`data_prep_eda.sun09` and `data_prep_eda.arrange` say which images, where from, and which paths stand for them.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from data_prep_eda.dataset import read_manifest
from data_prep_eda.files import clear_leavings, replacing, write_text
from data_prep_eda.preprocessing import ImageError, load_image
from data_prep_eda.sun09.sources import Member, read_image

ATTEMPTS = 3  # unusable members under one name, after which no further one is tried


@dataclass(frozen=True)
class Wanted:
    """An image that a manifest names.

    Attributes:
        source: where it is from.
        label: its folder.
        sha256: of the file that the study used, in hexadecimal digits; empty if that wasn't at hand.
    """

    source: str
    label: str
    sha256: str


@functools.cache
def read_wanted(path: Path) -> dict[str, Wanted]:
    """The images that a manifest names, by file name."""
    return {
        name: Wanted(row.get("source", "SUN 09"), row.get("scene") or row["class"], row["sha256"])
        for name, row in read_manifest(path).items()
    }


def inner_parts(path: str) -> tuple[str, ...]:
    """The folders and the name of a path inside an archive; nothing for one that leads out of it."""
    parts = PurePosixPath(path).parts
    safe = not (path.startswith("/") or "\\" in path or "\0" in path or ".." in parts)
    return parts if safe else ()


class Collection:
    """The folder in which images are gathered, and what is known about those that aren't there.

    Args:
        out: the folder: `<out>/<label>/<name>`, or `<out>/<source>/<label>/<name>`.
        wanted: the images, by name.
        by_source: whether they lie in folders of their sources.

    Attributes:
        available: names of the images that are there.
        rejected: name to the reason why a member couldn't be used.
    """

    def __init__(self, out: Path, wanted: dict[str, Wanted], by_source: bool = False) -> None:
        self.out, self.wanted, self._by_source = out, wanted, by_source
        self.rejected: dict[str, str] = {}
        self._attempts: Counter[str] = Counter()
        for folder in {self.path(name).parent for name in wanted}:
            clear_leavings(folder)
        self.available = {name for name in wanted if self.path(name).is_file()}

    def path(self, name: str) -> Path:
        """Where an image lies, or will."""
        image = self.wanted[name]
        return self.out.joinpath(*[image.source] * self._by_source, image.label, name)

    @property
    def complete(self) -> bool:
        return len(self.available) == len(self.wanted)

    def forget_damaged(self) -> None:
        """Lets what isn't a whole image be fetched again; it stays until then."""
        for name in sorted(self.available):
            try:
                load_image(self.path(name), 32)
            except ImageError:
                self.available.remove(name)

    def offer(self, name: str, member: Member) -> bool:
        """Keeps a member as the image `name` if it is one; returns whether it was kept."""
        if name in self.available or self._attempts[name] == ATTEMPTS:
            return False
        self._attempts[name] += 1
        content, fault = read_image(member)
        if fault:
            self.rejected[name] = fault
            return False
        with replacing(self.path(name)) as part:
            part.write_bytes(content)
        self.available.add(name)
        self.rejected.pop(name, None)
        return True

    def gather(
        self,
        members: Iterable[Member],
        match: Callable[[str], str | None],
        total: int | None = None,
        start: int = 0,
    ) -> Iterator[Member]:
        """Takes what is wanted out of members, with a progress bar, until nothing is missing.

        Args:
            members: of a source.
            match: the name in the manifest that a path in the source stands for, or None.
            total: position behind the last member, where it is known.
            start: position of the first.

        Yields:
            Each member when it is dealt with.
        """
        to_terminal = sys.stderr.isatty()
        with tqdm(
            total=total,
            initial=start,
            unit="B",
            unit_scale=True,
            desc="Images",
            mininterval=0.2 if to_terminal else 30,  # a log file needs no animation
            dynamic_ncols=to_terminal,
        ) as bar:
            for member in members:
                if (name := match(member.path)) is not None:
                    self.offer(name, member)
                bar.set_postfix_str(f"{len(self.available)}/{len(self.wanted)} images", refresh=False)
                bar.update(member.end - bar.n)
                yield member
                if self.complete:
                    return

    def digests(self) -> dict[str, str]:
        """SHA-256 of each image that is there, by name."""
        return {
            name: hashlib.sha256(self.path(name).read_bytes()).hexdigest() for name in sorted(self.available)
        }

    def differing(self, digests: dict[str, str]) -> str:
        """A sentence on the images that aren't those of the study to the byte; empty if there are none."""
        names = [name for name, digest in digests.items() if self.wanted[name].sha256 not in ("", digest)]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return f"Not the study's files, byte for byte: {', '.join(names[:10])}{more}." if names else ""

    def write_missing(self, path: Path, names: Iterable[str]) -> int:
        """Lists those of `names` that aren't there, with the reason; no list where none is missing."""
        missing = sorted(set(names) - self.available, key=lambda name: (self.wanted[name].label, name))
        reasons = [(name, self.rejected.get(name, "not in the source")) for name in missing]
        write_list(path, [f"{self.wanted[name].label}/{name}: {reason}\n" for name, reason in reasons])
        return len(missing)


def write_list(path: Path, lines: list[str]) -> None:
    """Writes a text file of lines if it says something new; an empty one is removed."""
    text = "".join(lines)
    if not text:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
