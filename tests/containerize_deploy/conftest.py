"""What the tests of the service and its tools share."""

import os
import shutil
from pathlib import Path

import pytest

from containerize_deploy.scene_model import MODEL_FILE
from tests.containerize_deploy.colours import COLOURS, FILE, OTHER_COLOUR, draw

os.environ.pop("SCENES_MODEL", None)  # the tests say themselves which model they use


@pytest.fixture
def colour_run(tmp_path) -> Path:
    """A run's folder whose model has five classes with awkward names."""
    path = tmp_path / "a run, größer" / "models" / MODEL_FILE.name
    path.parent.mkdir(parents=True)
    shutil.copy(FILE, path)
    return path.parents[1]


@pytest.fixture
def colour_images(tmp_path) -> Path:
    """Five class folders of four images, one of them in a subfolder, and four images of something else."""
    folder = tmp_path / "pictures to sort"
    for label, colour in {**COLOURS, "other": OTHER_COLOUR}.items():
        for number in range(3):
            draw(folder / label / f"{number}.jpg", colour, number)
        draw(folder / label / "below" / "0.jpg", colour, 3)
    return folder
