"""Images from further sources beside the data set: other cameras, other years, other ideas of what a class is.

A source is a folder with a subfolder for each class that it has, and for `other`; sources lie side by side.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep_eda.dataset import (
    OTHER,
    REPOSITORY,
    SAMPLE,
    Dataset,
    DatasetError,
    Row,
    cached_reasons,
    class_folders,
    fingerprint,
    image_rows,
    label_key,
    left_out,
    named_folder,
    printable,
    subfolders,
    unusable,
)
from data_prep_eda.duplicates import copies, near_duplicates
from data_prep_eda.manifests import CLASSES

FOLDER = "other_sources"
VERSION = 5  # raise it when other copies are found, so that what is cached is not used
# Both are excerpts of one stock library: a model of the one has in effect seen the other.
FAMILIES = {"corel1k": "corel", "corel5k": "corel"}
# Copies that `copies` misses, found by looking: SUN 09 has a square of them that is off-centre, or of another size.
KNOWN_COPIES = Path(__file__).with_name("other_sources_copies.csv")
COLUMNS = ["path", "name", "source", "label", "theme"]


@dataclass(frozen=True)
class Sources:
    """The images of further sources.

    Attributes:
        folder: where they lie; None where there are none.
        class_names: those of the data set.
        images: a row per image: `path`, `name`, `source` (folder), `label` (or `other`), `theme` (of an image in
            `other`, as its folder or the start of its name says; else empty).
        rejected: what was left out: `path`, `reason`.
    """

    folder: Path | None
    class_names: tuple[str, ...]
    images: pd.DataFrame
    rejected: pd.DataFrame

    def counts(self) -> pd.DataFrame:
        """Number of images per source (rows) and label (columns)."""
        label = pd.Categorical(self.images["label"], [*self.class_names, OTHER])
        return pd.crosstab(self.images["source"], label, dropna=False).rename_axis(index=None, columns=None)

    def __str__(self) -> str:
        if self.folder is None:
            where = "data_prep_eda/README.md says where to get some"
            return f"Other sources: none. How the model does on images from elsewhere stays open ({where})."
        listed = f"Other sources: {len(self.images)} images\n{self.counts().to_string()}"
        if len(self.rejected):
            listed += f"\nLeft out: {len(self.rejected)}{left_out(self.rejected, self.folder)}"
        return listed


def find_sources(other_sources: str, dataset: Dataset) -> Path | None:
    """The folder of further sources of a data set, None where there is none.

    It is named here or in the environment variable `SCENES_OTHER_SOURCES` (DatasetError if it isn't there); or else a
    folder `other_sources` in this repository or beside the data set's, but not with the embedded sample.
    """
    advice = "Name a folder with one subfolder per source, or leave it empty."
    named = named_folder(other_sources, "other_sources", "SCENES_OTHER_SOURCES", advice)
    if named or dataset.folder == SAMPLE:
        return named
    places = (REPOSITORY / FOLDER, dataset.folder.parent / FOLDER)
    return next((place for place in places if place.is_dir() and _belongs(place, dataset)), None)


def _belongs(folder: Path, dataset: Dataset) -> bool:
    """Whether there are sources that nobody named, and they are of this data set: it has all their classes."""
    sources = subfolders(folder)
    try:
        labels = {label_key(label) for source in sources for label in class_folders(source)}
    except DatasetError:
        return True  # load_sources says what is wrong
    return bool(sources) and labels <= {*map(label_key, dataset.class_names), OTHER}


def load_sources(other_sources: str, dataset: Dataset) -> Sources:
    """Lists the images of further sources, decodes each once, and leaves out what the data set or an earlier one has too.

    Raises:
        DatasetError: a named folder does not exist, or holds no source.
    """
    folder, rows, rejected = find_sources(other_sources, dataset), [], {}
    if folder is not None:
        rows = _rows(folder, dataset.class_names, rejected)
        key = f"other_sources/{fingerprint(dataset.folder)}-{fingerprint(folder)}-v{VERSION}"
        rejected |= cached_reasons(key, folder, lambda: _judge(rows, dataset))  # half a minute
    images = pd.DataFrame([row for row in rows if row["path"] not in rejected], columns=COLUMNS)
    left = pd.DataFrame(sorted(rejected.items()), columns=["path", "reason"])
    return Sources(folder, dataset.class_names, images, left)


def all_images(dataset: Dataset, sources: Sources) -> pd.DataFrame:
    """The data set's images, in their splits, and those of the sources, all for training, in one table.

    Its columns are `path`, `name`, `source`, `label` (or `other`), `split` and `theme`.
    """
    others = dataset.others.assign(theme=[_theme(name) for name in dataset.others["name"]])
    own = pd.concat([dataset.images.assign(theme=""), others]).assign(source=dataset.source)
    table = pd.concat([own, sources.images.assign(split="train")], ignore_index=True)
    return table[["path", "name", "source", "label", "split", "theme"]]


def families(sources: Sequence[str]) -> np.ndarray:
    """The family of each source, `str [n]`: what was taken from one collection belongs together."""
    return np.array([FAMILIES.get(source, source) for source in sources], dtype=object)


def _source_folders(folder: Path, class_names: Sequence[str]) -> list[Path]:
    """The sources in a folder; a folder that is a source itself counts as the only one."""
    known, names = {*map(label_key, class_names), OTHER}, ", ".join((*class_names, OTHER))
    own = [place for label, place in class_folders(folder).items() if label_key(label) in known]
    inside = subfolders(folder)
    sources = [path for path in inside if known & set(map(label_key, class_folders(path)))]
    sources = [path for path in sources if path not in own or not image_rows(path, {})]
    if own and sources:
        found = ", ".join(path.name for path in own)
        raise DatasetError(f"Expected a source to be named otherwise than {names}, found {found}. Rename it.")
    if own:
        return [folder]
    if not sources:
        wanted = f"one subfolder per source in {folder}, with some of {names} in each"
        found = ", ".join(path.name for path in inside) or "no folders"
        raise DatasetError(f"Expected {wanted}; found {found}.")
    for path in inside:
        if path not in sources and image_rows(path, {}):
            raise DatasetError(f"Expected some of {names} in {path}, found images without. Sort them.")
    return sources


def _rows(folder: Path, class_names: tuple[str, ...], rejected: dict[str, str]) -> list[Row]:
    """The images of the sources, less what is of no class, and less an `other` that may hold a class.

    Who collected `other` knew which classes not to put there: those that the sources have folders for.
    """
    known = {label_key(name): name for name in (*class_names, OTHER)}
    folders = [
        (source.name, label_key(label), place)
        for source in _source_folders(folder, class_names)
        for label, place in class_folders(source).items()
    ]
    unknown = known.keys() - {key for _, key, _ in folders} if class_names != CLASSES else ()
    names = ", ".join(known[key] for key in sorted(unknown))
    rows = []
    for source, key, place in folders:
        if key not in known:
            rejected[str(place)] = "a folder of no class of the data set"
        elif key == OTHER and unknown:
            rejected[str(place)] = f"may hold images of {names}: no source has such a folder"
        else:
            for row in image_rows(place, rejected, source=printable(source), label=known[key]):
                theme = _theme(row["name"], row["source"]) if key == OTHER else ""
                rows.append(row | {"theme": theme})
    return rows


def _theme(name: str, source: str = "") -> str:
    """What an image of none of the classes shows, as its folder or the start of its name says."""
    if "/" in name:
        return name.split("/")[0]
    return re.sub(rf"_{re.escape(source)}.*|\.\w+$", "", name) if source else ""


def _judge(rows: list[Row], dataset: Dataset) -> dict[str, str]:
    """Path to the reason of each image that can't be read, or that the data set or the sources have already."""
    reasons = unusable(rows)
    usable = [row for row in rows if row["path"] not in reasons]
    own = pd.concat([dataset.images, dataset.others])
    of_classes = [row["path"] for row in usable if row["label"] != OTHER]
    for new, known in copies(own["path"].tolist(), of_classes).items():
        reasons[of_classes[new]] = f"shows the same as {own['name'].iloc[known]}"
    reasons |= _known_copies(usable, set(own["name"]))
    every = own.assign(source="").to_dict("records") + [row for row in usable if row["path"] not in reasons]
    paths, source = [row["path"] for row in every], [row["source"] for row in every]
    pairs = near_duplicates(paths, source)
    for first, second in zip(pairs["first"], pairs["second"], strict=True):
        if source[first] != source[second]:
            reasons.setdefault(paths[second], f"shows the same as {every[first]['name']}")
    return reasons


def _known_copies(rows: list[Row], own: set[str]) -> dict[str, str]:
    """Path to the reason of each image that is known to show what one of the data set's does."""
    same = pd.read_csv(KNOWN_COPIES, index_col=["source", "file"])["same_as"].to_dict()
    shown = {row["path"]: same.get((row["source"], row["name"])) for row in rows}
    return {path: f"shows the same as {name}" for path, name in shown.items() if name in own}
