"""Leave one source out: how a recipe does on images from a place that it has never seen.

Each source in turn is tested by a model that was trained on all the others, its family left out too.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from data_prep_eda.other_sources import families
from train_model.final_model import fit_head

RESAMPLES = 10_000  # of the bootstrap
TEST = "test images"  # what takes a source's place where none can be left out


def folds(
    sources: np.ndarray, trainable: np.ndarray, labels: np.ndarray, tested: np.ndarray | bool = True
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test positions for each source that is left out, and its family with it.

    `trainable` and `tested` say, `bool [n]`, which images may be. A source is tested on the classes that the others have
    too. Empty where a source has no others beside it, or none with two classes.
    """
    left_out = {}
    for name in dict.fromkeys(sources):
        train = np.flatnonzero(trainable & elsewhere(sources, name))
        if len(np.unique(labels[train])) < 2:
            return {}
        left_out[name] = (train, np.flatnonzero(tested & (sources == name) & np.isin(labels, labels[train])))
    return left_out


def left_out_or_test(images: pd.DataFrame, labels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a choice is tested on: sources left out, see `folds`, or else the data set's test images, said in a sentence.

    `images` has a row per image of the classes: `source`, `split`; test images have no part in a source left out.
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


def head_accuracy(
    features: np.ndarray, labels: np.ndarray, train: np.ndarray, tested: np.ndarray, l2: float
) -> float:
    """Accuracy on the images at the positions `tested` of a head fitted to those at `train`."""
    kernel, bias = fit_head(features[train], labels[train], l2, labels.max() + 1)
    return ((features[tested] @ kernel + bias).argmax(axis=1) == labels[tested]).mean()


def bootstrap_counts(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of n images is drawn, `[draws, n]`, where n are drawn with replacement."""
    return rng.multinomial(n, np.full(n, 1 / n), draws)


def accuracy_table(
    right: np.ndarray, sources: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Accuracy per source (rows), over all its images and per class (columns); missing where a source has none.

    `right`, whether each image was classified correctly, `sources` and `labels` are `[n]`.
    """
    names = np.array(class_names, object)
    table = pd.DataFrame({"source": sources, "label": names[labels], "right": right})
    by_label = table.pivot_table("right", "source", "label", sort=False).reindex(columns=list(class_names))
    by_source = table.groupby("source", sort=False)["right"].agg(images="size", accuracy="mean")
    return by_source.join(by_label.astype(float))


def compare(right: Mapping[str, np.ndarray], sources: np.ndarray, reference: str) -> pd.DataFrame:
    """Recipes beside a reference: mean accuracy over the sources, and the paired difference with its interval.

    `right` is recipe to the share of its trained heads that are right on each image, `[n]`, whose sources count the same,
    however many images they have. The bootstrap draws images within their source, all recipes' answers together; with k
    recipes beside the reference each interval is of 1 - 0.05 / k (Bonferroni). A row per recipe: accuracy per source,
    `mean`, `difference`, `low`, `high`, `significant` (the interval excludes 0).
    """
    names = list(right)
    by_image = pd.DataFrame({name: np.asarray(shares, float) for name, shares in right.items()})
    by_source = by_image.groupby(sources, sort=False).mean()
    table = by_source.T.assign(mean=by_source.mean()).rename_axis("recipe")
    rng, draws = np.random.default_rng(0), np.zeros((RESAMPLES, len(names)))
    for source in by_source.index:
        part = by_image[sources == source].to_numpy()
        counts = bootstrap_counts(len(part), RESAMPLES, rng)
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

    Images are drawn from one family of sources that has all classes, or in equal numbers from all that have as many of each
    of theirs. A row per head: `left_out`, `trained_on` (the families' names), `per_class`, `accuracy`.
    """
    rng, rows, family, present = np.random.default_rng(seed), [], families(sources), np.unique(labels)
    for name, (train, tested) in left_out.items():
        counts = pd.crosstab(family[train], labels[train])
        counts = counts.reindex(index=pd.unique(family[train]), columns=present).replace(0, np.nan)
        fewest, complete = counts.min(axis=1), counts.notna().all(axis=1)
        if not complete.any():
            continue
        most = int(min(max(sizes), fewest[complete].max()))
        enough = fewest.index[fewest >= most]
        mixes = [[donor] for donor in enough if complete[donor]] + ([list(enough)] if len(enough) > 1 else [])
        per_class = sorted({min(size, most) for size in sizes})
        for mix, size, _ in itertools.product(mixes, per_class, range(draws)):
            drawn = []
            for label in present:
                pools = [train[(family[train] == donor) & (labels[train] == label)] for donor in mix]
                pools = [rng.permutation(pool) for pool in pools if len(pool)]
                drawn += [pool[: max(1, size // len(pools))] for pool in pools]
            hits = head_accuracy(features, labels, np.concatenate(drawn), tested, l2)
            rows.append((name, " + ".join(mix), size, hits))
    return pd.DataFrame(rows, columns=["left_out", "trained_on", "per_class", "accuracy"])
