"""The same features, and the same small sweep of heads, on two Keras backends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]

SWEEP = """
import json, sys
from pathlib import Path
import keras, numpy as np
from data_prep_eda.dataset import SAMPLE
from train_model.features import extract_features, gpu_available
from train_model.heads import train_heads

class SameStart:  # backends draw different random numbers from the same seed; the training is compared, not the dice
    def __init__(self, seed): self.rng = np.random.default_rng(seed)
    def __call__(self, shape): return self.rng.normal(0, 0.05, shape).astype(np.float32)
keras.initializers.GlorotUniform = SameStart

rng = np.random.default_rng(1)
labels = np.repeat(np.arange(3), 20)
features = rng.gamma(0.5 + labels[:, None], 1.0, (60, 32)).astype(np.float32)
heads = train_heads(features, labels, features[::2], labels[::2], [0.001, 0.01], classes=3, seeds=[0, 1], epochs=4)
print(json.dumps({
    "backend": keras.backend.backend(),
    "gpu": gpu_available(),
    "features": extract_features([SAMPLE / "coast" / "coast_00.jpg"], cache=Path(sys.argv[1])).tolist(),
    "kernels": {f"{rate} {seed}": kernel[-1].tolist() for (rate, seed), kernel in heads.kernels.items()},
    "loss": heads.history["val_loss"].tolist(),
}))
"""


@pytest.mark.slow
def test_features_and_a_small_sweep_are_the_same_on_jax_and_on_tensorflow(tmp_path):
    pytest.importorskip("jax")
    processes = {
        backend: subprocess.Popen(
            [sys.executable, "-c", SWEEP, str(tmp_path / backend)],
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
    assert not jax["gpu"] and not tensorflow["gpu"]  # they were hidden
    np.testing.assert_allclose(jax["features"], tensorflow["features"], atol=1e-4)
    assert len(jax["kernels"]) == 4
    for head, kernel in jax["kernels"].items():
        np.testing.assert_allclose(kernel, tensorflow["kernels"][head], atol=1e-5)
    np.testing.assert_allclose(jax["loss"], tensorflow["loss"], rtol=1e-4)
