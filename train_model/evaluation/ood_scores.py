"""OOD scores to compare the served one with, each fitted to training images and asked about images of other classes."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp
from sklearn.covariance import ShrunkCovariance
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from train_model.evaluation.leave_one_source_out import TEST, bootstrap_counts, elsewhere
from train_model.final_model import fit_head
from train_model.metrics import auroc
from train_model.out_of_scope import L2, fit_ood_score, unit_length

# Features `[n, features]` to scores `[n]`; higher is more like a class.
Score = Callable[[np.ndarray], np.ndarray]
RESAMPLES = 1000  # of the bootstrap
SERVED = "evidence + lead + nearness"


def fit_scores(
    features: np.ndarray, labels: np.ndarray, others: np.ndarray, l2: float, classes: int, seed: int = 0
) -> dict[str, Score]:
    """Name to score, fitted to features `[n, features]` and labels `int [n]` of the training images.

    Without features of images of other classes, `others [m, features]`, the scores that learn from them are left out.
    """
    kernel, bias = fit_head(features, labels, l2, classes)
    served = fit_ood_score(features, labels, kernel, bias, others, seed)
    unit = unit_length(features)
    neighbours = NearestNeighbors(n_neighbors=min(5, len(features)), metric="cosine").fit(features)
    means = {label: unit[labels == label].mean(axis=0) for label in np.unique(labels)}
    deviations = unit - np.stack([means[label] for label in labels])
    covariance = ShrunkCovariance(shrinkage=0.7, assume_centered=True).fit(deviations)

    def mahalanobis(f: np.ndarray) -> np.ndarray:
        return -np.min([covariance.mahalanobis(unit_length(f) - mean) for mean in means.values()], axis=0)

    scores = {
        "highest probability": lambda f: log_softmax(f @ kernel + bias, axis=1).max(axis=1),
        "energy": lambda f: logsumexp(f @ kernel + bias, axis=1),
        "Mahalanobis distance": mahalanobis,
        "fifth nearest neighbour": lambda f: -neighbours.kneighbors(f)[0][:, -1],
        "lead": lambda f: served.parts(f)["lead"],
        "nearness": lambda f: served.parts(f)["nearness"],
    }
    if len(others):
        both = np.concatenate([features, others])
        kinds = np.r_[labels, np.full(len(others), classes)]
        extra = LogisticRegression(C=1 / (2 * L2 * len(both)), max_iter=1000).fit(both, kinds)
        scores["extra output"] = lambda f: -extra.predict_log_proba(f)[:, -1]
        scores["evidence"] = lambda f: served.parts(f)["evidence"]
    return scores | {SERVED: served}


def others_for(others: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which images of other classes (`source`, `split`) teach a score and which it is asked about, `bool [m]` each.

    `name` is a source that is left out, with its family, or what `left_out_or_test` calls the test images.
    """
    split, source = others["split"].to_numpy(), others["source"].to_numpy()
    if name == TEST:
        return split == "train", split == "test"
    return (split == "train") & elsewhere(source, name), source == name


def auroc_table(held_out: Mapping[str, tuple[Mapping[str, Score], np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """AUROC of a source's images of the classes against its others, and how far it is from the served score's.

    `held_out` is source to the scores that were fitted without it, and the features of its images and of its others. The
    bootstrap draws images and others within their source, all scores' values together. A row per score, best last: a column
    per source, their `mean`, and its `difference` from the served score's with the 95 % interval `low` to `high`.
    """
    rng, values, draws = np.random.default_rng(0), {}, {}
    for source, (scores, known, others) in held_out.items():
        counts = [bootstrap_counts(len(images), RESAMPLES, rng) for images in (known, others)]
        pairs = {name: (score(known), score(others)) for name, score in scores.items()}
        values[source] = {name: auroc(*pair) for name, pair in pairs.items()}
        resampled = {name: _resampled_auroc(*pair, *counts) for name, pair in pairs.items()}
        draws[source] = {name: areas - resampled[SERVED] for name, areas in resampled.items()}
    table = pd.DataFrame(values).rename_axis("score")
    differences = table - table.loc[SERVED]
    table["mean"], table["difference"] = table.mean(axis=1), differences.mean(axis=1)
    for name in table.index.drop(SERVED):
        gap = np.mean([gaps[name] for gaps in draws.values() if name in gaps], axis=0)
        table.loc[name, ["low", "high"]] = np.quantile(gap, [0.025, 0.975])
    table.loc[SERVED, ["difference", "low", "high"]] = np.nan
    return table.sort_values("mean")


def _resampled_auroc(
    known: np.ndarray, others: np.ndarray, known_counts: np.ndarray, other_counts: np.ndarray
) -> np.ndarray:
    """AUROC `[resamples]` where each value counts as often as it was drawn, from counts `[resamples, n]` and `[, m]`."""
    order = np.argsort(others)
    below = np.pad(np.cumsum(other_counts[:, order], axis=1), ((0, 0), (1, 0)))
    lower, upper = (np.searchsorted(others[order], known, side=side) for side in ("left", "right"))
    won = (below[:, lower] + below[:, upper]) / 2  # a tie is half won
    return (won * known_counts).sum(axis=1) / (len(known) * len(others))
