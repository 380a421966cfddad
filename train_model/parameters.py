"""What the notebooks' parameters may be: one table for notebooks, script, runner and sweeps.

A value out of range is refused before any work, with what is allowed: a notebook, and the script exported from it, calls
`check_parameters` below its parameters; the runner and the sweeps check values before anything starts.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


class ParameterError(ValueError):
    """A parameter that cannot be used; the message says what was expected, found, and what to do."""


@dataclass(frozen=True)
class Rule:
    """What a parameter may be, in words and as a test of one value; `many` for a list of such values."""

    allowed: str
    fits: Callable[[Any], bool]
    many: bool = False


def _number(words: str, fits: Callable[[float], bool], kinds: Any = (int, float)) -> Rule:
    return Rule(words, lambda value: isinstance(value, kinds) and not isinstance(value, bool) and fits(value))


def _whole(low: int, high: int) -> Rule:
    return _number(f"a whole number, {low} to {high}", lambda value: low <= value <= high, int)


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def _name_in(module: str, table: str) -> Rule:
    """A name in a table of another module, read off its source, since importing it may take Keras' seconds."""
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    (value,) = (node.value for node in tree.body if ast.unparse(node).startswith(f"{table} = "))
    return _one_of(*(name.value for name in (value.keys if isinstance(value, ast.Dict) else value.elts)))


def _list_of(rule: Rule) -> Rule:
    return replace(rule, allowed=f"a list without repeats, at least one: {rule.allowed}", many=True)


def _is_weights(value: Any) -> bool:
    return isinstance(value, str) and (value in ("auto", "imagenet") or Path(value).expanduser().is_file())


_AUGMENTATION = _name_in("augmentation", "AUGMENTATIONS")
_RATE = _number("a number above 0, at most 10", lambda value: 0 < value <= 10)
_SEED = _whole(0, 2**31 - 1)
_SHARE = _number("a share from 0 to 1", lambda value: 0 <= value <= 1)
_COUNTS = ("epochs", "fit_epochs", "batch_size", "views", "repeats", "latency_rounds")
_COUNTS += ("compared_images", "corrupted_images", "xception_images")

RULES = {
    "weights": Rule("auto, imagenet or the path of a weights file", _is_weights),
    "backbone": _name_in("backbones", "BACKBONES"),
    "augmentation": _AUGMENTATION,
    "augmentations": _list_of(_AUGMENTATION),
    "chosen": _name_in("tflite", "FORMATS"),
    "head": _one_of("exact", "adam"),
    "class_weights": _one_of("none", "balanced"),
    "learning_rate": _RATE,
    "learning_rates": _list_of(_RATE),
    "l2": _number("a number above 0, at most 1000", lambda value: 0 < value <= 1000),
    "keep": _number("a share above 0 and below 1, such as 0.95", lambda value: 0 < value < 1),
    "agreement": _SHARE,
    "close_call": _SHARE,
    "seed": _SEED,
    "view_seed": _SEED,
    "seeds": _list_of(_SEED),
    "shown": _whole(2, 100),
    "n_folds": _whole(2, 100),
    **dict.fromkeys(_COUNTS, _whole(1, 100_000)),
}


def check_parameters(**values: Any) -> None:
    """Refuses values that are out of range, as `epochs=0`; names without a rule, such as folders, take anything.

    Raises:
        ParameterError: the first value that is not allowed.
    """
    for name, rule in RULES.items():
        if name not in values:
            continue
        members = values[name] if rule.many else [values[name]]
        fine = isinstance(members, list | tuple) and len(members) > 0 and all(map(rule.fits, members))
        if not fine or len(set(members)) < len(members):
            raise ParameterError(f"Expected {name} to be {rule.allowed}; found {values[name]!r}.")
