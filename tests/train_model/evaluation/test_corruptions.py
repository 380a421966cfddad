"""Corruptions grow with their strength and cost accuracy where they should."""

import numpy as np
import pytest

from train_model.evaluation.corruptions import CORRUPTIONS, robustness_table


@pytest.fixture(scope="module")
def images():
    """Two 224-pixel images with structure at every scale."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 1, 224)[:, None, None]
    smooth = 60 + 120 * np.sin(6 * rows + np.linspace(0, 4, 224)[None, :, None])
    images = smooth + rng.normal(0, 25, (2, 224, 224, 3)) + np.array([0, 20, 40])
    return np.clip(images, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_shape_reproducible_and_worse_with_strength(name, images):
    corruption = CORRUPTIONS[name]
    mild, severe = (corruption(images, corruption.strengths[level]) for level in (0, -1))
    assert mild.shape == severe.shape == images.shape
    assert np.array_equal(mild, corruption(images, corruption.strengths[0]))
    change = [np.abs(changed.astype(int) - images).mean() for changed in (mild, severe)]
    assert 0 < change[0] < change[1]


def test_darker_is_darker_and_grey_is_grey(images):
    assert CORRUPTIONS["darker"](images, 0.5).mean() == pytest.approx(images.mean() / 2, rel=0.02)
    grey = CORRUPTIONS["saturation"](images, 0.0).astype(int)
    assert np.ptp(grey, axis=-1).max() <= 1


def test_occlusion_covers_the_share_it_says(images):
    covered = CORRUPTIONS["occlusion"](images, 25.0) == 127
    assert covered.all(axis=-1).mean() == pytest.approx(0.25, abs=0.02)


def test_table_measures_every_level_and_starts_from_the_clean_image(images):
    # This classifier calls an image bright (1) or dark (0): the dark corruption fools it, the blur doesn't.
    scenes = np.array([1, 1])

    def predict(images):
        bright = images.mean(axis=(1, 2, 3)) > 75
        return np.stack([~bright, bright, np.zeros_like(bright)], axis=1).astype(float)

    chosen = {name: CORRUPTIONS[name] for name in ("blur", "darker")}
    table = robustness_table(predict, images, scenes, chosen)
    assert list(table["level"]) == [*range(6), *range(6)]
    assert (table.query("corruption == 'blur'")["accuracy"] == 1).all()
    dark = table.query("corruption == 'darker'").set_index("level")["accuracy"]
    assert dark[0] == 1 and dark[5] == 0
