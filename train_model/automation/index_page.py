"""What a run ends with: its figures, the commands that use its model, and the page `index.html` that has them all."""

import functools
import importlib.metadata
import json
import platform
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
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
TEMPLATE = Path(__file__).with_suffix(".html")


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
        value = functools.reduce(lambda part, key: (part or {}).get(key), keys, metrics.get(section))
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
    for name, entry in state["notebooks"].items():
        source, older = folder / "notebooks" / f"{name}.ipynb", entry.get("stale")
        page = source.with_suffix(".html")
        fresh = page.is_file() and page.stat().st_mtime >= source.stat().st_mtime
        if source.is_file() and (older or not fresh):
            text = nbconvert.HTMLExporter().from_filename(str(source))[0]
            mark = f"<p><strong>These results are older than {older}, which was run again since.</strong></p>"
            write_text(page, text.replace("<main>", f"<main>{mark}", 1) if older else text)
    metrics, model = read_metrics(folder), folder / "models" / MODEL_FILE
    packages = ("tensorflow", "keras", "ai-edge-litert")
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        folder=folder,
        images=images,
        notebooks=state["notebooks"],
        figures=summary(metrics),
        model=shown(model) if model.is_file() else "",
        commands=use_commands(folder),
        metrics=json.dumps(metrics, indent=2, ensure_ascii=False),
        python=platform.python_version(),
        versions={package: importlib.metadata.version(package) for package in packages},
    )
    return write_text(folder / "index.html", text)
