"""Reads a sweep's grid file: a notebook, and the points of its parameters to run it at."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from train_model.automation.notebook_run import declared_parameters, read_parameter
from train_model.parameters import ParameterError, check_parameters

KEYS = ("name", "notebook", "fixed", "grid", "points", "figure")
ROLES = ("x", "y", "colour", "panel")  # of columns in the closing figure
OUTPUT = "output_dir"  # the parameter through which a notebook learns where its results go
MOST_POINTS = 10_000  # beyond that a grid is a slip


@dataclass(frozen=True)
class Grid:
    """A sweep.

    Attributes:
        name: its results go to `runs/<name>` unless `--out` says otherwise.
        notebook: file name of the notebook that runs at each point.
        source: the notebook as JSON, read once, so that all points run the same text.
        digest: of its code cells; results of another version are not mixed with these.
        takes_data: whether it has a parameter `data_dir`, so that its results depend on images.
        varied: names of the parameters that differ between points, in the file's order.
        points: values of parameters in the notebook's types, by the point's name, which is that of its folder.
        figure: which column the closing figure shows in each of `ROLES`; each may be missing.
    """

    name: str
    notebook: str
    source: str
    digest: str
    takes_data: bool
    varied: tuple[str, ...]
    points: dict[str, dict[str, Any]]
    figure: dict[str, str]


class _Texts(yaml.SafeLoader):
    """Leaves values as text for the notebook's types to read; only merges (`<<`) are YAML's own."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise yaml.YAMLError(f"the key {repeated[0]!r} is there twice")
        return super().construct_mapping(node, deep)


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Reads a grid file and checks every point against the notebook.

    Values are read by the types that the notebook declares, as on the command line of `make run`: `1e-3` is a number,
    `010` is ten, and a folder may be called `2024-05-01`.

    Args:
        path: YAML file with the keys `notebook` (path, relative to the file), `fixed` (values for all points),
            `grid` (lists of values; every combination is a point), `points` (further points, one mapping
            each), `name` (default: the file's name) and `figure`. See `study_grid.yml`.

    Raises:
        ParameterError: the file cannot be read or does not have that form, or a point does not fit the notebook.
    """
    path = Path(path)
    try:
        return _read(path, yaml.load(path.read_bytes(), _Texts))
    except OSError as error:
        raise ParameterError(f"Expected a grid file at {path}, found none ({error.strerror}).") from None
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ParameterError(f"{path} is not valid YAML for a grid: {' '.join(str(error).split())}") from None


def _read(path: Path, content: Any) -> Grid:
    content = _mapping(content, "the file")
    if unknown := [key for key in content if key not in KEYS]:
        raise ParameterError(f"unknown key {unknown[0]!r}; the keys are {', '.join(KEYS)}.")
    if not isinstance(content.get("notebook"), str) or not content["notebook"]:
        raise ParameterError("expected the key 'notebook', the path of the notebook to run.")
    notebook = path.parent / content["notebook"]
    declared = declared_parameters(notebook)
    if OUTPUT not in declared:  # it would leave its results anywhere
        raise ParameterError(f"{notebook.name} has no parameter {OUTPUT!r}.")

    def value(name: str, text: Any) -> Any:
        if name == OUTPUT:
            raise ParameterError(f"{OUTPUT!r} is set by the sweep, one folder per point; leave it out.")
        value = read_parameter(text, name, declared, notebook)
        check_parameters(**{name: value})
        return value

    def values(texts: Any, what: str) -> dict[str, Any]:
        return {name: value(name, text) for name, text in _mapping(texts, what).items()}

    fixed = values(content.get("fixed"), "'fixed'")
    lists: dict[str, list[Any]] = {}
    for name, texts in _mapping(content.get("grid"), "'grid'").items():
        if not isinstance(texts, list) or not texts:
            raise ParameterError(f"'grid' takes a list of values for {name!r}, found {texts!r}.")
        lists[name] = [value(name, text) for text in texts]
    if (count := math.prod(map(len, lists.values()))) > MOST_POINTS:
        raise ParameterError(f"'grid' makes {count:,} points; the most is {MOST_POINTS:,}.")
    named = content.get("points") or []
    if not isinstance(named, list):
        raise ParameterError("'points' is a list of mappings from parameter names to values.")
    named = [values(point, "a point of 'points'") for point in named]

    # The product of no lists is one empty point, which is wanted only where no other is named.
    products = itertools.product(*lists.values()) if lists or not named else ()
    varied = tuple(dict.fromkeys([*lists, *(name for point in named for name in point)]))
    points: dict[str, dict[str, Any]] = {}
    for chosen in [*(dict(zip(lists, product, strict=True)) for product in products), *named]:
        parameters = fixed | chosen
        name = _folder_name({key: parameters[key] for key in varied if key in parameters})
        if points.setdefault(name, parameters) != parameters:
            raise ParameterError(f"two different points would both be named {name!r}.")

    title, figure = content.get("name", path.stem), _mapping(content.get("figure"), "'figure'")
    if not re.fullmatch(r"\w[\w .+=,-]{0,119}", str(title)):
        raise ParameterError("'name' takes a folder's name of letters, digits, dashes and dots.")
    if wrong := [role for role in figure if role not in ROLES]:
        raise ParameterError(f"'figure' takes {', '.join(ROLES)}, each a column; found {wrong[0]!r}.")
    source = notebook.read_text(encoding="utf-8")
    code = "\n\n".join(
        cell.source for cell in nbformat.reads(source, as_version=4).cells if cell.cell_type == "code"
    )
    digest = hashlib.sha256(code.encode()).hexdigest()[:16]
    return Grid(str(title), notebook.name, source, digest, "data_dir" in declared, varied, points, figure)


def _mapping(content: Any, what: str) -> dict[str, Any]:
    """A mapping of the file; a key without a value counts as an empty one."""
    if not isinstance(content or {}, dict):
        raise ParameterError(f"{what} is a mapping from names to values.")
    return content or {}


def _folder_name(values: dict[str, Any]) -> str:
    """Says what a point is: `backbone=mobilenet,learning_rate=0.01`."""
    text = ",".join(f"{name}={_plain(value)}" for name, value in values.items()) or "only"
    if len(text) > 120:  # folder names end at 255 bytes, and paths are long already
        text = f"{text[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return text


def _plain(value: Any) -> str:
    text = "-".join(map(_plain, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.+-]", "-", text) or "none"
