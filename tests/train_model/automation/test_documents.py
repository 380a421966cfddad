"""The documents say what was measured, and point at what exists."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from train_model.automation import documents

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = [
    path
    for path in REPOSITORY.glob("**/*.md")
    if not {".venv", "build", "runs", "node_modules"} & set(path.relative_to(REPOSITORY).parts)
]


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_of_the_committed_metrics(document):
    text = document.read_text(encoding="utf-8")
    assert "<!-- begin" in text
    assert documents.fill(text) == text, "run `python -m train_model.automation.documents`"


def test_a_changed_figure_would_be_noticed(monkeypatch):
    metrics = copy.deepcopy(documents.read(documents.METRICS))
    metrics["evaluation"]["test"]["value"] = 0.1234
    read = documents.read
    monkeypatch.setattr(documents, "read", lambda path: metrics if path == documents.METRICS else read(path))
    text = documents.DOCUMENTS[0].read_text(encoding="utf-8")
    assert "0.123" in documents.fill(text) and documents.fill(text) != text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_documents_name_only_targets_that_make_has():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"`?make ([a-z-]+)", (REPOSITORY / page).read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target}"


@pytest.mark.parametrize(
    "folder",
    [
        *("notebooks", "data_prep_eda", "train_model", "containerize_deploy", "containerize_deploy/page"),
        *("train_model/evaluation", "train_model/sweep", "train_model/automation"),
    ],
)
def test_every_folder_says_what_it_is(folder):
    first = (REPOSITORY / folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert first[0].startswith("# ") and len(first[2]) > 40
