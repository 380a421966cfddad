"""Writes the figures in the documents from the metrics that runs and benchmarks have recorded.

    python -m train_model.automation.documents            write them
    python -m train_model.automation.documents --picture  draw the README's picture with the committed model
    python -m train_model.automation.documents --check    say which are out of date

A block between `<!-- begin NAME -->` and `<!-- end NAME -->` belongs to the function of that name in `BLOCKS`.
"""

from __future__ import annotations

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import write_text

DOCUMENTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "train_model" / "MODEL_CARD.md",
    REPOSITORY / "containerize_deploy" / "README.md",
    REPOSITORY / "containerize_deploy" / "keras-to-tflite.md",
)
METRICS = REPOSITORY / "notebooks" / "metrics.json"
SERVICE_TIMES = REPOSITORY / "containerize_deploy" / "benchmark_results.json"
BENCHMARK = REPOSITORY / "train_model" / "automation" / "benchmark_results.json"

PICTURE = REPOSITORY / "train_model" / "answers.png"
SERVED = REPOSITORY / "containerize_deploy" / "scene-classifier-model.tflite"
SHOWN = (  # all drawn
    *(
        f"data_prep_eda/sample/{name}.jpg"
        for name in ("coast/coast_03", "forest/forest_09", "mountain/mountain_12")
    ),
    "containerize_deploy/page/cup.jpg",
)


@cache
def read(path: Path) -> dict[str, Any]:
    """The recorded metrics; read once."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of rows by column; all columns but the first are aligned to the right."""
    frame = pd.DataFrame(rows).astype(object).fillna("").astype(str)
    return frame.to_markdown(index=False, stralign="right", colalign=["left"], disable_numparse=True)


def number(value: float | None) -> str:
    """Three decimals; empty where there is nothing."""
    return "" if value is None else f"{value:.3f}"


def with_interval(entry: dict[str, Any], name: str = "value", prefix: str = "") -> str:
    """`0.990 (0.948 to 0.998)` from a proportion or a row with `low` and `high`; empty where there is nothing."""
    value, low, high = (entry.get(key) for key in (name, f"{prefix}low", f"{prefix}high"))
    return "" if value is None else f"{number(value)} ({number(low)} to {number(high)})"


def headline() -> str:
    """One sentence for the newcomer."""
    m = read(METRICS)
    served, accuracies = m["conversion"]["served"], [row["accuracy"] for row in m["evaluation"]["left_out"]]
    shares = [row["refused"] for row in m["evaluation"]["refused"] if row["refused"] is not None]
    return (
        f"The served file has {served['MB']:.1f} MB, takes {served['ms']:.1f} ms per image on one thread of "
        f"{m['conversion']['processor']}, and classifies {m['evaluation']['test']['value']:.1%} of SUN 09's test images "
        f"correctly, and {min(accuracies):.0%} to {max(accuracies):.0%} of the images of a source that it was not trained on. Of such "
        f"a source's images of something else it refuses {min(shares):.0%} to {max(shares):.0%}."
    )


def results() -> str:
    """The notebooks' headline results."""
    m = read(METRICS)
    models = {
        "Xception 150×150, head on frozen features (03)": (m["xception"], m["xception"]["test"]),
        "MobileNet 224×224, head on frozen features (04)": (m["learning_rate"], m["learning_rate"]["test"]),
        "MobileNet, all sources, the served 8-bit file (08)": (m["final"], m["evaluation"]["test"]),
    }
    rows = [
        {
            "model (notebook)": name,
            "validation accuracy": f"{section['val_accuracy']:.3f}",
            "test accuracy (95 % interval)": with_interval(test),
        }
        for name, (section, test) in models.items()
    ]
    return (
        table(rows)
        + f"\n\nThe validation accuracies are by float models: those of 03 and 04 are means over {m['learning_rate']['runs']} "
        "runs after the last epoch, the served model's is the one before its conversion to 8 bits (06). The test accuracies "
        "of 03 and 04 are the first run's, at its best validation epoch; the last one is the served file's."
    )


def left_out() -> str:
    """Accuracy on sources that were not trained on, as the served file would have it."""
    m = read(METRICS)
    rows = [
        {
            "source left out": row["source"],
            "images": f"{row['images']:,}",
            "accuracy (95 % interval)": with_interval(row, "accuracy"),
            **{name: number(row[name]) for name in m["data"]["class_names"]},
        }
        for row in m["evaluation"]["left_out"]
    ]
    rows.append(
        {"source left out": "**mean**", "accuracy (95 % interval)": f"**{m['evaluation']['mean']:.3f}**"}
    )
    return (
        table(rows)
        + f"\n\nA source is left out with its family. Not among the images are {m['final']['left_out']} of the other sources, "
        "because another image shows the same."
    )


def test() -> str:
    """How the served file does on the test images, and per class."""
    m = read(METRICS)["evaluation"]
    rows = [
        {
            "class": row["index"],
            "images": row["images"],
            "precision": number(row["precision"]),
            "recall (95 % interval)": with_interval(row, "recall"),
        }
        for row in m["per_class"]
    ]
    return (
        f"Accuracy **{with_interval(m['test'])}**, {m['test']['trials']} images, 95 % Wilson interval; "
        f"{m['kept_test']['value']:.1%} of them are kept.\n\n{table(rows)}"
    )


def refused() -> str:
    """What the score keeps and refuses of a source that was left out."""
    rows = [
        {
            "source left out": row["source"],
            "of the classes": f"{row['images']:,}",
            "kept (95 % interval)": with_interval(row, "kept", "kept "),
            "of something else": "" if row["others"] is None else f"{row['others']:,.0f}",
            "refused (95 % interval)": with_interval(row, "refused", "refused "),
        }
        for row in read(METRICS)["evaluation"]["refused"]
    ]
    return table(rows)


def compute() -> str:
    """What the published run took, in a sentence."""
    m = read(METRICS)
    minutes = {name[:2]: seconds / 60 for name, seconds in m["run"]["seconds"].items()}
    return (
        f"The published run took {sum(minutes.values()):.0f} minutes on {m['run']['cores']} cores of "
        f"{m['conversion']['processor']}, with Python {m['run']['python']}; by notebook, in minutes: "
        + ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
        + "."
    )


def formats() -> str:
    """Size of each format, and its time on each runtime; "no" where a runtime can't load it."""
    rows: dict[str, dict[str, str]] = {}
    runtimes = {"litert": "LiteRT 2", "tflite_runtime": "tflite-runtime 2.14"}
    for entry in read(METRICS)["conversion"]["formats"]:
        row = {"format": f"`{entry['format']}`", "size": f"{entry['MB']:.1f} MB"} | dict.fromkeys(
            runtimes.values(), "no"
        )
        rows.setdefault(entry["format"], row)[runtimes[entry["runtime"]]] = f"{entry['ms']:.1f} ms"
    return table([*rows.values()])


def service_cost() -> str:
    """What a request costs, in a sentence for the engineer."""
    r = read(SERVICE_TIMES)
    latency, memory = r["latency"]["256x256"], r["memory"]
    return (
        f"A 256×256 JPEG takes {latency['service']['p50']:.1f} ms on one thread of {r['machine']}, "
        f"{latency['times_faster_p50']:.1f} times faster than the original project's service; the process holds "
        f"{memory['256x256']['at_rest']} MB at rest and {memory['12 megapixels']['peak']} MB at the peak of 12 megapixels."
    )


def serving() -> str:
    """The service beside the original project's."""
    r = read(SERVICE_TIMES)
    latency, start, memory = r["latency"], r["start"], r["memory"]
    rows = [
        {
            "image": name,
            "this service": f"{row['service']['p50']:.1f} ms",
            "the original project": f"{row['original']['p50']:.1f} ms",
            "times faster": f"{row['times_faster_p50']:.1f}",
        }
        for name, row in latency.items()
        if isinstance(row, dict)
    ]
    worst = max(row["peak"] for row in memory.values() if isinstance(row, dict))
    return (
        f"One thread of {r['machine']}, medians from a JPEG's bytes to the answer:\n\n{table(rows)}\n\n"
        f"From the start of Python to the first answer it takes {start['service']['p50']:.2f} s, with TensorFlow imported "
        f"{start['with_tensorflow']['p50']:.1f} s. The process holds {memory['256x256']['at_rest']} MB at rest, "
        f"{memory['12 megapixels']['peak']} MB at the peak of a 12-megapixel JPEG, {worst} MB at the peak of the worst image "
        f"that is taken. The image adds {r['size']['total']:.0f} MB to its base, {r['size']['compressed']:.0f} MB compressed."
    )


def benchmark() -> str:
    """What a sweep costs beside the original project's recipe, in a sentence."""
    r = read(BENCHMARK)
    plain, drawn = r["recipe"]["none"], r["recipe"]["as_implemented"]
    return (
        f"On {r['machine']['cores']} cores ({r['machine']['processor']}) a sweep of {len(plain['rates'])} learning rates, "
        f"{plain['epochs']} epochs each, takes {plain['project_seconds']:.0f} s, {plain['ratio']:.0f} times faster than by "
        f"the original project's recipe; with its augmentation {drawn['project_seconds']:.0f} s, {drawn['ratio']:.1f} times faster."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(headline, results, left_out, test, refused, compute),
        *(formats, service_cost, serving, benchmark),
    )
}


def fill(text: str) -> str:
    """A document with its blocks written anew.

    Raises:
        KeyError: a block has no function, or a figure has not been recorded.
    """

    def block(match: re.Match[str]) -> str:
        return f"<!-- begin {match[1]} -->\n{BLOCKS[match[1]]()}\n<!-- end {match[1]} -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


def draw_picture(path: Path = PICTURE) -> None:
    """Draws the README's picture: drawn images, one of something else, and what the committed model says of them."""
    import matplotlib.pyplot as plt

    from data_prep_eda.preprocessing import load_image
    from train_model import plots, tflite

    plots.use_theme()
    with zipfile.ZipFile(SERVED) as archive:
        labels = archive.read("labels.txt").decode().split("\n")
        threshold = json.loads(archive.read("scene.json"))["score_threshold"]
    interpreter, colours = tflite.load_interpreter(SERVED), plots.class_colours(labels)
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(3 * len(SHOWN), 4.1), height_ratios=(3, 1))
    for (above, below), name in zip(axes.T, SHOWN, strict=True):
        answer = tflite.run(interpreter, load_image(REPOSITORY / name, 224))
        shares = dict(zip(labels, answer["probabilities"].tolist(), strict=True))
        label = max(shares, key=shares.get)
        refused = answer["score"].item() < threshold
        above.imshow(load_image(REPOSITORY / name, 256))
        above.axis("off")
        above.set_title("none of these" if refused else label, color="black" if refused else colours[label])
        bars = below.barh(
            [*shares], [*shares.values()], color=["0.8" if refused else colours[n] for n in shares]
        )
        below.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        below.set(xlim=(0, 1.18), xticks=[])
        below.invert_yaxis()
        below.grid(visible=False)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    about = "Writes the figures in the documents from the recorded metrics."
    parser = argparse.ArgumentParser(prog="python -m train_model.automation.documents", description=about)
    parser.add_argument("--picture", action="store_true", help="draw the README's picture as well")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a document is out of date"
    )
    options = parser.parse_args(arguments)
    if options.picture:
        draw_picture()
    stale = missing = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        try:
            fresh = fill(text)
        except KeyError as error:
            print(
                f"{path.name}: expected a block or a recorded figure named {error}, found none.",
                file=sys.stderr,
            )
            missing = 2
            continue
        if fresh != text:
            stale += 1
            print(f"{path.name}: {'out of date' if options.check else 'written'}")
            if not options.check:
                write_text(path, fresh)
    return missing or int(bool(stale) and options.check)


if __name__ == "__main__":
    interruption.run(main)
