"""Frozen features: the same from every engine, kept by content, resumed after an interruption."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
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


def test_a_part_of_a_tables_column_will_do(paths, cache, computed):
    column = pd.Series(paths)[1:3]
    assert (extract_features(column, cache=cache) == extract_features(paths[1:3], cache=cache)).all()
    with_views = View(AUGMENTATIONS["as_intended"], 7, 0)
    assert len(extract_features(column, view=with_views, cache=cache)) == 2


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
    view = View(AUGMENTATIONS["as_implemented"], seed=1, number=0)
    together = extract_features(paths[:3], cache=cache, view=view)
    alone = extract_features([paths[2]], cache=cache / "other", view=view)
    assert np.allclose(together[2], alone[0], atol=1e-4)
    other = extract_features(
        [paths[2]], cache=cache, view=View(AUGMENTATIONS["as_implemented"], seed=1, number=1)
    )
    assert np.abs(other - alone).max() > 0.1


def test_xceptions_features_of_the_sample_ship(tmp_path, monkeypatch, computed):
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)
    everything = sorted(SAMPLE.glob("*/*.jpg"))
    assert extract_features(everything, BACKBONES["xception"], cache=tmp_path).shape == (
        len(everything),
        2048,
    )
    assert computed == []


def test_damaged_weights_are_named_and_not_the_cache(tmp_path):
    whole = find_weights(BACKBONES["mobilenet"])
    (tmp_path / "part.weights.h5").write_bytes(whole.read_bytes()[:1_000_000])
    for wrong in (tmp_path / "part.weights.h5", Path(__file__)):
        with pytest.raises(
            WeightsNotFound, match=f"in .*{wrong.name}, found a damaged file or another network's"
        ):
            extract_features(
                [SAMPLE / "coast/coast_00.jpg"], weights=str(wrong), cache=tmp_path / "cache", engine="litert"
            )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1000] + b"\0" * 1000,
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: b"<html>not found</html>",
    ],
    ids=["empty", "truncated", "zeros", "one bit", "something else"],
)
def test_a_damaged_entry_is_a_miss_and_made_anew(paths, cache, tmp_path, computed, damage):
    """Features and the converted network alike: what is read is what was written."""
    expected = extract_features(paths[:2], cache=cache, engine="litert")
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    damaged = [path for path in tmp_path.rglob("*") if path.suffix in (".npy", ".tflite")]
    assert {path.suffix for path in damaged} == {".npy", ".tflite"}
    for path in damaged:
        path.write_bytes(damage(path.read_bytes()))
    computed.clear()
    assert np.array_equal(extract_features(paths[:2], cache=tmp_path, engine="litert"), expected)
    assert len(computed) == 2
    computed.clear()
    assert np.array_equal(extract_features(paths[:2], cache=tmp_path, engine="litert"), expected)
    assert computed == []


def test_a_file_that_an_older_version_converted_is_made_anew(tmp_path, monkeypatch):
    """The cache outlives an update; a file of version 1 has no signature, and no answer could be read from it."""
    made = {}
    for version in (1, 2):
        monkeypatch.setattr(features.tflite, "VERSION", version)
        path = features._kept(tmp_path, "network.tflite", lambda version=version: f"of {version}".encode())
        made[version] = path.read_bytes()
    assert made == {1: b"of 1", 2: b"of 2"}


def test_a_cache_that_is_a_file_is_one_sentence(paths, tmp_path):
    (tmp_path / "occupied").write_text("mine")
    with pytest.raises(features.CacheError, match=r"the cache in .*occupied: .* SCENES_CACHE_DIR"):
        extract_features(paths[:1], cache=tmp_path / "occupied", engine="litert")
    assert (tmp_path / "occupied").read_text() == "mine"


def test_a_full_disk_is_one_sentence_and_leaves_no_temporary_file(paths, cache, tmp_path, monkeypatch):
    shutil.copytree(cache / "litert", tmp_path / "litert")

    def full(self, content):
        with self.open("wb") as stream:
            stream.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(features.CacheError, match="No space left on device"):
        extract_features(paths[:1], cache=tmp_path, engine="litert")
    assert not [path for path in (tmp_path / "features").rglob("*") if path.is_file()]
