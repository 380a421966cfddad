"""What a run ends with: its figures, the commands that use its model, and the page `index.html` that has them all."""

import importlib.metadata
import json
import platform
import shlex
import sys
from contextlib import suppress
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import nbconvert

from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.files import write_text
from train_model.record import MODEL_FILE, read_metrics

# A figure's name, where the metrics have it, and how it is written.
FIGURES = (
    ("trained on", "final.trained_on", "{} images"),
    ("Xception, validation accuracy", "xception.val_accuracy", "{:.3f}"),
    ("MobileNet, validation accuracy", "learning_rate.val_accuracy", "{:.3f}"),
    ("learning rate", "learning_rate.chosen", "{}"),
    ("final model, validation accuracy", "final.val_accuracy", "{:.3f}"),
    ("served file, size", "conversion.served.MB", "{:.1f} MB"),
    ("served file, one image", "conversion.served.ms", "{:.1f} ms"),
    ("served file, test accuracy", "evaluation.test", "{0[value]:.3f} (95 % interval {0[low]:.3f} to {0[high]:.3f})"),
    ("served file, mean over sources left out", "evaluation.mean", "{:.3f}"),
)  # fmt: skip


def shown(path: Path) -> str:
    """A path that can be opened from where the shell stands."""
    with suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def summary(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """A run's figures, a name and a text each; what was not run is left out, what is out of date says so."""
    lines = []
    for name, place, form in FIGURES:
        section, *keys = place.split(".")
        value = metrics.get(section, {})
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            text, older = form.format(value), metrics[section].get("older_than")
            whole = metrics.get("data", {}).get("source")
            if metrics[section].get("source", whole) != whole:  # Xception's, where its weights are missing
                text += f" (on other images: {metrics[section]['source']})"
            lines.append((name, text + (f" (older than {older})" if older else "")))
    return lines


def use_commands(folder: Path) -> list[tuple[str, str]]:
    """Commands that use a run's model, each with what for; typed in the repository's top folder."""
    run, python = shlex.quote(shown(folder)), shlex.quote(shown(Path(sys.executable)))
    model, bring = folder / "models" / MODEL_FILE, ""
    if not model.is_relative_to(REPOSITORY):  # a build sees nothing outside
        bring, model = f"cp {shlex.quote(str(model))} . && ", REPOSITORY / MODEL_FILE
    build = f"--file containerize_deploy/Dockerfile --build-arg MODEL={shlex.quote(str(model.relative_to(REPOSITORY)))}"
    docker = f"{bring}docker build --platform linux/amd64 --provenance=false {build} --tag scene-classifier ."
    return [
        ("shell", f"{python} -m containerize_deploy.classify --model {run} IMAGE"),
        ("page", f"make page ARGS={shlex.quote(f'--model {run}'.replace('$', '$$'))}"),
        ("local runtime", f"{python} -m containerize_deploy.local_runtime --model {run}"),
        ("container", docker),
    ]


def write_index(folder: Path, state: dict[str, Any], images: str = "") -> Path:
    """Writes a run's `index.html` from what its `run.json` holds, and each executed notebook as a page."""
    rows = []
    for name, entry in state["notebooks"].items():
        source, title = folder / "notebooks" / f"{name}.ipynb", escape(name)
        page, older = source.with_suffix(".html"), entry.get("stale")
        if source.is_file():
            title = f'<a href="notebooks/{page.name}">{title}</a>'
            if older or not page.is_file() or page.stat().st_mtime < source.stat().st_mtime:
                text = nbconvert.HTMLExporter().from_filename(str(source))[0]
                mark = f"<p><strong>These results are older than {older}, which was run again since.</strong></p>"
                write_text(page, text.replace("<main>", f"<main>{mark}", 1) if older else text)
        notes = [entry.get("error"), older and f"older than {older}, which was run again since"]
        title += "".join(f"<small>{escape(note)}</small>" for note in notes if note)
        rows.append((title, entry["status"], f"{entry['seconds']:.0f} s" if "seconds" in entry else ""))
    metrics = read_metrics(folder)
    packages = ("tensorflow", "keras", "ai-edge-litert")
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    commands = "".join(f"<p>{name}:</p><pre>{escape(line)}</pre>" for name, line in use_commands(folder))
    model = folder / "models" / MODEL_FILE
    page = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8")).substitute(
        title=escape(folder.name),
        images=escape(images),
        notebooks="\n".join(map(_row, rows)),
        figures="\n".join(_row((escape(name), escape(value))) for name, value in summary(metrics)),
        commands=f"<p>The model is {escape(shown(model))}.</p>{commands}"
        if model.is_file()
        else "<p>It has none yet.</p>",
        metrics=escape(json.dumps(metrics, indent=2, ensure_ascii=False)),
        versions=f"Python {platform.python_version()}, {versions}",
    )
    return write_text(folder / "index.html", page)


def _row(cells: tuple[str, ...]) -> str:
    *first, last = cells
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in first) + f'<td class="number">{last}</td></tr>'
