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
    REPOSITORY / "containerize_deploy" / "keras-to-tflite.md",
)
METRICS = REPOSITORY / "notebooks" / "metrics.json"
SERVICE_TIMES = REPOSITORY / "containerize_deploy" / "benchmark_results.json"

PICTURE = REPOSITORY / "train_model" / "answers.png"
SHOWN = ("coast/coast_03.jpg", "forest/forest_09.jpg", "mountain/mountain_12.jpg")


@cache
def read(path: Path) -> dict[str, Any]:
    """The recorded metrics; read once."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Three decimals; empty where there is nothing."""
    return "" if value is None else f"{value:.3f}"


def with_interval(entry: dict[str, Any], name: str = "value") -> str:
    """`0.990 (0.948 to 0.998)` from a proportion or a row with `low` and `high`."""
    return f"{entry[name]:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def headline() -> str:
    """One sentence for the newcomer."""
    m = read(METRICS)
    served, left_out = m["tflite"]["served"], m["evaluation"]["left_out"]
    worst, best = min(row["accuracy"] for row in left_out), max(row["accuracy"] for row in left_out)
    return (
        f"The served file is {served['MB']:.1f} MB, answers in {served['ms']:.1f} ms on one thread of {m['tflite']['processor']}, and is right on "
        f"{m['evaluation']['test']['value']:.1%} of SUN 09's test images and on {worst:.0%} to {best:.0%} of the images of "
        f"a source that it was not trained on."
    )


def results() -> str:
    """The notebooks' headline results."""
    m = read(METRICS)
    test, xception, mobilenet = m["evaluation"]["test"], m["xception"], m["learning_rate"]
    rows = [
        ["Xception 150×150, head on frozen features (03)", number(xception["val_accuracy"]), with_interval(xception["test"])],
        ["MobileNet 224×224, head on frozen features (04)", number(mobilenet["val_accuracy"]), with_interval(mobilenet["test"])],
        ["MobileNet, all sources, the served 8-bit file (07)", number(m["final"]["val_accuracy"]), with_interval(test)],
    ]  # fmt: skip
    return (
        table(["model (notebook)", "validation accuracy", "test accuracy (95 % interval)"], rows)
        + f"\n\nThe validation accuracies are by float models: those of 03 and 04 are means over {mobilenet['runs']} runs after "
        "the last epoch, the served model's is the one before its conversion to 8 bits (06). The test accuracies of 03 and 04 "
        "are the first run's, at its best validation epoch; the last one is the served file's."
    )


def left_out() -> str:
    """Accuracy on sources that were not trained on."""
    metrics = read(METRICS)
    m = metrics["evaluation"]
    rows = [
        [
            row["source"],
            f"{row['images']:,}",
            with_interval(row, "accuracy"),
            *(number(row[scene]) for scene in SCENES),
        ]
        for row in m["left_out"]
    ]
    rows.append(["**mean**", "", f"**{m['mean']:.3f}**", "", "", ""])
    return (
        table(["source left out", "images", "accuracy (95 % interval)", *SCENES], rows)
        + "\n\nA source is left out with its family: the two Corel sources are excerpts of one stock library, so that either "
        "is answered for by a model of SUN 09 and miml alone. "
        f"Not among them are {metrics['final']['left_out']} images of the other sources because another image shows the "
        "same: most are the wider slide that SUN 09 has a square of, and some are of its validation and test sets."
    )


def recipes() -> str:
    """Recipes by leaving one source out, against the served one; the intervals hold for all of them together."""
    rows = []
    for row in read(METRICS)["comparison"]["recipes"]:
        difference = "served"
        if row["difference"] is not None:
            difference = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        verdict = {True: "significant", False: "not significant", None: ""}[row["significant"]]
        rows.append([row["recipe"], number(row["mean"]), difference, verdict])
    header = [
        "recipe",
        "accuracy, mean over sources left out",
        "difference (95 % interval, all together)",
        "",
    ]
    return table(header, rows)


def protocols() -> str:
    """How the protocols inside SUN 09 rank the recipes, and how far leaving sources out agrees with itself."""
    m = read(METRICS)["comparison"]
    columns = [name for name in m["protocols"][0] if name != "recipe"]
    rows = [[row["recipe"], *(number(row[name]) for name in columns)] for row in m["protocols"]]
    correlations = ", ".join(f"{name}: {value:+.2f}" for name, value in m["rank_correlation"].items())
    half = m["split_half"]
    return (
        table(["recipe", *columns], rows)
        + f"\n\nRank correlation with leaving sources out: {correlations}. Leaving sources out, a random half of its "
        f"images with the other half: {half['median']:+.2f} (median; 95 % of the splits {half['low']:+.2f} to "
        f"{half['high']:+.2f})."
    )


def variety() -> str:
    """What was trained on, at equal numbers of images, for each source left out."""
    rows = read(METRICS)["comparison"]["variety"]
    sizes = list(dict.fromkeys(row["images"] for row in rows))
    accuracy = {(row["left_out"], row["trained_on"], row["images"]): row["accuracy"] for row in rows}
    pairs = dict.fromkeys((left_out, trained_on) for left_out, trained_on, _ in accuracy)
    lines = [[*pair, *(number(accuracy[*pair, size]) for size in sizes)] for pair in pairs]
    return table(["source left out", "trained on", *(f"{size} images" for size in sizes)], lines)


def test() -> str:
    """Accuracy, precision and recall on SUN 09's test images."""
    m = read(METRICS)["evaluation"]
    rows = [[row["index"], number(row["precision"]), number(row["recall"])] for row in m["per_scene"]]
    return (
        f"Accuracy **{with_interval(m['test'])}**, {m['test']['trials']} images, 95 % Wilson interval.\n\n"
        + table(["scene", "precision", "recall"], rows)
    )


def calibration() -> str:
    """Confidence against accuracy."""
    rows = [
        [
            row["index"],
            f"{row['gap']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
            number(row["ece"]),
            number(row["expected_if_calibrated"]),
        ]
        for row in read(METRICS)["evaluation"]["calibration"]
    ]
    return table(
        ["images", "confidence minus accuracy (95 % interval)", "ECE", "ECE if calibrated"],
        rows,
    )


def out_of_scope() -> str:
    """What the OOD score separates, and what it refuses."""
    m = read(METRICS)
    rows = [
        [row["source"], *(number(row[name]) for name in ("kept scenes", "refused others", "AUROC"))]
        for row in m["evaluation"]["refused"]
    ]
    never = ", ".join(f"{name} {share:.0%}" for name, share in m["evaluation"]["never_shown"].items())
    return (
        table(["source left out", "scenes kept", "other things refused", "AUROC"], rows)
        + f"\n\nOf SUN 09's test images {m['evaluation']['kept_test']:.1%} are kept. Of images that no source has, "
        f"these are refused: {never}."
    )


def themes() -> str:
    """Which other things are refused and which are not."""
    by_theme: dict[str, list[tuple[float, int]]] = {}
    for row in read(METRICS)["evaluation"]["themes"]:
        by_theme.setdefault(row["theme"], []).append((row["mean"], row["size"]))
    shares = {
        theme: (sum(mean * size for mean, size in found) / sum(size for _, size in found), found)
        for theme, found in by_theme.items()
    }
    ordered = sorted(shares.items(), key=lambda item: item[1][0])
    rows = [[theme, f"{sum(size for _, size in found)}", f"{share:.0%}"] for theme, (share, found) in ordered]
    return table(["theme, hardest first", "images", "refused"], rows)


def ood_scores() -> str:
    """OOD scores by leaving one source out."""
    rows = read(METRICS)["comparison"]["ood_scores"]
    columns = [name for name in rows[0] if name not in ("score", "difference", "low", "high")]
    lines = []
    for row in rows:
        difference = "served"
        if row["difference"] is not None:
            difference = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        lines.append([row["score"], *(number(row[name]) for name in columns), difference])
    return table(["score", *columns, "difference (95 % interval)"], lines)


def corruptions() -> str:
    """Accuracy under each kind of corruption."""
    m = read(METRICS)["evaluation"]
    rows = [[row["corruption"], number(row["accuracy"])] for row in m["corruptions"]]
    return table(["corruption", "accuracy"], [*rows, ["**mean**", f"**{m['corruption_mean']:.3f}**"]])


def eight_bits() -> str:
    """What 8 bits cost, and what the two remedies gain."""
    rows = read(METRICS)["tflite"]["eight_bits"]
    columns = [name for name in rows[0] if name != "file"]
    return table(
        ["file", *columns],
        [[row["file"], *("" if row[c] is None else f"{row[c]:.4f}" for c in columns)] for row in rows],
    )


def footprint() -> str:
    """Size, cost and time of the served file and of the alternatives."""
    m = read(METRICS)["tflite"]
    rows = []
    for row in m["tradeoff"]:
        served = " (served)" if (row["network"], row["format"]) == ("MobileNet", m["chosen"]) else ""
        cost = [f"{row['MB']:.1f}", f"{row['million multiply-adds']:,.0f}", f"{row['ms']:.1f}"]
        rows.append([f"{row['network']}, {row['format']}{served}", *cost, number(row["accuracy"])])
    return table(["network", "MB", "million multiply-adds", "ms, one thread", "test accuracy"], rows)


def formats() -> str:
    """Size of each format, and its time on each runtime; "no" where a runtime can't load it."""
    rows = read(METRICS)["tflite"]["formats"]
    sizes = {row["format"]: row["MB"] for row in rows}
    times = {(row["runtime"], row["format"]): f"{row['ms']:.1f} ms" for row in rows}
    return table(
        ["format", "size", "LiteRT 2", "tflite-runtime 2.14"],
        [
            [
                f"`{name}`",
                f"{size:.1f} MB",
                *(times.get((runtime, name), "no") for runtime in ("litert", "tflite_runtime")),
            ]
            for name, size in sizes.items()
        ],
    )


def serving() -> str:
    """The service beside the original project's."""
    r = read(SERVICE_TIMES)
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
            table(["image", "this service", "the original project", "times faster"], rows),
            "",
            f"From the start of Python to the first answer it takes {start['service']['p50']:.2f} s, with TensorFlow "
            f"imported {start['with_tensorflow']['p50']:.1f} s. The process holds {memory['256x256']['at_rest']} MB at rest, "
            f"{memory['12 megapixels']['peak']} MB at the peak of a 12-megapixel JPEG, {worst} MB at the peak of the worst "
            f"image that is taken. The image adds {r['size']['total']:.0f} MB to its base, "
            f"{r['size']['compressed']:.0f} MB compressed.",
        ]
    )


def service_cost() -> str:
    """What a request costs, in one sentence for the engineer."""
    r = read(SERVICE_TIMES)
    latency, memory = r["latency"]["256x256"], r["memory"]
    return (
        f"A 256×256 JPEG takes {latency['service']['p50']:.1f} ms on one thread of {r['machine']}, "
        f"{latency['times_faster_p50']:.1f} times faster than the original project's service; the process holds "
        f"{memory['256x256']['at_rest']} MB at rest and {memory['12 megapixels']['peak']} MB at the peak of 12 megapixels."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(headline, results, left_out, recipes, protocols, variety, test, calibration, out_of_scope, themes),
        *(ood_scores, corruptions, eight_bits, footprint, formats, serving, service_cost),
    )
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


def draw_picture(path: Path = PICTURE) -> None:
    """Draws the README's picture: three images of the sample and what the committed model says of them."""
    import matplotlib.pyplot as plt

    from data_prep_eda.dataset import SAMPLE
    from train_model import plots
    from train_model.study import MODEL_FILE, classify

    plots.use_theme()
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.1), height_ratios=(3, 1))
    for (above, below), name in zip(axes.T, SHOWN, strict=True):
        probabilities = classify(REPOSITORY / "containerize_deploy" / MODEL_FILE, SAMPLE / name)
        above.imshow(plt.imread(SAMPLE / name))
        above.axis("off")
        colour = plots.SCENE_COLOURS[name.split("/")[0]]
        above.set_title(max(probabilities, key=probabilities.get), color=colour)
        shares = list(probabilities.values())
        bars = below.barh(list(probabilities), shares, color=list(plots.SCENE_COLOURS.values()))
        below.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        below.set(xlim=(0, 1.18), xticks=[])
        below.invert_yaxis()
        below.grid(visible=False)
    figure.savefig(path, dpi=110)


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
    stale = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (fresh := fill(text)) != text:
            stale += 1
            print(f"{path.name}: {'out of date' if options.check else 'written'}")
            if not options.check:
                write_text(path, fresh)
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    interruption.run(main)
