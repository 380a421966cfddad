"""Writes the figures in the documents from the metrics that runs and benchmarks have recorded.

    python -m train_model.automation.documents            write them
    python -m train_model.automation.documents --image  draw the README's image with the committed model
    python -m train_model.automation.documents --check    say which are out of date

A block between `<!-- begin NAME -->` and `<!-- end NAME -->` belongs to the function of that name in `BLOCKS`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import write_text
from data_prep_eda.preprocessing import SCENES

DOCUMENTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "train_model" / "MODEL_CARD.md",
    REPOSITORY / "containerize_deploy" / "README.md",
)
METRICS = REPOSITORY / "notebooks" / "metrics.json"
TRAINING_TIMES = REPOSITORY / "train_model" / "benchmark_results.json"
SERVICE_TIMES = REPOSITORY / "containerize_deploy" / "benchmark_results.json"

PICTURE = REPOSITORY / "train_model" / "answers.png"
SHOWN = ("coast/coast_03.jpg", "forest/forest_09.jpg", "mountain/mountain_12.jpg")


@cache
def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(metrics: dict[str, Any], name: str) -> str:
    """`0.990 (0.948 to 0.998)` from the three entries of a proportion."""
    return f"{metrics[name]:.3f} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f})"


def results() -> str:
    """The headline figures of the committed notebooks."""
    m = _read(METRICS)
    chosen = m["tflite.chosen"]
    rows = [
        [
            "Xception 150×150, head on frozen features, mean of the runs (03)",
            f"{m['xception.val_accuracy']:.3f}",
            f"{m['xception.test_accuracy']:.3f}",
        ],
        [
            "MobileNet 224×224, head on frozen features, mean of the runs (04)",
            f"{m['learning_rate.val_accuracy']:.3f}",
            f"{m['learning_rate.test_accuracy']:.3f}",
        ],
        [
            "MobileNet, the final model (06, 07)",
            f"{m['final.val_accuracy']:.3f}",
            with_interval(m, "test.accuracy"),
        ],
        [
            f"The same as {chosen} TFLite, {m[f'tflite.litert_{chosen}_MB']:.1f} MB (08)",
            "",
            f"{m[f'tflite.litert_{chosen}_accuracy']:.3f} ({m[f'tflite.litert_{chosen}_low']:.3f} "
            f"to {m[f'tflite.litert_{chosen}_high']:.3f})",
        ],
    ]
    beyond = [
        [title, f"{m[served]:.3f}", f"{m[other]:.3f}, {what}"]
        for title, served, other, what in (
            (
                "kinds of scene that were not trained on: accuracy",
                "cross_validation.new_kinds_served_clean",
                "cross_validation.new_kinds_study_none_clean",
                "the study's recipe",
            ),
            (
                "test images changed in 13 ways at 5 strengths: accuracy",
                "test.robustness_served",
                "test.robustness_study",
                "the study's recipe",
            ),
            (
                "a scene left out of the training, told from the two others: AUROC",
                "test.scope_left_out_scope",
                "test.scope_left_out_energy",
                "by energy",
            ),
        )
    ]
    return "\n".join(
        [
            table(["model (notebook)", "validation accuracy", "test accuracy (95 % interval)"], rows),
            "",
            table(["beyond the study's test set (07)", "final model", "to compare"], beyond),
        ]
    )


def footprint() -> str:
    """Size, cost and time of the served file and of the alternatives."""
    m = _read(METRICS)
    rows = []
    for network in ("mobilenet", "xception"):
        for kind in ("float32", "int8"):
            name = f"tflite.tradeoff_{network}_{kind}"
            if f"{name}_MB" not in m:
                continue
            served = " (served)" if (network, kind) == ("mobilenet", m["tflite.chosen"]) else ""
            rows.append(
                [
                    f"{network.capitalize().replace('net', 'Net')}, {kind}{served}",
                    f"{m[f'{name}_MB']:.1f}",
                    f"{m[f'{name}_million_multiply-adds']:,.0f}",
                    f"{m[f'{name}_ms']:.1f}",
                    f"{m[f'{name}_accuracy']:.3f}",
                ]
            )
    return table(["network", "MB", "million multiply-adds", "ms, one thread", "test accuracy"], rows)


def test() -> str:
    """Accuracy, precision and recall on the test images."""
    m = _read(METRICS)
    lines = [
        f"Accuracy **{with_interval(m, 'test.accuracy')}**, {m['test.count']} images, 95 % Wilson interval.",
        "",
    ]
    rows = [
        [scene, *(f"{m[f'test.{measure}_{scene}']:.3f}" for measure in ("precision", "recall"))]
        for scene in SCENES
    ]
    return "\n".join(lines) + "\n" + table(["scene", "precision", "recall"], rows)


RECIPES = {
    "study_none": "the study's, no augmentation",
    "study_as_implemented": "the study's, its augmentation",
    "served": "served",
}
KINDS = {"clean": "clean", "changed_copies": "corrupted images"}


def cross_validation() -> str:
    """Recipes on the same folds, and which differences are real."""
    m = _read(METRICS)
    rows = [
        [
            title,
            *(
                f"{m[f'cross_validation.{column}_{name}_{kind}']:.3f}"
                for kind in KINDS
                for column in ("accuracy", "worst_scene")
            ),
        ]
        for name, title in RECIPES.items()
    ]
    header = [
        "recipe",
        *(f"{column}, {kind}" for kind in KINDS.values() for column in ("accuracy", "worst scene")),
    ]
    return "\n".join([table(header, rows), "", *_verdicts(m, "cross_validation.difference")])


def new_kinds() -> str:
    """Recipes on kinds of scene that they were not trained on."""
    m = _read(METRICS)
    rows = [
        [title, *(f"{m[f'cross_validation.new_kinds_{name}_{kind}']:.3f}" for kind in KINDS)]
        for name, title in RECIPES.items()
    ]
    lines = [table(["recipe", *KINDS.values()], rows), ""]
    lines += _verdicts(m, "cross_validation.new_kinds_difference")
    return "\n".join(lines)


def _verdicts(m: dict[str, Any], prefix: str) -> list[str]:
    lines = []
    for kind, words in KINDS.items():
        for name in ("study_none", "study_as_implemented"):
            key = f"{prefix}_{name}_{kind}"
            low, high = m[f"{key}_low"], m[f"{key}_high"]
            verdict = "real" if low > 0 or high < 0 else "not to be told from zero"
            difference = f"{m[key]:+.3f} ({low:+.3f} to {high:+.3f})"
            lines.append(f"- Served less {RECIPES[name]}, images {words}: {difference}, {verdict}.")
    return lines


STEPS = {
    "study_s_head_no_views": "the study's: gradient head, no augmented views",
    "discriminant_no_views": "discriminant head, no augmented views",
    "discriminant_views": "discriminant head, augmented views",
    "discriminant_views_rare_kinds_count_more": "the same, rare kinds count more (served)",
    "study_s_head_views": "gradient head, augmented views",
    "discriminant_on_xception_no_views": "discriminant head on Xception, no augmented views",
}


def steps() -> str:
    """What each step of the recipe buys on kinds of scene that were not trained on."""
    m = _read(METRICS)
    rows = []
    for name, title in STEPS.items():
        keys = [f"cross_validation.step_{name}_{kind}" for kind in KINDS]
        rows.append([title, *(f"{m[key]:.3f}" if key in m else "" for key in keys)])
    return table(["recipe", *KINDS.values()], rows)


def eight_bits() -> str:
    """What 8-bit arithmetic costs."""
    m = _read(METRICS)
    return (
        f"Rounded each to the nearest step, the weights would move the features by {m['tflite.features_moved_nearest']:.0%} "
        f"of their length; clean rounded here they move them by {m['tflite.features_moved']:.0%}. On corrupted images "
        f"of the test images the 8-bit file is right on {m['tflite.copies_accuracy']:.1%} and Keras on "
        f"{m['tflite.copies_accuracy_keras']:.1%}; they agree on {m['tflite.copies_agreement']:.1%}."
    )


def robustness() -> str:
    """Accuracy under each kind of change."""
    m = _read(METRICS)
    names = [
        name.removeprefix("test.robustness_")
        for name in m
        if name.startswith("test.robustness_") and not name.endswith(("_served", "_study", "_mean"))
    ]
    rows = [[name.replace("_", " "), f"{m[f'test.robustness_{name}']:.3f}"] for name in names]
    rows.append(["**mean**", f"**{m['test.robustness_served']:.3f}**"])
    rows.append(["mean of the study's recipe without augmentation", f"{m['test.robustness_study']:.3f}"])
    return table(["change", "accuracy"], rows)


def calibration() -> str:
    """Expected calibration error."""
    m = _read(METRICS)
    rows = [
        ["test images", "", with_interval(m, "test.ece")],
        [
            "corrupted images of them",
            f"{m['test.ece_changed_before']:.3f}",
            with_interval(m, "test.ece_changed"),
        ],
    ]
    return table(["expected calibration error", "without temperature", "as served (95 % interval)"], rows)


def scope() -> str:
    """What the scope score separates."""
    m = _read(METRICS)
    rows = [
        [
            "one scene left out of the training, images clean",
            f"{m['test.scope_left_out_energy']:.3f}",
            f"{m['test.scope_left_out_scope']:.3f}",
        ],
        [
            "the same, scenes as corrupted images",
            f"{m['test.scope_left_out_shifted_energy']:.3f}",
            f"{m['test.scope_left_out_shifted_scope']:.3f}",
        ],
        ["drawn images and scikit-image's images", "", f"{m['test.scope_auroc_other_images']:.3f}"],
    ]
    return (
        table(["AUROC of scenes against", "energy", "this score"], rows)
        + f"\n\nThe threshold keeps {m['tflite.scope_kept']:.1%} of the test images and refuses "
        f"{m['test.scope_refused_images_of_other_things']:.0%} of scikit-image's images of other things."
    )


def benchmark() -> str:
    """Sweeps by the original's recipe and by this project's, and what they cost at scale."""
    from train_model.automation.benchmark import markdown  # which brings Keras

    return markdown(_read(TRAINING_TIMES))


def serving() -> str:
    """The service beside the original project's."""
    r = _read(SERVICE_TIMES)
    latency, start, memory = r["latency"], r["start"], r["memory"]
    rows = [
        [
            name,
            f"{one['service']['p50']:.1f} ms",
            f"{one['original']['p50']:.1f} ms",
            f"{one['times_faster_p50']:.1f}",
        ]
        for name, one in latency.items()
        if isinstance(one, dict)
    ]
    worst = max(one["peak"] for one in memory.values() if isinstance(one, dict))
    return "\n".join(
        [
            f"One thread of {r['machine']}, medians from a JPEG's bytes to the answer:",
            "",
            table(["image", "this service", "the original", "times faster"], rows),
            "",
            f"From the start of Python to the first answer it takes {start['service']['p50']:.2f} s, with TensorFlow "
            f"imported {start['with_tensorflow']['p50']:.1f} s. The process holds {memory['256x256']['at_rest']} MB at rest, "
            f"{memory['12 megapixels']['peak']} MB at the peak of a 12-megapixel JPEG, {worst} MB at the peak of the worst "
            f"image that is taken. The image adds {r['size']['total']:.0f} MB to its base, "
            f"{r['size']['compressed']:.0f} MB compressed.",
        ]
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "results": results,
    "footprint": footprint,
    "test": test,
    "cross-validation": cross_validation,
    "new-kinds": new_kinds,
    "steps": steps,
    "eight-bits": eight_bits,
    "benchmark": benchmark,
    "serving": serving,
    "robustness": robustness,
    "calibration": calibration,
    "scope": scope,
}


def fill(text: str) -> str:
    """A document with its blocks written anew.

    Raises:
        KeyError: a block has no function, or a figure has not been recorded.
    """

    def block(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- begin {name} -->\n{BLOCKS[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


def draw_image(path: Path = PICTURE) -> None:
    """Draws the README's image: three images of the sample and what the committed model says of them."""
    import matplotlib.pyplot as plt

    from data_prep_eda.dataset import SAMPLE
    from train_model import plots
    from train_model.study import DETAILS, classify

    plots.use_theme()
    model = (REPOSITORY / "containerize_deploy" / DETAILS).with_suffix(".tflite")
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.1), height_ratios=(3, 1))
    for (above, below), name in zip(axes.T, SHOWN, strict=True):
        image = SAMPLE / name
        probabilities = classify(model, image)
        above.imshow(plt.imread(image))
        above.axis("off")
        above.set_title(
            max(probabilities, key=probabilities.get), color=plots.SCENE_COLOURS[name.split("/")[0]]
        )
        bars = below.barh(
            list(probabilities), list(probabilities.values()), color=list(plots.SCENE_COLOURS.values())
        )
        below.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        below.set(xlim=(0, 1.18), xticks=[])
        below.invert_yaxis()
        below.grid(visible=False)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--image" in arguments:
        draw_image()
    stale = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (fresh := fill(text)) != text:
            stale += 1
            print(f"{path.name}: {'out of date' if '--check' in arguments else 'written'}")
            if "--check" not in arguments:
                write_text(path, fresh)
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main())
