"""What the model says of images, from the shell: the same code as the service's.

    python -m containerize_deploy.classify photo.jpg holiday/ https://example.org/photo.jpg
    python -m containerize_deploy.classify --model runs/<timestamp> --csv answers.csv holiday/
    python -m containerize_deploy.classify --model runs/<timestamp> --evaluate data/test --keep 0.95
    python -m containerize_deploy.classify --model runs/<timestamp> --set-threshold 0.5 --to copy.tflite

A folder stands for every file in it, in sorted order; README.md says what `--json` prints.
"""

from containerize_deploy.installed import require_packages
from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()
    require_packages()

import argparse
import csv
import io
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from containerize_deploy import evaluation, fetching
from containerize_deploy.answers import ServiceError, classify_bytes
from containerize_deploy.scene_model import ModelError, SceneModel, find_model, with_threshold
from containerize_deploy.settings import Policy, SettingsError
from data_prep_eda.files import replacing, write_text
from data_prep_eda.preprocessing import MAX_BYTES

SHOWN = 5  # probabilities in a line for people, the largest first
# Control characters, halves of characters, and what turns the direction of writing.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def main(arguments: list[str] | None = None) -> int:
    """Does what the command line says.

    Returns:
        0; 1 if some image could not be read, but not with `--json`, where that is part of the answer;
        2 if there is no model or nothing to evaluate, a file can't be written, or a setting means nothing.
    """
    summary = "What the model says of images; --evaluate compares it with their folders' names."
    parser = argparse.ArgumentParser(prog="python -m containerize_deploy.classify", description=summary)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="image file, folder of them, or http(s) URL")
    add("--model", metavar="M", help=".tflite file or a run's folder; default: this repository's model")
    add("--json", action="store_true", help="print JSON instead of lines")
    add("--csv", type=Path, metavar="FILE", help="also write a table with a row per image")
    add("--evaluate", type=Path, metavar="DIR", help="compare the answers with the class folders in DIR")
    add("--keep", type=float, default=0.975, help="share that the suggested threshold keeps; default: 0.975")
    add("--set-threshold", type=float, metavar="VALUE", help="copy the model with another threshold")
    add("--to", type=Path, metavar="FILE", help="where --set-threshold writes the copy")
    options = parser.parse_args(arguments)
    copying = options.set_threshold is not None
    if bool(options.images) + (options.evaluate is not None) + copying != 1:
        parser.error("Expected images, --evaluate or --set-threshold, and one of them only.")
    if copying != (options.to is not None):
        parser.error("Expected --set-threshold and --to together: the model's own file stays as it is.")
    try:
        path = find_model(options.model)
        if copying:
            return _set_threshold(path, options.set_threshold, options.to)
        return _classify(path, options)
    except (ModelError, SettingsError, evaluation.EvaluationError) as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(printable(f"{error.filename} can't be written: {error.strerror}."), file=sys.stderr)
        return 2


def _set_threshold(path: Path, threshold: float, target: Path) -> int:
    if target.suffix != ".tflite" or not math.isfinite(threshold):
        raise ModelError(f"Expected a number and a .tflite file to write, found {threshold} and {target}.")
    content = with_threshold(path.read_bytes(), threshold, path.name)
    with replacing(target) as part:
        part.write_bytes(content)
    print(printable(f"{target} has the threshold {threshold:g}; name it with --model."))
    return 0


def _classify(path: Path, options: argparse.Namespace) -> int:
    """Classifies images, and compares the labels with their folders' names if there is something to compare."""
    if options.csv and options.csv.exists() and not options.csv.is_file():
        raise ModelError(f"Expected --csv to name a file, found something else at {options.csv}.")
    policy = Policy.from_environment()
    models = [SceneModel(path) for _ in range(os.cpu_count() or 1)]  # each answers one image at a time
    labels = models[0].labels
    if options.evaluate:
        known, unknown = evaluation.class_folders(options.evaluate, labels)
        images = [({"class": label}, file) for label, folder in known for file in expand([folder])]
    else:
        images = [({}, file) for file in expand(options.images)]

    def answer_for(image: tuple[dict[str, str], str], model: SceneModel) -> dict[str, Any]:
        known, source = image
        try:
            content = fetching.fetch(source, policy) if "://" in source else _read(source)
            answer = classify_bytes(model, content).to_json()
        except ServiceError as error:
            answer = error.to_json()
        return known | {"file": source} | answer

    answers = []
    # Threads, not processes: Pillow and LiteRT work outside Python's lock.
    with ThreadPoolExecutor(len(models)) as pool:
        for answer in pool.map(answer_for, images, itertools.cycle(models)):
            answers.append(answer)
            if not (options.evaluate or options.json):
                print(printable(f"{answer['file']}: {describe(answer)}"), flush=True)
    if options.evaluate:
        report = evaluation.evaluate(answers, models[0], options.keep) | {"unknown_folders": unknown}
        if options.json:
            print(json.dumps({**report, "answers": answers}, indent=1))
        else:
            print("\n".join(map(printable, evaluation.describe(report, options.model))))
    elif options.json:
        print(json.dumps(answers, indent=1))
    if options.csv:
        write_text(options.csv, _table(answers, labels), errors="backslashreplace")
    return int(not options.json and any("error" in answer for answer in answers))


def expand(names: Iterable[str]) -> Iterator[str]:
    """Files and URLs as they are; for a folder the files in it and below, sorted, without hidden ones.

    What is neither a file nor a link to one, such as a pipe or a device, is passed over: reading it might never end.
    A link that leads nowhere is not, since an image is missing there.
    """
    for name in names:
        if "://" in name or not os.path.isdir(name):
            yield name
            continue
        for path in sorted(Path(name).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(name).parts)
            if not hidden and (path.is_file() or not path.exists()):
                yield str(path)


def describe(answer: dict[str, Any]) -> str:
    """An answer as a line for people."""
    if "error" in answer:
        return answer["error"]["message"]
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:SHOWN]
    odds = ", ".join(f"{label} {probability:.1%}" for label, probability in ranked)
    return odds if answer["in_scope"] else f"none of these, or hard to tell ({odds})"


def printable(text: str) -> str:
    """A text with escapes in place of what a terminal obeys: strangers name files and labels."""
    return OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _read(name: str) -> bytes:
    try:
        with open(name, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ServiceError("not_found", f"The file can't be read: {error.strerror}.") from None


def _table(answers: list[dict[str, Any]], labels: tuple[str, ...]) -> str:
    """Answers as CSV: `file`, `class` where it is known, `label`, `in_scope`, `score`, each probability, `error`."""
    stream, probabilities = io.StringIO(), {label: f"probability_{label}" for label in labels}
    known = ["class"] if answers and "class" in answers[0] else []
    columns = ["file", *known, "label", "in_scope", "score", *probabilities.values(), "error"]
    rows = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for answer in answers:
        row = {probabilities[label]: value for label, value in answer.get("probabilities", {}).items()}
        rows.writerow(answer | row | {"error": describe(answer) if "error" in answer else ""})
    return stream.getvalue()


if __name__ == "__main__":
    interruption.run(main)
