"""TFLite metadata: what a client has to know about a model, inside the model's own file.

MediaPipe, Android Studio and other clients read labels, normalisation and versions from a flatbuffer in the model
(buffer `TFLITE_METADATA`) and from files in a zip archive that follows the model's bytes
(https://ai.google.dev/edge/litert/conversion/tensorflow/metadata); runtimes that know nothing of it ignore both:

- `labels.txt`: the classes, one per line, in the order of the output `probabilities`
- `scene.json`: the other facts, see `facts_of`
- `score_labels.txt` and `score_calibration.txt`: MediaPipe shows `in_scope`, 1 / (1 + exp(-4 (score - threshold)))
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FACTS = "scene.json"
LABELS = "labels.txt"
NAME = b"TFLITE_METADATA"
ALIGNMENT = 16  # bytes, of every buffer in a TFLite file (`force_align` in its schema)

# Positions and values of metadata_schema.fbs, version 1.0.0
FEATURE, IMAGE = 1, 2  # ContentProperties
RGB = 1  # ColorSpaceType
NORMALIZATION, SCORE_CALIBRATION = 1, 2  # ProcessUnitOptions
DESCRIPTIONS, AXIS_LABELS, AXIS_SCORE_CALIBRATION = 1, 2, 4  # AssociatedFileType


def facts_of(
    final: Mapping[str, Any], class_names: Sequence[str], version: str, study: bool = False
) -> dict[str, Any]:
    """What a run's file says about itself, from the section `final` of the run's record.

    The model of the `study`, on SUN 09, alone has this project's author and licence.
    """
    many = f"{len(class_names)} classes, {class_names[0]} to {class_names[-1]}"
    what = many if len(class_names) > 8 else f"{', '.join(class_names[:-1])} or {class_names[-1]}"
    with_others = any(counts.get("other") for counts in final["counts"].values())
    rests_on = "" if with_others else ", learned without images of other classes"
    facts = {
        "name": "Scene classifier" if study else "Image classifier",
        "description": f"{what[:1].upper()}{what[1:]}: {final['backbone']}, with an out-of-distribution score{rests_on}",
        "version": version,
        "labels": list(class_names),
        "score_threshold": 0.0,
        "backbone": final["backbone"],
        "head": f"dense layer with L2, {final['head']}",
        "l2": final["l2"],
        "trained_on": final["counts"],
        "threshold": {"keep": final["keep"], "read_off": final["read_off"]},
    }
    return facts | ({"author": "The scene-classifier project", "licence": "Apache-2.0"} if study else {})


def add_metadata(content: bytes, facts: dict[str, Any]) -> bytes:
    """Writes metadata into a model, in place of any that it has; the model itself stays the same.

    `content` is a TFLite file with an RGB image, levels 0 to 255, as its input and the outputs `probabilities` and `score`,
    in this order. Of the facts, as from `facts_of`, all but `version`, `labels` and `score_threshold` may be missing.

    Raises:
        ValueError: it is no TFLite file; a fact is missing; or a label can't be a line of its own.
    """
    if content[4:8] != b"TFL3":
        raise ValueError("Expected a TFLite file, found something else.")
    if missing := {"version", "labels", "score_threshold"} - set(facts):
        raise ValueError(f"Expected the facts {', '.join(sorted(missing))} too, found {', '.join(facts)}.")
    for label in facts["labels"]:
        if label != label.strip() or len(label.splitlines()) != 1:
            raise ValueError(
                f"Expected labels of one line, no spaces around them, found {label!r}: rename it."
            )
    if len(set(facts["labels"])) < len(facts["labels"]):
        raise ValueError(f"Expected different labels, found {', '.join(facts['labels'])}.")
    facts = facts | {"score_threshold": float(facts["score_threshold"])}  # NumPy's, too
    files = {
        LABELS: "\n".join(facts["labels"]),
        "score_labels.txt": "in_scope",
        "score_calibration.txt": f"1,4,{-4 * facts['score_threshold'] + 0.0!r}",
        FACTS: json.dumps({key: value for key, value in facts.items() if key != "labels"}, indent=2) + "\n",
    }
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    entries = {entry.name: entry for entry in model.metadata or []}
    if NAME not in entries:
        model.buffers.append(schema.BufferT())
        entries[NAME] = schema.MetadataT(NAME, len(model.buffers) - 1)
    model.metadata = list(entries.values())
    model.buffers[entries[NAME].buffer].data = np.frombuffer(_flatbuffer(facts), np.uint8)
    stream = io.BytesIO(write_model(model))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)  # dated 1980: the same facts give the same bytes
            entry.create_system = 3  # on Windows too
            archive.writestr(entry, text)
    return stream.getvalue()


def _flatbuffer(facts: dict[str, Any]) -> bytes:
    """The `ModelMetadata` table; tuples are tables, in the order of the schema's fields."""
    levels, no_change = ([255.0], [0.0]), [(NORMALIZATION, ([0.0], [1.0]))]
    image_text = "The image, RGB, resized to the input's edge lengths."
    image = ("image", image_text, None, (IMAGE, (RGB,)), no_change, levels)
    classes_text = "Probability of each class; they add up to 1."
    labels = [(LABELS, "The classes, in the order of the probabilities.", AXIS_LABELS)]
    probabilities = ("probabilities", classes_text, None, (FEATURE, ()), None, ([1.0], [0.0]), labels)
    score_text = "How much the image looks like any of the classes at all: in scope from 0.5 on."
    score_files = [
        ("score_labels.txt", "Name of the score.", AXIS_LABELS),
        ("score_calibration.txt", "Puts 0.5 at the threshold.", AXIS_SCORE_CALIBRATION),
    ]
    calibration = [(SCORE_CALIBRATION, (0, 0.0))]
    score = ("score", score_text, None, (FEATURE, ()), calibration, None, score_files)
    files = [(FACTS, "Version, threshold and other facts.", DESCRIPTIONS)]
    graph = (None, None, [image], [probabilities, score])
    names, rights = (facts.get("name"), facts.get("description")), (facts.get("author"), facts.get("licence"))
    # 1.0.0 is the oldest version of the schema that has all of the above.
    model = (*names, facts["version"], [graph], *rights, files, "1.0.0")
    builder = flatbuffers.Builder()
    builder.Finish(_pack(builder, model), b"M001")
    return bytes(builder.Output())


def _pack(builder: flatbuffers.Builder, value: str | list | tuple) -> int:
    """Writes a string, a vector of floats or tables, or a table with its children; returns where it is."""
    if isinstance(value, str):
        return builder.CreateString(value)
    packed = [item if isinstance(item, int | float | None) else _pack(builder, item) for item in value]
    if isinstance(value, list):
        prepend = builder.PrependFloat32 if isinstance(value[0], float) else builder.PrependUOffsetTRelative
        builder.StartVector(4, len(packed), 4)
        for item in reversed(packed):
            prepend(item)
        return builder.EndVector()
    builder.StartObject(len(value))
    for slot, (item, written) in enumerate(zip(value, packed, strict=True)):
        if isinstance(item, int):  # an enumeration
            builder.PrependInt8Slot(slot, written, 0)
        elif isinstance(item, float):
            builder.PrependFloat32Slot(slot, written, 0.0)
        elif item is not None:
            builder.PrependUOffsetTRelativeSlot(slot, written, 0)
    return builder.EndObject()


class _Aligned(flatbuffers.Builder):
    """Aligns vectors of bytes, as buffers are: small processors read weights where they lie in the file."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(elemSize, numElems, ALIGNMENT if elemSize == 1 else alignment)


def write_model(model: schema.ModelT) -> bytes:
    """A TFLite file of a model that was read by `ModelT.InitFromPackedBuf`."""
    builder = _Aligned()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
