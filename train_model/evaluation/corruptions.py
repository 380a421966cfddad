"""How accuracy falls as images get worse: corruptions at several strengths, as in ImageNet-C (arXiv:1903.12261).

These are what images meet on their way to a web service: small images, JPEG, other cameras, other framing.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from PIL.ImageEnhance import Brightness, Color, Contrast

from train_model.augmentation import Augmentation

BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Corruption:
    """A way in which images get worse: `change` makes an image one of the same size, by a strength."""

    strengths: tuple[float, ...]  # five of them, from mild to severe
    change: Callable[[Image.Image, float, np.random.Generator], Image.Image]

    def __call__(self, images: np.ndarray, strength: float) -> np.ndarray:
        """Corrupts images `uint8 [n, size, size, 3]`, image i by the same draw in every run."""
        changed = [
            self.change(Image.fromarray(image), strength, np.random.default_rng([0, number]))
            for number, image in enumerate(images)
        ]
        return np.stack(changed)


def _rounded(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _zoomed(image: Image.Image, left: float, top: float, width: float, height: float) -> Image.Image:
    """A part of the image in the whole one's size."""
    return image.resize(image.size, BILINEAR, box=(left, top, left + width, top + height))


def _blur(image, strength, rng):
    return image.filter(ImageFilter.GaussianBlur(strength))


def _resolution(image, strength, rng):
    return image.resize((strength, strength), BILINEAR).resize(image.size, BILINEAR)


def _jpeg(image, strength, rng):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(strength))
    return Image.open(stream).convert("RGB")


def _enhanced(kind):
    return lambda image, strength, rng: kind(image).enhance(strength)


def _colour_cast(image, strength, rng):
    # A wrong white balance: warm or cold, red against blue.
    warm = strength if rng.random() < 0.5 else 1 / strength
    return _rounded(np.asarray(image, np.float32) * np.array([warm, 1.0, 1 / warm], np.float32))


def _noise(image, strength, rng):
    pixels = np.asarray(image, np.float32)
    return _rounded(pixels + rng.normal(0, strength, pixels.shape).astype(np.float32))


def _rotation(image, strength, rng):
    # Turned, then cropped to the largest upright square, so that no invented border gives the turn away.
    angle = strength if rng.random() < 0.5 else -strength
    edge = image.width / (np.cos(np.deg2rad(strength)) + np.sin(np.deg2rad(strength)))
    margin = (image.width - edge) / 2
    return _zoomed(image.rotate(angle, BILINEAR), margin, margin, edge, edge)


def _occlusion(image, strength, rng):
    edge = round(image.width * np.sqrt(strength / 100))
    left, top = (int(start) for start in rng.integers(0, image.width - edge + 1, 2))
    covered = image.copy()
    covered.paste((127, 127, 127), (left, top, left + edge, top + edge))
    return covered


def _crop(image, strength, rng):
    edge = image.width * np.sqrt(strength / 100)
    return _zoomed(image, *rng.uniform(0, image.width - edge, 2), edge, edge)


def _squeeze(image, strength, rng):
    # An image of another shape, squeezed to the square: part of the height (or width) fills the whole.
    edge = image.width / strength
    start = (image.width - edge) * rng.random()
    if rng.random() < 0.7:  # most images lie
        return _zoomed(image, 0, start, image.width, edge)
    return _zoomed(image, start, 0, edge, image.width)


CORRUPTIONS = {
    "blur": Corruption((0.5, 1.0, 1.5, 2.5, 4.0), _blur),  # pixels (sigma)
    "JPEG": Corruption((50, 30, 20, 10, 5), _jpeg),  # quality
    "resolution": Corruption((192, 150, 112, 80, 64), _resolution),  # pixels across
    "darker": Corruption((0.8, 0.65, 0.5, 0.35, 0.2), _enhanced(Brightness)),  # times the light
    "brighter": Corruption((1.2, 1.4, 1.7, 2.0, 2.5), _enhanced(Brightness)),  # times the light
    "contrast": Corruption((0.8, 0.6, 0.45, 0.3, 0.2), _enhanced(Contrast)),  # times the contrast
    "saturation": Corruption((0.7, 0.5, 0.3, 0.15, 0.0), _enhanced(Color)),  # times the colour
    "colour cast": Corruption((1.08, 1.15, 1.25, 1.4, 1.6), _colour_cast),  # times red over green
    "noise": Corruption((5, 10, 20, 30, 45), _noise),  # grey levels (sigma)
    "rotation": Corruption((5, 10, 15, 22, 30), _rotation),  # degrees
    "occlusion": Corruption((5, 10, 20, 30, 45), _occlusion),  # % of the area
    "crop": Corruption((80, 65, 50, 40, 30), _crop),  # % of the area left
    "squeeze": Corruption((1.15, 1.33, 1.5, 1.78, 2.2), _squeeze),  # times too wide or tall
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
    corruptions: dict[str, Corruption] = CORRUPTIONS,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Accuracy under every corruption at every strength.

    `predict` makes probabilities `[n, classes]` of `uint8 [n, size, size, 3]`; `truth` is `int [n]`. A row per corruption and
    level: `corruption`, `level` (0 is the clean image, then 1 to 5), `accuracy`.
    """
    clean, rows = (predict(images).argmax(axis=1) == truth).mean(), []
    for name, corruption in corruptions.items():
        rows.append((name, 0, clean))
        for level, strength in enumerate(corruption.strengths, 1):
            right = predict(corruption(images, strength)).argmax(axis=1) == truth
            rows.append((name, level, right.mean()))
            if progress:
                progress(len(rows), 6 * len(corruptions))
    return pd.DataFrame(rows, columns=["corruption", "level", "accuracy"])
