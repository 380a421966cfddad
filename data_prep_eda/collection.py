"""Collects images that a manifest names, from archives and folders, into folders of their labels."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm import tqdm

from data_prep_eda.archives import Member, read_image
from data_prep_eda.dataset import first_ten
from data_prep_eda.files import clear_leavings, replacing, write_text


def match(path: str, names: Mapping[str, str]) -> str | None:
    """The wanted path that a path in an archive or folder stands for; None also for one that leads out of it.

    `names` holds it by `<folder>/<name>`, by `*/<name>` or `*/<stem>` for any folder, or by `<name>` for none.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or "\0" in path or ".." in parts:
        return None
    keys = ("/".join(parts[-2:]), f"*/{parts[-1]}", f"*/{PurePosixPath(parts[-1]).stem}")
    return next((names[key] for key in keys if key in names), None)


class Collection:
    """The folder in which images are gathered, and what is known about those that aren't there.

    Attributes:
        out: the folder.
        wanted: path in it of each image, such as `coast/a.jpg`, to its SHA-256, or to "" where any image will do.
        available: the paths at which there is an image.
        rejected: path to the reason why the member of its name couldn't be used.
    """

    def __init__(self, out: Path, wanted: dict[str, str]) -> None:
        self.out, self.wanted = out, wanted
        self.rejected: dict[str, str] = {}
        for folder in {out, *((out / path).parent for path in wanted)}:
            clear_leavings(folder)
        self.available = {path for path in wanted if (out / path).is_file()}

    @property
    def complete(self) -> bool:
        return len(self.available) == len(self.wanted)

    def gather(self, members: Iterable[Member], names: Mapping[str, str], total: int | None = None) -> None:
        """Takes what is wanted out of members until nothing is missing; the first one of an image's name counts.

        `names` is what `match` knows the images by, and `total` the bytes that the progress bar may count to.
        """
        pace = 0.2 if sys.stderr.isatty() else 30  # a log file needs no animation
        with tqdm(desc="Images", total=total, unit="B", unit_scale=True, mininterval=pace) as bar:
            for member in members:
                path = match(member.path, names)
                if path in self.wanted and path not in self.available and path not in self.rejected:
                    content, fault = read_image(member)
                    if fault:
                        self.rejected[path] = fault
                    else:
                        with replacing(self.out / path) as part:
                            part.write_bytes(content)
                        self.available.add(path)
                bar.set_postfix_str(f"{len(self.available)}/{len(self.wanted)} images", refresh=False)
                bar.update(member.size)
                if self.complete:
                    return

    def table(self) -> str:
        """How many images are wanted, found and missing in each folder, as text."""
        folders = [Counter(path.split("/")[0] for path in paths) for paths in (self.wanted, self.available)]
        table = pd.DataFrame(folders, index=["wanted", "found"]).T.fillna(0).astype(int).sort_index()
        table.loc["total"] = table.sum()
        return table.assign(missing=table["wanted"] - table["found"]).to_string()

    def digests(self) -> dict[str, str]:
        """SHA-256 of each image that is there."""
        return {path: sha256((self.out / path).read_bytes()).hexdigest() for path in sorted(self.available)}

    def differing(self) -> str:
        """A sentence on images that aren't those of the manifest to the byte; empty if there are none."""
        paths = [path for path, digest in self.digests().items() if self.wanted[path] not in ("", digest)]
        advice = "To take one anew, delete it and run the command again"
        return f"Not the study's files, byte for byte: {first_ten(paths)}. {advice}.\n" if paths else ""

    def write_missing(self, folder: str = "") -> None:
        """Lists in `missing.txt` what isn't in the folder, or in one inside of it, with the reason."""
        missing = sorted(path for path in self.wanted.keys() - self.available if path.startswith(folder))
        lines = [f"{p.removeprefix(folder)}: {self.rejected.get(p, 'not in the source')}\n" for p in missing]
        path = self.out / folder / "missing.txt"
        if lines:
            write_text(path, "".join(lines))
        else:
            path.unlink(missing_ok=True)
