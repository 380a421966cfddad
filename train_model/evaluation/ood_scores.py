"""OOD scores to compare the served one with, each fitted to training images and asked about others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp
from sklearn.covariance import ShrunkCovariance
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from train_model.final_model import fit_head
from train_model.metrics import auroc
from train_model.out_of_scope import L2, fit_ood_score

Score = Callable[
    [np.ndarray], np.ndarray
]  # features `[n, features]` to scores `[n]`; higher is more like a scene
SERVED = "evidence + lead + nearness"


def fit_scores(
    features: np.ndarray, labels: np.ndarray, others: np.ndarray, l2: float, classes: int, seed: int = 0
) -> dict[str, Score]:
    """Name to score.

    Args:
        features: of the training images, `[n, features]`.
        labels: `int [n]`, positions in the class names.
        others: features of images of other things, `[m, features]`; without any, the scores that learn from them
            are left out.
        l2: of the head.
        seed: of the clusters.
    """
    kernel, bias = fit_head(features, labels, l2, classes)
    served = fit_ood_score(features, labels, kernel, bias, others, seed)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    neighbours = NearestNeighbors(n_neighbors=5, metric="cosine").fit(features)
    means = {scene: unit[labels == scene].mean(axis=0) for scene in np.unique(labels)}
    deviations = unit - np.stack([means[label] for label in labels])
    covariance = ShrunkCovariance(shrinkage=0.7, assume_centered=True).fit(deviations)

    def mahalanobis(f: np.ndarray) -> np.ndarray:
        g = f / np.linalg.norm(f, axis=1, keepdims=True)
        return -np.min([covariance.mahalanobis(g - mean) for mean in means.values()], axis=0)

    before_lead, before_near = served.parts(features)["lead"].std(), mahalanobis(features).std()
    scores = {
        "highest probability": lambda f: log_softmax(f @ kernel + bias, axis=1).max(axis=1),
        "energy": lambda f: logsumexp(f @ kernel + bias, axis=1),
        "Mahalanobis distance": mahalanobis,
        "lead + Mahalanobis (before)": lambda f: (
            served.parts(f)["lead"] / before_lead + 0.7 * mahalanobis(f) / before_near
        ),
        "fifth nearest neighbour": lambda f: -neighbours.kneighbors(f)[0][:, -1],
        "lead": lambda f: served.parts(f)["lead"],
        "nearness": lambda f: served.parts(f)["nearness"],
    }
    if len(others):
        both = np.concatenate([features, others])
        kinds = np.r_[labels, np.full(len(others), classes)]
        fourth = LogisticRegression(C=1 / (2 * L2 * len(both)), max_iter=1000).fit(both, kinds)
        scores["fourth output"] = lambda f: -fourth.predict_log_proba(f)[:, -1]
        scores["evidence"] = lambda f: served.parts(f)["evidence"]
    return scores | {SERVED: served}


def auroc_table(
    held_out: Mapping[str, tuple[Mapping[str, Score], np.ndarray, np.ndarray]],
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """AUROC of a source's scenes against its own images of other things, and how far it is from the served score's.

    Args:
        held_out: source to the scores that were fitted without it, and the features of its scenes and of its others.
        resamples: of the bootstrap: scenes and others are drawn within their source, all scores' values together.
        seed: of the draws.

    Returns:
        One row per score: a column per source, their `mean`, and its `difference` from the served score's with the
        95 % interval `low` to `high`, of this one comparison; best last.
    """
    rng, values, draws = np.random.default_rng(seed), {}, {}
    for source, (scores, scenes, others) in held_out.items():
        counts = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), resamples) for x in (scenes, others)]
        pairs = {name: (score(scenes), score(others)) for name, score in scores.items()}
        values[source] = {name: auroc(*pair) for name, pair in pairs.items()}
        resampled = {name: _resampled_auroc(*pair, *counts) for name, pair in pairs.items()}
        draws[source] = {name: mine - resampled[SERVED] for name, mine in resampled.items()}
    table = pd.DataFrame(values).rename_axis("score")
    differences = table - table.loc[SERVED]
    table["mean"], table["difference"] = table.mean(axis=1), differences.mean(axis=1)
    for name in table.index.drop(SERVED):
        gap = np.mean([mine[name] for mine in draws.values() if name in mine], axis=0)
        table.loc[name, ["low", "high"]] = np.quantile(gap, [0.025, 0.975])
    table.loc[SERVED, ["difference", "low", "high"]] = np.nan
    return table.sort_values("mean")


def _resampled_auroc(
    scenes: np.ndarray, others: np.ndarray, scene_counts: np.ndarray, other_counts: np.ndarray
) -> np.ndarray:
    """AUROC `[resamples]` where each value counts as often as it was drawn, from counts `[resamples, n]` and `[, m]`."""
    order = np.argsort(others)
    below = np.pad(np.cumsum(other_counts[:, order], axis=1), ((0, 0), (1, 0)))
    lower, upper = (np.searchsorted(others[order], scenes, side=side) for side in ("left", "right"))
    won = (below[:, lower] + below[:, upper]) / 2  # a tie is half won
    return (won * scene_counts).sum(axis=1) / (len(scenes) * len(others))
