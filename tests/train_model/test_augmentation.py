"""Augmentations change the image, not the scene, and are the same in every run."""

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.preprocessing import load_image
from train_model.augmentation import AUGMENTATIONS, BLUE_AGAINST_RED, LEVELS, LOG_SPREADS


@pytest.fixture(scope="module")
def landscapes():
    """Three 64-pixel images: blue above, green below, with their own noise."""
    rng = np.random.default_rng(0)
    images = np.zeros((3, 64, 64, 3))
    images[:, :32] = (90, 130, 220)
    images[:, 32:] = (40, 120, 50)
    return np.clip(images + rng.normal(0, 10, images.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_keeps_shape_and_type(name, landscapes):
    views = AUGMENTATIONS[name](landscapes, np.random.default_rng(1))
    assert views.shape == landscapes.shape
    assert views.dtype == np.uint8


@pytest.mark.parametrize("name", ["as_implemented", "as_intended", "robust"])
def test_views_differ_between_epochs_but_not_between_runs(name, landscapes):
    augmentation = AUGMENTATIONS[name]
    first = augmentation.view(landscapes, seed=7, view=0)
    assert np.array_equal(first, augmentation.view(landscapes, seed=7, view=0))
    for other in (
        augmentation.view(landscapes, seed=7, view=1),
        augmentation.view(landscapes, seed=8, view=0),
    ):
        assert not np.array_equal(first, other)


def test_a_view_does_not_depend_on_the_other_images_of_the_batch(landscapes):
    augmentation = AUGMENTATIONS["robust"]
    together = augmentation.view(landscapes, seed=7, view=3)
    alone = augmentation.view(landscapes[2:], seed=7, view=3, indices=np.array([2]))
    assert np.array_equal(together[2], alone[0])


def test_no_augmentation_is_an_unchanged_copy(landscapes):
    view = AUGMENTATIONS["none"].view(landscapes, seed=0, view=0)
    assert np.array_equal(view, landscapes)
    assert view is not landscapes


def _sky_is_above(views):
    return views[:, :20, :, 2].mean(axis=(1, 2)) > views[:, -20:, :, 2].mean(axis=(1, 2))


def test_only_the_study_as_implemented_turns_images_upside_down(landscapes):
    share = {
        name: np.mean([_sky_is_above(AUGMENTATIONS[name].view(landscapes, 0, view)) for view in range(40)])
        for name in ("as_implemented", "as_intended", "robust")
    }
    assert 0.3 < share["as_implemented"] < 0.7
    assert share["as_intended"] == 1
    # A crop can lose the sky or the ground altogether; it still does not turn the image round.
    assert share["robust"] > 0.95


def test_shifts_repeat_the_edge_instead_of_inventing_black():
    white = np.full((8, 64, 64, 3), 255, np.uint8)
    for name in ("as_implemented", "as_intended"):
        assert AUGMENTATIONS[name].view(white, seed=0, view=0).min() == 255


def test_the_robust_views_come_in_other_light_but_keep_their_shapes(landscapes):
    views = np.concatenate([AUGMENTATIONS["robust"].view(landscapes[:1], 0, view) for view in range(60)])
    sky = views[:, :12].mean(axis=(1, 2))
    assert np.ptp(sky.mean(axis=1)) > 60  # from dusk to glare
    warm = sky[:, 0] > sky[:, 2]
    assert 0.05 < warm.mean() < 0.6  # a blue sky that turned grey or red
    brightness = views.mean(axis=3)
    spread = brightness.std(axis=(1, 2))
    assert np.median(spread) > 5  # whatever the light, there is something to see


@pytest.mark.real_data
def test_other_light_is_drawn_from_what_the_images_are_like(real_images):
    levels, log_spreads = [], []
    for path in sorted(real_images.glob("*/*.jpg")):
        pixels = np.asarray(Image.fromarray(load_image(path, 224)).convert("YCbCr")).reshape(-1, 3)
        levels.append(pixels.mean(axis=0))
        log_spreads.append(np.log(pixels.std(axis=0)))
    for values, constants, tolerance in ((levels, LEVELS, 0.5), (log_spreads, LOG_SPREADS, 0.02)):
        average, spread = np.mean(values, axis=0), np.std(values, axis=0)
        np.testing.assert_allclose(np.c_[average, spread], constants, atol=tolerance)
    assert np.corrcoef(np.transpose(levels))[1, 2] == pytest.approx(BLUE_AGAINST_RED, abs=0.02)
