"""Writes the figures in the documents from the metrics that runs and benchmarks have recorded.

    python -m train_model.automation.documents            write them
    python -m train_model.automation.documents --picture  draw the README's picture with the committed model

A block between `<!-- begin NAME -->` and `<!-- end NAME -->` holds the text of that name in `documents.yml`.
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import write_text

CONTENT = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
DOCUMENTS = tuple(REPOSITORY / name for name in CONTENT["documents"])
METRICS = REPOSITORY / "notebooks" / "metrics.json"
SERVICE_TIMES = REPOSITORY / "containerize_deploy" / "benchmark_results.json"
SERVED = REPOSITORY / "containerize_deploy" / "scene-classifier-model.tflite"
PICTURE = REPOSITORY / "train_model" / "answers.png"


def read(path: Path) -> dict[str, Any]:
    """Recorded figures."""
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

    frame = pd.DataFrame([{name: cell(form, row) for name, form in columns.items()} for row in rows])
    return frame.to_markdown(index=False, stralign="right", colalign=["left"], disable_numparse=True)


def tables(metrics: dict[str, Any]) -> dict[str, Iterable[dict[str, Any]]]:
    """The rows of each block's table, of the run's metrics."""
    models, evaluation = CONTENT["models"], metrics["evaluation"]
    formats: dict[str, dict[str, Any]] = {}
    for entry in metrics["conversion"]["formats"]:  # a row each; "no" where a runtime can't load it
        row = formats.setdefault(entry["format"], entry | {"litert": "no", "tflite_runtime": "no"})
        row[entry["runtime"]] = f"{entry['ms']:.1f} ms"
    return {
        "results": [row | metrics[row["trained"]] | metrics[row["tested"]]["test"] for row in models],
        "left-out": evaluation["left_out"],
        "test": evaluation["per_class"],
        "refused": evaluation["refused"],
        "formats": formats.values(),
    }


def fill(text: str) -> str:
    """A document with its blocks written anew; KeyError or UndefinedError where a text or a recorded figure is missing."""
    metrics, service = read(METRICS), read(SERVICE_TIMES)
    rows = tables(metrics)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)

    def block(match: re.Match[str]) -> str:
        name = match[1]
        content = table(rows[name], CONTENT["columns"][name]) if name in rows else ""
        template = environment.from_string(CONTENT["texts"][name])
        text = template.render(metrics=metrics, service=service, table=content)
        return f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


def draw_picture() -> None:
    """Draws the README's picture: drawn images, one of something else, and what the committed model says of them."""
    import matplotlib.pyplot as plt

    from data_prep_eda.preprocessing import load_image
    from train_model import plots, tflite

    plots.use_theme()
    interpreter = tflite.load_interpreter(SERVED)
    paths = [REPOSITORY / name for name in CONTENT["picture"]]
    figure, axes = plt.subplots(2, len(paths), figsize=(3 * len(paths), 4.1), height_ratios=(3, 1))
    for (above, below), path in zip(axes.T, paths, strict=True):
        answer = pd.Series(tflite.probabilities(SERVED, path))
        colours = pd.Series(plots.class_colours(answer.index))
        title = {"label": answer.idxmax(), "color": colours[answer.idxmax()]}
        if tflite.run(interpreter, load_image(path, 224))["score"].item() < 0:
            colours[:], title = "0.8", {"label": "none of these", "color": "black"}
        above.imshow(load_image(path, 256))
        above.axis("off")
        above.set_title(**title)
        bars = below.barh(answer.index, answer, color=colours)
        below.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        below.set(xlim=(0, 1.18), xticks=[])
        below.invert_yaxis()
        below.grid(visible=False)
    figure.savefig(PICTURE, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m train_model.automation.documents", description=about)
    parser.add_argument("--picture", action="store_true", help="draw the README's picture as well")
    options = parser.parse_args(arguments)
    if options.picture:
        draw_picture()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        try:
            fresh = fill(text)
        except (KeyError, jinja2.UndefinedError) as error:
            words = f"expected a block or a recorded figure named {error}, found none."
            print(f"{path.name}: {words}", file=sys.stderr)
            return 2
        if fresh != text:
            write_text(path, fresh)
            print(f"{path.name}: written")
    return 0


if __name__ == "__main__":
    interruption.run(main)
