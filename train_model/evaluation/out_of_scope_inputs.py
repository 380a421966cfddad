"""Images of other classes, for a check of the OOD score: synthetic ones, and those that scikit-image ships."""

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

# Photographs of other things among scikit-image's own test images; the others are drawings or need a download.
OBJECTS = ("astronaut", "camera", "cat", "coffee", "coins", "rocket", "page", "text", "clock", "brick")


def scikit_image_photographs(size: int = 224) -> np.ndarray:
    """The photographs named in `OBJECTS`, `uint8 [n, size, size, 3]`."""
    images = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in OBJECTS]
    return np.stack([np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images])


def synthetic_images(size: int = 224, each: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Synthetic images, far from every photograph and so the crudest OOD inputs: a kind to `uint8 [each, size, size, 3]`."""
    kinds = {
        "noise": lambda size, rng: rng.integers(0, 256, (size, size, 3)),
        "clouded noise": _clouded_noise,
        "plain colour": lambda size, rng: np.full((size, size, 3), _colour(rng)),
        "checkerboard": _checkerboard,
        "stripes": _stripes,
        "shapes": _shapes,
    }
    images = {}
    for number, (kind, draw) in enumerate(kinds.items()):
        drawn = [draw(size, np.random.default_rng([seed, number, i])) for i in range(each)]
        images[kind] = np.stack(drawn).astype(np.uint8)
    return images


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(rng.integers(0, 256, 3).tolist())


def _clouded_noise(size, rng):  # a natural spectrum, no content
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(rng.normal(size=(3, size, size))) / np.maximum(frequency, 1 / size)
    clouds = np.moveaxis(np.fft.ifft2(spectrum).real, 0, -1)
    return np.clip(127 + 50 * clouds / clouds.std(), 0, 255)


def _checkerboard(size, rng):
    cells = np.arange(size) // int(rng.integers(8, 48))
    return np.where(np.add.outer(cells, cells)[..., None] % 2, _colour(rng), _colour(rng))


def _stripes(size, rng):
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 40)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)[..., None]
    return (1 + wave) / 2 * _colour(rng) + (1 - wave) / 2 * np.array(_colour(rng))


def _shapes(size, rng):
    image = Image.new("RGB", (size, size), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.integers(-size // 8, size, 2).tolist()
        width, height = rng.integers(size // 16, size // 2, 2).tolist()
        shape = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        shape((left, top, left + width, top + height), fill=_colour(rng))
    return image
