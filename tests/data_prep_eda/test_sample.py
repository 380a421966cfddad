"""The embedded sample: what is committed."""

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.dataset import SAMPLE, load_dataset
from data_prep_eda.sun09 import CLASSES


@pytest.mark.parametrize("label", CLASSES)
def test_forty_rgb_jpegs_of_256_pixels_per_class(label):
    paths = sorted((SAMPLE / label).iterdir())
    assert [path.name for path in paths] == [f"{label}_{number:02d}.jpg" for number in range(40)]
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (256, 256)), path.name


def test_the_sample_is_small_and_holds_nothing_else():
    files = [path for path in SAMPLE.rglob("*") if path.is_file()]
    assert len(files) == 121  # and the README
    assert sum(path.stat().st_size for path in files) < 3_000_000


def test_no_two_images_are_alike():
    small = [np.asarray(Image.open(path).resize((32, 32)), float) for path in sorted(SAMPLE.glob("*/*.jpg"))]
    closest = min(np.abs(a - b).mean() for i, a in enumerate(small) for b in small[:i])
    assert closest > 3


def test_its_split_is_that_of_the_studys_rule():
    data = load_dataset(str(SAMPLE))
    assert data.source == "sample" and data.counts().loc["coast"].tolist() == [32, 4, 4, 40]
    assert data.split("test")["name"][:4].tolist() == [
        f"coast_{number}.jpg" for number in ("01", "11", "21", "31")
    ]
