"""Augmentations change the image, not the scene, and are the same in every run."""

import numpy as np
import pytest
from PIL import Image

from train_model.augmentation import AUGMENTATIONS, warp
from train_model.features import View


@pytest.fixture(scope="module")
def landscapes():
    """Three 64-pixel images: blue above, green below, with their own noise."""
    rng = np.random.default_rng(0)
    images = np.zeros((3, 64, 64, 3))
    images[:, :32] = (90, 130, 220)
    images[:, 32:] = (40, 120, 50)
    return np.clip(images + rng.normal(0, 10, images.shape), 0, 255).astype(np.uint8)


def drawn(
    name: str, image: np.ndarray, number: int, seed: int = 0, digest: bytes = b"an image"
) -> np.ndarray:
    return View(AUGMENTATIONS[name], seed, number).apply(image, digest)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_keeps_shape_and_type(name, landscapes):
    views = AUGMENTATIONS[name](landscapes, np.random.default_rng(1))
    assert views.shape == landscapes.shape
    assert views.dtype == np.uint8


@pytest.mark.parametrize("name", ["as_implemented", "as_intended"])
def test_views_differ_between_epochs_seeds_and_images_but_not_between_runs(name, landscapes):
    first = drawn(name, landscapes[0], number=0)
    assert np.array_equal(first, drawn(name, landscapes[0], number=0))
    for other in ({"number": 1}, {"number": 0, "seed": 8}, {"number": 0, "digest": b"another one"}):
        assert not np.array_equal(first, drawn(name, landscapes[0], **other))


def test_no_augmentation_is_an_unchanged_copy(landscapes):
    view = AUGMENTATIONS["none"](landscapes, np.random.default_rng(0))
    assert np.array_equal(view, landscapes)
    assert view is not landscapes


def test_only_the_original_as_implemented_turns_images_upside_down(landscapes):
    def sky_is_above(view: np.ndarray) -> bool:
        return view[:20, :, 2].mean() > view[-20:, :, 2].mean()

    share = {
        name: np.mean([sky_is_above(drawn(name, landscapes[0], number)) for number in range(40)])
        for name in ("as_implemented", "as_intended")
    }
    assert 0.3 < share["as_implemented"] < 0.7
    assert share["as_intended"] == 1


def test_shifts_repeat_the_edge_instead_of_inventing_black():
    white = np.full((64, 64, 3), 255, np.uint8)
    for name in ("as_implemented", "as_intended"):
        assert min(drawn(name, white, number).min() for number in range(8)) == 255


def test_the_warp_is_pillows_to_three_levels(landscapes):
    """OpenCV is faster than Pillow, and says the same: rotation, zoom and shift about the centre."""
    image = Image.fromarray(landscapes[0]).resize((224, 224), Image.Resampling.BICUBIC)
    angle = np.deg2rad(20)
    matrix = np.array([[np.cos(angle), np.sin(angle), 4], [-np.sin(angle), np.cos(angle), -7]]) * [
        0.9,
        1.1,
        1,
    ]
    found = warp(np.asarray(image), matrix).astype(int)
    inner = matrix.copy()
    inner[:, 2] += 112 - matrix[:, :2] @ [112, 112]
    how = (Image.Transform.AFFINE, tuple(inner.ravel()), Image.Resampling.BILINEAR)
    expected = np.asarray(image.transform((224, 224), *how)).astype(int)
    inside = np.asarray(Image.new("L", (224, 224), 255).transform((224, 224), *how)) == 255
    assert inside.mean() > 0.8
    difference = np.abs(found - expected)[inside]
    assert difference.max() <= 3 and (difference <= 1).mean() > 0.99
