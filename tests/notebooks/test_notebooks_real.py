"""The notebooks run, in order, on the real images, and reach the accuracy that the study states."""

import json

import pytest

from data_prep_eda.files import write_json
from tests.notebooks.notebook_execution import ALL, execute
from train_model.record import METRICS, PUBLISHED

SIDE_ROADS = [pytest.param(path, marks=pytest.mark.slow) for path in ALL if path.stem.startswith("1")]
MAIN_ROAD = [path for path in ALL if not path.stem.startswith("1")]
pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Where the notebooks are executed; later ones find there what earlier ones left."""
    return tmp_path_factory.mktemp("real")


@pytest.mark.parametrize("notebook", [*MAIN_ROAD, *SIDE_ROADS], ids=lambda path: path.stem)
def test_notebook_runs_on_the_real_images(notebook, build, real_images, monkeypatch):
    if notebook not in MAIN_ROAD:  # they read what 06 has recorded, and come without it among the slow tests
        (build / "out").mkdir(exist_ok=True)
        write_json(build / "out" / METRICS, {"final": json.loads(PUBLISHED.read_text("utf-8"))["final"]})
    if (beside := real_images.parent / "other_sources").is_dir():  # not the user's own
        monkeypatch.setenv("SCENES_OTHER_SOURCES", str(beside))
    done = execute(notebook, build, real_images)
    assert done.returncode == 0, done.stdout[-6000:]


def test_accuracy_on_the_real_images(build, real_images):
    """With fewer epochs than the study: the ranges allow for that, and are too narrow for a broken model."""
    metrics = json.loads((build / "out" / "metrics.json").read_text())
    assert metrics["data"]["source"] == "SUN 09"
    assert metrics["learning_rate"]["val_accuracy"] >= 0.97
    assert metrics["learning_rate"]["test"]["value"] >= 0.96
    assert metrics["final"]["difference_from_exact"] < 0.01
    assert metrics["conversion"]["chosen"] == "int8"
    assert metrics["conversion"]["served"]["agreement"] >= 0.98
    assert metrics["conversion"]["sha256"] == metrics["evaluation"]["sha256"]
    assert metrics["evaluation"]["test"]["value"] >= 0.96
