"""The committed notebooks keep the rules, and the rules notice what breaks them."""

import copy
import re

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.notebooks.notebook_execution import ALL
from tests.notebooks.notebook_rules import problems


def test_the_main_road_has_eight_notebooks_and_side_roads_begin_at_ten():
    assert [path.name[:2] for path in ALL] == [*(f"{number:02d}" for number in range(1, 9)), "10", "11", "12"]


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_committed_notebook_keeps_the_rules(notebook):
    assert problems(notebook) == []


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_every_parameter_has_a_type_a_default_and_help(notebook):
    parameters = papermill.inspect_notebook(notebook)
    assert {"data_dir", "output_dir"} <= set(parameters)
    for name, entry in parameters.items():
        assert entry["inferred_type_name"] != "None" and entry["help"] and entry["default"], name
    # Papermill silently drops a line it cannot read: what it saw must be all that is there.
    (cell,) = [c for c in nbformat.read(notebook, 4).cells if "parameters" in c.metadata.get("tags", [])]
    lines = [line for line in cell.source.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(parameters)


def cell(source: str, *outputs, count: int = 1, **metadata):
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def printed(text: str, name: str = "stdout"):
    return new_output("stream", name=name, text=text)


PICTURE = new_output("display_data", {"image/png": "iVBORw0KGgo="})
SETUP = cell("import os")
PARAMETERS = cell("epochs: int = 3  # passes", tags=["parameters"])
COMPARED = cell("print(3)", printed("3\n"), tags=["nbval-check-output"])
WHOLE = [new_markdown_cell("# Title"), SETUP, PARAMETERS, COMPARED]
TWICE = "819 images of three classes\n"


@pytest.mark.parametrize(
    "cells, words",
    [
        ([*WHOLE, cell("assert x == y"), new_markdown_cell("Both are the same.")], None),
        ([*WHOLE, cell("plot()", PICTURE), new_markdown_cell("It rises.")], None),
        (WHOLE[:-1], "has no cell tagged nbval-check-output"),
        ([*WHOLE, new_markdown_cell("# Another")], "exactly one title"),
        ([*WHOLE, PARAMETERS], "exactly one cell tagged parameters"),
        ([*WHOLE, cell("x = 1\n" * 31)], "31 at most"),
        ([*WHOLE, cell("import os", count=7)], "cell [7] imports outside Setup"),
        ([*WHOLE, cell("plt.imshow(image)", count=7)], "cell [7] draws images"),
        ([WHOLE[0], SETUP, cell("a = 'b#c'", tags=["parameters"]), COMPARED], "parameter of this line: a = "),
        ([*WHOLE, cell("plot()", PICTURE, count=7)], "cell [7] shows something that no text reads"),
        ([*WHOLE, cell("x", printed("UserWarning", "stderr"))], "shows warnings or logs"),
        ([*WHOLE, cell("x", printed("/home/me/data"))], "shows a path of the machine"),
        ([*WHOLE, cell("x", PICTURE, tags=["photographs"])], "does not hold the placeholder"),
        ([*WHOLE, cell("x", count=None)], "a cell was not executed: x"),
        ([*WHOLE, cell("x", printed(TWICE)), cell("y", printed(TWICE), count=8)], "[8] prints what the one before"),
        ([*WHOLE, cell("fit()"), new_markdown_cell("Fine. It has converged.")], "above it: It has converged."),
        ([*WHOLE, cell("fit()", printed("done")), new_markdown_cell("They must agree.")], "They must agree."),
    ],
)  # fmt: skip
def test_a_broken_rule_is_noticed(tmp_path, cells, words):
    notebook = nbformat.v4.new_notebook(cells=[copy.deepcopy(each) for each in cells])
    for number, each in enumerate(notebook.cells):
        each.id = f"cell-{number}"
    nbformat.write(notebook, tmp_path / "n.ipynb")
    found = "\n".join(problems(tmp_path / "n.ipynb"))
    assert words in found if words else not found


def test_the_folder_s_readme_lists_the_notebooks_in_order():
    text = (ALL[0].parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\d\d_\w+)` \|", text, re.MULTILINE) == [path.stem for path in ALL]
