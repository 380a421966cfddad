"""Reads a sweep's grid file: a notebook, and the points of its parameters to run it at."""

import hashlib
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from train_model.automation.notebook_run import declared_parameters, read_parameter
from train_model.parameters import ParameterError

STUDY_GRID = Path(__file__).with_name("study_grid.yml")
KEYS = ("name", "notebook", "fixed", "grid", "points", "figure")
ROLES = {"x": "x", "y": "y", "colour": "hue", "panel": "col"}  # of columns in the figure, and seaborn's name
OUTPUT = "output_dir"  # the parameter through which a notebook learns where its results go


@dataclass(frozen=True)
class Grid:
    """A sweep."""

    name: str
    notebook: str  # file name
    source: str  # the notebook as JSON, read once, so that all points run the same text
    digest: str  # of its code cells; results of another version are not mixed with these
    takes_data: bool  # whether it has a parameter `data_dir`, so that its results depend on images
    varied: tuple[str, ...]  # names of the parameters that differ between points, in the file's order
    points: dict[str, dict[str, Any]]  # parameters by the point's name, which is that of its folder
    figure: dict[str, str]  # which column the closing figure shows in each of `ROLES`; each may be missing


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Reads a grid file, whose form `study_grid.yml` shows, and checks every value against the notebook.

    Values are read by the types that the notebook declares, as on the command line of `make run`: `1e-3` is a number,
    `010` is ten, and a folder may be called `2024-05-01`.

    Raises:
        ParameterError: the file cannot be read or does not have that form, or a point does not fit the notebook.
    """
    try:  # all values as text: YAML's own types are not the notebook's
        return _read(Path(path), yaml.load(Path(path).read_bytes(), yaml.BaseLoader) or {})
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        message = f"Expected a grid file like {STUDY_GRID.name} at {path}, could not read it: {why}"
        raise ParameterError(message) from None


def _read(path: Path, content: dict[str, Any]) -> Grid:
    figure = content.get("figure") or {}
    for keys, known in ((content, KEYS), (figure, ROLES)):
        if unknown := [key for key in keys if key not in known]:
            raise ParameterError(f"unknown key {unknown[0]!r}; expected {', '.join(known)}.")
    notebook = path.parent / content.get("notebook", "")
    declared = declared_parameters(notebook)

    def values(texts: dict[str, Any]) -> dict[str, Any]:
        return {name: read_parameter(text, name, declared, notebook.name) for name, text in texts.items()}

    fixed = values(content.get("fixed") or {})
    lists = {
        name: [values({name: text})[name] for text in (texts if isinstance(texts, list) else [texts])]
        for name, texts in (content.get("grid") or {}).items()
    }
    named = [values(point) for point in content.get("points") or []]
    varied = tuple(dict.fromkeys(itertools.chain(lists, *named)))
    if OUTPUT not in declared or OUTPUT in (*fixed, *varied):
        where = f"in {notebook.name}, and not in the grid: each point has its own folder."
        raise ParameterError(f"expected {OUTPUT!r} {where}")
    # The product of no lists is one empty point, which is wanted only where no other is named.
    products = itertools.product(*lists.values()) if lists or not named else ()
    points: dict[str, dict[str, Any]] = {}
    unfit = re.compile(r"[^\w.+-]+")  # for names of folders
    for chosen in [*(dict(zip(lists, product, strict=True)) for product in products), *named]:
        parameters = fixed | chosen
        # Such as `backbone=mobilenet,learning_rate=0.01`. Folder names end at 255 bytes.
        texts = {key: str(parameters[key]).strip("[]") or "none" for key in varied if key in parameters}
        parts = [f"{key}={unfit.sub('-', text)}" for key, text in texts.items()]
        name = ",".join(parts)[:200] or "only"
        if points.setdefault(name, parameters) != parameters:
            raise ParameterError(f"two different points would both be named {name!r}.")
    if not points:
        raise ParameterError("'grid' makes no points; each of its lists takes one value or more.")

    source = notebook.read_text(encoding="utf-8")
    cells = nbformat.reads(source, as_version=4).cells
    code = "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
    digest = hashlib.sha256(code.encode()).hexdigest()[:16]
    title = str(content.get("name", path.stem))
    return Grid(title, notebook.name, source, digest, "data_dir" in declared, varied, points, figure)
