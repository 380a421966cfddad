"""The recipe of the served model: frozen features of many views, a discriminant in closed form, a scope score.

What it changes against the study, and why (notebooks 05 to 07 carry the measurements):

- Every image is seen as it is and in augmented views that imitate other sources (`robust` in
  `train_model.augmentation`), because that is where the served model has to work.
- The head is a linear discriminant with a shrunk covariance instead of a few epochs of gradient descent. It
  is as small (one dense layer) and better on images from sources and of kinds it was not trained on. It
  has no learning rate, no epochs and no random start.
- Kinds of a scene that the collection has few images of, such as beaches and oceans beside coasts, count more
  than their number.
- One temperature makes its probabilities honest, and `train_model.out_of_scope` says when to trust neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from train_model.augmentation import AUGMENTATIONS
from train_model.backbones import BACKBONES, Backbone, assemble
from train_model.features import CACHE, View, extract_features
from train_model.metrics import fit_temperature
from train_model.out_of_scope import Scope, fit_scope, scene_means, shrunk_covariance, threshold

RARE = 10  # a kind counts as at least so many images
SHRINKAGE = 0.8  # between 0.7, best on other sources, and 0.9, best on other kinds of the same scene


@dataclass(frozen=True)
class Trained:
    """The head of the served model.

    Attributes:
        kernel: `float32 [features, scenes]`, divided by the temperature.
        bias: `float32 [scenes]`, divided by the temperature.
        temperature: that was fitted on validation images.
        scope: the score that says whether an image is a scene at all.
        score_threshold: below it an image is out of scope.
    """

    kernel: np.ndarray
    bias: np.ndarray
    temperature: float
    scope: Scope
    score_threshold: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Calibrated logits `[n, scenes]` of pooled features `[n, features]`."""
        return features @ self.kernel + self.bias

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Calibrated probabilities `[n, scenes]` of pooled features `[n, features]`."""
        logits = self.logits(features)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def score(self, features: np.ndarray) -> np.ndarray:
        """Scope score `[n]` of pooled features `[n, features]`."""
        return self.scope.score(features)

    def build(self, backbone: str | Backbone = "mobilenet", weights: str = "auto") -> keras.Model:
        """The full model, ready to save and convert.

        Args:
            backbone: the one whose features the head was trained on.
            weights: see `train_model.backbones.find_weights`.

        Returns:
            Keras model from `[n, size, size, 3]` RGB with levels 0 to 255 to a dictionary of `probabilities`
            `[n, 3]` in the order of `SCENES`, and `score` `[n, 1]`.
        """
        backbone = BACKBONES[backbone] if isinstance(backbone, str) else backbone
        classifier = assemble(backbone, self.kernel, self.bias, weights)
        score = self.scope.layers(classifier.get_layer("pool").output)
        return keras.Model(
            classifier.input,
            {"probabilities": classifier.get_layer("probabilities").output, "score": score},
            name=classifier.name,
        )


def view_features(
    paths: Sequence[str | os.PathLike[str]],
    views: int = 8,
    *,
    augmentation: str = "robust",
    seed: int = 0,
    backbone: str | Backbone = "mobilenet",
    weights: str = "auto",
    cache: Path = CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Features of images clean, and of augmented views of them.

    Args:
        paths: image files.
        views: augmented views; none for the augmentation `none`.
        augmentation: a name in `AUGMENTATIONS`.
        seed: of the views.
        backbone: see `extract_features`.
        weights: see `extract_features`.
        cache: see `extract_features`.
        progress: called with (done, all), over all views.

    Returns:
        `float32 [1 + views, n, features]`; the first is the image as it is.
    """
    numbers = range(0 if augmentation == "none" else views)
    looks = [None, *(View(AUGMENTATIONS[augmentation], seed, number) for number in numbers)]
    features = []
    for position, view in enumerate(looks):
        report = progress and (lambda done, n, p=position: progress(p * n + done, len(looks) * n))
        features.append(
            extract_features(paths, backbone, weights=weights, view=view, cache=cache, progress=report)
        )
    return np.stack(features)


def kind_importance(kinds: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """How much each image counts, so that rare kinds of a scene are not drowned by the common ones.

    How many beaches a collection has for each plain coast says nothing about the images to come. Each kind
    counts as the square root of its images: between by number, which is what a collection happens to hold, and
    all alike, which would rest on a handful of images.

    Args:
        kinds: of each image, such as SUN's category in its name; empty strings where nothing is known.
        labels: `int [n]`, its scene.

    Returns:
        `float [n]`, 1 on average.
    """
    names = [f"{label} {kind}" for label, kind in zip(labels, kinds, strict=True)]
    _, kind, count = np.unique(names, return_inverse=True, return_counts=True)
    importance = np.maximum(count, RARE)[kind] ** -0.5
    return importance / importance.mean()


def fit_discriminant(
    features: np.ndarray,
    labels: np.ndarray,
    shrinkage: float = SHRINKAGE,
    importance: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear discriminant analysis with a shrunk covariance and equal priors, in closed form.

    Equal priors, because the scenes' shares in the training set say nothing about those out there.

    Args:
        features: `[n, features]`.
        labels: `int [n]`, 0 to scenes - 1.
        shrinkage: of the covariance, see `train_model.out_of_scope.shrunk_covariance`.
        importance: of each row, see `kind_importance`; all alike by default.

    Returns:
        Kernel `[features, scenes]` and bias `[scenes]` of the logits.
    """
    features = np.asarray(features, np.float64)
    importance = np.ones(len(features)) if importance is None else importance
    means = scene_means(features, labels, importance)
    kernel = np.linalg.solve(shrunk_covariance(features, labels, shrinkage, importance), means.T)
    return kernel, -0.5 * (means.T * kernel).sum(axis=0)


def train(
    features: np.ndarray,
    labels: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    *,
    head: tuple[np.ndarray, np.ndarray] | None = None,
    importance: np.ndarray | None = None,
    shrinkage: float = SHRINKAGE,
    keep: float = 0.95,
) -> Trained:
    """Trains the head, its temperature and its scope score; a few seconds.

    Args:
        features: `[views, n, features]` of the training images, from `view_features`.
        labels: `int [n]`.
        validation_features: `[views, m, features]`; temperature and threshold are fitted on all views, so
            that they hold for images from other sources too.
        validation_labels: `int [m]`.
        head: kernel and bias of another linear head on the same features, to be served instead.
        importance: of each training image, see `kind_importance`; all alike by default.
        shrinkage: see `fit_discriminant`.
        keep: share of real scenes that stays in scope.

    Returns:
        The head.
    """
    flat, targets = _flatten(features, labels)
    importance = None if importance is None else np.tile(importance, len(features))
    kernel, bias = head or fit_discriminant(flat, targets, shrinkage, importance)
    scope = fit_scope(flat, targets, kernel, bias)
    unseen, truth = _flatten(validation_features, validation_labels)
    temperature = fit_temperature(unseen @ kernel + bias, truth)
    return Trained(
        (kernel / temperature).astype(np.float32),
        (bias / temperature).astype(np.float32),
        temperature,
        scope,
        threshold(scope.score(unseen), keep),
    )


def _flatten(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    views, images, length = features.shape
    return np.asarray(features, np.float64).reshape(views * images, length), np.tile(labels, views)
