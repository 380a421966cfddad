"""From prepared photographs to a trained classifier: features, heads, sweeps, evaluation, conversion."""

import os

# TensorFlow greets every process with a page of build details; set before it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
