"""The out-of-distribution (OOD) score: how much an image looks like any of the classes at all.

For pooled features f it is the sum of three answers, which all come from numbers that the model computes anyway:

- *Evidence*: the logit of "one of the classes" against "anything else", learned from images of other classes where there
  are some (outlier exposure, arXiv:1812.04606). It knows what it was shown, and nothing beyond.
- *Lead*: how far the best logit is ahead of the logits' mean. A kitchen gives no class an advantage.
- *Nearness*: the highest cosine similarity to a prototype, a centre of a cluster of a class's training images. It keeps
  out what is far from everything, as nearest neighbours do (arXiv:2204.06507), with fewer to carry along.

Each is counted in standard deviations over the training images. An image is in scope from 0 on, in the Keras model as in
every file converted from it. Notebook 12 compares the score with others.
"""

from dataclasses import dataclass, replace

import keras
import numpy as np
from scipy.stats import t as student_t
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

PROTOTYPES = 64  # of all classes together; 16 to 128 do nearly as well
WEIGHTS = {"evidence": 1.0, "lead": 0.5, "nearness": 0.5}  # notebook 12 has what each separates by itself
MARGIN = 0.05  # below the lowest of few scores: what 8 bits change of a score
L2 = 0.3  # of the evidence, whose loss is the mean cross-entropy + L2 * |kernel|^2


@dataclass(frozen=True)
class OodScore:
    """The score as three small matrices; see `fit_ood_score`.

    For features f it is f @ evidence_kernel + max(f @ lead_kernel + lead_bias) + max(f / |f| @ prototypes) + bias.
    """

    evidence_kernel: np.ndarray  # `float32 [features]`; zeros where there were no images of other classes
    lead_kernel: np.ndarray  # `float32 [features, classes]`
    lead_bias: np.ndarray  # `float32 [classes]`
    prototypes: np.ndarray  # `float32 [features, prototypes]`, at least one per class
    bias: float = 0.0  # what makes 0 the threshold

    def parts(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """`evidence`, `lead` and `nearness`, each `[n]` and weighted, of pooled features `[n, features]`."""
        return {
            "evidence": features @ self.evidence_kernel,
            "lead": (features @ self.lead_kernel + self.lead_bias).max(axis=1),
            "nearness": (unit_length(features) @ self.prototypes).max(axis=1),
        }

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Scores `[n]` of pooled features `[n, features]`; higher is more like the classes."""
        return sum(self.parts(features).values()) + self.bias

    def with_threshold(self, threshold: float) -> "OodScore":
        """The score moved so that what was `threshold` is 0."""
        return replace(self, bias=float(self.bias - threshold))

    def layers(self, pooled: keras.KerasTensor) -> keras.KerasTensor:
        """Pooled features `[n, features]` to an output `score [n, 1]`, in layers with which `.h5` files load anywhere."""

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
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    others: np.ndarray,
    seed: int = 0,
) -> OodScore:
    """Fits the score, whose threshold is yet to be set, to training images and the `kernel` and `bias` of a head.

    `others`, features `[m, features]` of images of other classes, may be empty: the evidence is then left out.
    """
    # Logits are only known up to a constant that all share; their differences are what the head says.
    lead_kernel, lead_bias = kernel - kernel.mean(axis=1, keepdims=True), bias - bias.mean()
    lead_scale = WEIGHTS["lead"] / (features @ lead_kernel + lead_bias).max(axis=1).std()

    unit = unit_length(features)
    centres = []
    for label in np.unique(labels):
        members = unit[labels == label]
        count = round(PROTOTYPES * len(members) / len(unit))
        count = max(1, min(count, len(members) // 4))  # not every image is its own prototype
        centres.append(KMeans(count, n_init=1, random_state=seed).fit(members).cluster_centers_)
    prototypes = unit_length(np.concatenate(centres)).T
    nearness_scale = WEIGHTS["nearness"] / max((unit @ prototypes).max(axis=1).std(), 0.01)

    evidence_kernel = np.zeros(features.shape[1])
    if len(others):
        both, known = np.concatenate([features, others]), np.r_[np.ones(len(features)), np.zeros(len(others))]
        regression = LogisticRegression(C=1 / (2 * L2 * len(both)), max_iter=1000).fit(both, known)
        evidence_kernel = regression.coef_[0] * WEIGHTS["evidence"] / (features @ regression.coef_[0]).std()
    return OodScore(
        evidence_kernel.astype(np.float32),
        (lead_scale * lead_kernel).astype(np.float32),
        (lead_scale * lead_bias).astype(np.float32),
        (nearness_scale * prototypes).astype(np.float32),
    )


def threshold(scores: np.ndarray, keep: float) -> float:
    """The score below which an image counts as out of scope, so that a share `keep` of images stays in scope.

    It lies midway between two of the `scores` `[n]`, of images that the score was not fitted to:
    `threshold(np.arange(1000.0), 0.975)` is 24.5. Of few images it is the lower end of a t prediction interval.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    refused = int(round((1 - keep) * len(ordered), 6))
    if refused:
        return float(ordered[refused - 1 : refused + 1].mean())
    reach = student_t.ppf(keep, len(ordered) - 1) * ordered.std(ddof=1) * np.sqrt(1 + 1 / len(ordered))
    return float(min(ordered[0] - MARGIN, ordered.mean() - reach))


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features `[n, features]` scaled to length 1, as Keras' `UnitNormalization` does."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
