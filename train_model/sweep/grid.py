"""Reads a sweep's grid file and turns it into checked points."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml

from train_model.automation.notebook_run import typed_parameters
from train_model.parameters import ParameterError

KEYS = ("name", "notebook", "fixed", "grid", "points", "figure")
OUTPUT = "output_dir"  # the parameter through which a notebook learns where its results go


class GridError(ValueError):
    """A grid file that cannot be run; the message says what was expected, found, and what to do."""


@dataclass(frozen=True)
class Point:
    """One run of the notebook.

    Attributes:
        name: folder of the run: the values that tell it from the other points.
        parameters: all its values by name, in the notebook's types.
    """

    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """A sweep: a notebook and the points to run it at.

    Attributes:
        path: of the grid file.
        name: of the sweep; its results go to `runs/<name>` unless told otherwise.
        notebook: path of the notebook.
        source: the notebook as JSON, read once, so that all points run the same text.
        varied: names of the parameters that differ between points, in the file's order.
        points: the runs, without repeats.
        figure: which columns the closing figure shows: `x`, `y`, `colour`, `panel`; each may be missing.
    """

    path: Path
    name: str
    notebook: Path
    source: str
    varied: tuple[str, ...]
    points: tuple[Point, ...]
    figure: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What the notebook's cells do: results of another version are not mixed with these."""
        cells = nbformat.reads(self.source, as_version=4).cells
        code = "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
        return hashlib.sha256(code.encode()).hexdigest()[:16]

    def __getitem__(self, name: str) -> Point:
        for point in self.points:
            if point.name == name:
                return point
        raise GridError(
            f"{self.path.name} has no point {name!r}. It has {', '.join(p.name for p in self.points)}."
        )


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text because it has no dot; in a list of learning rates that is a trap."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Reads a grid file and checks every point against the notebook.

    Args:
        path: YAML file with the keys `notebook` (path, relative to the file), `fixed` (values for all points),
            `grid` (lists of values; every combination is a point), `points` (further points, one mapping
            each), `name` (default: the file's name) and `figure`. See `study_grid.yml`.

    Returns:
        The sweep.

    Raises:
        GridError: the file cannot be read or does not have that form, or a point does not fit the notebook.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError:
        raise GridError(f"Expected a grid file at {path}, found no file there.") from None
    except yaml.YAMLError as error:
        raise GridError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    fixed, lists, explicit = _parts(path, content)

    combinations = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    if not lists:  # the product of no lists is one empty point
        combinations = [] if explicit else [{}]
    varied = tuple(dict.fromkeys([*lists, *(name for point in explicit for name in point)]))

    notebook = path.parent / content["notebook"]
    points: dict[str, Point] = {}
    try:
        typed_parameters(notebook, {OUTPUT: ""})  # a notebook without it would leave its results anywhere
        for values in [*combinations, *explicit]:
            parameters = typed_parameters(notebook, fixed | values)
            name = _name({key: parameters[key] for key in varied if key in parameters})
            if points.setdefault(name, Point(name, parameters)).parameters != parameters:
                raise GridError(f"{path}: two different points would both be named {name!r}.")
    except ParameterError as error:
        raise GridError(f"{path}: {error}") from None
    return Grid(
        path,
        str(content.get("name", path.stem)),
        notebook,
        notebook.read_text(encoding="utf-8"),
        varied,
        tuple(points.values()),
        dict(content.get("figure") or {}),
    )


def _parts(path: Path, content: Any) -> tuple[dict, dict, list]:
    """`fixed`, `grid` and `points` of a grid file, with their forms checked."""
    if not isinstance(content, Mapping) or not isinstance(content.get("notebook"), str):
        raise GridError(
            f"{path}: expected a mapping with the key 'notebook', the path of the notebook to run."
        )
    if unknown := [key for key in content if key not in KEYS]:
        raise GridError(f"{path}: unknown key {unknown[0]!r}; the keys are {', '.join(KEYS)}.")
    fixed, lists, explicit = (content.get(key) or {} for key in ("fixed", "grid", "points"))
    if not isinstance(fixed, Mapping) or not isinstance(lists, Mapping):
        raise GridError(f"{path}: 'fixed' and 'grid' are mappings from parameter names to values.")
    for name, values in lists.items():
        if not isinstance(values, list) or not values:
            raise GridError(f"{path}: 'grid' takes a list of values for {name!r}, found {values!r}.")
    if not all(isinstance(point, Mapping) for point in explicit):
        raise GridError(f"{path}: 'points' is a list of mappings from parameter names to values.")
    for name in (*fixed, *lists, *(name for point in explicit for name in point)):
        if name == OUTPUT:
            raise GridError(f"{path}: {OUTPUT!r} is set by the sweep, one folder a point; leave it out.")
    return dict(fixed), dict(lists), list(explicit)


def _name(values: Mapping[str, Any]) -> str:
    """A folder name that says what a point is: `backbone=mobilenet,learning_rate=0.01`."""
    text = ",".join(f"{key}={_plain(value)}" for key, value in values.items()) or "only"
    if len(text) > 120:  # folder names end at 255 bytes, and paths are long already
        text = f"{text[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return text


def _plain(value: Any) -> str:
    text = "-".join(_plain(one) for one in value) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.+-]", "-", text) or "none"
