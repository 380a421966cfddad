"""What the tests share."""

from __future__ import annotations

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
LONGEST = ("test_notebooks_real.py", "test_notebooks.py", "test_page.py", "test_deploy_guides.py")


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
    """A folder with twelve small synthetic images per scene, told apart by their colour."""
    rng = np.random.default_rng(0)
    colours = {"coast": (60, 110, 190), "forest": (40, 120, 50), "mountain": (150, 140, 135)}
    for scene in CLASSES:
        (tmp_path / "images" / scene).mkdir(parents=True)
        for number in range(12):
            pixels = rng.normal(colours[scene], 25, (48, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / scene / f"{scene}_{number:02d}.jpg")
    return tmp_path / "images"
