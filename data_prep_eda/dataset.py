"""Finds and checks the images that a run uses: which folder, which split, which files are usable."""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_prep_eda.preprocessing import SCENES, SUFFIXES, ImageError, load_image

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = Path(__file__).parent / "sample"
PREPARED = REPOSITORY / "data"
# What can be computed again.
CACHE = Path(os.environ.get("SCENES_CACHE_DIR") or REPOSITORY / ".cache").expanduser()
MANIFEST = Path(__file__).parent / "sun09_manifest.csv"
SPLITS = ("train", "validation", "test")
# Images that are not read here, but that most image programs can export.
CONVERTIBLE = (".heic", ".heif", ".tif", ".tiff", ".gif", ".bmp", ".jp2", ".jxl", ".raw", ".dng", ".psd")


class DatasetError(ValueError):
    """A data folder that cannot be used; the message says what was expected, found, and what to do."""


@dataclass(frozen=True)
class Dataset:
    """The images of a run.

    Attributes:
        folder: where they lie.
        images: one row an image: `path` (str), `name` (file name, printable), `scene`, `split`; sorted by
            scene and name.
        rejected: images left out: `path`, `reason`.
    """

    folder: Path
    images: pd.DataFrame
    rejected: pd.DataFrame

    @property
    def kind(self) -> str:
        """In words, which images these are."""
        if self.folder == SAMPLE:
            return "the embedded sample (drawn, not photographed)"
        if set(self.images["name"]) <= set(study_splits()):
            return "SUN 09 images"
        return "your own images"

    @property
    def source(self) -> str:
        """In a word, where they come from."""
        return {"SUN 09 images": "SUN 09", "your own images": "own"}.get(self.kind, "sample")

    def counts(self) -> pd.DataFrame:
        """Number of images per scene (rows) and split (columns), with totals."""
        table = pd.crosstab(self.images["scene"], self.images["split"])
        table = table.reindex(index=list(SCENES), columns=list(SPLITS), fill_value=0)
        table.loc["total"] = table.sum()
        table["total"] = table.sum(axis=1)
        return table.rename_axis(index=None, columns=None)

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, with a fresh index."""
        return self.images[self.images["split"] == name].reset_index(drop=True)

    def __str__(self) -> str:
        lines = [f"Images: {self.kind}, {len(self.images)} in all", str(self.counts())]
        if len(self.rejected):
            lines.append(f"Left out, unusable: {len(self.rejected)}")
            lines += [
                f"  {printable(os.path.relpath(row.path, self.folder))}: {row.reason}"
                for row in self.rejected.head(10).itertuples()
            ]
        return "\n".join(lines)


def study_split(names: Sequence[str]) -> dict[str, str]:
    """The original project's rule, for the images of one scene.

    The names are sorted; with m = a tenth of them, rounded, and gap = n // m, every gap-th image goes
    to validation and the one after it to test, m each. Neighbouring names are often neighbouring shots, so
    the rule puts much of what is alike on both sides (see notebook 02).

    Args:
        names: file names of one scene, all different.

    Returns:
        File name to `train`, `validation` or `test`. With fewer than three names all are for training.
    """
    ordered = sorted(names)
    splits = dict.fromkeys(ordered, "train")
    if len(ordered) >= 3:
        m = max(1, round(0.1 * len(ordered)))
        gap = len(ordered) // m
        for i in range(m):
            splits[ordered[i * gap]] = "validation"
            splits[ordered[i * gap + 1]] = "test"
    return splits


@functools.cache
def study_splits() -> dict[str, str]:
    """File name to split of the original project, for the 1,158 images of its data set."""
    with MANIFEST.open(newline="") as stream:
        return {row["filename"]: row["seed_split"] for row in csv.DictReader(stream)}


def resolve_data_dir(data_dir: str = "") -> Path:
    """The folder that a run's images come from.

    Args:
        data_dir: a folder; or empty for the first of: the environment variable `SCENES_DATA_DIR`, the
            prepared `data/` of this repository, the embedded sample.

    Returns:
        An existing folder.

    Raises:
        DatasetError: the named folder does not exist.
    """
    named = data_dir or os.environ.get("SCENES_DATA_DIR", "")
    if named:
        return named_folder(
            named,
            "data_dir" if data_dir else "the environment variable SCENES_DATA_DIR",
            f"Name a folder with the subfolders {', '.join(SCENES)}; or leave it empty to use the prepared data "
            f"or the embedded sample.",
        )
    return PREPARED if (PREPARED / "train").is_dir() else SAMPLE


def named_folder(named: str, source: str, advice: str) -> Path:
    """A folder that somebody named, whole; a relative path may also count from the repository.

    Args:
        named: the path.
        source: where it was named, for the message.
        advice: what to do if it is none.

    Raises:
        DatasetError: there is no such folder.
    """
    folder = Path(os.path.expanduser(named))
    if not os.path.isdir(folder) and os.path.isdir(REPOSITORY / folder):  # Jupyter stands in notebooks/
        folder = REPOSITORY / folder
    if not os.path.isdir(folder):
        raise DatasetError(
            f"Expected a folder of images at {printable(folder)} (named by {source}), found "
            f"{'a file' if os.path.exists(folder) else 'nothing'}. {advice}"
        )
    return folder.resolve()


def load_dataset(
    data_dir: str = "",
    *,
    check: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Lists the images of a folder, gives each its split, and decodes each once to prove it.

    Two layouts are read: one subfolder per scene, or `train`, `validation` and `test` with one subfolder per
    scene in each. In the first, images with SUN 09 names get the study's split by name, also when some
    are missing; others are split by the study's rule, which sorts the names.

    Args:
        data_dir: see `resolve_data_dir`.
        check: decode every image; those that fail are left out and listed in `rejected`.
        progress: called with (done, all) while images are decoded.

    Returns:
        The data set.

    Raises:
        DatasetError: folders other than the three scenes, a scene without usable images, or too few to
            have all three splits.
    """
    folder = resolve_data_dir(data_dir)
    rejected: list[dict[str, str]] = []
    splits = split_folders(folder)
    rows = []
    for split, place in splits.items() or [("", folder)]:
        rows += [row | {"split": split} for row in _scene_rows(place, rejected)]
    if check:
        rows = _usable(rows, rejected, progress)
    if not splits:  # of the usable images: a broken one must not leave a split empty
        known = study_splits()
        for scene in SCENES:
            mine = [row for row in rows if row["scene"] == scene]
            ruled = study_split([row["name"] for row in mine if row["name"] not in known])
            for row in mine:
                row["split"] = known.get(row["name"]) or ruled[row["name"]]

    images = pd.DataFrame(rows, columns=["path", "name", "scene", "split"])
    unusable = pd.DataFrame(rejected, columns=["path", "reason"])
    counts = images.groupby(["split", "scene"]).size()
    for split in SPLITS:
        for scene in SCENES:
            if not counts.get((split, scene), 0):
                listed = "".join(
                    f"\n  {printable(row.path)}: {row.reason}" for row in unusable.head(10).itertuples()
                )
                raise DatasetError(
                    f"Expected at least one usable {scene} image in the {split} split of {printable(folder)}, found "
                    f"none. Each scene needs three or more ({', '.join(SUFFIXES)}).{listed}"
                )
    images = images.sort_values(["scene", "name", "path"], ignore_index=True)
    return Dataset(folder, images, unusable.sort_values("path", ignore_index=True))


def printable(path: str | os.PathLike[str]) -> str:
    """A path that can be printed: file names are bytes, and not always text."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders of the splits, whatever their case; none if the images are not split yet.

    Raises:
        DatasetError: only some of the splits are there.
    """
    names = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
    names |= {"validation": "validation", "test": "test"}
    found = _folders(folder, names)
    if found and len(found) < len(SPLITS):
        raise DatasetError(
            f"Expected {', '.join(SPLITS)} in {printable(folder)}, found only {', '.join(found)}. Add what is "
            f"missing, or name a folder with one subfolder per scene; it is then split here."
        )
    return {split: found[split] for split in SPLITS} if found else {}


def _usable(
    rows: list[dict[str, str]], rejected: list[dict[str, str]], progress: Callable[[int, int], None] | None
) -> list[dict[str, str]]:
    """The images that decode, each content once; the others go to `rejected` with the reason.

    The same file under two scenes says that it is both, so neither is kept. The same file in two splits, or twice,
    is kept once, where it is tested if it is tested anywhere: what is tested may not be trained on.
    """
    reasons, digests = check_images([row["path"] for row in rows], progress)
    same: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        if not reasons[position]:
            same.setdefault(digest, []).append(position)
    for positions in same.values():
        scenes = {rows[position]["scene"] for position in positions}
        first = min(positions, key=lambda p: (-(*("", *SPLITS),).index(rows[p]["split"]), rows[p]["path"]))
        for position in positions:
            if len(scenes) > 1:
                reasons[position] = f"the same image lies under {' and '.join(sorted(scenes))}"
            elif position != first:
                reasons[position] = f"the same image as {printable(Path(rows[first]['path']).name)}"
                if rows[position]["split"] != rows[first]["split"]:
                    reasons[position] += f", which is in {rows[first]['split']}"
    for row, reason in zip(rows, reasons, strict=True):
        if reason:
            rejected.append({"path": row["path"], "reason": reason})
    return [row for row, reason in zip(rows, reasons, strict=True) if not reason]


def fingerprint(folder: Path | None) -> str:
    """Tells one collection of images from another: a digest of the files' paths and contents.

    Args:
        folder: read with its subfolders, linked ones too; None, for no images, has a fingerprint too.

    Returns:
        16 hex digits; what a system leaves behind in a folder doesn't count.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(folder)) if folder else ():
        if path.suffix.lower() in SUFFIXES and not is_junk(path) and path.is_file():
            digest.update(os.fsencode(path.relative_to(folder)))
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError:  # it is left out of the data set
                digest.update(b"unreadable")
    return digest.hexdigest()[:16]


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """What lies below a folder and isn't one, also behind links, which are not followed back up."""
    here = folder.resolve()
    with contextlib.suppress(PermissionError):
        for path in folder.iterdir() if here not in above else ():
            if path.is_dir():
                yield from _files(path, (*above, here))
            else:
                yield path


def scene_folders(folder: Path, extra: Sequence[str] = ()) -> dict[str, Path]:
    """The subfolders named after the scenes, whatever their case, in the scenes' order; hidden ones don't count."""
    names = (*SCENES, *extra)
    found = _folders(folder, {name: name for name in names})
    return {name: found[name] for name in names if name in found}


def _folders(folder: Path, names: dict[str, str]) -> dict[str, Path]:
    """What each subfolder whose name, whatever its case, is a key of `names` stands for.

    Raises:
        DatasetError: two stand for the same.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        meaning = names.get(path.name.lower())
        if meaning is None or not path.is_dir():
            continue
        if meaning in found:
            raise DatasetError(
                f"Expected one folder for {meaning} in {printable(folder)}, found {found[meaning].name} and "
                f"{path.name}. Put their images together."
            )
        found[meaning] = path
    return found


def is_junk(path: Path) -> bool:
    """Whether a file or folder is something that a system left behind, and nobody's image."""
    return path.name.startswith((".", "__", "@")) or path.name.lower() in ("thumbs.db", "desktop.ini")


def image_files(folder: Path, rejected: list[dict[str, str]]) -> list[Path]:
    """The image files in a folder, sorted by name; files of other types go to `rejected`."""
    files = []
    for path in sorted(folder.iterdir()):
        if is_junk(path):
            continue
        if path.is_dir():
            reason = "a folder; images are looked for in the folder of their scene itself"
            rejected.append({"path": str(path), "reason": reason})
        elif not path.is_file():  # reading a pipe would wait for ever
            rejected.append({"path": str(path), "reason": "a broken link or a device, not a file"})
        elif path.suffix.lower() in SUFFIXES:
            files.append(path)
        else:
            kind = path.suffix.lower()
            advice = f"; export it as JPEG: {kind} is not read" if kind in CONVERTIBLE else ""
            rejected.append({"path": str(path), "reason": f"not one of {', '.join(SUFFIXES)}{advice}"})
    return files


def _scene_rows(folder: Path, rejected: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without a split for the image files below `folder/<scene>`; other files go to `rejected`."""
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_junk(path))
    folders = scene_folders(folder)
    if len(folders) < len(SCENES) or len(found) > len(SCENES):
        raise DatasetError(
            f"Expected exactly the subfolders {', '.join(SCENES)} in {printable(folder)}, found "
            f"{', '.join(map(printable, found)) or 'none'}. Rename or move the others."
        )
    return [
        {"path": str(path), "name": printable(path.name), "scene": scene}
        for scene, place in folders.items()
        for path in image_files(place, rejected)
    ]


def check_images(
    paths: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> tuple[list[str], list[bytes]]:
    """Decodes images to prove them.

    Returns:
        Why each cannot be used, empty if it can; and the SHA-256 of each file that can.
    """
    checked = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
        for done, one in enumerate(pool.map(_reason_and_digest, paths), 1):
            checked.append(one)
            if progress:
                progress(done, len(paths))
    return [reason for reason, _ in checked], [digest for _, digest in checked]


def _reason_and_digest(path: str) -> tuple[str, bytes]:
    try:
        content = Path(path).read_bytes()
        load_image(content, 32)
    except ImageError as error:
        return str(error), b""
    except OSError as error:
        return error.strerror or type(error).__name__, b""
    return "", hashlib.sha256(content).digest()
