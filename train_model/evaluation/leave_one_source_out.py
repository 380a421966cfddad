"""Leave one source out: how a recipe does on images from a place that it has never seen.

Each source in turn is tested by a model that was trained on all the others, its family left out too. Tests inside one
collection share its cameras, its years and its idea of what a coast is. This one asks what matters, images from
elsewhere; that it ranks recipes more reliably is not claimed, since most of them don't differ (notebook 11).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from data_prep_eda.other_sources import families
from train_model.final_model import fit_head

TEST = "test images"  # what takes a source's place where none can be left out


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
        Source to (training positions, test positions), in order of first appearance; a source is tested on the classes
        that the others have too. Empty where a source has no others beside it, or none with two classes.
    """
    left_out = {}
    for name in dict.fromkeys(sources):
        train = np.flatnonzero(trainable & elsewhere(sources, name))
        if len(np.unique(labels[train])) < 2:
            return {}
        left_out[name] = (train, np.flatnonzero(tested & (sources == name) & np.isin(labels, labels[train])))
    return left_out


def left_out_or_test(images: pd.DataFrame, labels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a choice is tested on: sources left out, or else the data set's test images.

    Where no source can be left out, a sentence says so, and what the result is worth.

    Args:
        images: a row per image of the classes: `source` and `split`; test images have no part in a source left out.
        labels: `int [n]`, positions in the class names.

    Returns:
        Name to training and test positions; see `folds`.
    """
    splits, sources = images["split"].to_numpy(), images["source"].to_numpy()
    left_out = folds(sources, splits == "train", labels, tested=splits != "test")
    if left_out:
        return left_out
    print(
        "No source can be left out, since the others could not train a model. The test images take its place: "
        f"{(splits == 'test').sum()} images like those trained on, which show nothing about images from elsewhere."
    )
    return {TEST: (np.flatnonzero(splits == "train"), np.flatnonzero(splits == "test"))}


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
    by_image = pd.DataFrame({name: np.asarray(shares, float) for name, shares in right.items()})
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


def variety_curve(
    features: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray,
    left_out: Mapping[str, tuple[np.ndarray, np.ndarray]],
    l2: float,
    sizes: tuple[int, ...] = (20, 80),
    draws: int = 12,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy against what was trained on, at equal numbers of images of each class.

    Args:
        features: `[n, features]`.
        labels: `int [n]`.
        sources: `[n]`; those of a family are one to draw from.
        left_out: name to training and test positions, from `left_out_or_test`.
        l2: of the head, see `train_model.final_model.fit_head`.
        sizes: images of each class, shared equally by the families that have it; fewer where no family has as many.
        draws: of families and images, per test.
        seed: of the draws.

    Returns:
        One row per head: `left_out`, `trained_on` (the families' names: one that has all classes, or all of them),
        `per_class`, `accuracy`. Families with too few images of a class that they have are left out.
    """
    rng, rows, family, present = np.random.default_rng(seed), [], families(sources), np.unique(labels)
    for name, (train, tested) in left_out.items():
        donors = {donor: train[family[train] == donor] for donor in dict.fromkeys(family[train])}
        least = {
            donor: np.unique(labels[members], return_counts=True)[1].min()
            for donor, members in donors.items()
        }
        complete = [donor for donor in donors if len(np.unique(labels[donors[donor]])) == len(present)]
        if not complete:
            continue
        most = min(max(sizes), max(least[donor] for donor in complete))
        donors = {donor: members for donor, members in donors.items() if least[donor] >= most}
        complete = [donor for donor in complete if donor in donors]
        mixes = [[donor] for donor in complete] + ([list(donors)] if len(donors) > 1 else [])
        for mix, size, _ in itertools.product(
            mixes, sorted({min(size, most) for size in sizes}), range(draws)
        ):
            drawn = []
            for label in present:
                pools = [donors[donor][labels[donors[donor]] == label] for donor in mix]
                pools = [rng.permutation(pool) for pool in pools if len(pool)]
                drawn += [pool[: max(1, size // len(pools))] for pool in pools]
            drawn = np.concatenate(drawn)
            kernel, bias = fit_head(features[drawn], labels[drawn], l2, labels.max() + 1)
            hits = (features[tested] @ kernel + bias).argmax(axis=1) == labels[tested]
            rows.append((name, " + ".join(mix), size, hits.mean()))
    return pd.DataFrame(rows, columns=["left_out", "trained_on", "per_class", "accuracy"])
