"""Augmentations: the original project's as implemented and as it was intended, on uint8 pixels with OpenCV."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

cv2.setNumThreads(1)  # views are drawn on one thread per core already

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Augmentation:
    """A random change of images that leaves their label what it is."""

    name: str
    description: str
    transform: Transform  # one image `uint8 [size, size, 3]` to another one
    version: int = 1  # raised when the pixels change, so that cached views of the old version are not used

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes every image of `uint8 [n, size, size, 3]` by its own random draw."""
        return np.stack([self.transform(image, rng) for image in images])


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Resamples an image `uint8 [size, size, 3]` by an affine map; the outside repeats the nearest edge pixel.

    `matrix`, `float [2, 3]`, goes from output to input coordinates, both in pixels from the centre.
    """
    size = len(image)
    centre = np.full(2, (size - 1) / 2)  # OpenCV counts from the middle of the first pixel
    inner = matrix.copy()
    inner[:, 2] += centre - matrix[:, :2] @ centre
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, inner, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE)


def _as_implemented(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # ImageDataGenerator(vertical_flip=True, width_shift_range=10, height_shift_range=10, zoom_range=0.1,
    # rotation_range=30, fill_mode="nearest"): an integer range shifts by whole pixels, and the zoom of
    # either axis is drawn by itself.
    angle = np.deg2rad(rng.uniform(-30, 30))
    zoom_x, zoom_y = rng.uniform(0.9, 1.1, 2)
    shift_x, shift_y = rng.integers(-9, 10, 2)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([zoom_x, zoom_y])
    if rng.random() < 0.5:
        image = cv2.flip(image, 0)
    return warp(image, np.column_stack([linear, [shift_x, shift_y]]))


def _as_intended(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shift = rng.uniform(-0.1, 0.1, 2) * len(image)
    zoom = rng.uniform(0.9, 1.1)
    if rng.random() < 0.5:
        image = cv2.flip(image, 1)
    return warp(image, np.column_stack([zoom * np.eye(2), shift]))


AUGMENTATIONS = {
    "none": Augmentation("none", "the image as it is", lambda image, rng: image),
    "as_implemented": Augmentation(
        "as_implemented",
        "the original project's, as its code ran: upside-down flip, shifts of up to 10 pixels, zoom 0.9 to 1.1, "
        "rotation of up to 30 degrees",
        _as_implemented,
        version=2,
    ),
    "as_intended": Augmentation(
        "as_intended",
        "the original project's, as its text meant it: left-right flip, shifts of up to 10 %, zoom 0.9 to 1.1",
        _as_intended,
        version=2,
    ),
}
