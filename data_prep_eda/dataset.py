"""Finds and checks the images that a run uses: which folder, which classes, which split, which files are usable."""

import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from data_prep_eda.cache import REPOSITORY, cached
from data_prep_eda.manifests import CLASSES, SPLITS
from data_prep_eda.preprocessing import SUFFIXES, ImageError, load_image
from data_prep_eda.split_rules import grouped_split, study_split, study_splits

SAMPLE = Path(__file__).parent / "sample"
PREPARED = REPOSITORY / "data"
OTHER = "other"  # the folder of images of none of the classes
VERSION = 2  # raise it when images are judged differently, so that what is cached is not used
COLUMNS = ["path", "name", "label", "split"]
KINDS = {"sample": "the embedded sample (drawn, not photographed)", "own": "your own images"}
# Images that most image programs can export as JPEG.
CONVERTIBLE = (".heic", ".heif", ".tif", ".tiff", ".gif", ".bmp", ".jp2", ".jxl", ".raw", ".dng", ".psd")
LEFT_BEHIND = ("__macosx", "__pycache__", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin")

Row = dict[str, str]


class DatasetError(ValueError):
    """A folder or file that cannot be used; the message says what was expected, found, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True)
class Dataset:
    """The images of a run.

    Attributes:
        folder: where they lie.
        class_names: the classes, as their folders are called, in Unicode's NFC and code point order.
        images: a row per image of a class: `path`, `name` (its path in the folder of its class, printable), `label`,
            `split`; sorted by label and name.
        others: the same for images of none of the classes; `label` is `other`.
        rejected: images left out: `path`, `reason`.
        notes: sentences on what a reader should know, such as labels that contradict each other.
    """

    folder: Path
    class_names: tuple[str, ...]
    images: pd.DataFrame
    others: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Number of files that were looked at: used or left out."""
        return len(self.images) + len(self.others) + len(self.rejected)

    @property
    def source(self) -> str:
        """Where the images come from: `SUN 09`, `sample` or `own`."""
        if self.folder == SAMPLE:
            return "sample"
        files = {PurePosixPath(name).name for name in self.images["name"]}
        return "SUN 09" if self.class_names == CLASSES and files <= set(study_splits()) else "own"

    @property
    def kind(self) -> str:
        """In words for printing, which images these are."""
        return KINDS.get(self.source, f"{self.source} images")

    def counts(self) -> pd.DataFrame:
        """Number of images per class (rows) and split (columns), with totals; without `others`."""
        label = pd.Categorical(self.images["label"], self.class_names)
        split = pd.Categorical(self.images["split"], SPLITS)
        table = pd.crosstab(label, split, dropna=False, margins=True, margins_name="total")
        return table.rename_axis(index=None, columns=None)

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, with a fresh index."""
        return self.images[self.images["split"] == name].reset_index(drop=True)

    def __str__(self) -> str:
        used = self.found - len(self.rejected)
        lines = [f"Images: {self.kind}, {used} used of {self.found} found", self.counts().to_string()]
        if len(self.others):
            splits = self.others["split"].value_counts()
            counted = ", ".join(f"{split} {splits.get(split, 0)}" for split in SPLITS)
            lines.append(f"Of none of these classes (folder {OTHER}): {len(self.others)} ({counted})")
        if len(self.rejected):
            lines.append(f"Left out, unusable: {len(self.rejected)}{left_out(self.rejected, self.folder)}")
        return "\n".join([*lines, *self.notes])


def left_out(rejected: pd.DataFrame, folder: Path) -> str:
    """A line for each of the first ten images left out, with the reason, and one that says how many more there are."""
    rows = zip(rejected["path"], rejected["reason"], strict=True)
    lines = [f"\n  {printable(os.path.relpath(path, folder))}: {reason}" for path, reason in rows]
    return "".join(lines[:10]) + (f"\n  and {len(lines) - 10} more" if len(lines) > 10 else "")


def resolve_data_dir(data_dir: str = "") -> Path:
    """The folder named here or in `SCENES_DATA_DIR`, or else the prepared `data/` or the sample; DatasetError if it isn't there."""
    advice = "Name a folder of class folders, or leave it empty to use the prepared data or the sample."
    named = named_folder(data_dir, "data_dir", "SCENES_DATA_DIR", advice)
    return named or (PREPARED if (PREPARED / "train").is_dir() else SAMPLE)


def named_folder(given: str, parameter: str, variable: str, advice: str) -> Path | None:
    """The folder that a parameter or else an environment variable names, None where neither does.

    A relative path may also count from the repository: Jupyter stands in notebooks/. DatasetError if it isn't there.
    """
    named = given or os.environ.get(variable, "")
    if not named:
        return None
    folder = Path(os.path.expanduser(named))
    place = next((place for place in (folder, REPOSITORY / folder) if os.path.isdir(place)), None)
    if place is None:
        by = parameter if given else f"the environment variable {variable}"
        what = "a file" if os.path.exists(folder) else "nothing"
        raise DatasetError(f"Expected a folder of images at {folder} ({by}), found {what}. {advice}")
    return place.resolve()


def load_dataset(data_dir: str = "") -> Dataset:
    """Lists the images of a folder, gives each its split, and decodes each once to prove it.

    There is a subfolder per class, with subfolders as you like, or `train`, `validation` and `test` with one per class
    in each; `other` holds images of none of the classes. Not split yet, images with SUN 09 names get the study's split,
    and others one by `grouped_split`, which keeps copies and series together. What was decided is cached.

    Raises:
        DatasetError: fewer than two classes, names that can't be labels, a class without three usable images, or
            without one in each split.
    """
    folder = resolve_data_dir(data_dir)
    splits = split_folders(folder)
    rejected = _loose(folder, "it lies in no folder of a split") if splits else {}
    rows: list[Row] = []
    labels: set[str] = set()
    for split, place in splits.items() or [("", folder)]:
        for label, class_folder in class_folders(place).items():
            labels.add(label)
            rows += image_rows(class_folder, rejected, label=label, split=split)
        rejected |= _loose(place, "it lies in no folder of a class")
    class_names = tuple(sorted(labels - {OTHER}))
    _check_spelling(class_names, folder)
    if len(class_names) < 2:
        wanted = "one subfolder for each of two or more classes"
        found = "".join(f"{name}. If the classes lie in {name}, name that" for name in class_names) or "none"
        raise DatasetError(f"Expected {wanted} in {folder}, found {found}.")
    digest = fingerprint(folder)
    rejected |= cached_reasons(f"dataset/{digest}-v{VERSION}", folder, lambda: unusable(rows))
    rows = [row for row in rows if row["path"] not in rejected]
    left = pd.DataFrame(sorted(rejected.items()), columns=["path", "reason"])
    advice = f"Add images ({', '.join(SUFFIXES)}), or move such a folder away.{left_out(left, folder)}"
    counts = Counter(row["label"] for row in rows)
    if few := [f"{counts[label]} usable {label} images" for label in class_names if counts[label] < 3]:
        raise DatasetError(f"Expected three images a class in {folder}, found {first_ten(few)}. {advice}")
    notes = [] if splits else _assign_splits(folder, digest, rows, class_names)
    in_splits = {(row["split"], row["label"]) for row in rows}
    for split, label in itertools.product(SPLITS, class_names):
        if (split, label) not in in_splits:
            raise DatasetError(f"Expected a {label} image for {split} in {folder}, found none. {advice}")
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["label", "name", "path"])
    other = table["label"] == OTHER
    images, others = table[~other].reset_index(drop=True), table[other].reset_index(drop=True)
    return Dataset(folder, class_names, images, others, left, tuple(notes))


def first_ten(items: Sequence[str]) -> str:
    """Items in a sentence, the first ten of them by name."""
    return ", ".join(items[:10]) + (f" and {len(items) - 10} more" if len(items) > 10 else "")


def printable(path: str | os.PathLike[str]) -> str:
    """A path that can be printed: file names are bytes, and not always text."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def _loose(folder: Path, reason: str) -> dict[str, str]:
    """The images that lie in a folder itself, beside the folders that are read."""
    files = (path for path in folder.iterdir() if not is_junk(path) and not path.is_dir())
    return {str(path): reason for path in files if path.suffix.lower() in (*SUFFIXES, *CONVERTIBLE)}


def _assign_splits(folder: Path, digest: str, rows: list[Row], class_names: Sequence[str]) -> list[str]:
    """Gives each row its split, see `load_dataset`; returns what a reader should know of it."""
    known = dict(study_splits()) if class_names == CLASSES else {}
    if folder == SAMPLE:
        for label in class_names:
            known |= study_split([row["name"] for row in rows if row["label"] == label])
    for row in rows:
        row["split"] = known.get(PurePosixPath(row["name"]).name, "")
    return [] if all(row["split"] for row in rows) else _group(digest, rows, class_names)


def _group(digest: str, rows: list[Row], class_names: Sequence[str]) -> list[str]:
    """Gives rows without a split one that keeps together what belongs together, also with those that have one; returns notes.

    A class that would lack a split is dealt out in ever smaller groups.
    """
    from data_prep_eda.duplicates import connected, related  # which take a second to import

    paths, labels = [row["path"] for row in rows], np.array([row["label"] for row in rows])
    pairs = cached(f"dataset/{digest}-related-v{VERSION}", lambda: related(paths, labels))
    copies = [pair for *pair, kind in pairs if kind == "copy"]
    names = [f"{row['label']}/{row['name']}" for row in rows]
    notes = [
        f"A conflict of labels, nearly the same image: {names[first]} and {names[second]}"
        for first, second in copies
        if labels[first] != labels[second]
    ]
    group = connected(len(rows), [pair[:2] for pair in pairs])
    # Apart from other classes; then copies alone, without series; then each image by itself.
    finer, depth = (group.copy(), connected(len(rows), copies), np.arange(len(rows))), Counter()
    while True:
        splits = np.array([row["split"] for row in rows], dtype="<U10")
        for position in np.flatnonzero(splits != ""):
            splits[(group == group[position]) & (splits == "")] = splits[position]
        if (free := splits == "").any():
            splits[free] = grouped_split(labels[free], group[free])
        lacking = [label for label in class_names if len(np.unique(splits[labels == label])) < len(SPLITS)]
        lacking = [label for label in lacking if depth[label] < len(finer)]
        if not lacking:
            break
        for label in lacking:
            members = labels == label
            group[members] = group.max() + 1 + finer[depth[label]][members]
            depth[label] += 1
    for row, split in zip(rows, splits.tolist(), strict=True):
        row["split"] = split
    scattered = "images that belong together are in different splits; it has little else."
    return notes + [f"{label}: {scattered}" for label in class_names if depth[label] > 1]


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders of the splits, whatever their case, none if the images are not split yet; DatasetError if they aren't three."""
    also = {"training": "train", "val": "validation", "valid": "validation"}
    splits: dict[str, Path] = {}
    inside = subfolders(folder)
    for path in inside:
        split = also.get(path.name.lower(), path.name.lower())
        if split in SPLITS and (before := splits.setdefault(split, path)) is not path:
            found = f"{before.name} and {path.name}"
            raise DatasetError(f"Expected one folder for {split} in {folder}, found {found}. Join them.")
    if len(splits) == len(SPLITS):
        return {split: splits[split] for split in SPLITS}
    if splits and len(splits) == len(inside):  # else a class is called "train"
        found = f"found only {', '.join(splits)}. Add the others, or name a folder of class folders"
        raise DatasetError(f"Expected {', '.join(SPLITS)} in {folder}, {found}.")
    return {}


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without what a system left behind."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_junk(path))


def class_folders(folder: Path) -> dict[str, Path]:
    """The subfolders by their label, in NFC; DatasetError if a name can't be one, or two differ in case or form only."""
    inside = {path.name: path for path in subfolders(folder)}
    _check_spelling(inside, folder)
    folders: dict[str, Path] = {}
    for name, path in inside.items():
        label = unicodedata.normalize("NFC", name)
        kinds = {unicodedata.category(letter) for letter in label}
        if label != label.strip() or kinds & {"Cc", "Cs", "Zl", "Zp"}:
            what = f"one line of text, without spaces around it, found {name!a} in {folder}"
            raise DatasetError(f"Expected the name of a class folder to be {what}. Rename it.")
        folders[OTHER if label_key(label) == OTHER else label] = path
    if set(map(label_key, folders)) - {OTHER} == set(CLASSES):  # the study's, whatever their case
        return {label.lower(): path for label, path in folders.items()}
    return folders


def label_key(label: str) -> str:
    """What labels share that differ in case or Unicode form only."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())


def _check_spelling(names: Iterable[str], folder: Path) -> None:
    spelled: dict[str, str] = {}
    for name in sorted(names):
        if (before := spelled.setdefault(label_key(name), name)) != name:
            wanted = f"one folder for {name} and one spelling of each class"
            found = f"{before} and {name}, which differ in case or Unicode form only"
            raise DatasetError(f"Expected {wanted} in {folder}, found {found}. Rename one, or join them.")


def cached_reasons(name: str, folder: Path, judge: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Path to the reason of each image left out, as `judge` returns it; kept in the cache with paths in the folder."""
    kept = cached(name, lambda: {os.path.relpath(path, folder): why for path, why in judge().items()})
    return {str(folder / path): reason for path, reason in kept.items()}


def fingerprint(folder: Path | None) -> str:
    """16 hex digits of the paths and contents of the images in a folder and, also linked, below; None has one too."""
    digest = hashlib.sha256()
    for path in _files(folder) if folder else ():
        if path.suffix.lower() in SUFFIXES and path.is_file():
            digest.update(os.fsencode(path.relative_to(folder)))
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError:  # it is left out of the data set
                digest.update(b"unreadable")
    return digest.hexdigest()[:16]


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """What lies below a folder, sorted, also behind links, which are not followed back up; no folders but closed ones."""
    here, above = folder.resolve(), above or tuple(parent.resolve() for parent in folder.parents)
    try:
        inside = sorted(folder.iterdir()) if here not in above else []
    except PermissionError:
        inside, above = [], (*above, here)
        yield folder
    for path in inside:
        if path.is_dir() and not is_junk(path):
            yield from _files(path, (*above, here))
        elif not is_junk(path):
            yield path


def is_junk(path: Path) -> bool:
    """Whether a file or folder is something that a system left behind."""
    return path.name.startswith(".") or path.name.lower() in LEFT_BEHIND


def image_rows(folder: Path, rejected: dict[str, str], **columns: str) -> list[Row]:
    """A row with `path`, `name` and what is given for each image file below a folder; others go to `rejected`, with a reason."""
    rows = []
    for path in _files(folder):
        suffix = path.suffix.lower()
        if path.is_dir():
            rejected[str(path)] = "a folder that may not be read"
        elif not path.is_file():  # reading a pipe would wait for ever
            rejected[str(path)] = "a broken link or a device, not a file"
        elif suffix in SUFFIXES:
            name = printable(path.relative_to(folder).as_posix())
            rows.append({"path": str(path), "name": name, **columns})
        else:
            advice = f"; export it as JPEG: {suffix} is not read" if suffix in CONVERTIBLE else ""
            rejected[str(path)] = f"not one of {', '.join(SUFFIXES)}{advice}"
    return rows


def unusable(rows: Sequence[Row]) -> dict[str, str]:
    """Path to the reason of each image that doesn't decode, or is there twice.

    A file under two labels is kept under neither, others once: what is tested may not be trained on.
    """
    reasons: dict[str, str] = {}
    same: dict[bytes, list[Row]] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
        judged = pool.map(_reason_and_digest, [row["path"] for row in rows])
        for row, (reason, digest) in zip(rows, judged, strict=True):
            if reason:
                reasons[row["path"]] = reason
            else:
                same.setdefault(digest, []).append(row)
    for twins in same.values():
        labels = " and ".join(sorted({row["label"] for row in twins}))
        kept = max(twins, key=lambda row: ("", *SPLITS).index(row.get("split", "")))
        for row in twins:
            if labels != row["label"]:
                reasons[row["path"]] = f"the same image lies under {labels}, a conflict of labels"
            elif row is not kept:
                where = f", which is in {kept['split']}" if row.get("split") != kept.get("split") else ""
                reasons[row["path"]] = f"the same image as {kept['name']}{where}"
    return reasons


def _reason_and_digest(path: str) -> tuple[str, bytes]:
    try:
        content = Path(path).read_bytes()
        load_image(content, 32)
    except ImageError as error:
        return str(error), b""
    except OSError as error:
        return error.strerror or type(error).__name__, b""
    return "", hashlib.sha256(content).digest()
