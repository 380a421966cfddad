"""From prepared images to a trained classifier: features, heads, sweeps, evaluation, conversion."""

import logging
import os

# TensorFlow greets every process with a page of build details; set before it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# It also warns of compiling a function anew, which many small models in one notebook do on purpose.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())
# Keras calls .h5 legacy at each saving; readers of the original project expect it.
logging.getLogger("absl").addFilter(lambda record: "HDF5 file" not in record.getMessage())
