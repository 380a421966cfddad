"""The out-of-distribution (OOD) score: how much an image looks like any of the scenes at all.

Three answers to that question, each from the pooled features that the model computes anyway, add up to the score:

- *Evidence*: the logit of "a scene" against "something else", learned from images of other things where a source has
  some (outlier exposure, Hendrycks et al., arXiv:1812.04606). It knows cities and cars, but not what it was not shown.
- *Lead*: how far the best logit is ahead of the logits' mean. A kitchen gives the scenes nothing to choose between.
- *Nearness*: the highest cosine similarity to one of the prototypes of the training images, which are the centres of
  their clusters. It keeps noise and plain colours out, which are far from everything: what nearest neighbours do
  (Sun et al., arXiv:2204.06507), with fewer neighbours to carry along.

Each is counted in standard deviations over the training images. Notebook 06 compares them with the usual scores, on
sources that none of them was fitted to, nor to their families. There the score is not the best: the fifth nearest
neighbour separates significantly better, and the Mahalanobis distance and nearness alone don't differ from it
significantly. It is served for its size and cost: three small layers of 70,000 numbers that need no training images at
run time, where neighbours need the features of all and the Mahalanobis distance a matrix of a million. The score is
shifted so that its threshold is 0: an image is in scope from 0 on, in the Keras model as in every file converted from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras
import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

PROTOTYPES = 64  # 16 to 128 do nearly as well
WEIGHTS = {
    "evidence": 1.0,
    "lead": 0.5,
    "nearness": 0.5,
}  # of the three; notebook 06 has what each separates by itself
L2 = 0.3  # of the evidence, whose loss is the mean cross-entropy + L2 * |kernel|^2


@dataclass(frozen=True)
class OodScore:
    """The score as three small matrices; see `fit_ood_score`.

    For features f it is f @ evidence_kernel + max(f @ lead_kernel + lead_bias) + max(f / |f| @ prototypes) + bias.

    Attributes:
        evidence_kernel: `float32 [features]`; zeros where no images of other things were available.
        lead_kernel: `float32 [features, scenes]`.
        lead_bias: `float32 [scenes]`.
        prototypes: `float32 [features, PROTOTYPES]`.
        bias: what makes 0 the threshold.
    """

    evidence_kernel: np.ndarray
    lead_kernel: np.ndarray
    lead_bias: np.ndarray
    prototypes: np.ndarray
    bias: float = 0.0

    def parts(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """`evidence`, `lead` and `nearness`, each `[n]` and weighted, of pooled features `[n, features]`."""
        return {
            "evidence": features @ self.evidence_kernel,
            "lead": (features @ self.lead_kernel + self.lead_bias).max(axis=1),
            "nearness": (_unit(features) @ self.prototypes).max(axis=1),
        }

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Scores `[n]` of pooled features `[n, features]`; higher is more like a scene."""
        return sum(self.parts(features).values()) + self.bias

    def with_threshold(self, threshold: float) -> OodScore:
        """The score moved so that what was `threshold` is 0."""
        return replace(self, bias=float(self.bias - threshold))

    def layers(self, pooled: keras.KerasTensor) -> keras.KerasTensor:
        """Adds the score to a model: pooled features `[n, features]` to an output `score [n, 1]`.

        Layers that Keras has itself, so that `.h5` files load without this project (operations of `keras.ops` become
        layers that they don't know).
        """

        def largest(layer: keras.Layer, values: keras.KerasTensor) -> keras.KerasTensor:
            column = keras.layers.Reshape((layer.units, 1), name=f"{layer.name}_column")(layer(values))
            return keras.layers.GlobalMaxPooling1D(name=f"{layer.name}_largest")(column)

        evidence = keras.layers.Dense(1, name="evidence")
        lead = keras.layers.Dense(len(self.lead_bias), name="lead")
        nearness = keras.layers.Dense(self.prototypes.shape[1], use_bias=False, name="nearness")
        unit = keras.layers.UnitNormalization(name="unit")(pooled)
        terms = [evidence(pooled), largest(lead, pooled), largest(nearness, unit)]
        evidence.set_weights([self.evidence_kernel[:, None], np.float32([self.bias])])
        lead.set_weights([self.lead_kernel, self.lead_bias])
        nearness.set_weights([self.prototypes])
        return keras.layers.Add(name="score")(terms)


def fit_ood_score(
    features: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    others: np.ndarray | None = None,
    seed: int = 0,
) -> OodScore:
    """Fits the score to training images and a linear head.

    Args:
        features: `[n, features]`, of the training images.
        kernel: the head's, `[features, scenes]`.
        bias: the head's, `[scenes]`.
        others: `[m, features]`, of images of other things; None or empty leaves the evidence out.
        seed: of the clusters' first centres.

    Returns:
        The score; `OodScore.with_threshold` then makes 0 its threshold.
    """
    # Logits are only known up to a constant that all share; their differences are what the head says.
    lead_kernel, lead_bias = kernel - kernel.mean(axis=1, keepdims=True), bias - bias.mean()
    lead_scale = WEIGHTS["lead"] / (features @ lead_kernel + lead_bias).max(axis=1).std()

    unit = _unit(features)
    count = min(PROTOTYPES, max(1, len(unit) // 4))  # else every image of a few is its own prototype
    clusters = KMeans(count, n_init=1, random_state=seed).fit(unit)
    prototypes = _unit(clusters.cluster_centers_).T
    nearness_scale = WEIGHTS["nearness"] / max((unit @ prototypes).max(axis=1).std(), 0.01)

    evidence_kernel = np.zeros(features.shape[1])
    if others is not None and len(others):
        both, scene = np.concatenate([features, others]), np.r_[np.ones(len(features)), np.zeros(len(others))]
        regression = LogisticRegression(C=1 / (2 * L2 * len(both)), max_iter=1000).fit(both, scene)
        evidence_kernel = regression.coef_[0] * WEIGHTS["evidence"] / (features @ regression.coef_[0]).std()
    return OodScore(
        evidence_kernel.astype(np.float32),
        (lead_scale * lead_kernel).astype(np.float32),
        (lead_scale * lead_bias).astype(np.float32),
        (nearness_scale * prototypes).astype(np.float32),
    )


def threshold(scores: np.ndarray, sources: np.ndarray, keep: float = 0.95) -> float:
    """The score below which an image counts as out of scope.

    Args:
        scores: of scenes from sources that the score was not fitted to, `[n]`.
        sources: name of each one's source, `[n]`; every source counts the same, however many images it has.
        keep: share of them that stays in scope, the mean over the sources.

    Returns:
        One of the scores.
    """
    names, position, count = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    lost = np.cumsum(1 / (len(names) * count[position[order]]))  # share of what lies at or below each score
    return float(scores[order][np.searchsorted(lost, 1 - keep, side="right")])


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
