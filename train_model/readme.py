"""Writes the figures in README.md and MODEL_CARD.md from the metrics that runs have recorded.

    python -m train_model.readme            write them
    python -m train_model.readme --check    say which are out of date

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

DOCUMENTS = (REPOSITORY / "README.md", REPOSITORY / "train_model" / "MODEL_CARD.md")
METRICS = REPOSITORY / "notebooks" / "metrics.json"
BENCHMARK = REPOSITORY / "train_model" / "benchmark_results.json"
SERVING = REPOSITORY / "containerize_deploy" / "benchmark_results.json"


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
            "Xception 150×150, head on frozen features (03)",
            f"{m['xception.val_accuracy']:.3f}",
            with_interval(m, "xception.test_accuracy"),
        ],
        [
            "MobileNet 224×224, head on frozen features (04)",
            f"{m['learning_rate.val_accuracy']:.3f}",
            with_interval(m, "learning_rate.test_accuracy"),
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
    return table(["model (notebook)", "validation accuracy", "test accuracy (95 % interval)"], rows)


BLOCKS: dict[str, Callable[[], str]] = {"results": results}


def fill(text: str) -> str:
    """A document with its blocks written anew.

    Raises:
        KeyError: a block has no function, or a figure has not been recorded.
    """

    def block(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- begin {name} -->\n{BLOCKS[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    stale = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (fresh := fill(text)) != text:
            stale += 1
            print(f"{path.name}: {'out of date' if '--check' in arguments else 'written'}")
            if "--check" not in arguments:
                part = path.with_name(f".{path.name}")
                part.write_text(fresh, encoding="utf-8")
                part.replace(path)
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main())
