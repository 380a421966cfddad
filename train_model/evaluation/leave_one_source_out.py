"""Leave one source out: how a recipe does on images from a place that it has never seen.

Each source in turn is tested by a model that was trained on all the others. Tests inside one collection share its
cameras, its years and its idea of what a coast is; they ranked recipes in the wrong order (notebook 06).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from data_prep_eda.preprocessing import SCENES
from train_model.final_model import fit_head
from train_model.metrics import paired_difference


def folds(
    sources: np.ndarray, trainable: np.ndarray, labels: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test positions for each source that is left out.

    Args:
        sources: name of each image's source, `[n]`.
        trainable: whether an image may be trained on, `bool [n]`; all images of a source are tested.
        labels: `int [n]`, positions in `SCENES`.

    Returns:
        Source to (training positions, test positions), in order of first appearance; empty where a source has no others
        beside it, or none with two scenes to tell apart.
    """
    found = {
        name: (np.flatnonzero(trainable & (sources != name)), np.flatnonzero(sources == name))
        for name in dict.fromkeys(sources)
    }
    return found if all(len(np.unique(labels[train])) > 1 for train, _ in found.values()) else {}


def accuracy_table(right: np.ndarray, sources: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Accuracy per source (rows), over all its images and per scene (columns); missing where a source has none.

    Args:
        right: whether each image was classified correctly, `bool [n]`.
        sources: `[n]`.
        labels: `int [n]`, positions in `SCENES`.
    """
    table = pd.DataFrame({"source": sources, "scene": np.array(SCENES)[labels], "right": right})
    grouped = table.groupby("source", sort=False)["right"]
    scenes = table.pivot_table("right", "source", "scene", sort=False).reindex(columns=list(SCENES))
    counts = {"images": grouped.size(), "accuracy": grouped.mean()}
    return pd.DataFrame(counts).join(scenes.astype(float))


def compare(right: Mapping[str, np.ndarray], sources: np.ndarray, reference: str) -> pd.DataFrame:
    """Recipes beside a reference: mean accuracy over the sources, and the paired difference with its interval.

    Args:
        right: recipe to whether each image was classified correctly, `bool [n]`, all on the same images.
        sources: `[n]`; each source counts the same, however many images it has.
        reference: one of the recipes.

    Returns:
        One row per recipe: accuracy per source, `mean`, `difference`, `low`, `high` and `significant`.
    """
    rows = {}
    for name, mine in right.items():
        by_source = pd.Series(mine).groupby(sources, sort=False).mean()
        rows[name] = by_source.to_dict() | {"mean": by_source.mean()}
        if name != reference:
            gap = paired_difference(mine, right[reference], sources)
            rows[name] |= {"difference": gap.value, "low": gap.low, "high": gap.high}
            rows[name] |= {"significant": gap.significant}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")


def variety_curve(
    features: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray,
    left_out: Mapping[str, tuple[np.ndarray, np.ndarray]],
    l2: float,
    sizes: tuple[int, ...] = (60, 240),
    draws: int = 24,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy on a left-out source against the number of sources trained on, at equal numbers of images of each scene.

    Args:
        features: `[n, features]`.
        labels: `int [n]`.
        sources: `[n]`.
        left_out: from `folds`.
        l2: of the head, see `train_model.final_model.fit_head`.
        sizes: numbers of training images, a third per scene; a scene's are shared equally by the sources that have it.
        draws: of sources and images, per left-out source.
        seed: of the draws.

    Returns:
        One row per head: `left_out`, `sources`, `images`, `accuracy`. The first source drawn has all scenes.
    """
    rng, rows = np.random.default_rng(seed), []
    for name, (train, tested) in left_out.items():
        donors = {donor: train[sources[train] == donor] for donor in dict.fromkeys(sources[train])}
        complete = [
            donor for donor, members in donors.items() if len(np.unique(labels[members])) == len(SCENES)
        ]
        for draw in range(draws if complete else 0):
            first = complete[draw % len(complete)]
            order = [first, *rng.permutation([donor for donor in donors if donor != first])]
            for count, size in itertools.product(range(1, len(donors) + 1), sizes):
                part = []
                for scene in range(len(SCENES)):
                    mine = [donors[donor][labels[donors[donor]] == scene] for donor in order[:count]]
                    mine = [rng.permutation(images) for images in mine if len(images)]
                    part += [images[: size // len(SCENES) // len(mine)] for images in mine]
                part = np.concatenate(part)
                kernel, bias = fit_head(features[part], labels[part], l2)
                hits = (features[tested] @ kernel + bias).argmax(axis=1) == labels[tested]
                rows.append({"left_out": name, "sources": count, "images": size, "accuracy": hits.mean()})
    return pd.DataFrame(rows, columns=["left_out", "sources", "images", "accuracy"])
