"""How well a model does on class folders: accuracy with intervals, confusions, what is kept and refused."""

import math
import shlex
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from containerize_deploy.scene_model import SceneModel

OTHER = "other"  # the folder of images of none of the classes, as in data_prep_eda.dataset
WORST = 10  # confusions that are reported
Z = 1.959964  # of a 95 % interval


class EvaluationError(ValueError):
    """There is nothing to evaluate; the sentence says what was expected."""


def class_folders(folder: Path, labels: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[str]]:
    """Label, or `OTHER`, and path of each subfolder that a model can be compared with; names of the other subfolders.

    Raises:
        EvaluationError: none of them matches.
    """
    if not folder.is_dir():
        raise EvaluationError(f"Expected a folder of class folders, found no folder at {folder}.")
    # Names in one form of Unicode's: macOS writes é as two characters.
    by_name = {unicodedata.normalize("NFC", label): label for label in (*labels, OTHER)}
    known, unknown = [], []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            label = by_name.get(unicodedata.normalize("NFC", path.name))
            unknown.append(path.name) if label is None else known.append((label, str(path)))
    if not known:
        hint = f" Name one of the splits, as in {folder / 'test'}." if "test" in unknown else ""
        raise EvaluationError(
            f"Expected folders of the model's labels ({', '.join(labels[:20])}) in {folder}, found "
            f"{', '.join(unknown[:20]) or 'no folders'}.{hint}"
        )
    return known, unknown


def share(hits: np.ndarray) -> dict[str, Any]:
    """Share of true entries in `bool [n]`, n > 0, with its 95 % Wilson interval (Wilson 1927, JASA 22:209)."""
    count, of = int(hits.sum()), len(hits)
    p, spread = count / of, Z * Z / of
    centre, half = p + spread / 2, math.sqrt(spread * (p * (1 - p) + spread / 4))
    low, high = max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread))
    return {"count": count, "of": of, "share": p, "low": low, "high": high}


def threshold_to_keep(scores: np.ndarray, keep: float) -> float:
    """The threshold that keeps a share of scores `[n]`, halfway to the next below so that none lies on it."""
    scores = np.sort(scores)
    refused = len(scores) - max(1, math.ceil(keep * len(scores) - 1e-9))
    below = scores[refused - 1] if refused else scores[0] - 0.01
    return round(float(below + scores[refused]) / 2, 6)


def evaluate(answers: list[dict[str, Any]], model: SceneModel, keep: float) -> dict[str, Any]:
    """Compares a model's answers, as `classify --json` gives them, with their `class`, one of its labels or `OTHER`.

    Args:
        keep: the share of the classes' images that the suggested threshold keeps.

    Raises:
        EvaluationError: there is no usable image of any class, or `keep` is no share.
    """
    if not 0 < keep <= 1:
        raise EvaluationError(f"Expected a share to keep above 0 and up to 1, found {keep}.")
    usable = [answer for answer in answers if "label" in answer]
    truth, labels = (np.array([answer[key] for answer in usable], str) for key in ("class", "label"))
    scores, inside = np.array([answer["score"] for answer in usable]), truth != OTHER
    if not inside.any():
        raise EvaluationError("Expected images in the class folders, found none that can be used.")

    def at(value: float) -> dict[str, Any]:
        kept = scores >= value
        refused = None if inside.all() else share(~kept[~inside])
        return {"value": value, "kept": share(kept[inside]), "refused": refused}

    classes = {}
    for label in dict.fromkeys(truth[inside].tolist()):
        kept = int((scores[truth == label] >= model.score_threshold).sum())
        classes[label] = share(labels[truth == label] == label) | {"kept": kept}
    wrong = inside & (truth != labels)
    mistakes = Counter(zip(truth[wrong].tolist(), labels[wrong].tolist(), strict=True)).most_common(WORST)
    return {
        "model": model.identity,
        "accuracy": share((truth == labels)[inside]),
        "macro_average": sum(counts["share"] for counts in classes.values()) / len(classes),
        "classes": classes,
        "confusions": [{"class": label, "label": answer, "count": n} for (label, answer), n in mistakes],
        "threshold": at(model.score_threshold),
        "suggested": {"keep": keep, **at(threshold_to_keep(scores[inside], keep))},
        "unusable": len(answers) - len(usable),
    }


def describe(report: dict[str, Any], model: str | None) -> list[str]:
    """Lines for people of `evaluate`'s report; labels come last, since scripts differ in width."""

    def row(name: str, counts: dict[str, Any], kept: int) -> str:
        interval = f"{counts['low']:.1%} to {counts['high']:.1%}"
        line = "{of:6}  {count:7}  {share:8.1%}  {interval:16}  {kept:6.1%}  {name}"
        return line.format_map(counts | {"interval": interval, "kept": kept / counts["of"], "name": name})

    def line(words: str, counts: dict[str, Any]) -> str:
        text = f"{words}, {counts['value']:.6g}, keeps {counts['kept']['share']:.1%} of the classes' images"
        if refused := counts["refused"]:
            text += " and refuses {share:.1%} of {of} images of other things".format_map(refused)
            text += " (95 % interval {low:.1%} to {high:.1%})".format_map(refused)
        return f"{text}."

    now, suggested = report["threshold"], report["suggested"]
    command = "python -m containerize_deploy.classify" + (f" --model {shlex.quote(model)}" if model else "")
    mistakes = ["    {class} taken for {label}: {count}".format_map(pair) for pair in report["confusions"]]
    lines = [
        "images  correct  accuracy  95 % interval       kept  class",
        *(row(label, counts, counts["kept"]) for label, counts in report["classes"].items()),
        row("(all)", report["accuracy"], now["kept"]["count"]),
        "",
        f"The classes' mean accuracy is {report['macro_average']:.1%}. Most frequent mistakes:",
        *(mistakes or ["    none"]),
        "",
        line("The model's threshold", now),
        line(f"The threshold for {suggested['keep']:.1%} of these images", suggested),
        "To write a copy of the model with the latter:",
        f"    {command} --set-threshold={suggested['value']:.6f} --to copy.tflite",
    ]
    if not now["refused"]:
        lines.append(f"No folder {OTHER!r} shows what is refused of images of other things.")
    if unknown := report["unknown_folders"]:
        lines.append(f"Left out, since the model has no such label: {', '.join(unknown)}.")
    if report["unusable"]:
        lines.append(f"Left out, since they can't be used: {report['unusable']} files. --csv FILE says why.")
    return lines
