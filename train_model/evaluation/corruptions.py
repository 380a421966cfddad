"""How accuracy falls as images get worse: corruptions at several strengths, as in ImageNet-C.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
arXiv:1903.12261. Theirs are synthetic cameras and weather on 224 pixels; these are what images meet on
their way to a web service: small images, JPEG, other cameras, other framing.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageFilter

from train_model.augmentation import Augmentation
from train_model.metrics import log_loss

Change = Callable[[Image.Image, float, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Corruption:
    """A way in which images get worse.

    Attributes:
        name: as it appears in tables and figures.
        unit: of the strengths.
        strengths: five of them, from mild to severe.
        change: image, strength and random generator to an image of the same size.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    change: Change

    def __call__(self, images: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
        """Corrupts images, each by its own draw.

        Args:
            images: `uint8 [n, size, size, 3]`.
            strength: in `unit`; one of `strengths`, or any other.
            seed: of the draws; image i is changed the same way in every run.

        Returns:
            `uint8 [n, size, size, 3]`.
        """
        changed = [
            self.change(Image.fromarray(image), strength, np.random.default_rng([seed, number]))
            for number, image in enumerate(images)
        ]
        return np.stack([np.asarray(image, dtype=np.uint8) for image in changed])


def _jpeg(image, strength, rng):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(strength))
    return Image.open(stream).convert("RGB")


def _resolution(image, strength, rng):
    small = image.resize((int(strength), int(strength)), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _enhanced(kind):
    return lambda image, strength, rng: kind(image).enhance(strength)


def _colour_cast(image, strength, rng):
    # A wrong white balance: warm or cold, red against blue.
    warm = strength if rng.random() < 0.5 else 1 / strength
    pixels = np.asarray(image, dtype=np.float32) * np.array([warm, 1.0, 1 / warm], np.float32)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _noise(image, strength, rng):
    pixels = np.asarray(image, dtype=np.float32)
    pixels = pixels + rng.normal(0, strength, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _rotation(image, strength, rng):
    # Turned, then cropped to the largest upright square, so that no invented border gives the turn away.
    angle = strength if rng.random() < 0.5 else -strength
    turn = np.deg2rad(strength)
    edge = image.width / (np.cos(turn) + np.sin(turn))
    margin = (image.width - edge) / 2
    turned = image.rotate(angle, Image.Resampling.BILINEAR)
    return turned.resize(
        image.size, Image.Resampling.BILINEAR, box=(margin, margin, margin + edge, margin + edge)
    )


def _occlusion(image, strength, rng):
    edge = round(image.width * np.sqrt(strength / 100))
    left, top = rng.integers(0, image.width - edge + 1, 2)
    pixels = np.array(image)
    pixels[top : top + edge, left : left + edge] = 127
    return Image.fromarray(pixels)


def _crop(image, strength, rng):
    edge = image.width * np.sqrt(strength / 100)
    left, top = rng.uniform(0, image.width - edge, 2)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=(left, top, left + edge, top + edge))


def _squeeze(image, strength, rng):
    # An image of another shape, squeezed to the square: part of the height (or width) fills the whole.
    edge = image.width / strength
    start = (image.width - edge) * rng.random()
    wide = rng.random() < 0.7  # most images lie
    box = (0, start, image.width, start + edge) if wide else (start, 0, start + edge, image.width)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


CORRUPTIONS = {
    corruption.name: corruption
    for corruption in (
        Corruption(
            "blur",
            "pixels (sigma)",
            (0.5, 1.0, 1.5, 2.5, 4.0),
            lambda image, strength, rng: image.filter(ImageFilter.GaussianBlur(strength)),
        ),
        Corruption("JPEG", "quality", (50, 30, 20, 10, 5), _jpeg),
        Corruption("resolution", "pixels across", (192, 150, 112, 80, 64), _resolution),
        Corruption(
            "darker", "times the light", (0.8, 0.65, 0.5, 0.35, 0.2), _enhanced(ImageEnhance.Brightness)
        ),
        Corruption(
            "brighter", "times the light", (1.2, 1.4, 1.7, 2.0, 2.5), _enhanced(ImageEnhance.Brightness)
        ),
        Corruption(
            "contrast", "times the contrast", (0.8, 0.6, 0.45, 0.3, 0.2), _enhanced(ImageEnhance.Contrast)
        ),
        Corruption(
            "saturation", "times the colour", (0.7, 0.5, 0.3, 0.15, 0.0), _enhanced(ImageEnhance.Color)
        ),
        Corruption("colour cast", "times red over green", (1.08, 1.15, 1.25, 1.4, 1.6), _colour_cast),
        Corruption("noise", "grey levels (sigma)", (5, 10, 20, 30, 45), _noise),
        Corruption("rotation", "degrees", (5, 10, 15, 22, 30), _rotation),
        Corruption("occlusion", "% of the area", (5, 10, 20, 30, 45), _occlusion),
        Corruption("crop", "% of the area left", (80, 65, 50, 40, 30), _crop),
        Corruption("squeeze", "times too wide or tall", (1.15, 1.33, 1.5, 1.78, 2.2), _squeeze),
    )
}


def _random_corruptions(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(pixels)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for number in rng.choice(len(CORRUPTIONS), 2, replace=False):
        corruption = list(CORRUPTIONS.values())[number]
        image = corruption.change(image, corruption.strengths[rng.integers(4)], rng)
    return np.asarray(image)


# Augmentation that simulates a domain shift: what other cameras, resolutions and framings do to an image.
RANDOM_CORRUPTIONS = Augmentation(
    "random_corruptions",
    "a left-right flip and two corruptions of random kind and strength",
    _random_corruptions,
)


def robustness_table(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    truth: np.ndarray,
    corruptions: dict[str, Corruption] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Accuracy, worst class and log loss under every corruption at every strength.

    Args:
        predict: `uint8 [n, size, size, 3]` to probabilities `[n, classes]`.
        images: `uint8 [n, size, size, 3]`.
        truth: true classes, `int [n]`.
        corruptions: which ones; all of `CORRUPTIONS` by default.
        progress: called with (done, all).

    Returns:
        One row per corruption and level: `corruption`, `unit`, `level` (0 is the clean image, then 1 to 5),
        `strength`, `accuracy`, `worst_class` (accuracy of the worst class), `log_loss`.
    """
    corruptions = CORRUPTIONS if corruptions is None else corruptions
    todo = [(c, level, s) for c in corruptions.values() for level, s in enumerate(c.strengths, 1)]
    clean = _scores(predict(images), truth)
    rows = [
        {"corruption": c.name, "unit": c.unit, "level": 0, "strength": np.nan} | clean
        for c in corruptions.values()
    ]
    for done, (corruption, level, strength) in enumerate(todo, 1):
        scores = _scores(predict(corruption(images, strength)), truth)
        rows.append(
            {"corruption": corruption.name, "unit": corruption.unit, "level": level, "strength": strength}
            | scores
        )
        if progress:
            progress(done, len(todo))
    order = {name: number for number, name in enumerate(corruptions)}
    table = pd.DataFrame(rows)
    return table.sort_values(
        ["corruption", "level"],
        key=lambda c: c.map(order) if c.name == "corruption" else c,
        ignore_index=True,
    )


def _scores(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    right = probabilities.argmax(axis=1) == truth
    return {
        "accuracy": float(right.mean()),
        "worst_class": float(min(right[truth == label].mean() for label in np.unique(truth))),
        "log_loss": log_loss(np.log(np.clip(probabilities, 1e-7, 1)), truth),
    }
