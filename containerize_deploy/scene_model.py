"""The exported model, ready to be asked: from pixels to probabilities, with nothing but LiteRT and NumPy."""

import functools
import hashlib
import io
import json
import os
import sys
import threading
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from containerize_deploy.settings import memory_mb

MODEL_FILE = Path(__file__).with_name("scene-classifier-model.tflite")
MEMORY_PER_CPU_MB = 1769  # Lambda hands out CPU time with memory


class ModelError(RuntimeError):
    """The model's file is not what it should be."""


@dataclass(frozen=True)
class Classification:
    """What the model says of one image."""

    label: str  # the likeliest class
    probabilities: dict[str, float]  # of each class; they sum to 1
    in_scope: bool  # whether the image looks like any of the classes at all
    score: float  # what `in_scope` rests on; higher is more like one of them

    def to_json(self) -> dict[str, Any]:
        """As the service and the shell answer it."""
        return asdict(self)


class SceneModel:
    """A TFLite model with the facts that its metadata tells of it; it answers one request at a time."""

    def __init__(self, path: Path | None = None) -> None:
        """Loads a `.tflite` file, by default `find_model`'s, and runs it once: the first image is as quick as the others.

        Raises:
            ModelError: there is no such file, or it is not a model of this kind with its metadata.
        """
        path = path or find_model()
        try:
            content = path.read_bytes()
        except OSError:
            raise ModelError(f"Expected the model {path.name}, found no such file.") from None
        facts = read_facts(content, path.name)
        self.labels: tuple[str, ...] = tuple(facts["labels"])
        self.score_threshold: float = facts["score_threshold"]
        self.version: str = facts["version"]
        self.digest = hashlib.sha256(content).hexdigest()
        self.identity = {"version": self.version, "digest": f"sha256:{self.digest}"}  # which model answered
        try:
            self._interpreter = _load(content)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"Expected a TFLite model in {path.name}, found: {error}") from None
        # Tensors go by their names in the signature. A runner that is kept would keep the interpreter from running.
        inputs = self._interpreter.get_signature_runner().get_input_details()
        outputs = self._interpreter.get_signature_runner().get_output_details()
        taken = [(details["dtype"], len(details["shape"])) for details in inputs.values()]
        given = {name: tuple(details["shape"]) for name, details in outputs.items()}
        expected = {"probabilities": (1, len(self.labels)), "score": (1, 1)}
        if taken != [(np.uint8, 4)] or given != expected:
            wanted = f"to take one uint8 image and to give {expected}"
            raise ModelError(f"Expected {path.name} {wanted}, found {inputs} and {given}.")
        (pixels,) = inputs.values()
        self.size, self._input = int(pixels["shape"][1]), pixels["index"]
        self._probabilities, self._score = (outputs[name]["index"] for name in expected)
        self._lock = threading.Lock()
        self.classify(np.zeros((self.size, self.size, 3), np.uint8))

    def classify(self, image: np.ndarray) -> Classification:
        """Classifies an image, `uint8 [size, size, 3]` in RGB, as `data_prep_eda.preprocessing.load_image` gives it."""
        with self._lock:
            self._interpreter.set_tensor(self._input, image[np.newaxis])
            self._interpreter.invoke()
            probabilities = self._interpreter.get_tensor(self._probabilities)[0]
            score = float(self._interpreter.get_tensor(self._score)[0, 0])
        label = self.labels[int(probabilities.argmax())]
        by_label = dict(zip(self.labels, probabilities.tolist(), strict=True))
        return Classification(label, by_label, in_scope=score >= self.score_threshold, score=score)


def find_model(name: str | Path | None = None) -> Path:
    """The `.tflite` file that `--model` names, itself or by the folder of a run that has converted its model.

    Without a name it is what the environment variable `SCENES_MODEL` names, else the file in this folder.

    Raises:
        ModelError: there is none; the sentence says what to do.
    """
    name = name or os.environ.get("SCENES_MODEL")
    if not name:
        return MODEL_FILE
    path = Path(name).expanduser()
    if path.is_dir():
        path = path / "models" / MODEL_FILE.name
        if not path.is_file():
            raise ModelError(f"Expected {path}, found no such file. Notebook 07 of the run writes it.")
    if path.suffix != ".tflite" or not path.is_file():
        kind = f"the file {path.name}" if path.is_file() else f"no file at {path}"
        raise ModelError(f"Expected a .tflite file or the folder of a run, found {kind}.")
    return path


def cpus() -> int:
    """How many CPUs' worth of time this Lambda function has, by its memory (`os.cpu_count` says 2 at least); 1 elsewhere."""
    return max(1, (memory_mb() or 0) // MEMORY_PER_CPU_MB)


def _load(content: bytes) -> Interpreter:
    """Keeps what LiteRT says of its start out of a log that otherwise is JSON, but for its complaints."""
    stderr, (reader, writer) = os.dup(2), os.pipe()
    os.dup2(writer, 2)
    try:
        interpreter = Interpreter(model_content=content, num_threads=cpus())
        interpreter.allocate_tensors()
    finally:
        os.write(2, b"\n")  # so that reading never waits
        os.dup2(stderr, 2)
        lines = os.read(reader, 65536).decode(errors="replace").splitlines()
        for descriptor in (stderr, reader, writer):
            os.close(descriptor)
    if complaints := [line for line in lines if line and not line.startswith("INFO")]:
        _log_complaints("; ".join(complaints))
    return interpreter


@functools.cache  # once per process, however many models it loads
def _log_complaints(complaints: str) -> None:
    """The known case: where a system hides its processors, LiteRT drops XNNPACK (pytorch/cpuinfo issue 143)."""
    meaning = "LiteRT complains, and may run without XNNPACK, slower and with slightly other answers"
    line = {"level": "WARNING", "reason": [f"{meaning}: {complaints}"]}
    print(json.dumps(line), file=sys.stderr, flush=True)


def read_facts(content: bytes, name: str = MODEL_FILE.name) -> dict[str, Any]:
    """The `version`, `labels`, `score_threshold` and what else `train_model.metadata.add_metadata` wrote into a file.

    Raises:
        ModelError: there is no such archive in the file, or something is missing in it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            facts = json.loads(archive.read("scene.json"))
            facts["labels"] = archive.read("labels.txt").decode().splitlines()
        return facts | {"version": str(facts["version"]), "score_threshold": float(facts["score_threshold"])}
    except Exception as error:  # zipfile and json raise many kinds on damaged bytes
        raise ModelError(
            f"Expected labels.txt and, in scene.json, version and score_threshold in the metadata of {name}, "
            f"found: {error}. Export the model again, or write them with train_model.metadata."
        ) from None


def with_threshold(content: bytes, threshold: float, name: str = MODEL_FILE.name) -> bytes:
    """A model's file with another threshold, as `train_model.metadata.add_metadata` would write it with more packages.

    Raises:
        ModelError: the file has no metadata.
    """
    before = read_facts(content, name)["score_threshold"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {entry: archive.read(entry) for entry in archive.infolist()}
    changes = {"score_threshold": threshold, "threshold": {"read_off": f"set by hand; it was {before:.6g}"}}
    stream = io.BytesIO(content[: min(entry.header_offset for entry in files)])
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for entry, data in files.items():
            if entry.filename == "scene.json":
                data = (json.dumps(json.loads(data) | changes, indent=2) + "\n").encode()
            elif entry.filename == "score_calibration.txt":
                data = f"1,4,{-4 * threshold + 0.0!r}".encode()
            archive.writestr(entry, data)
    return stream.getvalue()
