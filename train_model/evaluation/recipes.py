"""The recipes that were candidates for the served model, for notebook 11 to compare on one footing."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from train_model.evaluation.leave_one_source_out import head_accuracy
from train_model.final_model import fit_head
from train_model.heads import train_heads

# Positions of the training images, and features `[m, features]` of others, to their logits `[heads, m, classes]`:
# of one head, or of one per seed where the result depends on the seed.
Recipe = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TrainingData:
    """What a recipe may learn from."""

    features: np.ndarray  # of the clean images, `[n, features]`
    labels: np.ndarray  # `int [n]`
    classes: int
    subcategories: np.ndarray | None = None  # the finer kind within each class, such as beach, `str [n]`
    views: dict[str, np.ndarray] = field(default_factory=dict)  # augmentation to `[views, n, features]`


def recipes(
    data: TrainingData, l2: float, learning_rate: float, epochs: int = 10, seeds: Sequence[int] = range(5)
) -> dict[str, Recipe]:
    """Name to recipe; the first one is served, and those that need what `data` lacks are left out.

    `l2` is the dense layer's. Learning rate, epochs and seeds are the original project's, which has one head per seed.
    """

    def with_views(augmentation: str | None, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        views = data.views[augmentation][:, train] if augmentation else ()
        return np.concatenate([data.features[train], *views]), np.tile(data.labels[train], 1 + len(views))

    def dense(augmentation: str | None, train: np.ndarray, tested: np.ndarray) -> np.ndarray:
        kernel, bias = fit_head(*with_views(augmentation, train), l2, data.classes)
        return (tested @ kernel + bias)[None]

    def rare_weighted(augmentation: None, train: np.ndarray, tested: np.ndarray) -> np.ndarray:
        labels = data.labels[train]
        images = pd.Series(labels).groupby([labels, data.subcategories[train]]).transform("size").to_numpy()
        weights = np.maximum(images, 10) ** -0.5  # a subcategory counts as the square root of its images
        kernel, bias = fit_head(data.features[train], labels, l2, data.classes, weights / weights.mean())
        return (tested @ kernel + bias)[None]

    def original(augmentation: str | None, train: np.ndarray, tested: np.ndarray) -> np.ndarray:
        views = data.views[augmentation] if augmentation else data.features[None]
        settings = {"classes": data.classes, "seeds": seeds, "epochs": epochs}
        known = (lambda epoch: views[epoch % len(views)][train]), data.labels[train]
        unused = data.features[train[:1]], data.labels[train[:1]]  # no validation: the last epoch counts
        heads = train_heads(*known, *unused, [learning_rate], **settings)
        last = heads.history[heads.history["epoch"] == epochs]
        return np.stack([heads.logits(row, tested) for _, row in last.iterrows()])

    def discriminant(augmentation: str | None, train: np.ndarray, tested: np.ndarray) -> np.ndarray:
        features, labels = with_views(augmentation, train)
        present = np.unique(labels)
        priors = np.full(len(present), 1 / len(present))
        # Ledoit & Wolf's own shrinkage is for independent images; 0.8 did best on subcategories left out.
        model = LinearDiscriminantAnalysis("lsqr", shrinkage=0.8, priors=priors).fit(features, labels)
        answers = np.full((len(tested), data.classes), -np.inf)
        answers[:, present] = model.predict_log_proba(tested)
        return answers[None]

    candidates = {
        "dense layer with L2": (dense, None),
        "original project": (original, None),
        "original project, its augmentation": (original, "as_implemented"),
        "original project, augmentation as intended": (original, "as_intended"),
        "rare subcategories weighted": (rare_weighted, None),
        "discriminant": (discriminant, None),
        "dense layer, random corruptions": (dense, "random_corruptions"),
        "discriminant, random corruptions": (discriminant, "random_corruptions"),
    }
    if data.subcategories is None:
        del candidates["rare subcategories weighted"]
    return {
        name: functools.partial(recipe, augmentation)
        for name, (recipe, augmentation) in candidates.items()
        if augmentation in (None, *data.views)
    }


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

    Of each class `sizes` images are drawn, or all where there are fewer, `draws` times, the same ones for every strength.
    A row per head: `tested`, `per_class`, `l2`, `accuracy`.
    """
    rng, rows = np.random.default_rng(seed), []
    settings = list(itertools.product(left_out.items(), sizes, range(draws)))
    for done, ((name, (train, tested)), size, _) in enumerate(settings, 1):
        order = rng.permutation(train)
        drawn = np.concatenate([order[labels[order] == label][:size] for label in np.unique(labels[train])])
        for l2 in strengths:
            hits = head_accuracy(features, labels, drawn, tested, l2)
            rows.append({"tested": name, "per_class": size, "l2": l2, "accuracy": hits})
        if progress:
            progress(done, len(settings))
    return pd.DataFrame(rows)


def share_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of a recipe's heads that are right on each image, `[m]`, from logits `[heads, m, classes]`."""
    return (logits.argmax(axis=-1) == labels).mean(axis=0)
