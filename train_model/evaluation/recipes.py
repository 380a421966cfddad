"""The recipes that were candidates for the served model, for notebook 11 to compare on one footing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from train_model.final_model import fit_head
from train_model.heads import train_heads

# Positions of the training images, and features `[m, features]` of others, to their logits `[heads, m, classes]`:
# of one head, or of one per seed where the result depends on the seed.
Recipe = Callable[[np.ndarray, np.ndarray], np.ndarray]
NEEDED_VIEWS = {
    "original project, its augmentation": "as_implemented",
    "original project, augmentation as intended": "as_intended",
    "dense layer, random corruptions": "random_corruptions",
    "discriminant, random corruptions": "random_corruptions",
}


@dataclass(frozen=True)
class TrainingData:
    """What a recipe may learn from.

    Attributes:
        features: of the clean images, `[n, features]`.
        labels: `int [n]`.
        classes: how many.
        subcategories: the finer kind within each class, such as beach, where the file's name has it, `str [n]`; None where it is unknown.
        views: augmentation to features of augmented views, `[views, n, features]`.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: int
    subcategories: np.ndarray | None = None
    views: dict[str, np.ndarray] = field(default_factory=dict)


def recipes(
    data: TrainingData, l2: float, learning_rate: float, epochs: int = 10, seeds: Sequence[int] = range(5)
) -> dict[str, Recipe]:
    """Name to recipe; the first one is served.

    Args:
        data: what it lacks, views of an augmentation or subcategories, leaves the recipes out that need it.
        l2: of the dense layer, see `fit_head`; the same for clean and augmented images.
        learning_rate: of the original project's training.
        epochs: of the original project's training.
        seeds: of the original project's training, one head each: without L2 and stopped after a few epochs, its heads
            differ from seed to seed. The other recipes have one solution.
    """

    def dense(augmentation: str | None = None, rare: bool = False) -> Recipe:
        def logits(train: np.ndarray, tested: np.ndarray) -> np.ndarray:
            features, labels = _with_views(data, train, augmentation)
            importance = _rarity(data.subcategories[train], labels) if rare else None
            kernel, bias = fit_head(features, labels, l2, data.classes, importance)
            return (tested @ kernel + bias)[None]

        return logits

    def original(augmentation: str | None = None) -> Recipe:
        def logits(train: np.ndarray, tested: np.ndarray) -> np.ndarray:
            views = data.views[augmentation] if augmentation else data.features[None]
            heads = train_heads(
                lambda epoch: views[epoch % len(views)][train],
                data.labels[train],
                data.features[train[:1]],  # no validation: the last epoch counts
                data.labels[train[:1]],
                [learning_rate],
                classes=data.classes,
                seeds=seeds,
                epochs=epochs,
            )
            last = heads.history[heads.history["epoch"] == epochs]
            return np.stack([heads.logits(row, tested) for _, row in last.iterrows()])

        return logits

    def discriminant(augmentation: str | None = None) -> Recipe:
        def logits(train: np.ndarray, tested: np.ndarray) -> np.ndarray:
            features, labels = _with_views(data, train, augmentation)
            present = np.unique(labels)
            priors = np.full(len(present), 1 / len(present))
            # Ledoit & Wolf's own shrinkage is for independent images; 0.8 did best on subcategories left out.
            model = LinearDiscriminantAnalysis("lsqr", shrinkage=0.8, priors=priors).fit(features, labels)
            answers = np.full((len(tested), data.classes), -np.inf)
            answers[:, present] = model.predict_log_proba(tested)
            return answers[None]

        return logits

    candidates = {
        "dense layer with L2": dense(),
        "original project": original(),
        "original project, its augmentation": original("as_implemented"),
        "original project, augmentation as intended": original("as_intended"),
        "rare subcategories weighted": dense(rare=True),
        "discriminant": discriminant(),
        "dense layer, random corruptions": dense("random_corruptions"),
        "discriminant, random corruptions": discriminant("random_corruptions"),
    }
    without = [name for name, view in NEEDED_VIEWS.items() if view not in data.views]
    without += ["rare subcategories weighted"] if data.subcategories is None else []
    return {name: recipe for name, recipe in candidates.items() if name not in without}


def strength_curve(
    features: np.ndarray,
    labels: np.ndarray,
    left_out: Mapping[str, tuple[np.ndarray, np.ndarray]],
    strengths: Sequence[float],
    sizes: Sequence[int] = (5, 20, 200),
    draws: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Accuracy of the dense layer against its L2 and the number of training images.

    Args:
        features: `[n, features]`.
        labels: `int [n]`.
        left_out: name to training and test positions, from `leave_one_source_out.left_out_or_test`.
        strengths: of L2.
        sizes: images of each class to train on, or all where there are fewer.
        draws: of training images, the same ones for every strength.
        seed: of the draws.
        progress: called with (done, all).

    Returns:
        One row per head: `tested`, `per_class`, `l2`, `accuracy`.
    """
    rng, rows = np.random.default_rng(seed), []
    settings = list(itertools.product(left_out.items(), sizes, range(draws)))
    for done, ((name, (train, tested)), size, _) in enumerate(settings, 1):
        order = rng.permutation(train)
        drawn = np.concatenate([order[labels[order] == label][:size] for label in np.unique(labels[train])])
        for l2 in strengths:
            kernel, bias = fit_head(features[drawn], labels[drawn], l2, labels.max() + 1)
            hits = (features[tested] @ kernel + bias).argmax(axis=1) == labels[tested]
            rows.append({"tested": name, "per_class": size, "l2": l2, "accuracy": hits.mean()})
        if progress:
            progress(done, len(settings))
    return pd.DataFrame(rows)


def share_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of a recipe's heads that are right on each image, `[m]`, from logits `[heads, m, classes]`."""
    return (logits.argmax(axis=-1) == labels).mean(axis=0)


def _with_views(
    data: TrainingData, train: np.ndarray, augmentation: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of the clean training images and of their augmented views."""
    views = data.views[augmentation][:, train] if augmentation else ()
    return np.concatenate([data.features[train], *views]), np.tile(data.labels[train], 1 + len(views))


def _rarity(subcategories: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights `[n]` of mean 1 by which each subcategory counts as the square root of its images."""
    names = [f"{label} {kind}" for label, kind in zip(labels, subcategories, strict=True)]
    _, kind, count = np.unique(names, return_inverse=True, return_counts=True)
    weights = np.maximum(count, 10)[kind] ** -0.5
    return weights / weights.mean()
