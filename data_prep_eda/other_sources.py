"""Images from further sources beside the data set: other cameras, other years, other ideas of what a class is.

A source is a folder with a subfolder for each class that it has, and if it likes `other` for images of none of them.
Sources lie side by side in one folder. Notebooks 06 to 08 train on them and test by leaving one out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from data_prep_eda.dataset import (
    OTHER,
    REPOSITORY,
    SAMPLE,
    Dataset,
    DatasetError,
    cached,
    check_images,
    class_folders,
    decoder_digest,
    fingerprint,
    image_files,
    label_key,
    left_out,
    named_folder,
    printable,
    relative_name,
    subfolders,
)
from data_prep_eda.duplicates import NEAR_HASH, copies, near_duplicates
from data_prep_eda.manifests import CLASSES
from data_prep_eda.preprocessing import load_image

FOLDER = "other_sources"
VERSION = 4  # raise it when other copies are found, so that what is cached is not used
# Both are excerpts of one stock library: a model of the one is no stranger to the other.
FAMILIES = {"corel1k": "corel", "corel5k": "corel"}
# Copies that `copies` misses: SUN 09 has a square of them that is cut off-centre, or in another size. Found by the nearest
# features and by comparing squares of all sizes, and then by looking at each.
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
        table = pd.crosstab(self.images["source"], self.images["label"])
        columns = [*self.class_names, OTHER]
        return table.reindex(columns=columns, fill_value=0).rename_axis(index=None, columns=None)

    def __str__(self) -> str:
        if self.folder is None:
            return (
                "Other sources: none. How the model does on images from elsewhere, and on images of other things, "
                "stays open (data_prep_eda/README.md says where to get some)."
            )
        lines = [f"Other sources: {len(self.images)} images", self.counts().to_string()]
        if len(self.rejected):
            lines.append(f"Left out: {len(self.rejected)}")
            lines += left_out(self.rejected, self.folder)
        return "\n".join(lines)


def find_sources(other_sources: str, dataset: Dataset) -> Path | None:
    """The folder of further sources.

    Args:
        other_sources: a folder; or empty for the first of: the environment variable `SCENES_OTHER_SOURCES`, the
            folder `other_sources` of this repository, one beside the data set's folder. With the embedded sample
            only a folder that is named counts.
        dataset: the data set they lie beside.

    Raises:
        DatasetError: a named folder does not exist.
    """
    named = other_sources or os.environ.get("SCENES_OTHER_SOURCES", "")
    if named:
        return named_folder(
            named,
            "other_sources" if other_sources else "the environment variable SCENES_OTHER_SOURCES",
            "Name a folder with one subfolder per source, or leave it empty.",
        )
    if dataset.folder == SAMPLE:
        return None
    places = (REPOSITORY / FOLDER, dataset.folder.parent / FOLDER)
    return next((place for place in places if place.is_dir() and _belongs(place, dataset)), None)


def _belongs(folder: Path, dataset: Dataset) -> bool:
    """Whether sources that nobody named are of this data set: it has all their classes."""
    try:
        labels = {label_key(label) for source in subfolders(folder) for label in class_folders(source)}
    except DatasetError:
        return True  # load_sources says what is wrong
    return labels <= {*map(label_key, dataset.class_names), OTHER}


def load_sources(
    other_sources: str, dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> Sources:
    """Lists the images of further sources, decodes each once, and leaves copies out.

    An image that the data set or an earlier source has too, also cropped, scaled or coloured a little differently,
    is left out: it would be tested on what was trained on.

    Args:
        other_sources: see `find_sources`.
        dataset: the data set they are to be used with.
        progress: called with (done, all) while images are decoded.

    Returns:
        The sources; none where there is no such folder.

    Raises:
        DatasetError: a named folder does not exist, or holds no source.
    """
    folder, class_names = find_sources(other_sources, dataset), dataset.class_names
    if folder is None:
        return Sources(
            None, class_names, pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=["path", "reason"])
        )
    rejected: list[dict[str, str]] = []
    rows = _rows(_source_folders(folder, class_names), class_names, rejected)
    reasons = _reasons(rows, dataset, folder, progress)
    rejected += [
        {"path": row["path"], "reason": reasons[row["path"]]} for row in rows if row["path"] in reasons
    ]
    good = [row for row in rows if row["path"] not in reasons]
    images, left = pd.DataFrame(good, columns=COLUMNS), pd.DataFrame(rejected, columns=["path", "reason"])
    return Sources(folder, class_names, images, left)


def all_images(dataset: Dataset, sources: Sources) -> pd.DataFrame:
    """The data set's images and those of the sources in one table.

    Returns:
        One row per image: `path`, `name`, `source`, `label` (or `other`), `split` and `theme`. The data set keeps its
        splits; everything of the sources is for training.
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
    sources = [path for path in sources if path not in own or not image_files(path, [])]
    if own and sources:
        raise DatasetError(
            f"Expected the sources in {printable(folder)} to be named otherwise than {names}, found "
            f"{', '.join(path.name for path in own)}. Rename it, or move it into a source."
        )
    if own:
        return [folder]
    if not sources:
        raise DatasetError(
            f"Expected one subfolder per source in {printable(folder)}, each with some of the subfolders {names}; "
            f"found {', '.join(printable(path.name) for path in inside) or 'no folders'}."
        )
    for path in inside:
        if path not in sources and image_files(path, []):
            raise DatasetError(
                f"Expected some of the subfolders {names} in {printable(path)}, found images without. Sort them into "
                f"such folders, or move the source away."
            )
    return sources


def _rows(
    sources: Sequence[Path], class_names: tuple[str, ...], rejected: list[dict[str, str]]
) -> list[dict[str, str]]:
    """The images of the sources, less what is of no class, and less an `other` that may hold a class.

    Who collected `other` knew which classes not to put there: those that the sources have folders for.
    """
    known = {label_key(name): name for name in (*class_names, OTHER)}
    folders = [(source, label, place) for source in sources for label, place in class_folders(source).items()]
    unknown = (
        known.keys() - {label_key(label) for _, label, _ in folders} if class_names != CLASSES else set()
    )
    rows = []
    for source, label, place in folders:
        name = known.get(label_key(label))
        if name is None:
            rejected.append({"path": str(place), "reason": "a folder of no class of the data set"})
        elif name == OTHER and unknown:
            names = ", ".join(known[key] for key in sorted(unknown))
            rejected.append(
                {"path": str(place), "reason": f"may hold images of {names}: no source has such a folder"}
            )
        else:
            for path in image_files(place, rejected):
                file = relative_name(path, place)
                theme = _theme(file, source.name) if name == OTHER else ""
                row = {"path": str(path), "name": file, "source": printable(source.name)}
                rows.append(row | {"label": name, "theme": printable(theme)})
    return rows


def _theme(name: str, source: str = "") -> str:
    """What an image of none of the classes shows, as its folder or the start of its name says."""
    if "/" in name:
        return name.split("/")[0]
    return re.sub(rf"_{re.escape(source)}.*|\.\w+$", "", name) if source else ""


def _reasons(
    rows: list[dict[str, str]], dataset: Dataset, folder: Path, progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    """Path to the reason of each image that is left out; kept in the cache, since it takes half a minute."""
    key = f"{fingerprint(dataset.folder)}-{fingerprint(folder)}-{decoder_digest()}-v{VERSION}"

    def judge() -> dict[str, str]:
        found = _judge(rows, dataset, progress)
        return {os.path.relpath(path, folder): reason for path, reason in found.items()}

    reasons = cached(f"other_sources/{key}.json", judge)
    return {str(folder / name): reason for name, reason in reasons.items()}


def _judge(
    rows: list[dict[str, str]], dataset: Dataset, progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    paths = [row["path"] for row in rows]
    faults, digests = check_images(paths, progress)
    reasons = {path: why for path, why in zip(paths, faults, strict=True) if why}
    reasons |= _identical(
        [row for row in rows if row["path"] not in reasons], dict(zip(paths, digests, strict=True))
    )
    usable = [row for row in rows if row["path"] not in reasons]
    own = pd.concat([dataset.images, dataset.others])
    of_classes = [row["path"] for row in usable if row["label"] != OTHER]
    for new, known in copies(own["path"].tolist(), of_classes).items():
        reasons[of_classes[new]] = f"shows the same as {own['name'].iloc[known]}"
    reasons |= _known(usable, set(own["name"]))
    new = [row for row in usable if row["path"] not in reasons]
    return reasons | _repeated([*own.assign(source=None).to_dict("records"), *new])


def _known(rows: list[dict[str, str]], own: set[str]) -> dict[str, str]:
    """Path to the reason of each image that is known to show what one of the data set's does."""
    table = pd.read_csv(KNOWN_COPIES)
    same = dict(zip(zip(table["source"], table["file"], strict=True), table["same_as"], strict=True))
    found = {row["path"]: same.get((row["source"], row["name"])) for row in rows}
    return {path: f"shows the same as {name}" for path, name in found.items() if name in own}


def _identical(rows: list[dict[str, str]], digests: dict[str, bytes]) -> dict[str, str]:
    """Path to the reason of each file that is there twice; under two labels, neither can be believed."""
    same: dict[bytes, list[dict[str, str]]] = {}
    for row in rows:
        same.setdefault(digests[row["path"]], []).append(row)
    reasons = {}
    for first, *others in same.values():
        labels = sorted({row["label"] for row in (first, *others)})
        if len(labels) > 1:
            why = f"the same image lies under {' and '.join(labels)}"
            reasons |= {row["path"]: why for row in (first, *others)}
        else:
            reasons |= {row["path"]: f"shows the same as {first['name']}" for row in others}
    return reasons


def _repeated(rows: list[dict[str, str]]) -> dict[str, str]:
    """Path to the reason of each image that the data set (source None) or an earlier source has too.

    By its perceptual hash, and then in detail.
    """
    small = [Image.fromarray(load_image(row["path"], 32)).convert("L") for row in rows]
    bits = np.array([imagehash.phash(image).hash.ravel() for image in small], np.float32).reshape(-1, 64)
    distance = bits.shape[1] - bits @ bits.T - (1 - bits) @ (1 - bits).T
    source = np.array([row["source"] for row in rows])
    first, second = np.nonzero(np.triu((distance <= NEAR_HASH) & (source[:, None] != source[None]), k=1))
    candidates = np.unique(np.r_[first, second])
    pairs = near_duplicates([rows[position]["path"] for position in candidates])
    found = {}
    for one, other in zip(candidates[pairs["first"]], candidates[pairs["second"]], strict=True):
        if source[one] != source[other]:
            found.setdefault(rows[other]["path"], f"shows the same as {rows[one]['name']}")
    return found
