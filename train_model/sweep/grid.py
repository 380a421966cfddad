"""Reads a sweep's grid file and turns it into checked points."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml

from train_model.automation.notebook_run import declared_parameters, element_kind, read_text, typed
from train_model.parameters import ParameterError, check_parameters, parse

KEYS = ("name", "notebook", "fixed", "grid", "points", "figure")
ROLES = ("x", "y", "colour", "panel")  # of columns in the closing figure
OUTPUT = "output_dir"  # the parameter through which a notebook learns where its results go
MOST_POINTS = 10_000  # beyond that a grid is a slip


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
        takes_data: whether the notebook has a parameter `data_dir`, so that its results depend on images.
    """

    path: Path
    name: str
    notebook: Path
    source: str
    varied: tuple[str, ...]
    points: tuple[Point, ...]
    figure: dict[str, str] = field(default_factory=dict)
    takes_data: bool = False

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


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Reads a grid file and checks every point against the notebook.

    Values are read by the types that the notebook declares, as on the command line of `make run`: `1e-3` is a number,
    `010` is ten, and a folder may be called `2024-05-01`.

    Args:
        path: YAML file with the keys `notebook` (path, relative to the file), `fixed` (values for all points),
            `grid` (lists of values; every combination is a point), `points` (further points, one mapping
            each), `name` (default: the file's name) and `figure`. See `study_grid.yml`.

    Returns:
        The sweep.

    Raises:
        GridError: the file cannot be read or does not have that form, or a point does not fit the notebook; the
            message names the line and the key.
    """
    path = Path(path)
    try:
        return _Reader(path).read()
    except OSError as error:
        raise GridError(f"Expected a grid file at {path}, found no file there ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise GridError(f"{path} is not valid YAML: it is not text in UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"Line {mark.line + 1} of {path}" if mark else str(path)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise GridError(f"{where} is not valid YAML: {' '.join(what.split())}.") from None
    except RecursionError:
        raise GridError(f"{path} is not valid YAML for a grid: it nests without end.") from None


class _Reader:
    """Reads one grid file, on YAML's nodes: they know their lines, and text is not yet made into anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        self.lines: dict[str, int] = {}  # where a parameter was last named

    def error(self, line: int, message: str) -> GridError:
        return GridError(f"Line {line} of {self.path}: {message}")

    def read(self) -> Grid:
        root = self.loader.get_single_node()
        parts = self.pairs(root, "the file") if isinstance(root, yaml.MappingNode) else {}
        if not isinstance(parts.get("notebook"), yaml.ScalarNode) or not parts["notebook"].value:
            raise GridError(
                f"{self.path}: expected a mapping with the key 'notebook', the path of the notebook to run."
            )
        for key, node in parts.items():
            if key not in KEYS:
                raise self.error(_line(node), f"unknown key {key!r}; the keys are {', '.join(KEYS)}.")
        self.notebook = self.path.parent / parts["notebook"].value
        try:
            self.declared = declared_parameters(self.notebook)
        except ParameterError as error:
            raise self.error(_line(parts["notebook"]), f"'notebook': {error}") from None
        if OUTPUT not in self.declared:  # it would leave its results anywhere
            raise self.error(
                _line(parts["notebook"]), f"'notebook': {self.notebook.name} has no parameter {OUTPUT!r}."
            )
        fixed = self.values(parts.get("fixed"), "fixed")
        lists = self.lists(parts.get("grid"))
        explicit = self.explicit(parts.get("points"))

        combinations = [
            dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
        ]
        if not lists:  # the product of no lists is one empty point
            combinations = [] if explicit else [{}]
        varied = tuple(dict.fromkeys([*lists, *(name for point in explicit for name in point)]))
        points: dict[str, Point] = {}
        for values in [*combinations, *explicit]:
            parameters = fixed | values
            name = _name({key: parameters[key] for key in varied if key in parameters})
            if points.setdefault(name, Point(name, parameters)).parameters != parameters:
                raise GridError(f"{self.path}: two different points would both be named {name!r}.")
        for parameter, value in {
            (k, repr(v)): (k, v) for p in points.values() for k, v in p.parameters.items()
        }.values():
            try:
                check_parameters(**{parameter: value})
                json.dumps(value)
            except ParameterError as error:
                raise self.error(self.lines[parameter], str(error)) from None
            except (TypeError, ValueError):
                raise self.error(
                    self.lines[parameter], f"{parameter!r} takes no such value: {value!r}."
                ) from None
        return Grid(
            self.path,
            self.name(parts.get("name")),
            self.notebook,
            self.notebook.read_text(encoding="utf-8"),
            varied,
            tuple(points.values()),
            self.figure(parts.get("figure")),
            "data_dir" in self.declared,
        )

    def pairs(self, node: yaml.Node | None, what: str) -> dict[str, yaml.Node]:
        """A mapping's values by key; nothing, and a key without a value, count as an empty mapping."""
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self.error(_line(node), f"{what} is a mapping from names to values.")
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(_line(key), f"{what} has a key that is no name.")
            if key.value in seen and key.value != "<<":
                raise self.error(_line(key), f"{what} has the key {key.value!r} twice.")
            seen.add(key.value)
        self.loader.flatten_mapping(node)  # YAML's own way of sharing values: <<
        return {key.value: value for key, value in node.value}

    def values(self, node: yaml.Node | None, what: str) -> dict[str, Any]:
        """Values of parameters, each in its type."""
        found = {}
        for name, value in self.pairs(node, f"{what!r}").items():
            found[name] = self.value(name, value)
        return found

    def lists(self, node: yaml.Node | None) -> dict[str, list[Any]]:
        """The lists whose combinations are the points."""
        found: dict[str, list[Any]] = {}
        for name, values in self.pairs(node, "'grid'").items():
            if not isinstance(values, yaml.SequenceNode) or not values.value:
                raise self.error(
                    _line(values),
                    f"'grid' takes a list of values for {name!r}, found {self.plain(values)!r}.",
                )
            found[name] = []
            for one in values.value:
                value = self.value(name, one)
                if value in found[name]:
                    raise self.error(_line(one), f"'grid' lists {value!r} twice for {name!r}.")
                found[name].append(value)
        if (count := math.prod(map(len, found.values()))) > MOST_POINTS:
            raise self.error(_line(node), f"'grid' makes {count:,} points; the most is {MOST_POINTS:,}.")
        return found

    def explicit(self, node: yaml.Node | None) -> list[dict[str, Any]]:
        """The points that are named one by one."""
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode) or not all(
            isinstance(p, yaml.MappingNode) for p in node.value
        ):
            raise self.error(_line(node), "'points' is a list of mappings from parameter names to values.")
        return [self.values(point, "points") for point in node.value]

    def value(self, name: str, node: yaml.Node) -> Any:
        """One value, by the type that the notebook declares for the parameter."""
        self.lines[name] = _line(node)
        if name == OUTPUT:
            raise self.error(
                _line(node), f"{OUTPUT!r} is set by the sweep, one folder per point; leave it out."
            )
        try:
            if isinstance(node, yaml.ScalarNode) and not _is_null(node):
                with suppress(ParameterError):  # the message below shows the value as YAML reads it
                    return read_text(name, node.value, self.declared, self.notebook)
            elif isinstance(node, yaml.SequenceNode) and (kind := element_kind(name, self.declared)):
                with suppress(ValueError, AttributeError):  # an element of another type, or none with a text
                    return [parse(one.value, kind) for one in node.value]
            return typed(name, self.plain(node), self.declared, self.notebook)
        except ParameterError as error:
            raise self.error(_line(node), str(error)) from None

    def plain(self, node: yaml.Node) -> Any:
        """A node as YAML reads it."""
        try:
            return self.loader.construct_object(node, deep=True)
        except (ValueError, OverflowError, TypeError):  # 2024-13-45 looks like a date
            return node.value if isinstance(node, yaml.ScalarNode) else "something unreadable"

    def name(self, node: yaml.Node | None) -> str:
        if node is None:
            return self.path.stem
        if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(r"\w[\w .+=,-]{0,119}", node.value):
            raise self.error(_line(node), "'name' takes a folder's name of letters, digits, dashes and dots.")
        return node.value

    def figure(self, node: yaml.Node | None) -> dict[str, str]:
        found = {}
        for role, column in self.pairs(node, "'figure'").items():
            if role not in ROLES or not isinstance(column, yaml.ScalarNode):
                raise self.error(
                    _line(column), f"'figure' takes {', '.join(ROLES)}, each a column; found {role!r}."
                )
            found[role] = column.value
        return found


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _name(values: Mapping[str, Any]) -> str:
    """A folder name that says what a point is: `backbone=mobilenet,learning_rate=0.01`."""
    text = ",".join(f"{key}={_plain(value)}" for key, value in values.items()) or "only"
    if len(text) > 120:  # folder names end at 255 bytes, and paths are long already
        text = f"{text[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return text


def _plain(value: Any) -> str:
    text = "-".join(_plain(one) for one in value) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.+-]", "-", text) or "none"
