"""Frozen features: the same from every engine, kept by content, resumed after an interruption."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from data_prep_eda.dataset import SAMPLE
from train_model import features
from train_model.augmentation import AUGMENTATIONS
from train_model.backbones import BACKBONES, WeightsNotFound, find_weights
from train_model.features import View, extract_features


@pytest.fixture(scope="module")
def paths():
    return [
        path
        for scene in ("coast", "forest", "mountain")
        for path in sorted((SAMPLE / scene).glob("*.jpg"))[:3]
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def computed(monkeypatch):
    """Names of the images that were decoded, that is, not found in the cache."""
    names = []
    load = features.load_image
    monkeypatch.setattr(
        features, "load_image", lambda path, size: names.append(path.name) or load(path, size)
    )
    return names


def test_litert_and_keras_agree(paths, cache, tmp_path):
    litert = extract_features(paths, cache=cache, engine="litert")
    keras = extract_features(paths, cache=tmp_path, engine="keras")
    assert litert.shape == (9, 1024)
    assert np.abs(litert - keras).max() < 1e-3
    assert np.abs(litert - keras).mean() < 1e-5


def test_the_same_image_under_another_name_is_not_computed_again(paths, cache, tmp_path, computed):
    first = extract_features(paths[:2], cache=cache)
    renamed = tmp_path / "renamed.jpg"
    shutil.copy(paths[0], renamed)
    computed.clear()
    again = extract_features([renamed, paths[1]], cache=cache)
    assert computed == []
    assert np.array_equal(first, again)


def test_an_interrupted_extraction_goes_on_where_it_stopped(paths, tmp_path, monkeypatch, computed):
    monkeypatch.setattr(features, "PART", 2)

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(paths, cache=tmp_path, progress=stop)
    computed.clear()
    result = extract_features(paths, cache=tmp_path)
    assert len(computed) == 5  # nine, less two whole parts
    assert np.array_equal(result, extract_features(paths, cache=tmp_path))


def test_views_depend_on_the_image_not_on_its_neighbours(paths, cache):
    view = View(AUGMENTATIONS["robust"], seed=1, number=0)
    together = extract_features(paths[:3], cache=cache, view=view)
    alone = extract_features([paths[2]], cache=cache / "other", view=view)
    assert np.allclose(together[2], alone[0], atol=1e-4)
    other = extract_features([paths[2]], cache=cache, view=View(AUGMENTATIONS["robust"], seed=1, number=1))
    assert np.abs(other - alone).max() > 0.1


def test_many_features_are_memory_mapped(paths, cache, monkeypatch):
    small = extract_features(paths, cache=cache)
    monkeypatch.setattr(features, "IN_MEMORY", 0)
    mapped = extract_features(paths, cache=cache)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(small, mapped)


def test_xceptions_features_of_the_sample_ship(tmp_path, monkeypatch, computed):
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)
    everything = sorted(SAMPLE.glob("*/*.jpg"))
    assert extract_features(everything, "xception", cache=tmp_path).shape == (len(everything), 2048)
    assert computed == []


def test_missing_weights_are_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("SCENES_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.applications.Xception", lambda **_: 1 / 0)  # no internet
    with pytest.raises(WeightsNotFound) as error:
        find_weights(BACKBONES["xception"])
    for word in (
        "xception_notop.weights.h5",
        "SCENES_WEIGHTS_DIR",
        "python -m train_model.backbones xception",
    ):
        assert word in str(error.value)
    with pytest.raises(WeightsNotFound, match="found no file"):
        find_weights(BACKBONES["mobilenet"], "nowhere.h5")


def test_weights_resolution_order(tmp_path, monkeypatch):
    mobilenet = BACKBONES["mobilenet"]
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)
    shipped = find_weights(mobilenet)
    assert shipped.parent.name == "weights"
    (tmp_path / mobilenet.weights_file).write_bytes(b"other weights")
    monkeypatch.setenv("SCENES_WEIGHTS_DIR", str(tmp_path))
    assert find_weights(mobilenet) == tmp_path / mobilenet.weights_file
    assert find_weights(mobilenet, str(shipped)) == shipped
