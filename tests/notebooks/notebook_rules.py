"""What a committed notebook has to be: its form, what its outputs may show, and prose that has its number above it."""

import json
import re
import statistics
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from train_model.automation.publish import PLACEHOLDER, tags

MEDIAN_LINES, MOST_LINES = 8, 30  # of a notebook's code cells
SHOWN = {"image/png", "text/html"}  # figures and tables
# Papermill silently skips a parameter that it cannot read: a name, a type, a literal, and a comment for people.
PARAMETER = re.compile(r"\w+: (str|int|float|bool|list) = [^=#]+  # [^=#]+")
CLAIMS = re.compile(r"\b(must|the same|converge[sd]|proves?)\b", re.IGNORECASE)


def problems(path: Path) -> list[str]:
    """What in a committed notebook breaks the rules of this repository, each in a sentence."""
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    return [*_form(cells, code), *_figures(cells), *_outputs(code), *_claims(cells)]


def _form(cells: list[NotebookNode], code: list[NotebookNode]) -> list[str]:
    found = []
    parameters = [cell for cell in code if "parameters" in tags(cell)]
    if len(parameters) != 1:
        found.append("needs exactly one cell tagged parameters")
    if not any("nbval-check-output" in tags(cell) for cell in code):
        found.append("has no cell tagged nbval-check-output")
    if sum(cell.source.startswith("# ") for cell in cells if cell.cell_type == "markdown") != 1:
        found.append("needs exactly one title")
    lines = [len(cell.source.splitlines()) for cell in code]
    if statistics.median(lines) > MEDIAN_LINES or max(lines) > MOST_LINES:
        found.append(
            f"has code cells of {statistics.median(lines):g} lines in the median and {max(lines)} at most; "
            f"{MEDIAN_LINES} and {MOST_LINES} are allowed"
        )
    for cell in parameters:
        wrong = [line for line in cell.source.splitlines() if not PARAMETER.fullmatch(line)]
        found += [f"cannot be given the parameter of this line: {line}" for line in wrong]
    for cell in code[1:]:
        if re.search(r"^(import|from) ", cell.source, re.MULTILINE):
            found.append(f"cell [{cell.execution_count}] imports outside Setup")
        if re.search(r"show_images|imshow", cell.source) and not {"photographs", "no-photographs"} & set(
            tags(cell)
        ):
            found.append(
                f"cell [{cell.execution_count}] draws images: tag it photographs, or no-photographs if none is one"
            )
    return found


def _figures(cells: list[NotebookNode]) -> list[str]:
    """Figures and tables that no text reads. A table and the figure drawn of it may share what is read off them."""
    shows = [any(SHOWN & set(output.get("data", {})) for output in cell.get("outputs", [])) for cell in cells]
    found = []
    for cell, figure, after, more in zip(cells, shows, [*cells[1:], None], [*shows[1:], False], strict=True):
        read = after is not None and (
            after.cell_type == "markdown" or "text/markdown" in json.dumps(after.outputs)
        )
        if figure and not more and not read:
            found.append(f"cell [{cell.execution_count}] shows something that no text reads")
    return found


def _outputs(code: list[NotebookNode]) -> list[str]:
    found, before = [], set()
    for cell in code:
        where, shown = f"cell [{cell.execution_count}]", json.dumps(cell.outputs)
        if cell.execution_count is None:
            found.append(f"a cell was not executed: {cell.source.splitlines()[0]}")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"{where} ends in an error")
        if any(output.get("name") == "stderr" for output in cell.outputs) or "Warning" in shown:
            found.append(f"{where} shows warnings or logs")
        if re.search(r"(?<![\w/.])/(home|root|tmp|work|Users|usr|opt)/", shown):
            found.append(f"{where} shows a path of the machine")
        if "photographs" in tags(cell) and PLACEHOLDER not in shown:
            found.append(f"{where} is tagged photographs and does not hold the placeholder")
        printed = {line for output in cell.outputs for line in output.get("text", "").splitlines()}
        printed = {line for line in printed if len(line) > 20}
        if printed & before and all(output.output_type == "stream" for output in cell.outputs):
            found.append(f"{where} prints what the one before printed")
        before = printed
    return found


def _claims(cells: list[NotebookNode]) -> list[str]:
    """Sentences that claim more than they show: nothing in the code cell above them is a number or an assertion."""
    found, above = [], None
    for cell in cells:
        if cell.cell_type == "code":
            above = cell
        elif above is not None and "parameters" not in tags(above):
            shown = "".join(
                output.get("text", "") + "".join(map(str, output.get("data", {}).values()))
                for output in above.outputs
            )
            if "assert " in above.source or re.search(r"\d", shown):
                continue
            sentences = re.split(r"(?<=[.!?])\s+", cell.source)
            found += [
                f"claims without a number above it: {text}" for text in sentences if CLAIMS.search(text)
            ]
    return found
