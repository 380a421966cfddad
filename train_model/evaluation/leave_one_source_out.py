"""Leave one source out: how a recipe does on images from a place that it has never seen.

Each source in turn is tested by a model that was trained on all the others, its family left out too. Tests inside one
collection share its cameras, its years and its idea of what a coast is. This one asks what matters, images from
elsewhere; that it ranks recipes more reliably is not claimed, since most of them don't differ (notebook 06).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from data_prep_eda.other_sources import families
from train_model.final_model import fit_head


def folds(
    sources: np.ndarray, trainable: np.ndarray, labels: np.ndarray, tested: np.ndarray | bool = True
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test positions for each source that is left out, and its family with it.

    Args:
        sources: name of each image's source, `[n]`.
        trainable: whether an image may be trained on, `bool [n]`.
        labels: `int [n]`, positions in the class names.
        tested: whether an image may be tested, `bool [n]`; by default all images of a source are.

    Returns:
        Source to (training positions, test positions), in order of first appearance; empty where a source has no others
        beside it, or none with two scenes to tell apart.
    """
    found = {
        name: (
            np.flatnonzero(trainable & elsewhere(sources, name)),
            np.flatnonzero(tested & (sources == name)),
        )
        for name in dict.fromkeys(sources)
    }
    return found if all(len(np.unique(labels[train])) > 1 for train, _ in found.values()) else {}


def elsewhere(sources: Sequence[str], name: str) -> np.ndarray:
    """Whether each image comes from outside a source and its family, `bool [n]`."""
    return families(sources) != families([name])[0]


def accuracy_table(
    right: np.ndarray, sources: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Accuracy per source (rows), over all its images and per class (columns); missing where a source has none.

    Args:
        right: whether each image was classified correctly, `bool [n]`.
        sources: `[n]`.
        labels: `int [n]`, positions in the class names.
    """
    names = np.array(class_names, object)
    table = pd.DataFrame({"source": sources, "label": names[labels], "right": right})
    grouped = table.groupby("source", sort=False)["right"]
    by_label = table.pivot_table("right", "source", "label", sort=False).reindex(columns=list(class_names))
    counts = {"images": grouped.size(), "accuracy": grouped.mean()}
    return pd.DataFrame(counts).join(by_label.astype(float))


def compare(
    right: Mapping[str, np.ndarray],
    sources: np.ndarray,
    reference: str,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Recipes beside a reference: mean accuracy over the sources, and the paired difference with its interval.

    The intervals hold together: with k recipes beside the reference each is a 1 - 0.05 / k interval (Bonferroni), so
    that the chance of calling any of k equal recipes different stays below 5 %.

    Args:
        right: recipe to the share of its trained heads that are right on each image, `[n]`, all on the same images.
        sources: `[n]`; each source counts the same, however many images it has.
        reference: one of the recipes.
        resamples: of the bootstrap: images are drawn within their source, all recipes' answers together.
        seed: of the draws.

    Returns:
        One row per recipe: accuracy per source, `mean`, `difference`, `low`, `high` and `significant`, which is whether
        the interval excludes 0.
    """
    names = list(right)
    by_image = pd.DataFrame({name: np.asarray(mine, float) for name, mine in right.items()})
    by_source = by_image.groupby(sources, sort=False).mean()
    table = by_source.T.assign(mean=by_source.mean()).rename_axis("recipe")
    rng, draws = np.random.default_rng(seed), np.zeros((resamples, len(names)))
    for source in by_source.index:
        part = by_image[sources == source].to_numpy()
        counts = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), resamples)
        draws += counts @ (part - part[:, [names.index(reference)]]) / len(part) / len(by_source)
    tail = 0.05 / max(1, len(names) - 1) / 2
    table["difference"] = table["mean"] - table.loc[reference, "mean"]
    table["low"], table["high"] = np.quantile(draws, [tail, 1 - tail], axis=0)
    table["significant"] = ((table["low"] > 0) | (table["high"] < 0)).astype(object)
    table.loc[reference, ["difference", "low", "high", "significant"]] = np.nan
    return table


def split_halves(
    right: Mapping[str, np.ndarray], sources: np.ndarray, splits: int = 500, seed: int = 0
) -> dict[str, float]:
    """How far the ranking of the recipes agrees with itself: rank correlations between random halves of the images.

    A yardstick for its agreement with other protocols; all of the images would agree somewhat better than halves do.

    Args:
        right: as for `compare`.
        sources: `[n]`; each is split in half, and counts the same.
        splits: how often.
        seed: of the splits.

    Returns:
        Spearman's correlation of the recipes' mean accuracies in the two halves: its `median` over the splits, and
        `low` and `high`, between which 95 % of them lie.
    """
    rng, values = np.random.default_rng(seed), np.stack([np.asarray(mine, float) for mine in right.values()])
    parts = [np.flatnonzero(sources == name) for name in dict.fromkeys(sources)]
    found = []
    for _ in range(splits):
        halves = [np.array_split(rng.permutation(part), 2) for part in parts]
        first, second = (
            np.mean([values[:, half[side]].mean(axis=1) for half in halves], axis=0) for side in (0, 1)
        )
        found.append(spearmanr(first, second).statistic)
    low, median, high = np.nanquantile(found, [0.025, 0.5, 0.975])
    return {"median": float(median), "low": float(low), "high": float(high)}


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
    """Accuracy on a left-out source against what was trained on, at equal numbers of images of each class.

    Args:
        features: `[n, features]`.
        labels: `int [n]`.
        sources: `[n]`; those of a family are one to draw from.
        left_out: from `folds`.
        l2: of the head, see `train_model.final_model.fit_head`.
        sizes: numbers of training images, as many of each class; a class's are shared equally by the families with it.
        draws: of families and images, per left-out source.
        seed: of the draws.

    Returns:
        One row per head: `left_out`, `trained_on` (the families' names), `families` (their number), `images`,
        `accuracy`. The first family drawn has all classes.
    """
    rng, rows, family, present = np.random.default_rng(seed), [], families(sources), np.unique(labels)
    for name, (train, tested) in left_out.items():
        donors = {donor: train[family[train] == donor] for donor in dict.fromkeys(family[train])}
        complete = [donor for donor in donors if len(np.unique(labels[donors[donor]])) == len(present)]
        for draw in range(draws if complete else 0):
            first = complete[draw % len(complete)]
            order = [first, *rng.permutation([donor for donor in donors if donor != first])]
            for count, size in itertools.product(range(1, len(donors) + 1), sizes):
                drawn = []
                for label in present:
                    pools = [donors[donor][labels[donors[donor]] == label] for donor in order[:count]]
                    pools = [rng.permutation(pool) for pool in pools if len(pool)]
                    drawn += [pool[: max(1, size // len(present) // len(pools))] for pool in pools]
                drawn = np.concatenate(drawn)
                kernel, bias = fit_head(features[drawn], labels[drawn], l2, labels.max() + 1)
                hits = (features[tested] @ kernel + bias).argmax(axis=1) == labels[tested]
                trained_on = " + ".join(donor for donor in donors if donor in order[:count])
                rows.append((name, trained_on, count, size, hits.mean()))
    return pd.DataFrame(rows, columns=["left_out", "trained_on", "families", "images", "accuracy"])
