"""What the tests share."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.sun09 import CLASSES

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = os.environ.get(
    "SCENES_REAL_DATA", ""
)  # stays: the workers inherit it from the process that starts them

# The tests say themselves which images they use.
os.environ.pop("SCENES_DATA_DIR", None)
os.environ.pop("SCENES_OTHER_SOURCES", None)
os.environ["PATH"] = (
    f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ruff, jupyter, papermill
)

# Files that take longest: they start first, so that no worker is left with one at the end.
LONGEST = (
    *("test_notebooks_real.py", "test_notebooks.py", "test_notebooks_own_classes.py", "test_page.py"),
    "test_deploy_guides.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest in front; within a file the order stays."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Folder of the real images, one subfolder per scene; skips where they are not available."""
    folder = Path(REAL)
    if not REAL or not folder.is_dir():
        pytest.skip(
            "needs the real photographs: name their folder in SCENES_REAL_DATA (they may not be redistributed)"
        )
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with twelve small synthetic images for each of the study's classes, which differ in colour."""
    rng = np.random.default_rng(0)
    colours = {"coast": (60, 110, 190), "forest": (40, 120, 50), "mountain": (150, 140, 135)}
    for label in CLASSES:
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(12):
            pixels = rng.normal(colours[label], 25, (48, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{label}_{number:02d}.jpg")
    return tmp_path / "images"


@pytest.fixture(scope="session")
def awkward_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five classes with awkward names and four images of other things, drawn; read it, don't write to it."""
    folder = tmp_path_factory.mktemp("awkward") / "images"
    # The accent is decomposed, as Apple's disks have it; in NFC and code point order: 2024, Old Town, café, другое, 海.
    names = ("Old Town", "cafe\u0301", "\u0434\u0440\u0443\u0433\u043e\u0435", "\u6d77", "2024", "other")
    for seed, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for number in range(4 if name == "other" else 8):
            levels = rng.normal(40 * seed + 30, 12, (6, 6, 3)).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(levels).resize((64, 48), Image.Resampling.BICUBIC)
            image.save(folder / name / f"{number}.jpg")
    return folder
