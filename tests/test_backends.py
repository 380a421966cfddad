"""The same small sweep on two Keras backends: features of the sample, then heads at two learning rates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[1]

SWEEP = """
import json, sys, tempfile
from pathlib import Path
import keras, numpy as np
from data_prep_eda.dataset import SAMPLE
from train_model.features import extract_features
from train_model.heads import train_heads
from train_model.preprocessing import SCENES

class SameStart:  # backends draw different random numbers from the same seed; the training is compared, not the dice
    def __init__(self, seed): self.rng = np.random.default_rng(seed)
    def __call__(self, shape): return self.rng.normal(0, 0.05, shape).astype(np.float32)
keras.initializers.GlorotUniform = SameStart

paths = [path for scene in SCENES for path in sorted((SAMPLE / scene).glob("*.jpg"))[:4]]
labels = np.repeat(np.arange(3), 4)
with tempfile.TemporaryDirectory() as cache:
    features = extract_features(paths, cache=Path(cache), engine="keras")
heads = train_heads(features, labels, features[::2], labels[::2], [0.001, 0.01], epochs=3, batch_size=4)
print(json.dumps({
    "backend": keras.backend.backend(),
    "features": features.mean(axis=1).tolist(),
    "kernels": [heads.kernels[rate, 0][-1].ravel()[:60].tolist() for rate in (0.001, 0.01)],
    "loss": heads.history["val_loss"].tolist(),
}))
"""


def test_a_small_sweep_is_the_same_on_jax_and_on_tensorflow():
    pytest.importorskip("jax")
    processes = {
        backend: subprocess.Popen(
            [sys.executable, "-c", SWEEP],
            cwd=REPOSITORY,
            env=os.environ
            | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        for backend in ("jax", "tensorflow")
    }
    results = {}
    for backend, process in processes.items():
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        results[backend] = json.loads(printed.splitlines()[-1])
        assert results[backend]["backend"] == backend
    jax, tensorflow = results["jax"], results["tensorflow"]
    np.testing.assert_allclose(jax["features"], tensorflow["features"], rtol=1e-4)
    np.testing.assert_allclose(jax["kernels"], tensorflow["kernels"], atol=1e-4)
    np.testing.assert_allclose(jax["loss"], tensorflow["loss"], rtol=1e-3, atol=1e-5)
