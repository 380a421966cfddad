"""The notebooks run, in order, on the real images, and reach the accuracy that the study states."""

import json

import pytest

from tests.notebooks.notebook_execution import ALL, execute

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Where the notebooks are executed; later ones find there what earlier ones left."""
    return tmp_path_factory.mktemp("real")


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_notebook_runs_on_the_real_images(notebook, build, real_images, monkeypatch):
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
