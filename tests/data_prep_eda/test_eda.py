"""The measures of the images, on images whose answer is known."""

import csv

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep_eda import eda
from data_prep_eda.manifests import MANIFEST

SIZE = eda.SIZE


def waves(across: float, down: float) -> np.ndarray:
    """Lightness of plane waves, `[SIZE, SIZE]`, in cycles per image."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    return 50 + 30 * np.sin(2 * np.pi * (across * x + down * y))


@pytest.mark.parametrize(
    ("across", "down", "sector"), [(12, 0, 0), (0, 12, 4), (9, 9, 2), (9, -9, 6)], ids=["/", "-", "x", "y"]
)
def test_energy_lies_across_the_structure(across, down, sector):
    energy = eda.orientation_energy(eda.amplitude_spectrum(waves(across, down)))
    assert energy.shape == (3, eda.ORIENTATIONS)
    band, direction = np.unravel_index(energy.argmax(), energy.shape)
    assert (band, direction) == (1, sector)  # 12 cycles: the medium band
    assert energy[1, sector] > 0.95 * energy.sum()


@pytest.mark.parametrize("slope", [-0.8, -1.2, -1.8])
def test_slope_of_a_spectrum_is_found(slope):
    axis = np.arange(SIZE) - SIZE // 2
    radius = np.maximum(np.hypot(*np.meshgrid(axis, axis)), 1)
    assert eda.spectral_slope(radius**slope) == pytest.approx(slope, abs=0.02)


def test_survey_measures_light_colour_and_direction(tmp_path):
    levels = np.uint8(waves(0, 20) * 2.5)  # level stripes, like waves on a beach
    images = {
        "white": np.full((64, 64, 3), 255, np.uint8),
        "blue": np.full((64, 64, 3), (40, 60, 200), np.uint8),
        "level": np.repeat(levels[..., None], 3, axis=2),
        "upright": np.repeat(levels.T[..., None], 3, axis=2),
    }
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    seen = []
    found = eda.survey(
        [tmp_path / f"{name}.png" for name in images],
        ["coast", "coast", "coast", "forest"],
        progress=lambda done, total: seen.append((done, total)),
    )
    measures = found.measures.set_index(pd.Index(images))
    assert seen[-1] == (4, 4)
    assert measures.loc["white", ["lightness", "contrast", "chroma"]].tolist() == pytest.approx(
        [100, 0, 0], abs=0.05
    )
    assert measures.loc["blue", "blue_yellow"] < -50
    assert measures.loc["level", "level"] > 0.9 > 0.1 > measures.loc["level", "upright"]
    assert measures.loc["upright", "upright"] > 0.9
    assert measures.loc["white", ["width", "height", "mode"]].tolist() == [64, 64, "RGB"]
    assert found.mean_images["forest"] == pytest.approx(images["upright"], abs=1)
    assert found.mean_spectra["coast"].shape == (SIZE, SIZE)
    assert found.energy.shape == (4, 3, eda.ORIENTATIONS)


def test_names_say_category_and_first_label():
    names = [
        "m_mountain_snowy_forest_nat212.jpg",
        "f_forest_path_86026.jpg",
        "s_seaside_seaside_000009.jpg",
        "me.png",
    ]
    assert eda.read_names(names).to_numpy().tolist() == [
        ["mountain_snowy", "forest"],
        ["forest_path", ""],
        ["seaside", ""],
        ["", ""],
    ]


def test_every_name_of_the_study_has_a_category():
    with MANIFEST.open(newline="") as stream:
        names = [row["filename"] for row in csv.DictReader(stream)]
    assert (eda.read_names(names)["category"] != "").all()


def test_comparison_tells_what_differs_from_what_does_not():
    rng = np.random.default_rng(0)
    labels = np.repeat(["coast", "forest", "mountain"], 60)
    measures = pd.DataFrame(
        {
            "same": rng.normal(size=180),
            "level": np.where(labels == "coast", 5, 0) + rng.normal(size=180),
            "constant": np.ones(180),
        }
    )
    table = eda.compare_classes(measures, labels)
    assert table.index[0] == "level"
    assert table.loc["level", "p"] < 1e-10 and table.loc["level", "epsilon2"] > 0.5
    assert table.loc["level", "delta coast/forest"] > 0.95
    assert table.loc["same", "epsilon2"] < 0.05 and table.loc["same", "p"] > 0.01
    assert table.loc["constant", ["epsilon2", "p"]].tolist() == [0, 1]


def test_cliffs_delta_counts_pairs():
    first, second = np.array([1.0, 5.0, 5.0]), np.array([0.0, 2.0, 5.0, 9.0])
    pairs = np.sign(first[:, None] - second[None]).mean()
    assert eda.cliffs_delta(first, second) == pytest.approx(pairs)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_makes_a_result_more_certain(p):
    corrected = eda.holm(np.array(p))
    assert (corrected >= np.array(p) - 1e-12).all() and (corrected <= 1).all()
    assert corrected.min() == pytest.approx(min(1, min(p) * len(p)))


def test_cramers_v_is_one_for_the_same_thing_and_zero_for_nothing():
    assert eda.cramers_v(pd.DataFrame(np.diag([40, 40, 40])))[0] == pytest.approx(1, abs=0.02)
    v, p = eda.cramers_v(pd.DataFrame(np.full((3, 3), 40)))
    assert v == 0 and p == pytest.approx(1)
    assert p == scipy.stats.chi2_contingency(np.full((3, 3), 40)).pvalue
    assert eda.cramers_v(pd.DataFrame([[3, 4]])) == (0.0, 1.0)
