"""The served model: one dense layer on frozen features, and the OOD score, on top of the backbone.

The head is the original project's, a dense layer with softmax, with L2 and trained until it has converged. Notebook 06
trains it in Keras. The problem is convex, so there is one answer, and `fit_head` finds the same one in a second by
scikit-learn: the many heads of the comparisons come from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from data_prep_eda.preprocessing import SCENES
from train_model.backbones import BACKBONES, Backbone, assemble
from train_model.out_of_scope import OodScore, fit_ood_score

NEVER = -100.0  # bias of a scene that a training set has no image of


@dataclass(frozen=True)
class FinalModel:
    """A head and its OOD score.

    Attributes:
        kernel: `float32 [features, scenes]`.
        bias: `float32 [scenes]`.
        score: the OOD score, whose threshold is 0.
    """

    kernel: np.ndarray
    bias: np.ndarray
    score: OodScore

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities `[n, scenes]` of pooled features `[n, features]`."""
        return softmax(features @ self.kernel + self.bias, axis=1)

    def build(self, backbone: str | Backbone = "mobilenet", weights: str = "auto") -> keras.Model:
        """The full model, ready to save and convert.

        Args:
            backbone: the one whose features the head was trained on.
            weights: see `train_model.backbones.find_weights`.

        Returns:
            Keras model from `[n, size, size, 3]` RGB with levels 0 to 255 to a dictionary of `probabilities`
            `[n, 3]` in the order of `SCENES`, and `score` `[n, 1]`, which is 0 or more for an image in scope.
        """
        backbone = BACKBONES[backbone] if isinstance(backbone, str) else backbone
        classifier = assemble(backbone, self.kernel, self.bias, weights)
        score = self.score.layers(classifier.get_layer("pool").output)
        return keras.Model(
            classifier.input,
            {"probabilities": classifier.get_layer("probabilities").output, "score": score},
            name=classifier.name,
        )


def fit_model(
    features: np.ndarray, labels: np.ndarray, others: np.ndarray, l2: float, seed: int = 0
) -> FinalModel:
    """Head and OOD score in one go; see `fit_head` and `train_model.out_of_scope.fit_ood_score`."""
    kernel, bias = fit_head(features, labels, l2)
    return FinalModel(kernel, bias, fit_ood_score(features, kernel, bias, others, seed))


def fit_head(
    features: np.ndarray, labels: np.ndarray, l2: float, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The dense layer with the least mean cross-entropy + l2 * |kernel|^2, as `keras.regularizers.L2(l2)` means it.

    Args:
        features: `[n, features]`.
        labels: `int [n]`, positions in `SCENES`. A scene without an image is never predicted.
        l2: strength of the regularisation; the bias is not regularised.
        importance: how much each image counts, `[n]`; all alike by default.

    Returns:
        Kernel `float32 [features, scenes]` and bias `float32 [scenes]` of the logits.
    """
    mean = features.mean(axis=0)  # centred features converge sooner, to the same head
    # Of two scenes scikit-learn regularises the difference of their kernels, which is twice as long as either.
    inverse = (2 if len(np.unique(labels)) == 2 else 1) / (2 * l2 * len(features))
    regression = LogisticRegression(C=inverse, max_iter=2000).fit(features - mean, labels, importance)
    kernel, bias = regression.coef_.T, regression.intercept_
    if kernel.shape[1] == 1:  # the second scene's log odds
        kernel, bias = np.c_[-kernel, kernel] / 2, np.r_[-bias, bias] / 2
    full_kernel, full_bias = np.zeros((features.shape[1], len(SCENES))), np.full(len(SCENES), NEVER)
    full_kernel[:, regression.classes_], full_bias[regression.classes_] = kernel, bias - mean @ kernel
    return full_kernel.astype(np.float32), full_bias.astype(np.float32)
