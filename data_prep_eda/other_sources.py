"""Images from further sources beside the data set: other cameras, other years, other ideas of what a coast is.

A source is a folder with subfolders `coast`, `forest` and `mountain`, any of them, and if it likes `other` for images
of anything else. Sources lie side by side in one folder. Notebooks 06 to 08 train on them and test by leaving one out.
"""

from __future__ import annotations

import contextlib
import json
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
    CACHE,
    REPOSITORY,
    SAMPLE,
    Dataset,
    DatasetError,
    check_images,
    fingerprint,
    image_files,
    is_junk,
    named_folder,
    printable,
    scene_folders,
)
from data_prep_eda.duplicates import NEAR_HASH, copies, near_duplicates
from data_prep_eda.files import write_json
from data_prep_eda.preprocessing import SCENES, SUFFIXES, load_image

FOLDER = "other_sources"
OTHER = "other"
VERSION = 3  # raise it when other copies are found, so that what is cached is not used
# Both are excerpts of one stock library: a model of the one is no stranger to the other.
FAMILIES = {"corel1k": "corel", "corel5k": "corel"}
# Copies that `copies` misses: SUN 09 has a square of them that is cut off-centre, or in another size. Found by the nearest
# features and by comparing squares of all sizes, and then by looking at each.
KNOWN_COPIES = Path(__file__).with_name("other_sources_copies.csv")
COLUMNS = ["path", "name", "source", "scene", "theme"]


@dataclass(frozen=True)
class Sources:
    """The images of further sources.

    Attributes:
        folder: where they lie; None where there are none.
        images: one row per image: `path`, `name`, `source` (folder), `scene` (or `other`), `theme` (of an image in
            `other`, as the start of its name tells; else empty).
        rejected: images left out: `path`, `reason`.
    """

    folder: Path | None
    images: pd.DataFrame
    rejected: pd.DataFrame

    def counts(self) -> pd.DataFrame:
        """Number of images per source (rows) and scene (columns)."""
        table = pd.crosstab(self.images["source"], self.images["scene"])
        return table.reindex(columns=[*SCENES, OTHER], fill_value=0).rename_axis(index=None, columns=None)

    def __str__(self) -> str:
        if self.folder is None:
            return (
                "Other sources: none. How the model does on images from elsewhere, and on images of other things, "
                "stays open (data_prep_eda/README.md says where to get some)."
            )
        lines = [f"Other sources: {len(self.images)} images", str(self.counts())]
        if len(self.rejected):
            lines.append(f"Left out: {len(self.rejected)}")
            lines += [
                f"  {printable(os.path.relpath(row.path, self.folder))}: {row.reason}"
                for row in self.rejected.head(10).itertuples()
            ]
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
    return next((place for place in places if place.is_dir()), None)


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
    folder = find_sources(other_sources, dataset)
    if folder is None:
        return Sources(None, pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=["path", "reason"]))
    rejected: list[dict[str, str]] = []
    rows = [row for source in _source_folders(folder) for row in _rows(source, rejected)]
    reasons = _reasons(rows, dataset, folder, progress)
    rejected += [
        {"path": row["path"], "reason": reasons[row["path"]]} for row in rows if row["path"] in reasons
    ]
    good = [row for row in rows if row["path"] not in reasons]
    return Sources(
        folder, pd.DataFrame(good, columns=COLUMNS), pd.DataFrame(rejected, columns=["path", "reason"])
    )


def all_images(dataset: Dataset, sources: Sources) -> pd.DataFrame:
    """The data set's images and those of the sources in one table.

    Returns:
        One row per image: `path`, `name`, `source`, `scene` (or `other`), `split` and `theme`. The data set keeps its
        splits; everything of the sources is for training.
    """
    own = dataset.images.assign(source=dataset.source, theme="")
    table = pd.concat([own, sources.images.assign(split="train")], ignore_index=True)
    return table[["path", "name", "source", "scene", "split", "theme"]]


def families(sources: Sequence[str]) -> np.ndarray:
    """The family of each source, `str [n]`: what was taken from one collection belongs together."""
    return np.array([FAMILIES.get(source, source) for source in sources], dtype=object)


def _source_folders(folder: Path) -> list[Path]:
    """The sources in a folder; a folder that is a source itself counts as the only one."""
    own = list(scene_folders(folder, extra=(OTHER,)).values())
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not is_junk(path))
    found = [path for path in inside if scene_folders(path, extra=(OTHER,))]
    found = [path for path in found if path not in own or not image_files(path, [])]
    if own and found:
        raise DatasetError(
            f"Expected the sources in {printable(folder)} to be named otherwise than {', '.join((*SCENES, OTHER))}, "
            f"found {', '.join(path.name for path in own)}. Rename it, or move it into a source."
        )
    if own:
        return [folder]
    if not found:
        raise DatasetError(
            f"Expected one subfolder per source in {printable(folder)}, each with some of the subfolders "
            f"{', '.join((*SCENES, OTHER))}; found {', '.join(printable(path.name) for path in inside) or 'no folders'}."
        )
    for path in inside:
        if path not in found and any(file.suffix.lower() in SUFFIXES for file in path.rglob("*")):
            raise DatasetError(
                f"Expected some of the subfolders {', '.join((*SCENES, OTHER))} in {printable(path)}, found images "
                f"without. Sort them into such folders, or move the source away."
            )
    return found


def _rows(source: Path, rejected: list[dict[str, str]]) -> list[dict[str, str]]:
    rows = []
    for scene, place in scene_folders(source, extra=(OTHER,)).items():
        for path in image_files(place, rejected):
            theme = re.sub(rf"_{re.escape(source.name)}.*|\.\w+$", "", path.name) if scene == OTHER else ""
            row = {"path": str(path), "name": printable(path.name), "source": printable(source.name)}
            rows.append(row | {"scene": scene, "theme": printable(theme)})
    return rows


def _reasons(
    rows: list[dict[str, str]], dataset: Dataset, folder: Path, progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    """Path to the reason of each image that is left out; kept in the cache, since it takes half a minute."""
    key = f"{fingerprint(dataset.folder)}-{fingerprint(folder)}-v{VERSION}"
    kept = CACHE / "other_sources" / f"{key}.json"
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        return {str(folder / name): reason for name, reason in found.items()}
    except (OSError, ValueError):
        pass  # not there yet, or damaged
    paths = [row["path"] for row in rows]
    faults, digests = check_images(paths, progress)
    reasons = {path: why for path, why in zip(paths, faults, strict=True) if why}
    reasons |= _identical(
        [row for row in rows if row["path"] not in reasons], dict(zip(paths, digests, strict=True))
    )
    usable = [row for row in rows if row["path"] not in reasons]
    own = dataset.images["path"].tolist()
    scenes = [row["path"] for row in usable if row["scene"] != OTHER]
    for new, known in copies(own, scenes).items():
        reasons[scenes[new]] = f"shows the same as {printable(Path(own[known]).name)}"
    reasons |= _known(usable, set(dataset.images["name"]))
    new = [row for row in usable if row["path"] not in reasons]
    reasons |= _repeated([*dataset.images.assign(source=None).to_dict("records"), *new])
    with contextlib.suppress(OSError):  # without a cache it only takes longer the next time
        names = {os.path.relpath(path, folder): reason for path, reason in reasons.items()}
        write_json(kept, names)
    return reasons


def _known(rows: list[dict[str, str]], own: set[str]) -> dict[str, str]:
    """Path to the reason of each image that is known to show what one of the data set's does."""
    table = pd.read_csv(KNOWN_COPIES)
    same = dict(zip(zip(table["source"], table["file"], strict=True), table["same_as"], strict=True))
    found = {row["path"]: same.get((row["source"], row["name"])) for row in rows}
    return {path: f"shows the same as {name}" for path, name in found.items() if name in own}


def _identical(rows: list[dict[str, str]], digests: dict[str, bytes]) -> dict[str, str]:
    """Path to the reason of each file that is there twice; under two scenes, neither can be believed."""
    same: dict[bytes, list[dict[str, str]]] = {}
    for row in rows:
        same.setdefault(digests[row["path"]], []).append(row)
    reasons = {}
    for first, *others in same.values():
        scenes = sorted({row["scene"] for row in (first, *others)})
        if len(scenes) > 1:
            why = f"the same image lies under {' and '.join(scenes)}"
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
