"""Writes the figures in the documents from the metrics that runs and benchmarks have recorded.

    python -m train_model.automation.documents            write them
    python -m train_model.automation.documents --picture  draw the README's picture with the committed model
    python -m train_model.automation.documents --check    say which are out of date

A block between `<!-- begin NAME -->` and `<!-- end NAME -->` holds the text of that name in `documents.yml`.
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

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
SHOWN = [  # all drawn
    *(
        f"data_prep_eda/sample/{name}.jpg"
        for name in ("coast/coast_03", "forest/forest_09", "mountain/mountain_12")
    ),
    "containerize_deploy/page/cup.jpg",
]


BLOCKS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))


@cache
def read(path: Path) -> dict[str, Any]:
    """The recorded metrics; read once."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(rows: Iterable[dict[str, Any]], columns: dict[str, str]) -> str:
    """A Markdown table; all columns but the first are aligned to the right.

    Args:
        rows: names to values, which may be missing (`None`); their cells stay empty.
        columns: headings to what stands below them, as `{accuracy:.3f}`.
    """

    def cell(form: str, row: dict[str, Any]) -> str:
        try:
            return form.format_map(row)
        except TypeError:
            return ""

    cells = [[cell(form, row) for form in columns.values()] for row in rows]
    frame = pd.DataFrame(cells, columns=[*columns])
    return frame.to_markdown(index=False, stralign="right", colalign=["left"], disable_numparse=True)


def headline(metrics: dict[str, Any]) -> dict[str, float]:
    """The ranges over the sources left out."""
    accuracies = [row["accuracy"] for row in metrics["evaluation"]["left_out"]]
    shares = [row["refused"] for row in metrics["evaluation"]["refused"] if row["refused"] is not None]
    return {"worst": min(accuracies), "best": max(accuracies), "fewest": min(shares), "most": max(shares)}


def compute(metrics: dict[str, Any]) -> dict[str, Any]:
    """How long the published run took."""
    minutes = {name[:2]: seconds / 60 for name, seconds in metrics["run"]["seconds"].items()}
    each = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
    return {"minutes": sum(minutes.values()), "each": each}


def service_cost(_: dict[str, Any]) -> dict[str, int]:
    """Megabytes of the image that costs the service most."""
    memory = [row for row in read(SERVICE_TIMES)["memory"].values() if isinstance(row, dict)]
    return {"peak": max(row["peak"] for row in memory)}


def results(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The models, with where they were trained and tested."""
    models = {
        "Xception 150×150, head on frozen features (03)": ("xception", "xception"),
        "MobileNet 224×224, head on frozen features (04)": ("learning_rate", "learning_rate"),
        "MobileNet, all sources, the served 8-bit file (08)": ("final", "evaluation"),
    }
    return [
        metrics[trained] | metrics[tested]["test"] | {"model": model}
        for model, (trained, tested) in models.items()
    ]


def formats(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Size of each format, and its time on each runtime; "no" where a runtime can't load it."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in metrics["conversion"]["formats"]:
        row = rows.setdefault(entry["format"], entry | {"litert": "no", "tflite_runtime": "no"})
        row[entry["runtime"]] = f"{entry['ms']:.1f} ms"
    return [*rows.values()]


# What a block shows beside recorded figures, and the rows of its table, of the run's metrics.
COMPUTED = {
    "headline": headline,
    "compute": compute,
    "service-cost": service_cost,
    "benchmark": lambda _: {"rates": len(read(BENCHMARK)["recipe"]["none"]["rates"])},
}
ROWS = {
    "results": results,
    "left-out": lambda metrics: metrics["evaluation"]["left_out"],
    "test": lambda metrics: metrics["evaluation"]["per_class"],
    "refused": lambda metrics: metrics["evaluation"]["refused"],
    "formats": formats,
}


def fill(text: str) -> str:
    """A document with its blocks written anew from the recorded figures.

    Raises:
        KeyError: a block has no text, or a figure has not been recorded.
    """

    def block(match: re.Match[str]) -> str:
        name, metrics = match[1], read(METRICS)
        figures = {"metrics": metrics, "service": read(SERVICE_TIMES), "sweeps": read(BENCHMARK)}
        if name in ROWS:
            figures["table"] = table(ROWS[name](metrics), BLOCKS["columns"][name])
        elif name in COMPUTED:
            figures |= COMPUTED[name](metrics)
        return f"<!-- begin {name} -->\n{BLOCKS['texts'][name].format_map(figures)}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


def draw_picture() -> None:
    """Draws the README's picture: drawn images, one of something else, and what the committed model says of them."""
    import matplotlib.pyplot as plt

    from data_prep_eda.preprocessing import load_image
    from train_model import plots, tflite

    plots.use_theme()
    with zipfile.ZipFile(SERVED) as archive:
        labels = archive.read("labels.txt").decode().split("\n")
        threshold = json.loads(archive.read("scene.json"))["score_threshold"]
    interpreter = tflite.load_interpreter(SERVED)
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(3 * len(SHOWN), 4.1), height_ratios=(3, 1))
    for (above, below), name in zip(axes.T, SHOWN, strict=True):
        answer = tflite.run(interpreter, load_image(REPOSITORY / name, 224))
        label, colours = labels[answer["probabilities"].argmax()], plots.class_colours(labels)
        if answer["score"].item() < threshold:
            label, colours = "none of these", dict.fromkeys(labels, "0.8") | {"none of these": "black"}
        above.imshow(load_image(REPOSITORY / name, 256))
        above.axis("off")
        above.set_title(label, color=colours[label])
        bars = below.barh(labels, answer["probabilities"], color=[colours[name] for name in labels])
        below.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        below.set(xlim=(0, 1.18), xticks=[])
        below.invert_yaxis()
        below.grid(visible=False)
    figure.savefig(PICTURE, dpi=150)


def update(path: Path, check: bool) -> int:
    """Writes a document's blocks anew, or only says that they are out of date; returns the exit code."""
    text = path.read_text(encoding="utf-8")
    try:
        fresh = fill(text)
    except KeyError as error:
        missing = f"expected a block or a recorded figure named {error}, found none."
        print(f"{path.name}: {missing}", file=sys.stderr)
        return 2
    if fresh == text:
        return 0
    print(f"{path.name}: {'out of date' if check else 'written'}")
    if not check:
        write_text(path, fresh)
    return int(check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m train_model.automation.documents", description=about)
    parser.add_argument("--picture", action="store_true", help="draw the README's picture as well")
    only = "write nothing; exit 1 if a document is out of date"
    parser.add_argument("--check", action="store_true", help=only)
    options = parser.parse_args(arguments)
    if options.picture:
        draw_picture()
    return max([update(path, options.check) for path in DOCUMENTS])


if __name__ == "__main__":
    interruption.run(main)
