"""Where weights come from, and what is said where they are not."""

import keras
import pytest

from train_model.backbones import BACKBONES, WeightsNotFound, find_weights, weights_digest


def test_a_backbone_knows_its_feature_length():
    for backbone in BACKBONES.values():
        application = {"mobilenet": keras.applications.MobileNet, "xception": keras.applications.Xception}
        shape = (backbone.input_size, backbone.input_size, 3)
        network = application[backbone.name](weights=None, include_top=False, input_shape=shape)
        assert network.output_shape[-1] == backbone.features


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


def test_a_download_stays_keras_own_file_and_the_digest_what_it_was(tmp_path, monkeypatch):
    """The digest names the features' cache: features of before the download are found after it."""
    xception = BACKBONES["xception"]
    monkeypatch.setenv("SCENES_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / "models" / xception.keras_file
    path.parent.mkdir()
    monkeypatch.setattr("keras.applications.Xception", lambda **_: path.write_bytes(b"downloaded"))
    before = weights_digest(xception)
    assert find_weights(xception) == find_weights(xception, "imagenet") == path
    assert weights_digest(xception) == before == xception.weights_digest


def test_weights_resolution_order(tmp_path, monkeypatch):
    mobilenet = BACKBONES["mobilenet"]
    monkeypatch.delenv("SCENES_WEIGHTS_DIR", raising=False)
    shipped = find_weights(mobilenet)
    assert shipped.parent.name == "weights"
    (tmp_path / mobilenet.weights_file).write_bytes(b"other weights")
    monkeypatch.setenv("SCENES_WEIGHTS_DIR", str(tmp_path))
    assert find_weights(mobilenet) == tmp_path / mobilenet.weights_file
    assert find_weights(mobilenet, str(shipped)) == shipped
