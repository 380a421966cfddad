"""What the notebooks' parameters may be: one table for notebooks, script, runner and sweeps.

A value out of range is refused before any work, with what is allowed, wherever it was given. A notebook calls
`check_parameters` below its parameters cell, and the script that is exported from it does so too; the runner and the
sweeps read values with `parse` and check them before anything starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BACKBONES = ("mobilenet", "xception")
AUGMENTATIONS = ("none", "as_implemented", "as_intended")
FORMATS = ("float32", "float16", "dynamic_range", "int8")


class ParameterError(ValueError):
    """A parameter that cannot be used; the message says what was expected, found, and what to do."""


@dataclass(frozen=True)
class Rule:
    """What a parameter may be.

    Attributes:
        allowed: in words, for people.
        fits: whether one value is allowed.
        many: whether the parameter is a list, without repeats, of such values.
    """

    allowed: str
    fits: Callable[[Any], bool]
    many: bool = False


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: _number(value) and low <= value <= high


def _whole(low: int, high: float = float("inf")) -> Rule:
    words = f"{low} or more" if high == float("inf") else f"{low} to {high}"
    return Rule(f"a whole number, {words}", lambda v: isinstance(v, int) and _number(v) and low <= v <= high)


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def _list_of(rule: Rule) -> Rule:
    return Rule(f"a list without repeats, at least one: {rule.allowed}", rule.fits, many=True)


_RATE = Rule("a number above 0, at most 10", lambda value: _number(value) and 0 < value <= 10)
_SHARE = Rule("a share above 0 and below 1, such as 0.95", lambda value: _number(value) and 0 < value < 1)


def _is_weights(value: Any) -> bool:
    return isinstance(value, str) and (value in ("auto", "imagenet") or Path(value).expanduser().is_file())


RULES = {
    "weights": Rule("auto, imagenet or the path of a weights file", _is_weights),
    "backbone": _one_of(*BACKBONES),
    "augmentation": _one_of(*AUGMENTATIONS),
    "augmentations": _list_of(_one_of(*AUGMENTATIONS)),
    "chosen": _one_of(*FORMATS),
    "learning_rate": _RATE,
    "learning_rates": _list_of(_RATE),
    "l2": Rule("a number, 0 < l2 <= 1000", lambda value: _number(value) and 0 < value <= 1000),
    "keep": _SHARE,
    "agreement": Rule("a share from 0 to 1", _between(0, 1)),
    "close_call": Rule("a probability from 0 to 1", _between(0, 1)),
    "epochs": _whole(1, 10_000),
    "fit_epochs": _whole(1, 10_000),
    "batch_size": _whole(1, 100_000),
    "views": _whole(1, 1000),
    "view_seed": _whole(0, 2**31 - 1),
    "seed": _whole(0, 2**31 - 1),
    "seeds": _list_of(_whole(0, 2**31 - 1)),
    "shown": _whole(2, 100),
    "n_folds": _whole(2, 100),
    "repeats": _whole(1, 1000),
    "corrupted_images": _whole(1),
    "compared_images": _whole(1),
    "xception_images": _whole(1),
    "latency_rounds": _whole(1, 100_000),
}


def check_parameters(**values: Any) -> None:
    """Refuses values that are out of range.

    Args:
        **values: parameters by name; names without a rule, such as folders, take anything.

    Raises:
        ParameterError: the first value that is not allowed.
    """
    for name, value in values.items():
        rule = RULES.get(name)
        if rule is None:
            continue
        members = value if rule.many else [value]
        fine = isinstance(members, list | tuple) and len(members) > 0 and all(map(rule.fits, members))
        if not fine or len(set(members)) < len(members):
            raise ParameterError(f"Expected {name} to be {rule.allowed}; found {value!r}.")


# --- Text -------------------------------------------------------------------------------------------------

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def parse(text: str, kind: str, default: Any = None) -> Any:
    """Reads a value as the shell and grid files write it, by the type that the notebook declares.

    A `str` is taken as it stands, whatever it looks like; numbers are decimal: `010` is ten, `1e-3` a number.

    Args:
        text: the value.
        kind: the declared type: `int`, `float`, `str`, `bool`, `list`, or `list[...]` of one of the others; anything
            else takes what YAML would make of the text.
        default: the declared value; of a bare `list`, its elements tell the type of the new ones.

    Returns:
        The value.

    Raises:
        ValueError: the text is none of that type.
    """
    plain = text.strip()
    if kind == "str":
        return text
    if kind == "int" and _WHOLE.fullmatch(plain):
        return int(plain)
    if kind == "float" and _DECIMAL.fullmatch(plain):
        return float(plain)
    if kind == "bool" and plain.lower() in _WORDS:
        return _WORDS[plain.lower()]
    if kind == "list" or kind.startswith("list["):
        return _parse_list(plain, element_kind(kind, default))
    if kind in ("int", "float", "bool"):
        raise ValueError(f"not {kind}: {text!r}")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _parse_list(text: str, kind: str) -> list[Any]:
    """`[a, b]`, `a, b` or `a b`, the elements quoted or not."""
    if text.startswith("[") != text.endswith("]"):
        raise ValueError("a bracket is missing")
    inner = text.removeprefix("[").removesuffix("]").strip()
    if not inner:
        return []
    parts = inner.split(",") if "," in inner else inner.split()
    return [parse(re.sub(r"^(['\"])(.*)\1$", r"\2", part.strip()), kind) for part in parts]


def element_kind(kind: str, default: Any) -> str:
    """The type of a list's elements, from the declared type or else the declared value; empty if neither says."""
    if member := re.fullmatch(r"list\[(\w+)\]", kind):
        return member[1]
    types: list[type] = [type(one) for one in default or ()]
    if types and all(one in (int, float) for one in types):
        return "float" if float in types else "int"
    return "str" if types and all(one is str for one in types) else ""
