"""Finds and checks the images that a run uses: which folder, which classes, which split, which files are usable."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep_eda.files import write_json
from data_prep_eda.manifests import CLASSES, MANIFEST, SPLITS, read_manifest
from data_prep_eda.preprocessing import SUFFIXES, ImageError, load_image

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = Path(__file__).parent / "sample"
PREPARED = REPOSITORY / "data"
# What can be computed again.
CACHE = Path(os.environ.get("SCENES_CACHE_DIR") or REPOSITORY / ".cache").expanduser()
OTHER = "other"  # the folder of images of none of the classes
VERSION = 1  # raise it when images are judged differently, so that what is cached is not used
COLUMNS = ["path", "name", "label", "split"]
KINDS = {
    "SUN 09": "SUN 09 images",
    "sample": "the embedded sample (drawn, not photographed)",
    "own": "your own images",
}
# Images that are not read here, but that most image programs can export.
CONVERTIBLE = (".heic", ".heif", ".tif", ".tiff", ".gif", ".bmp", ".jp2", ".jxl", ".raw", ".dng", ".psd")
LEFT_BEHIND = ("__macosx", "__pycache__", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin")


class DatasetError(ValueError):
    """A data folder that cannot be used; the message says what was expected, found, and what to do."""


@dataclass(frozen=True)
class Dataset:
    """The images of a run.

    Attributes:
        folder: where they lie.
        class_names: the classes, as their folders are called, in Unicode's NFC and code point order.
        images: a row per image of a class: `path` (str), `name` (its path in the folder of its class, printable),
            `label`, `split`; sorted by label and name.
        others: the same columns for images of none of the classes; `label` is `other`.
        rejected: images left out: `path`, `reason`.
        found: number of files that were looked at: used or left out.
        notes: sentences on what a reader should know, such as labels that contradict each other.
    """

    folder: Path
    class_names: tuple[str, ...]
    images: pd.DataFrame
    others: pd.DataFrame
    rejected: pd.DataFrame
    found: int
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where the images come from: `SUN 09`, `sample` or `own`."""
        if self.folder == SAMPLE:
            return "sample"
        study = self.class_names == CLASSES and {_file_name(name) for name in self.images["name"]} <= set(
            study_splits()
        )
        return "SUN 09" if study else "own"

    @property
    def kind(self) -> str:
        """In words for printing, which images these are."""
        return KINDS[self.source]

    def counts(self) -> pd.DataFrame:
        """Number of images per class (rows) and split (columns), with totals; without `others`."""
        table = pd.crosstab(self.images["label"], self.images["split"])
        table = table.reindex(index=list(self.class_names), columns=list(SPLITS), fill_value=0)
        table = pd.concat([table, table.sum().to_frame("total").T])
        return table.assign(total=table.sum(axis=1)).rename_axis(index=None, columns=None)

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, with a fresh index."""
        return self.images[self.images["split"] == name].reset_index(drop=True)

    def __str__(self) -> str:
        used = len(self.images) + len(self.others)
        lines = [f"Images: {self.kind}, {used} used of {self.found} found", self.counts().to_string()]
        if len(self.others):
            splits = self.others["split"].value_counts()
            listed = ", ".join(f"{split} {splits.get(split, 0)}" for split in SPLITS)
            lines.append(f"Of none of these classes (folder {OTHER}): {len(self.others)} ({listed})")
        if len(self.rejected):
            lines.append(f"Left out, unusable: {len(self.rejected)}")
            lines += left_out(self.rejected, self.folder)
        return "\n".join([*lines, *self.notes])


def left_out(rejected: pd.DataFrame, folder: Path, most: int = 10) -> list[str]:
    """Lines that name the first images left out, with the reason, and say how many more there are."""
    lines = [
        f"  {printable(os.path.relpath(row.path, folder))}: {row.reason}"
        for row in rejected.head(most).itertuples()
    ]
    return [*lines, f"  and {len(rejected) - most} more"] if len(rejected) > most else lines


def study_split(names: Sequence[str]) -> dict[str, str]:
    """The original project's rule, for the images of one class.

    The names are sorted; with m = a tenth of them, rounded, and gap = n // m, every gap-th image goes
    to validation and the one after it to test, m each. Neighbouring names are often neighbouring shots, so
    the rule puts much of what is alike on both sides (see notebook 02).

    Args:
        names: file names of one class, all different.

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
    return {row["filename"]: row["seed_split"] for row in read_manifest(MANIFEST)}


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
            "Name a folder with one subfolder per class; or leave it empty to use the prepared data or the "
            "embedded sample.",
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

    Two layouts are read: one subfolder per class, or `train`, `validation` and `test` with one subfolder per
    class in each. Subfolders of a class belong to it. A subfolder `other` holds images of none of the classes. In
    the first layout, images with SUN 09 names get the study's split by name, also when some are missing; others are
    split by `grouping.grouped_split`, which keeps copies and series together. What was decided is kept in
    the cache under the folder's fingerprint.

    Args:
        data_dir: see `resolve_data_dir`.
        check: decode every image; those that fail are left out and listed in `rejected`. Without it, what the
            cache knows counts, and nothing is decoded.
        progress: called with (done, all) while images are decoded.

    Returns:
        The data set.

    Raises:
        DatasetError: fewer than two classes, names that can't be labels, a class without three usable images, or
            without one in each split.
    """
    folder = resolve_data_dir(data_dir)
    rejected: list[dict[str, str]] = []
    splits = split_folders(folder)
    rows: list[dict[str, str]] = []
    labels: dict[str, None] = {}
    for split, place in splits.items() or [("", folder)]:
        for label, class_folder in class_folders(place).items():
            labels[label] = None
            rows += [
                {"path": str(path), "name": relative_name(path, class_folder), "label": label, "split": split}
                for path in image_files(class_folder, rejected)
            ]
        _loose(place, "it lies in no folder of a class", rejected)
    if splits:
        _loose(folder, "it lies in no folder of a split", rejected)
    class_names = _class_names(folder, list(labels))
    digest = fingerprint(folder)
    reasons = _verdict(folder, digest, rows, check, progress)
    rejected += [
        {"path": row["path"], "reason": reason} for row, reason in zip(rows, reasons, strict=True) if reason
    ]
    rows = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
    unusable = pd.DataFrame(rejected, columns=["path", "reason"]).sort_values("path", ignore_index=True)
    listed = "".join(f"\n{line}" for line in left_out(unusable, folder))
    counts = Counter(row["label"] for row in rows)
    if few := [f"{counts[label]} usable {label} images" for label in class_names if counts[label] < 3]:
        more = f" and {len(few) - 10} more such classes" if len(few) > 10 else ""
        raise DatasetError(
            f"Expected three or more images of each class ({', '.join(SUFFIXES)}) in {printable(folder)}, "
            f"found {', '.join(few[:10])}{more}. Add images, or move such a folder away.{listed}"
        )
    notes = [] if splits else _assign_splits(folder, digest, rows, class_names)
    in_splits = Counter((row["split"], row["label"]) for row in rows)
    for split, label in itertools.product(SPLITS, class_names):
        if not in_splits[split, label]:
            raise DatasetError(
                f"Expected at least one usable {label} image in the {split} split of {printable(folder)}, "
                f"found none. Each class needs three or more ({', '.join(SUFFIXES)}).{listed}"
            )
    images = pd.DataFrame(rows, columns=COLUMNS).sort_values(["label", "name", "path"], ignore_index=True)
    other = images["label"] == OTHER
    return Dataset(
        folder,
        class_names,
        images[~other].reset_index(drop=True),
        images[other].reset_index(drop=True),
        unusable,
        len(rows) + len(rejected),
        tuple(notes),
    )


def printable(path: str | os.PathLike[str]) -> str:
    """A path that can be printed: file names are bytes, and not always text."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def _file_name(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def relative_name(path: Path, folder: Path) -> str:
    """The path of a file in a folder, printable."""
    return printable(path.relative_to(folder).as_posix())


def _loose(folder: Path, reason: str, rejected: list[dict[str, str]]) -> None:
    """Puts the images that lie in a folder itself, beside the folders that are read, to `rejected`."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (*SUFFIXES, *CONVERTIBLE) and not is_junk(path) and not path.is_dir():
            rejected.append({"path": str(path), "reason": reason})


def _assign_splits(
    folder: Path, digest: str, rows: list[dict[str, str]], class_names: tuple[str, ...]
) -> list[str]:
    """Gives each row its split, see `load_dataset`; returns what a reader should know of it."""
    known = dict(study_splits()) if class_names == CLASSES else {}
    if folder == SAMPLE:
        for label in class_names:
            known |= study_split([row["name"] for row in rows if row["label"] == label])
    fixed = [known.get(_file_name(row["name"]), "") for row in rows]
    splits, notes = (fixed, []) if all(fixed) else _grouped(digest, rows, fixed, class_names)
    for row, split in zip(rows, splits, strict=True):
        row["split"] = split
    return notes


def _grouped(
    digest: str, rows: list[dict[str, str]], fixed: list[str], class_names: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Splits that keep together what belongs together, and notes.

    Splits that are `fixed` stay, and what belongs to such an image goes where it is.
    """
    from data_prep_eda.duplicates import connected, related  # which take a second to import
    from data_prep_eda.grouping import grouped_split

    paths, labels = [row["path"] for row in rows], np.array([row["label"] for row in rows])
    name = f"dataset/{digest}-{decoder_digest()}-related-v{VERSION}.json"
    pairs = cached(name, lambda: related(paths, labels))
    notes = [
        "A conflict of labels, nearly the same image: "
        + " and ".join(f"{rows[position]['label']}/{rows[position]['name']}" for position in pair)
        for *pair, kind in pairs
        if kind == "copy" and labels[pair[0]] != labels[pair[1]]
    ]
    group = connected(len(rows), [pair[:2] for pair in pairs])
    copies = connected(len(rows), [pair[:2] for pair in pairs if pair[2] == "copy"])
    for finer in (copies, np.arange(len(rows))):
        for label in class_names:
            members = labels == label
            if len(np.unique(group[members])) < len(SPLITS):
                notes.append(
                    f"{label}: images that belong together are in different splits; it has little else."
                )
                group[members] = group.max() + 1 + finer[members]
    splits = np.array(fixed, dtype="<U10")
    for position in np.flatnonzero(splits != ""):
        splits[(group == group[position]) & (splits == "")] = fixed[position]
    free = splits == ""
    for _ in class_names if free.any() else ():
        splits[free] = grouped_split(labels[free], group[free])
        lacking = [label for label in class_names if len(np.unique(splits[labels == label])) < len(SPLITS)]
        for label in lacking:  # what it shares with other classes took all of it to their splits
            own = free & (labels == label)
            few = len(np.unique(group[own])) < len(SPLITS)
            group[own] = group.max() + 1 + (np.arange(own.sum()) if few else group[own])
        if not lacking:
            break
    return splits.tolist(), list(dict.fromkeys(notes))


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders of the splits, whatever their case; none if the images are not split yet.

    Raises:
        DatasetError: two stand for one split, or only some of the splits are there.
    """
    names = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
    names |= {"validation": "validation", "test": "test"}
    splits: dict[str, Path] = {}
    for path in subfolders(folder):
        meaning = names.get(path.name.lower())
        if meaning in splits:
            raise DatasetError(
                f"Expected one folder for {meaning} in {printable(folder)}, found {splits[meaning].name} and "
                f"{path.name}. Put their images together."
            )
        if meaning:
            splits[meaning] = path
    if len(splits) == len(SPLITS):
        return {split: splits[split] for split in SPLITS}
    if splits and len(splits) == len(subfolders(folder)):  # else a class is called "train"
        raise DatasetError(
            f"Expected {', '.join(SPLITS)} in {printable(folder)}, found only {', '.join(splits)}. Add what is "
            f"missing, or name a folder with one subfolder per class; it is then split here."
        )
    return {}


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without what a system left behind."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_junk(path))


def class_folders(folder: Path) -> dict[str, Path]:
    """The subfolders by the label that they stand for, in NFC; `other` whatever its case.

    Raises:
        DatasetError: a name can't be a label, or two differ in case or Unicode form only.
    """
    folders: dict[str, Path] = {}
    spelled: dict[str, Path] = {}
    for path in subfolders(folder):
        label = unicodedata.normalize("NFC", path.name)
        if (before := spelled.setdefault(label_key(label), path)) is not path:
            raise DatasetError(
                f"Expected one folder for {printable(label)} in {printable(folder)}, found "
                f"{printable(before.name)} and {printable(path.name)}, which differ in case or Unicode form only. "
                f"Put their images together, or rename one."
            )
        kinds = {unicodedata.category(letter) for letter in label}
        if label != label.strip() or kinds & {"Cc", "Cs", "Zl", "Zp"}:
            raise DatasetError(
                f"Expected the name of a class folder to be one line of text, without spaces around it, found "
                f"{path.name!a} in {printable(folder)}. Rename it."
            )
        folders[OTHER if label_key(label) == OTHER else label] = path
    if spelled.keys() - {OTHER} == set(CLASSES):  # the study's, whatever their case
        return {label.lower(): path for label, path in folders.items()}
    return folders


def label_key(label: str) -> str:
    """What labels share that differ in case or Unicode form only."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())


def _class_names(folder: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """The classes among the labels, in order."""
    names = tuple(sorted(set(labels) - {OTHER}))
    spelled: dict[str, str] = {}
    for name in names:
        if (before := spelled.setdefault(label_key(name), name)) != name:
            raise DatasetError(
                f"Expected one spelling of each class in the splits of {printable(folder)}, found {before} and "
                f"{name}. Rename one."
            )
    if len(names) < 2:
        inside = f" If the classes lie in {names[0]}, name that." if names else ""
        raise DatasetError(
            f"Expected one subfolder for each of two or more classes in {printable(folder)}, found "
            f"{', '.join(names) or 'none'}. Name a folder of such subfolders.{inside}"
        )
    return names


def cached(name: str, make: Callable[[], Any]) -> Any:
    """What `make` returned when it was first called, kept as JSON in the cache.

    A cache that can't be written, or a damaged one, only costs time.
    """
    path = CACHE / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = make()
    with contextlib.suppress(OSError):
        write_json(path, content)
    return content


@functools.cache
def decoder_digest() -> str:
    """Tells one version of the code that decodes images from another, in 8 hex digits."""
    code = [Path(__file__).with_name(name).read_bytes() for name in ("preprocessing.py", "image_checks.py")]
    return hashlib.sha256(b"".join(code)).hexdigest()[:8]


def _verdict(
    folder: Path,
    digest: str,
    rows: list[dict[str, str]],
    check: bool,
    progress: Callable[[int, int], None] | None,
) -> list[str]:
    """Why each image is left out, empty if it isn't; images are decoded once per fingerprint."""
    name = f"dataset/{digest}-{decoder_digest()}-v{VERSION}.json"
    if not check and not (CACHE / name).is_file():
        return [""] * len(rows)
    reasons = cached(name, lambda: _judge(folder, rows, progress))
    return [reasons.get(os.path.relpath(row["path"], folder), "") for row in rows]


def _judge(
    folder: Path, rows: list[dict[str, str]], progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    """Path in the folder to the reason of each image that is left out: it doesn't decode, or is there twice.

    The same file under two labels says that it is both, so neither is kept. The same file in two splits, or twice,
    is kept once, where it is tested if it is tested anywhere: what is tested may not be trained on.
    """
    reasons, digests = check_images([row["path"] for row in rows], progress)
    same: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        if not reasons[position]:
            same.setdefault(digest, []).append(position)
    for positions in same.values():
        labels = sorted({rows[position]["label"] for position in positions})
        first = min(positions, key=lambda p: (-(*("", *SPLITS),).index(rows[p]["split"]), rows[p]["path"]))
        for position in positions:
            if len(labels) > 1:
                reasons[position] = f"the same image lies under {' and '.join(labels)}, a conflict of labels"
            elif position != first:
                reasons[position] = f"the same image as {rows[first]['name']}"
                if rows[position]["split"] != rows[first]["split"]:
                    reasons[position] += f", which is in {rows[first]['split']}"
    paths = [os.path.relpath(row["path"], folder) for row in rows]
    return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


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


def is_junk(path: Path) -> bool:
    """Whether a file or folder is something that a system left behind, and nobody's image."""
    return path.name.startswith(".") or path.name.lower() in LEFT_BEHIND


def image_files(folder: Path, rejected: list[dict[str, str]], above: tuple[Path, ...] = ()) -> list[Path]:
    """The image files below a folder, sorted; files of other types go to `rejected`."""
    files: list[Path] = []
    here, above = folder.resolve(), above or tuple(parent.resolve() for parent in folder.parents)
    for path in sorted(folder.iterdir()) if here not in above else ():  # a link may lead back up
        suffix = path.suffix.lower()
        if is_junk(path):
            continue
        if path.is_dir():
            files += image_files(path, rejected, (*above, here))
        elif not path.is_file():  # reading a pipe would wait for ever
            rejected.append({"path": str(path), "reason": "a broken link or a device, not a file"})
        elif suffix in SUFFIXES:
            files.append(path)
        else:
            advice = f"; export it as JPEG: {suffix} is not read" if suffix in CONVERTIBLE else ""
            rejected.append({"path": str(path), "reason": f"not one of {', '.join(SUFFIXES)}{advice}"})
    return files


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
