"""Which images belong together: copies of one image, and series."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from data_prep_eda.duplicates import connected, groups, near_duplicates, series_pairs, source_and_number


def textured(seed: int) -> Image.Image:
    """An image with structure of every size, like a photograph's; none like another."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(size=(300, 300, 3)), (s, s, 0)) * s for s in (1, 3, 10, 30)]
    levels = sum(layers)
    return Image.fromarray(np.uint8(255 * (levels - levels.min()) / np.ptp(levels)))


def sea(seed: int) -> Image.Image:
    """A bright sky over waves: all of them resemble each other, and none is another one's copy."""
    rng = np.random.default_rng(seed)
    levels = np.full((256, 256), 200.0)
    levels[120 + seed :] = 90 + 40 * gaussian_filter(rng.normal(size=(136 - seed, 256)), (1, 3)) * 6
    return Image.fromarray(np.uint8(np.clip(levels, 0, 255)))


def jpeg_again(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream)


COPIES = {
    "same": lambda image: image,
    "compressed": jpeg_again,
    "smaller": lambda image: image.resize((150, 150)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "grey": lambda image: image.convert("L"),
    "cropped": lambda image: image.crop((8, 4, 300, 296)),
    "scanned with a border": lambda image: ImageOps.expand(image, (14, 0, 0, 8), "black"),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found_and_nothing_else(tmp_path, how):
    images = [textured(seed) for seed in range(6)]
    images.append(COPIES[how](images[2]))
    paths = [tmp_path / f"{n}.png" for n in range(len(images))]
    for one, path in zip(images, paths, strict=True):
        one.save(path)
    found = near_duplicates(paths)
    assert found[["first", "second"]].to_numpy().tolist() == [[2, 6]]
    if how == "same":
        assert found["correlation"][0] == pytest.approx(1, abs=1e-3) and found["hash_distance"][0] == 0


def test_one_horizon_is_not_the_next(tmp_path):
    paths = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        sea(seed).save(path)
    assert near_duplicates(paths).empty


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("c_coast_coast_nat739.jpg", ("nat", 739)),
        ("m_mountain_snowy_mountain_n213007.jpg", ("disc213", 7)),
        ("c_coast_551034.jpg", ("disc551", 34)),
        ("m_mountain_snowy_44010.jpg", ("disc44", 10)),
        ("s_sea_sea_000102.jpg", None),
        ("f_forest_path_google_36_11_1_forest_path.jpg", None),
        ("f_forest_path_path_to_beach_331.jpg", None),
        ("coast_01.jpg", None),
    ],
)
def test_names_say_source_and_number(name, parsed):
    assert source_and_number(name) == parsed


def test_series_join_neighbouring_numbers_of_one_source_and_scene():
    paths = [
        "coast/c_coast_coast_nat12.jpg",
        "coast/o_ocean_coast_nat10.jpg",  # two before, another sub-category: same series
        "coast/c_coast_coast_nat20.jpg",  # too far
        "forest/f_forest_forest_nat11.jpg",  # another scene
        "coast/c_coast_coast_natu11.jpg",  # another source
    ]
    assert series_pairs(paths) == [(1, 0)]
    assert series_pairs(paths, gap=1) == []


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))
    )
)
def test_groups_are_the_chains_of_pairs(case):
    n, pairs = case
    numbers = connected(n, pairs)
    assert len(numbers) == n and numbers[0] == 0
    assert sorted(set(numbers)) == list(range(numbers.max() + 1))
    for a, b in pairs:
        assert numbers[a] == numbers[b]
    joins = {tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1]}
    assert numbers.max() + 1 >= n - len(joins)


def test_groups_hold_copies_and_series_together(tmp_path):
    folder = tmp_path / "coast"
    folder.mkdir()
    paths = [folder / f"c_coast_coast_{name}.png" for name in ("nat1", "nat2", "sun9", "land5")]
    for seed, path in zip((0, 1, 2, 1), paths, strict=True):
        textured(seed).save(path)
    assert groups(paths).tolist() == [0, 0, 1, 0]  # nat1 and nat2 are a series, land5 a copy of nat2
    assert groups(paths[:1]).tolist() == [0]
    assert groups([]).tolist() == []


@pytest.mark.real_data
def test_images_at_hand(real_images):
    paths = sorted(real_images.glob("*/*.jpg"))
    found = near_duplicates(paths)
    assert len(found) == 27  # each looked at
    assert groups(paths).max() + 1 == 520
