"""What the study's parameters may be: one table for the notebooks, the training script, the runner and the sweeps.

A notebook calls `check_parameters` below its parameters cell, and the script that is exported from it does so too. The
runner and the sweeps read values with `parse` and check them before anything starts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from train_model.augmentation import AUGMENTATIONS


class ParameterError(ValueError):
    """A parameter that a notebook cannot take; the message says what was expected, found, and what to do."""


# --- Values -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Attributes:
        allowed: in words, as it follows "takes".
        fits: whether a value is allowed; it may be of any type.
    """

    allowed: str
    fits: Callable[[Any], bool]


def _whole(low: int, high: int | None = None) -> Rule:
    words = f"a whole number of {low} or more" if high is None else f"a whole number from {low} to {high:,}"
    return Rule(
        words, lambda value: type(value) is int and low <= value <= (math.inf if high is None else high)
    )


def _number(words: str, fits: Callable[[float], bool]) -> Rule:
    return Rule(words, lambda value: type(value) in (int, float) and math.isfinite(value) and fits(value))


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def _is_weights(value: Any) -> bool:
    return isinstance(value, str) and (value in ("auto", "imagenet") or Path(value).expanduser().is_file())


_COUNT = _whole(1)
_FOLDS = _whole(2, 20)
_SEED = _whole(0, 2**32 - 1)  # what NumPy, Keras and scikit-learn all take
_RATE = _number("a number above 0, at most 1", lambda value: 0 < value <= 1)
_SHARE = _number("a share, above 0 and below 1", lambda value: 0 < value < 1)

# Names of the networks stand here once more, so that a slip is found without the seconds that importing Keras takes.
RULES: dict[str, Rule] = {
    "weights": Rule("auto, imagenet or the path of a weights file", _is_weights),
    "backbone": _one_of("mobilenet", "xception"),
    "augmentation": _one_of(*AUGMENTATIONS),
    "learning_rate": _RATE,
    "l2": _number("a number above 0", lambda value: value > 0),
    "epochs": _COUNT,
    "fit_epochs": _COUNT,
    "batch_size": _COUNT,
    "seed": _SEED,
    "view_seed": _SEED,
    "shown": _whole(2, 100),
    "folds": _FOLDS,
    "n_folds": _FOLDS,
    "repeats": _COUNT,
    "views": _COUNT,
    "validation_views": _COUNT,
    "robustness_images": _COUNT,
    "latency_rounds": _COUNT,
    "keep": _SHARE,
    "close_call": _SHARE,
    "agreement": _SHARE,
    "chosen": _one_of("float32", "float16", "dynamic_range", "int8"),
}
LISTS = {"learning_rates": "learning_rate", "seeds": "seed", "augmentations": "augmentation"}  # of which rule


def check_parameters(**values: Any) -> None:
    """Checks the values of parameters, in a line below the parameters cell: `check_parameters(epochs=epochs)`.

    Args:
        values: by name; a name without a rule takes anything.

    Raises:
        ParameterError: a value is out of range or unknown, or a list is empty or repeats itself.
    """
    for name, value in values.items():
        if name in LISTS:
            _check_list(name, value, RULES[LISTS[name]])
        elif name in RULES and not RULES[name].fits(value):
            raise ParameterError(f"Parameter {name!r} takes {RULES[name].allowed}; found {value!r}.")


def _check_list(name: str, values: Any, rule: Rule) -> None:
    takes = f"Parameter {name!r} takes a list with at least one value, each {rule.allowed}"
    if not isinstance(values, list | tuple) or not values:
        raise ParameterError(f"{takes}; found {values!r}.")
    for value in values:
        if not rule.fits(value):
            raise ParameterError(f"{takes}; found {value!r}.")
        if list(values).count(value) > 1:
            raise ParameterError(
                f"{takes}, and none twice; found {value!r} {list(values).count(value)} times."
            )


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
    types: Sequence[type] = [type(one) for one in default or ()]
    if types and all(one in (int, float) for one in types):
        return "float" if float in types else "int"
    return "str" if types and all(one is str for one in types) else ""
