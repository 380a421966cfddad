"""Augmentations: the study's as implemented, the study's as it was intended, and the one the served model uses.

A view of an image is a function of (seed, view, image index) alone: features of views can be cached,
and training twice gives the same model. Everything works on uint8 pixels with NumPy, Pillow and OpenCV, so it is the
same under every Keras backend. `train_model.features` caches the frozen features of the views.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

cv2.setNumThreads(1)  # views are drawn on one thread per core already

Transform = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Augmentation:
    """A random change of images that leaves the scene what it is.

    Attributes:
        name: as it appears in parameters, caches and tables.
        description: what it does, in words.
        transform: one square RGB image and a random generator to an image of the same size; None for no
            change.
        version: raised when the pixels change, so that cached views of the old version are not used.
    """

    name: str
    description: str
    transform: Transform | None
    version: int = 1

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes every image by its own random draw.

        Args:
            images: `uint8 [n, size, size, 3]`.
            rng: source of the draws.

        Returns:
            `uint8 [n, size, size, 3]`.
        """
        if self.transform is None:
            return images.copy()
        return _stack([self.transform(Image.fromarray(image), rng) for image in images])

    def view(self, images: np.ndarray, seed: int, view: int, indices: np.ndarray | None = None) -> np.ndarray:
        """One view of every image, drawn for each from (seed, view, its index).

        Args:
            images: `uint8 [n, size, size, 3]`.
            seed: of the run.
            view: number of the view, for instance the epoch.
            indices: `int [n]`, the images' numbers in their data set; 0 to n - 1 by default. A
                image's view does not depend on which others are asked for with it.

        Returns:
            `uint8 [n, size, size, 3]`.
        """
        if self.transform is None:
            return images.copy()
        numbers = np.arange(len(images)) if indices is None else np.asarray(indices)
        return _stack(
            [
                self.transform(Image.fromarray(image), np.random.default_rng([seed, view, int(number)]))
                for image, number in zip(images, numbers, strict=True)
            ]
        )


def _stack(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image, dtype=np.uint8) for image in images])


def _warp(image: Image.Image, matrix: np.ndarray) -> Image.Image:
    """Resamples an image through an affine map about its centre; the outside repeats the nearest edge pixel.

    OpenCV takes a quarter of Pillow's time for it. Half of the pixels are the same, one in a thousand differs by more
    than one level, and none by more than three.

    Args:
        image: square RGB image.
        matrix: `float [2, 3]`, from output to input coordinates, both in pixels from the centre.
    """
    centre = (image.width - 1) / 2  # OpenCV counts from the middle of the first pixel
    inner = matrix.copy()
    inner[:, 2] += centre - matrix[:, :2] @ np.array([centre, centre])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(np.asarray(image), inner, image.size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    return Image.fromarray(warped)


def _as_implemented(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    # ImageDataGenerator(vertical_flip=True, width_shift_range=10, height_shift_range=10, zoom_range=0.1,
    # rotation_range=30, fill_mode="nearest"): an integer range shifts by whole pixels, and the zoom of
    # either axis is drawn by itself.
    angle = np.deg2rad(rng.uniform(-30, 30))
    zoom_x, zoom_y = rng.uniform(0.9, 1.1, 2)
    shift_x, shift_y = rng.integers(-9, 10, 2)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([zoom_x, zoom_y])
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return _warp(image, np.column_stack([linear, [shift_x, shift_y]]))


def _as_intended(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    shift = rng.uniform(-0.1, 0.1, 2) * image.width
    zoom = rng.uniform(0.9, 1.1)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _warp(image, np.column_stack([zoom * np.eye(2), shift]))


def _random_crop(image: Image.Image, rng: np.random.Generator, smallest: float) -> Image.Image:
    """A part of at least `smallest` of the area, at up to 4:3 or 3:4, resized to the whole."""
    size = image.width
    area = rng.uniform(smallest, 1.0) * size * size
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = min(size, np.sqrt(area * aspect)), min(size, np.sqrt(area / aspect))
    left, top = rng.uniform(0, size - width), rng.uniform(0, size - height)
    box = (left, top, left + width, top + height)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _other_resolution(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Down to 64 to 200 pixels and back, as a small image arrives."""
    small = int(rng.integers(64, 201))
    down = (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.BOX)[rng.integers(3)]
    return image.resize((small, small), down).resize(image.size, Image.Resampling.BILINEAR)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after one round through JPEG at a quality of 1 to 95."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _other_camera(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and white balance, as cameras, films and scanners differ."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(rng.uniform(0.6, 1.4))
    gains = np.exp(rng.uniform(-0.15, 0.15, 3))
    levels = np.arange(256)
    table = np.clip(levels * gains[:, None] + 0.5, 0, 255).astype(np.uint8)
    return image.point([int(level) for level in table.ravel()])


# Light and colour of the study's 1,026 images at 224 pixels, in YCbCr: the mean level of a channel, and the
# logarithm of its spread, each as (average, standard deviation) over the images. Blue and red oppose each other.
LEVELS = ((109.0, 28.0), (129.0, 16.0), (123.0, 13.0))
LOG_SPREADS = ((3.90, 0.30), (2.43, 0.54), (2.08, 0.62))
BLUE_AGAINST_RED = -0.75  # correlation of the mean levels of Cb and Cr


def _other_light(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light and colour of another image, to a part that is drawn too.

    Each channel's mean and spread move towards those of an image that is drawn from what images are like
    (Reinhard et al., Color Transfer between Images, IEEE CG&A 21(5), 2001): a forest in the light of a snowfield, a
    coast without blue. What the scene is no longer shows in its colours.
    """
    part = rng.uniform(0.3, 1.0)
    brightness, blue, red = rng.normal(size=3)
    red = BLUE_AGAINST_RED * blue + np.sqrt(1 - BLUE_AGAINST_RED**2) * red
    draws = zip(LEVELS, (brightness, blue, red), LOG_SPREADS, rng.normal(size=3), strict=True)
    image = image.convert("YCbCr")
    table = []
    for channel, ((level, by), z, (log_spread, log_by), log_z) in zip(image.split(), draws, strict=True):
        pixels = np.asarray(channel)
        mean, spread = pixels.mean(), pixels.std() + 2.0  # a plain surface has no spread to enlarge
        new_mean = (1 - part) * mean + part * (level + by * z)
        gain = (np.exp(log_spread + log_by * log_z) / spread) ** part
        table.append(np.clip((np.arange(256) - mean) * gain + new_mean + 0.5, 0, 255).astype(np.uint8))
    return image.point([int(level) for level in np.concatenate(table)]).convert("RGB")


def _robust(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.8:
        image = _random_crop(image, rng, smallest=0.4)
    colours = rng.random()
    if colours < 0.6:
        image = _other_light(image, rng)
    elif colours < 0.85:
        image = _other_camera(image, rng)
    if rng.random() < 0.05:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.4:
        image = _other_resolution(image, rng)
    elif rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))
    if rng.random() < 0.4:
        image = jpeg(image, int(rng.integers(20, 96)))
    return image


AUGMENTATIONS = {
    augmentation.name: augmentation
    for augmentation in (
        Augmentation("none", "the image as it is", None),
        Augmentation(
            "as_implemented",
            "the study's, as its code ran: upside-down flip, shifts of up to 10 pixels, zoom 0.9 to 1.1, "
            "rotation of up to 30 degrees",
            _as_implemented,
            version=2,
        ),
        Augmentation(
            "as_intended",
            "the study's, as its text meant it: left-right flip, shifts of up to 10 %, zoom 0.9 to 1.1",
            _as_intended,
            version=2,
        ),
        Augmentation(
            "robust",
            "what another source changes: left-right flip, crops down to 40 % of the area, resolution, JPEG "
            "compression, light and colour",
            _robust,
            version=2,
        ),
    )
}
