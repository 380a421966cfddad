"""How much an image looks like any of the scenes at all: the score behind `in_scope`.

Two questions, one number, both from the features that the model computes anyway:

- Is one scene clearly ahead of the others? The lead of the best logit over the logits' mean. A kitchen gives
  the scenes nothing to choose between.
- Is the image near the scenes? Minus the Mahalanobis distance to the nearest scene's mean (Lee et al.,
  arXiv:1807.03888), on features of unit length (Mueller & Hein, arXiv:2505.18032): their length is contrast and
  sharpness more than content. A street can have a winning scene and still be nowhere near it.

Each fails where the other works: with coasts, forests or mountains left out of the training in turn and shown
as strangers (`leave_one_scene_out`), the sum recognises them far better than either. All statistics come
from augmented views of training images, so that another camera or resolution isn't a stranger.

No image of anything else was used to choose or fit any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter
from sklearn.metrics import roc_auc_score

from data_prep_eda.preprocessing import SCENES

SHRINKAGE = 0.7  # of the covariance towards a multiple of the identity; 0.3 to 0.7 do equally well
DIRECTIONS = 64  # of most variance that are kept; the others share one variance, which costs next to nothing
WEIGHT = 0.7  # of the nearness against the lead, in standard deviations of the training views; 0.7 to 1 do equally well


@dataclass(frozen=True)
class Scope:
    """The score as a few small matrices; see `fit_scope`.

    For features f, and g = f / |f|, the score is
    max(f @ lead_kernel + lead_bias) + max(g @ centre_kernel + centre_bias) + sum((g @ directions)**2):
    the second and third term are minus the distance, up to a constant, because |g| is 1.

    Attributes:
        lead_kernel: `float32 [features, scenes]`.
        lead_bias: `float32 [scenes]`.
        centre_kernel: `float32 [features, scenes]`.
        centre_bias: `float32 [scenes]`.
        directions: `float32 [features, DIRECTIONS]`.
    """

    lead_kernel: np.ndarray
    lead_bias: np.ndarray
    centre_kernel: np.ndarray
    centre_bias: np.ndarray
    directions: np.ndarray

    def score(self, features: np.ndarray) -> np.ndarray:
        """Scores of pooled features.

        Args:
            features: `[n, features]`.

        Returns:
            `[n]`; higher is more like a scene.
        """
        unit = _unit(features)
        lead = (features @ self.lead_kernel + self.lead_bias).max(axis=1)
        centre = (unit @ self.centre_kernel + self.centre_bias).max(axis=1)
        return lead + centre + ((unit @ self.directions) ** 2).sum(axis=1)

    def layers(self, pooled: keras.KerasTensor) -> keras.KerasTensor:
        """Adds the score to a model: pooled features `[n, features]` to an output `score [n, 1]`.

        Layers that Keras has itself, so that `.h5` files load without this project (operations of `keras.ops` become
        layers that they don't know).
        """
        scenes, directions = self.lead_bias.shape[0], self.directions.shape[1]

        def largest(layer: keras.Layer, values: keras.KerasTensor) -> keras.KerasTensor:
            column = keras.layers.Reshape((scenes, 1), name=f"{layer.name}_column")(layer(values))
            return keras.layers.GlobalMaxPooling1D(name=f"{layer.name}_largest")(column)

        lead = keras.layers.Dense(scenes, name="lead")
        centre = keras.layers.Dense(scenes, name="centre")
        spread = keras.layers.Dense(directions, use_bias=False, name="directions")
        total = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="sum")
        unit = keras.layers.UnitNormalization(name="unit")(pooled)
        along = spread(unit)
        squares = keras.layers.Multiply(name="squares")([along, along])
        terms = [largest(lead, pooled), largest(centre, unit), total(squares)]
        lead.set_weights([self.lead_kernel, self.lead_bias])
        centre.set_weights([self.centre_kernel, self.centre_bias])
        spread.set_weights([self.directions])
        return keras.layers.Add(name="score")(terms)


def fit_scope(
    features: np.ndarray,
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    *,
    shrinkage: float = SHRINKAGE,
    directions: int = DIRECTIONS,
    weight: float = WEIGHT,
) -> Scope:
    """Fits the score to the training images and a linear head.

    Args:
        features: `[n, features]`, of training images and their augmented views.
        labels: `int [n]`.
        kernel: the head's, `[features, scenes]`.
        bias: the head's, `[scenes]`.
        shrinkage: see `SHRINKAGE`.
        directions: see `DIRECTIONS`.
        weight: see `WEIGHT`.

    Returns:
        The score. Its zero is an average training view.
    """
    features = np.asarray(features, np.float64)
    # Logits are only known up to a constant that all share; their differences are what the head says.
    lead_kernel = kernel - kernel.mean(axis=1, keepdims=True)
    lead_bias = bias - bias.mean()
    lead = (features @ lead_kernel + lead_bias).max(axis=1)
    lead_kernel, lead_bias = lead_kernel / lead.std(), (lead_bias - lead.mean()) / lead.std()

    unit = _unit(features)
    means = scene_means(unit, labels, np.ones(len(unit)))
    variances, axes = np.linalg.eigh(shrunk_covariance(unit, labels, shrinkage))
    variances, axes = variances[::-1], axes[:, ::-1]  # most variance first
    directions = min(directions, len(variances) - 1)
    rest = variances[directions:].mean()
    excess = 1 / rest - 1 / variances[:directions]  # what a kept direction counts less than the rest
    kept = axes[:, :directions]
    precision_means = means / rest - (means @ kept * excess) @ kept.T
    # (g - m)' P (g - m) = g' P g - 2 m' P g + m' P m, and g' P g = 1/rest - sum of excess * (kept' g)^2
    centre_kernel = 2 * precision_means.T
    centre_bias = -(precision_means * means).sum(axis=1)
    scaled = kept * np.sqrt(excess)
    near = (unit @ centre_kernel + centre_bias).max(axis=1) + ((unit @ scaled) ** 2).sum(axis=1)
    factor = weight / near.std()
    return Scope(
        lead_kernel.astype(np.float32),
        lead_bias.astype(np.float32),
        (factor * centre_kernel).astype(np.float32),
        (factor * (centre_bias - near.mean())).astype(np.float32),
        (np.sqrt(factor) * scaled).astype(np.float32),
    )


def scene_means(features: np.ndarray, labels: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Mean of each scene's features `[scenes, features]`, rows of `[n, features]` counting by `[n]`."""
    return np.stack(
        [
            np.average(features[labels == scene], axis=0, weights=importance[labels == scene])
            for scene in np.unique(labels)
        ]
    )


def shrunk_covariance(
    features: np.ndarray, labels: np.ndarray, shrinkage: float, importance: np.ndarray | None = None
) -> np.ndarray:
    """Covariance `[features, features]` about the scenes' means, shrunk towards a multiple of the identity.

    Ledoit & Wolf, Journal of Multivariate Analysis 88, 2004. With as many features as images the plain
    estimate has directions of no variance at all, and views of one image are no new images; hence
    more shrinkage than their formula gives for independent ones.
    """
    importance = np.ones(len(features)) if importance is None else importance
    member = np.unique(labels, return_inverse=True)[1]
    deviations = features - scene_means(features, labels, importance)[member]
    deviations *= np.sqrt(importance / importance.sum())[:, None]
    covariance = deviations.T @ deviations
    covariance *= 1 - shrinkage
    covariance[np.diag_indices_from(covariance)] += (
        shrinkage / (1 - shrinkage) * np.trace(covariance) / len(covariance) if shrinkage < 1 else 1.0
    )
    return covariance


def threshold(scores: np.ndarray, keep: float = 0.95) -> float:
    """The score below which an image counts as out of scope.

    Args:
        scores: of real scenes that the model was not trained on.
        keep: share of them that stays in scope.

    Returns:
        The (1 - keep) quantile, from below.
    """
    return float(np.quantile(scores, 1 - keep, method="lower"))


def separation(scenes: np.ndarray, strangers: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a scene's score is above a stranger's."""
    truth = np.r_[np.ones(len(scenes)), np.zeros(len(strangers))]
    return float(roc_auc_score(truth, np.r_[scenes, strangers]))


def leave_one_scene_out(
    views: np.ndarray,
    labels: np.ndarray,
    divisions: Iterable[tuple[np.ndarray, np.ndarray]],
    head: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The best test of strangers that needs no images of anything else.

    A model of two scenes has never met the third. It learns two from one part of the images; the scenes
    are then the other part's images of these two, the strangers its images of the third.

    Args:
        views: `[views, n, features]`; view 0 is the image as it is.
        labels: `int [n]`.
        divisions: (train, test) positions, for instance of group-aware folds.
        head: features, labels and positions of the images to the kernel `[features, scenes]` and bias
            `[scenes]` of a linear head.
        progress: called with (done, all).

    Returns:
        One row a left-out scene, division and score: `left_out`, `division`, `score` (`energy`, `lead`,
        `nearness` or `scope`), `auroc` (images clean) and `auroc_shifted` (scenes in their augmented
        views against strangers clean: a scene from another source must not look like a stranger).
    """
    divisions = list(divisions)
    rows = []
    for number, (train, test) in enumerate(divisions):
        for left_out, name in enumerate(SCENES):
            known = train[labels[train] != left_out]
            scenes, strangers = test[labels[test] != left_out], test[labels[test] == left_out]
            features = np.concatenate(views[:, known]).astype(np.float64)
            targets = np.tile(np.unique(labels[known], return_inverse=True)[1], len(views))
            kernel, bias = head(features, targets, np.tile(known, len(views)))
            scope = fit_scope(features, targets, kernel, bias)
            for score, function in _parts(scope, features, kernel, bias).items():
                strange = function(views[0, strangers])
                rows.append(
                    {
                        "left_out": name,
                        "division": number,
                        "score": score,
                        "auroc": separation(function(views[0, scenes]), strange),
                        "auroc_shifted": separation(function(np.concatenate(views[1:, scenes])), strange)
                        if len(views) > 1
                        else np.nan,
                    }
                )
            if progress:
                progress(len(SCENES) * number + left_out + 1, len(SCENES) * len(divisions))
    return pd.DataFrame(rows)


def _parts(scope: Scope, features: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> dict[str, Callable]:
    """The score, its two halves, and the usual one: energy (Liu et al., NeurIPS 2020)."""
    lead = lambda f: (f @ scope.lead_kernel + scope.lead_bias).max(axis=1)  # noqa: E731
    unit_spread = (features @ kernel + bias).std()

    def energy(f: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce((f @ kernel + bias) / unit_spread, axis=1)

    return {
        "energy": energy,
        "lead": lead,
        "nearness": lambda f: scope.score(f) - lead(f),
        "scope": scope.score,
    }


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


# --- images of nothing in particular -------------------------------------------------------------------


def synthetic_images(size: int = 224, each: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Images that show no scene, made here: a check of the crudest strangers only.

    Args:
        size: edge length in pixels.
        each: images of a kind.
        seed: of the random numbers.

    Returns:
        Kind to `uint8 [each, size, size, 3]`: `noise` (white), `clouded noise` (natural spectrum, no content),
        `plain colour`, `checkerboard`, `stripes`, `shapes`, `facade` (windows in rows under a sky), `road`
        (converging edges to a horizon), `page` (lines of a printed page).
    """
    kinds = {
        "noise": _noise,
        "clouded noise": _clouded_noise,
        "plain colour": _plain,
        "checkerboard": _checkerboard,
        "stripes": _stripes,
        "shapes": _shapes,
        "facade": _facade,
        "road": _road,
        "page": _page,
    }
    return {
        kind: np.stack(
            [np.asarray(draw(size, np.random.default_rng([seed, number, i])), np.uint8) for i in range(each)]
        )
        for number, (kind, draw) in enumerate(kinds.items())
    }


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    return tuple(int(level) for level in rng.integers(low, high, 3))


def _noise(size, rng):
    return rng.integers(0, 256, (size, size, 3))


def _clouded_noise(size, rng):
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(rng.normal(size=(3, size, size))) / np.maximum(frequency, 1 / size)
    clouds = np.moveaxis(np.fft.ifft2(spectrum).real, 0, -1)
    return np.clip(127 + 50 * clouds / clouds.std(), 0, 255)


def _plain(size, rng):
    return np.full((size, size, 3), _colour(rng))


def _checkerboard(size, rng):
    edge = int(rng.integers(8, 48))
    cells = np.add.outer(np.arange(size) // edge, np.arange(size) // edge) % 2
    return np.where(cells[..., None], _colour(rng), _colour(rng))


def _stripes(size, rng):
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 40)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)[..., None]
    return (1 + wave) / 2 * _colour(rng) + (1 - wave) / 2 * np.array(_colour(rng))


def _shapes(size, rng):
    image = Image.new("RGB", (size, size), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.integers(-size // 8, size, 2)
        width, height = rng.integers(size // 16, size // 2, 2)
        shape = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        shape((int(left), int(top), int(left + width), int(top + height)), fill=_colour(rng))
    return image


def _facade(size, rng):
    image = Image.new("RGB", (size, size), (130, 170, 220))
    draw = ImageDraw.Draw(image)
    roof = int(rng.integers(0, size // 3))
    draw.rectangle(
        (int(rng.integers(0, size // 5)), roof, size - int(rng.integers(0, size // 5)), size),
        _colour(rng, 80, 220),
    )
    glass, step_x, step_y = _colour(rng, 20, 120), int(rng.integers(14, 32)), int(rng.integers(16, 36))
    for y in range(roof + 10, size, step_y):
        for x in range(size // 5 + 6, size - size // 5, step_x):
            draw.rectangle((x, y, x + step_x // 2, y + step_y // 2), fill=glass)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def _road(size, rng):
    image = Image.new("RGB", (size, size), (150, 185, 225))
    draw = ImageDraw.Draw(image)
    horizon, centre = int(rng.integers(size // 3, size // 2)), int(rng.integers(size // 3, 2 * size // 3))
    draw.rectangle((0, horizon, size, size), fill=_colour(rng, 60, 170))
    draw.polygon([(centre, horizon), (-size // 4, size), (size + size // 4, size)], fill=(95, 95, 98))
    for i in range(6):
        far = (i / 6) ** 2
        y = horizon + far * (size - horizon)
        draw.line((centre, y, centre, y + 4 + 14 * far), fill="white", width=1 + int(6 * far))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def _page(size, rng):
    image = Image.new("RGB", (size, size), (248, 246, 240))
    draw = ImageDraw.Draw(image)
    for y in range(16, size - 12, int(rng.integers(8, 14))):
        x = 14
        while x < size - 20:
            width = int(rng.integers(6, 30))
            draw.rectangle((x, y, min(x + width, size - 14), y + 3), fill=(40, 40, 45))
            x += width + 5
    return image
