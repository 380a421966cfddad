"""The rules by which images are split: the original project's, by name, and one that keeps groups whole."""

import functools
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from data_prep_eda.manifests import MANIFEST, SPLITS, read_manifest

SHARE = 0.1  # of the images of a class, for validation and for test each


def study_split(names: Sequence[str]) -> dict[str, str]:
    """The original project's rule: file name to split, for the images of one class; all their names differ.

    Of the sorted names, with m = a tenth of them, rounded, and gap = n // m, every gap-th goes to validation and the one
    after it to test, m each; of fewer than three, none. Notebook 02 shows how much that is alike it puts on both sides.
    """
    ordered = sorted(names)
    splits = dict.fromkeys(ordered, "train")
    if len(ordered) >= 3:
        m = max(1, round(SHARE * len(ordered)))
        gap = len(ordered) // m
        splits |= dict.fromkeys(ordered[: m * gap : gap], "validation")
        splits |= dict.fromkeys(ordered[1 : m * gap : gap], "test")
    return splits


@functools.cache
def study_splits() -> dict[str, str]:
    """File name to split of the original project, for the 1,158 images of its data set."""
    return {row["filename"]: row["seed_split"] for row in read_manifest(MANIFEST)}


def grouped_split(labels: Sequence[str], group: Sequence[int], seed: int = 20) -> np.ndarray:
    """A leak-free rule: whole groups go to training, validation and test, about 80, 10 and 10 per cent of each class.

    Where each class has twenty groups or more, these are three of ten stratified folds. Otherwise each is dealt out by
    itself, and has at least one image in each split if it has three groups.

    Args:
        labels: label of each image.
        group: group number of each image, as of `duplicates.connected`.
        seed: which of the many possible splits.

    Returns:
        `train`, `validation` or `test` of each image, `str [n]`.
    """
    labels, group = np.asarray(labels), np.asarray(group)
    classes = np.unique(labels)
    if min(len(np.unique(group[labels == label])) for label in classes) >= 20:
        from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

        folds = StratifiedGroupKFold(n_splits=10, shuffle=True, random_state=seed)
        splits = np.full(len(labels), "train", dtype="<U10")
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # few images make uneven folds
            parts = folds.split(labels, labels, group)
            for name, (_, fold) in zip(("validation", "test"), parts, strict=False):
                splits[fold] = name
        if all(len(np.unique(splits[labels == label])) == len(SPLITS) for label in classes):
            return splits
    return _dealt(labels, group, seed)


def _dealt(labels: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """Deals the groups of one class after the other, those with the fewest groups first."""
    rng = np.random.default_rng(seed)
    splits = np.full(len(labels), "", dtype="<U10")
    for label in sorted(np.unique(labels), key=lambda label: (len(np.unique(group[labels == label])), label)):
        members = labels == label
        sizes = Counter(group[members & (splits == "")].tolist())
        left = rng.permutation(sorted(sizes)).tolist()
        target = max(1, round(SHARE * members.sum()))
        for split, later in (("test", ("validation", "train")), ("validation", ("train",))):
            reserved = sum(not (members & (splits == name)).any() for name in later)
            while (count := (members & (splits == split)).sum()) < target and len(left) > reserved:
                fits = [number for number in left if sizes[number] <= target - count]
                if not fits and count:
                    break
                chosen = fits[0] if fits else min(left, key=sizes.__getitem__)
                left.remove(chosen)
                splits[group == chosen] = split
        splits[members & (splits == "")] = "train"
    return splits
