"""Parameters out of range are refused with what is allowed, by one table for everybody."""

import subprocess
import sys

import papermill
import pytest

from train_model.automation.run_study import numbered_notebooks
from train_model.parameters import RULES, ParameterError, check_parameters


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("epochs", -1, "a whole number, 1 to"),
        ("epochs", True, "a whole number"),
        ("batch_size", 0, "1 to"),
        ("keep", 95, "such as 0.95"),
        ("chosen", "int4", "float32, float16, dynamic_range, int8"),
        ("shown", 1, "2 to 100"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rates", [], "at least one"),
        ("learning_rates", [0.1, 0.1], "without repeats"),
        ("seeds", 3, "a list"),
        ("backbone", "resnet", "mobilenet, xception"),
        ("augmentation", "robust", "none, as_implemented, as_intended"),
    ],
)
def test_what_is_allowed_is_said(name, value, allowed):
    with pytest.raises(ParameterError, match=allowed) as caught:
        check_parameters(**{name: value})
    assert name in str(caught.value) and repr(value) in str(caught.value)


def test_names_are_those_of_the_tables_that_define_them():
    """They are read off the modules' sources, since importing one takes Keras' seconds."""
    from train_model.augmentation import AUGMENTATIONS
    from train_model.backbones import BACKBONES
    from train_model.tflite import FORMATS

    for name, table in (("backbone", BACKBONES), ("augmentation", AUGMENTATIONS), ("chosen", FORMATS)):
        assert all(map(RULES[name].fits, table))
        assert RULES[name].allowed == f"one of {', '.join(table)}"


def test_checking_imports_no_keras():
    script = "import sys; from train_model.parameters import check_parameters as check; "
    script += (
        "check(backbone='xception', augmentation='none', chosen='int8'); sys.exit('keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_good_values_and_folders_pass():
    check_parameters(epochs=3, learning_rates=[0.1, 1e-3], data_dir="[x", output_dir="yes", keep=0.9)


@pytest.mark.parametrize("notebook", numbered_notebooks(), ids=lambda path: path.stem)
def test_every_default_is_allowed_and_every_number_has_a_rule(notebook):
    for name, entry in papermill.inspect_notebook(notebook).items():
        value = eval(entry["default"])
        check_parameters(**{name: value})
        assert name in RULES or isinstance(value, str | bool), f"{name} has no rule"
