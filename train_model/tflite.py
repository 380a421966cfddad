"""From a Keras model to TFLite files, and the two runtimes that execute them."""

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import platform
import re
import threading
import time
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep_eda.preprocessing import load_image
from train_model.parameters import ParameterError

if TYPE_CHECKING:  # running a model needs neither Keras nor TensorFlow
    import keras
    from ai_edge_litert.interpreter import Interpreter

FORMATS = ("float32", "float16", "dynamic_range", "int8")
VERSION = 3  # of `convert`; raised when its files change, so that kept files of an older version are not used

# The service's runtime and the original project's, which has no wheel for Python 3.12 and later
RUNTIMES = {"litert": "ai_edge_litert", "tflite_runtime": "tflite_runtime"}
ONE_SCALE = 9  # FULLY_CONNECTED's version for 8-bit weights with one scale and float inputs; tflite-runtime 2.14 has it


def available_runtimes() -> list[str]:
    """Names of the installed runtimes."""
    return [name for name, module in RUNTIMES.items() if importlib.util.find_spec(module)]


def load_interpreter(model: bytes | Path, runtime: str = "litert") -> "Interpreter":
    """Loads a TFLite model, its bytes or its path, by one of `RUNTIMES`.

    Raises:
        ValueError: the runtime cannot execute the model, or its name is unknown.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"Expected the runtime 'litert' or 'tflite_runtime', found {runtime!r}.")
    runtime_module = importlib.import_module(f"{RUNTIMES[runtime]}.interpreter")
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    with quiet_stderr():  # each interpreter announces its XNNPACK delegate
        interpreter = runtime_module.Interpreter(**source, num_threads=1)
        try:
            interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from None
    return interpreter


def run(interpreter: "Interpreter", image: np.ndarray) -> dict[str, np.ndarray]:
    """Name of each output to its value, without the batch axis, of an image `[h, w, 3]`, levels 0 to 255."""
    (entry,) = interpreter.get_input_details()
    ((name, signature),) = interpreter.get_signature_list().items()
    (argument,) = signature["inputs"]
    image = image[None].astype(entry["dtype"], copy=False)
    outputs = interpreter.get_signature_runner(name)(**{argument: image})
    return {output: value[0] for output, value in outputs.items()}


def probabilities(model: Path, image: str | os.PathLike[str]) -> dict[str, float]:
    """Label to probability of an image file, by a model file that carries its labels (see `train_model.metadata`)."""
    interpreter = load_interpreter(model)
    size = int(interpreter.get_input_details()[0]["shape"][1])
    values = run(interpreter, load_image(image, size))["probabilities"].astype(float)
    with zipfile.ZipFile(model) as archive:
        labels = archive.read("labels.txt").decode().split("\n")
    return dict(zip(labels, values.tolist(), strict=True))


def run_all(model: bytes | Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """LiteRT's answers for images `[n, h, w, 3]`, on all cores: name of each output to its values `[n, ...]`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _stacked(pool.map(OnEachThread(model), images))


class OnEachThread(threading.local):
    """`run` with an interpreter of its own for each thread that calls it."""

    def __init__(self, model: bytes | Path) -> None:  # once on each thread
        self.interpreter = load_interpreter(model)

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return run(self.interpreter, image)


def _stacked(answers: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    answers = list(answers)
    return {output: np.stack([answer[output] for answer in answers]) for output in answers[0]}


class RuntimeProcess(ProcessPoolExecutor):
    """A runtime, see `load_interpreter`, in a process of its own, which ends with `close` or a `with` statement.

    In TensorFlow's process tflite-runtime 2.14 fails (`vector::reserve`: both bring the same C++ symbols).
    """

    def __init__(self, runtime: str) -> None:
        super().__init__(1, mp_context=multiprocessing.get_context("spawn"))
        self.runtime, self.close = runtime, self.shutdown

    def load(self, name: str, model: bytes | Path) -> None:
        """Loads a model under a name; raises `ValueError` where the runtime cannot execute it."""
        self.submit(_load, name, model, self.runtime).result()

    def run(self, name: str, images: np.ndarray) -> dict[str, np.ndarray]:
        """Output name to values `[n, ...]` for `[n, h, w, 3]` images."""
        return self.submit(_run, name, images).result()[0]

    def milliseconds(self, name: str, image: np.ndarray) -> float:
        """Time of one inference, measured in the process."""
        return self.submit(_run, name, image[None]).result()[1]


_loaded: dict[str, "Interpreter"] = {}  # in the process of a RuntimeProcess


def _load(name: str, model: bytes | Path, runtime: str) -> None:
    _loaded[name] = load_interpreter(model, runtime)


def _run(name: str, images: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Answers, and the milliseconds that they took."""
    started = time.perf_counter()
    answers = [run(_loaded[name], image) for image in images]
    milliseconds = 1000 * (time.perf_counter() - started)
    return _stacked(answers), milliseconds


def processor() -> str:
    """Name of this machine's processor, without which a latency says little."""
    linux = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)", linux.read_text() if linux.is_file() else "", re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def convert(
    model: "keras.Model", kind: str, representative: np.ndarray | None = None, *, corrected: bool = True
) -> bytes:
    """Converts a Keras model of images `[n, h, w, 3]` to the bytes of a TFLite file, outputs in alphabetical order.

    Args:
        kind: `float32`; `float16` (weights in half precision); `dynamic_range` (weights in 8 bits, arithmetic
            in float32 where it must be); `int8` (weights and activations in 8 bits from the first convolution
            to the last, everything before and after in float32; `uint8` input, `float32` outputs).
        representative: for `int8`, `uint8 [n, h, w, 3]` images that fix the ranges of the activations.
        corrected: whether `train_model.quantization` takes back what 8 bits are known to do to `int8`.

    Raises:
        ValueError: unknown kind, or `int8` without representative images.
        ParameterError: Keras runs on another backend.
    """
    if kind not in FORMATS:
        raise ValueError(f"Expected one of {', '.join(FORMATS)}, found {kind!r}.")
    if kind == "int8" and (representative is None or not len(representative)):
        raise ValueError("Expected representative images for int8, found none: pass training images.")
    import keras
    import tensorflow as tf  # only the conversion needs TensorFlow itself

    if keras.backend.backend() != "tensorflow":
        raise ParameterError(
            f"Expected Keras on TensorFlow for a conversion to TFLite, found it on {keras.backend.backend()}: run this "
            "without KERAS_BACKEND, or with KERAS_BACKEND=tensorflow."
        )
    from train_model.quantization import corrected as mend

    mended = mend(model, representative) if kind == "int8" and corrected else contextlib.nullcontext()
    # The converter warns of statistics that are not wanted.
    with warnings.catch_warnings(action="ignore"), mended, quiet_stderr():
        # A fixed batch of one lets the runtime plan its memory once.
        image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
        graph = tf.function(lambda image: model(image, training=False)).get_concrete_function(image)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], model)
        # By way of a SavedModel, which would bring the signature, it takes four times as long.
        converter.experimental_lower_to_saved_model = False
        converter.optimizations = [] if kind == "float32" else [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "dynamic_range":
            # Per-channel dense weights need a FULLY_CONNECTED that tflite-runtime 2.14 hasn't.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if kind == "int8":
            converter.representative_dataset = lambda: ([p[None].astype("float32")] for p in representative)
            converter._experimental_calibrate_only = True
        content = _quantize(converter.convert()) if kind == "int8" else converter.convert()
    outputs = sorted(model.output) if isinstance(model.output, dict) else model.output_names
    return _finished(content, outputs)


def _quantize(calibrated: bytes) -> bytes:
    """Quantises the operations that give feature maps, from the first convolution to the last, and no others.

    In 8 bits, logits and scores end where the representative images' did: whatever lies beyond gets one value. And
    a rescaling in 8 bits leaves 171 of an image's 256 levels. In float both are exact and cost no time.
    """
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema
    from tensorflow.lite.python.convert import mlir_quantize

    (graph,) = schema.ModelT.InitFromPackedBuf(calibrated).subgraphs
    inside, in_float = False, []
    for operation in graph.operators:
        shapes = [graph.tensors[tensor].shape for tensor in operation.inputs if tensor >= 0]
        inside = inside or sum(np.size(shape) == 4 for shape in shapes) == 2  # a feature map and a kernel
        result = graph.tensors[operation.outputs[0]]
        if not inside or np.size(result.shape) != 4:
            in_float.append(result.name.decode())
    types = {"input_data_type": tf.uint8, "output_data_type": tf.float32}
    return mlir_quantize(calibrated, **types, denylisted_nodes=in_float)


def _finished(content: bytes, outputs: list[str]) -> bytes:
    """Names a file's input `image`, and its outputs in their order; and asks for no newer runtime than it needs."""
    from ai_edge_litert import schema_py_generated as schema

    from train_model.metadata import write_model

    model = schema.ModelT.InitFromPackedBuf(content)
    (graph,) = model.subgraphs
    for code in model.operatorCodes:
        # The converter writes version 12, of per-channel weights, also where all of a layer's weights share one scale.
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = min(code.version, ONE_SCALE)
    image = [schema.TensorMapT(b"image", *graph.inputs)]
    pairs = zip(outputs, graph.outputs, strict=True)
    named = [schema.TensorMapT(name.encode(), tensor) for name, tensor in pairs]
    model.signatureDefs = [schema.SignatureDefT(image, named, b"serving_default")]
    return write_model(model)


_stderr = threading.RLock()  # a second thread would save the hidden one and put that back for good


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hides what the C++ side of TensorFlow and LiteRT writes to the terminal; Python errors still rise."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _stderr, open(os.devnull, "w") as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
