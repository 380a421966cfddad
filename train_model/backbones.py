"""The frozen networks whose features the study compares, and where their ImageNet weights come from."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Backbone:
    """A convolutional network without its classifier, read out by global average pooling."""

    name: str
    input_size: int  # edge length of the image that it takes, in pixels
    features: int  # length of the feature vector
    weights_file: str  # its ImageNet weights, in Keras 3 format
    weights_digest: str  # first 16 hex digits of that file's SHA-256
    keras_file: str  # the same weights in the older format in which Keras distributes them


BACKBONES = {
    # arXiv:1704.04861: the width-1.0, 224-pixel network.
    "mobilenet": Backbone(
        *("mobilenet", 224, 1024, "mobilenet_1_0_224_notop.weights.h5", "b2dc06376b0002af"),
        "mobilenet_1_0_224_tf_no_top.h5",
    ),
    # Chollet, "Xception", CVPR 2017; the original project fed it 150x150 images instead of 299x299.
    "xception": Backbone(
        *("xception", 150, 2048, "xception_notop.weights.h5", "c51edf65daf73e30"),
        "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
}


class WeightsNotFound(FileNotFoundError):
    """The backbone's weights are neither here nor to be had."""


def find_weights(backbone: Backbone, weights: str = "auto") -> Path:
    """The backbone's weights file: at a path; or `imagenet`, Keras' download; or `auto`.

    `auto` takes the first of: the folder in `SCENES_WEIGHTS_DIR`, the folder `train_model/weights`, Keras' download.

    Raises:
        WeightsNotFound: no such file, and the download failed.
    """
    if weights not in ("auto", "imagenet"):
        path = Path(weights).expanduser()
        if path.is_file():
            return path
        raise WeightsNotFound(
            f"Expected the weights of {backbone.name} at {path}, found no file there. "
            f"Pass the path of {backbone.weights_file}, or 'auto'."
        )
    if weights == "auto" and (path := weights_available(backbone)):
        return path
    path = _keras_folder() / backbone.keras_file
    try:
        if not path.is_file():
            _network(backbone, "imagenet")
    except Exception as error:  # urllib, ssl, socket and Keras each raise their own
        raise WeightsNotFound(
            f"The ImageNet weights of {backbone.name} are not on this machine, and downloading them failed "
            f"({type(error).__name__}). Put {backbone.weights_file}, or Keras' {backbone.keras_file}, into weights/ under "
            f"train_model/, or name its folder in SCENES_WEIGHTS_DIR; with internet access, "
            f"`python -m train_model.backbones {backbone.name}` fetches it."
        ) from None
    return path


def weights_available(backbone: Backbone) -> Path | None:
    """The backbone's weights file on this machine, under our name or Keras', or None; downloads nothing."""
    folders = (os.environ.get("SCENES_WEIGHTS_DIR"), SHIPPED_WEIGHTS, _keras_folder())
    names = (backbone.weights_file, backbone.keras_file)
    paths = [Path(folder).expanduser() / name for folder in filter(None, folders) for name in names]
    return next((path for path in paths if path.is_file()), None)


def _keras_folder() -> Path:
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"


def _network(backbone: Backbone, weights: str | None) -> keras.Model:
    application = {"mobilenet": keras.applications.MobileNet, "xception": keras.applications.Xception}
    shape = (backbone.input_size, backbone.input_size, 3)
    return application[backbone.name](weights=weights, include_top=False, input_shape=shape)


def weights_digest(backbone: Backbone, weights: str = "auto") -> str:
    """First 16 hex digits of the weights file's SHA-256; Keras' download, also one to come, counts as the backbone's own."""
    if weights not in ("auto", "imagenet"):
        return _file_digest(find_weights(backbone, weights))
    path = weights_available(backbone) if weights == "auto" else None
    own = path is None or path.name == backbone.keras_file
    return backbone.weights_digest if own else _file_digest(path)


@functools.lru_cache(maxsize=8)
def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def load_backbone(backbone: Backbone, weights: str = "auto") -> keras.Model:
    """The frozen network: `float32 [n, size, size, 3]`, scaled to -1..1, to feature maps `[n, h, w, features]`.

    Raises:
        WeightsNotFound: see `find_weights`; or the file is damaged or another network's.
    """
    network = _network(backbone, None)
    path = find_weights(backbone, weights)
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:  # of h5py and Keras, for a part of a file or another's
        raise WeightsNotFound(
            f"Expected the weights of {backbone.name} in {path}, found a damaged file or another network's "
            f"({type(error).__name__}). Delete it, and fetch or copy it again."
        ) from None
    network.trainable = False
    return network


def feature_extractor(backbone: Backbone, weights: str = "auto") -> keras.Model:
    """The frozen network from `[n, size, size, 3]` RGB, levels 0 to 255, to pooled features `float32 [n, features]`."""
    image = keras.Input((backbone.input_size, backbone.input_size, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)  # as in ImageNet training
    maps = load_backbone(backbone, weights)(scaled, training=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(maps)
    return keras.Model(image, pooled, name=f"{backbone.name}_features")


def assemble(backbone: Backbone, kernel: np.ndarray, bias: np.ndarray, weights: str = "auto") -> keras.Model:
    """The full model of a head on its features, `kernel [features, classes]` and `bias [classes]`: all that is trainable.

    It takes `[n, size, size, 3]` RGB with levels 0 to 255, and answers with a dictionary: `probabilities [n, classes]`.
    """
    extractor = feature_extractor(backbone, weights)
    dense = keras.layers.Dense(len(bias), name="logits")
    probabilities = keras.layers.Softmax(name="probabilities")(dense(extractor.output))
    dense.set_weights([kernel, bias])
    return keras.Model(extractor.input, {"probabilities": probabilities}, name=f"scene_{backbone.name}")


if __name__ == "__main__":
    import sys

    try:
        for name in sys.argv[1:] or BACKBONES:
            print(find_weights(BACKBONES[name]))
    except KeyError as error:
        sys.exit(f"Expected one of {', '.join(BACKBONES)}, found {error}.")
    except WeightsNotFound as error:
        sys.exit(str(error))
