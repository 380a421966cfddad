"""What the tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_model.preprocessing import SCENES

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = os.environ.get(
    "SCENES_REAL_DATA", ""
)  # stays: the workers inherit it from the process that starts them

# The tests say themselves which photographs they use.
os.environ.pop("SCENES_DATA_DIR", None)
os.environ["PATH"] = (
    f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # ruff, jupyter, papermill
)


@pytest.fixture(scope="session")
def real_photographs() -> Path:
    """Folder of the real photographs, one subfolder a scene; skips where they are not at hand."""
    folder = Path(REAL)
    if not REAL or not folder.is_dir():
        pytest.skip(
            "needs the real photographs: name their folder in SCENES_REAL_DATA (they may not be redistributed)"
        )
    return folder


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with twelve small made-up photographs a scene, told apart by their colour."""
    rng = np.random.default_rng(0)
    colours = {"coast": (60, 110, 190), "forest": (40, 120, 50), "mountain": (150, 140, 135)}
    for scene in SCENES:
        (tmp_path / "photographs" / scene).mkdir(parents=True)
        for number in range(12):
            pixels = rng.normal(colours[scene], 25, (48, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photographs" / scene / f"{scene}_{number:02d}.jpg")
    return tmp_path / "photographs"
