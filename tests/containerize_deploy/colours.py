"""A model of five classes whose answers are plain to see: the nearest colour, and out of scope where none is near.

`five_colours.tflite` is what `python -m tests.containerize_deploy.colours` writes, which takes TensorFlow; tests don't.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from train_model.metadata import add_metadata

FILE = Path(__file__).with_name("five_colours.tflite")

# Labels as people name their folders, and the colour by which the model recognises each.
COLOURS = {
    "2 Straßen": (200, 40, 40),
    "café crème": (40, 40, 200),
    "Ζωγραφιά": (40, 200, 40),
    "गाँव": (220, 220, 40),
    "草原": (40, 220, 220),
}
OTHER_COLOUR = (128, 128, 128)


def draw(path: Path, colour: tuple[int, int, int], seed: int = 0) -> Path:
    """Writes an image of a colour, with some noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal(colour, 8, (48, 64, 3)).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def convert() -> bytes:
    """The model as a TFLite file, by hand-set weights."""
    import keras

    from train_model import tflite

    prototypes = np.array(list(COLOURS.values())) / 255
    image = keras.Input((224, 224, 3))
    copy = keras.layers.Conv2D(3, 1, strides=8, use_bias=False)
    linear = keras.layers.Dense(len(COLOURS))
    mean = keras.layers.GlobalAveragePooling2D()(copy(keras.layers.Rescaling(1 / 255)(image)))
    logits = linear(mean)
    copy.set_weights([np.eye(3)[None, None]])
    linear.set_weights([40 * prototypes.T, -20 * (prototypes**2).sum(axis=1)])
    distance = 20 * keras.ops.sum(mean**2, axis=1, keepdims=True) - keras.ops.max(
        logits, axis=1, keepdims=True
    )
    model = keras.Model(image, {"probabilities": keras.layers.Softmax()(logits), "score": -distance})
    representative = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), np.uint8)
    facts = {"version": "0.1", "labels": list(COLOURS), "score_threshold": -1.0, "name": "Five colours"}
    return add_metadata(tflite.convert(model, "int8", representative, corrected=False), facts)


if __name__ == "__main__":
    FILE.write_bytes(convert())
