"""The documents say what was measured, and point at what exists."""

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


QUICKEST = documents.read(documents.SERVICE_TIMES)["latency"]["256x256"]["service"]["p50"]
METRICS = {
    "xception": {"val_accuracy": 0.981, "test": {"value": 0.97, "low": 0.9, "high": 0.99}},
    "learning_rate": {"val_accuracy": 0.984, "runs": 5, "test": {"value": 0.98, "low": 0.91, "high": 0.99}},
    "final": {"val_accuracy": 0.987, "left_out": 63},
    "conversion": {
        "processor": "a processor",
        "served": {"MB": 3.84, "ms": 4.16},
        "formats": [
            {"format": "int8", "runtime": "litert", "MB": 3.84, "ms": 4.16},
            {"format": "int8", "runtime": "tflite_runtime", "MB": 3.84, "ms": 54.8},
            {"format": "float32", "runtime": "litert", "MB": 13.1, "ms": 11.6},
        ],
    },
    "run": {"cores": 2, "python": "3.11.7", "seconds": {"01_eda": 90, "02_data_preparation": 30}},
    "evaluation": {
        "test": {"value": 0.1234, "low": 0.1, "high": 0.2, "trials": 104},
        "kept_test": {"value": 0.98},
        "per_class": [
            {"index": "coast", "images": 40, "precision": 0.9, "recall": 0.95, "low": 0.9, "high": 0.97},
            {"index": "forest", "images": 0, "precision": 0.0, "recall": None, "low": None, "high": None},
        ],
        "refused": [
            {"source": "SUN 09", "images": 1025, "kept": 0.97, "kept low": 0.9, "kept high": 0.98, "others": None, "refused": None},
            {"source": "miml", "images": 539, "kept": 0.9, "kept low": 0.8, "kept high": 0.95, "others": 1461.0, "refused": 0.7,
             "refused low": 0.6, "refused high": 0.8},
        ],
        "mean": 0.9,
        "left_out": [
            {"source": "SUN 09", "images": 1025, "accuracy": 0.95, "low": 0.94, "high": 0.96, "coast": 0.97, "forest": None, "mountain": None},
            {"source": "miml", "images": 539, "accuracy": 0.84, "low": 0.8, "high": 0.88, "coast": 0.79, "forest": 0.96, "mountain": 0.8},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "block, lines",
    [
        ("headline", ["The served file has 3.8 MB, takes 4.2 ms per image on one thread of a processor, and classifies 12.3%"]),
        ("results", ["MobileNet, all sources, the served 8-bit file (08) | 0.987 | 0.123 (0.100 to 0.200)"]),
        ("left-out", ["SUN 09 | 1,025 | 0.950 (0.940 to 0.960) | 0.970 | | |", "The mean accuracy is **0.900**."]),
        ("formats", ["`int8` | 3.8 MB | 4.2 ms | 54.8 ms", "`float32` | 13.1 MB | 11.6 ms | no"]),
        ("test", ["Accuracy **0.123 (0.100 to 0.200)**, 104 images", "98.0% of them are kept", "| coast | 40 | 0.900 | 0.950 (0.900 to 0.970) |"]),
        ("refused", ["| SUN 09 | 1,025 | 0.970 (0.900 to 0.980) | | |", "| miml | 539 | 0.900 (0.800 to 0.950) | 1,461 | 0.700 (0.600 to 0.800) |"]),
        ("compute", ["The published run took 2 minutes on 2 cores of a processor, with Python 3.11.7; by notebook, in minutes: 01 1.5, 02 0.5."]),
        ("service-cost", [f"it takes {QUICKEST:.1f} ms for 256×256 pixels", "times faster than the original project's service"]),
    ],
)  # fmt: skip
def test_blocks_are_written_from_the_metrics_and_the_served_file_s_figures_from_its_evaluation(
    monkeypatch, block, lines
):
    read = documents.read
    monkeypatch.setattr(documents, "read", lambda path: METRICS if path == documents.METRICS else read(path))
    text = documents.fill(f"before\n<!-- begin {block} -->\nwhat was there\n<!-- end {block} -->\nafter\n")
    assert text.startswith(f"before\n<!-- begin {block} -->\n") and text.endswith(
        f"<!-- end {block} -->\nafter\n"
    )
    assert "what was there" not in text
    for line in lines:
        assert line in re.sub(r" +", " ", text)


def test_a_block_that_nobody_writes_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.md").write_text("<!-- begin nothing -->\n<!-- end nothing -->\n")
    monkeypatch.setattr(documents, "DOCUMENTS", (tmp_path / "page.md",))
    assert documents.main([]) == 2
    assert (
        capsys.readouterr().err
        == "page.md: expected a block or a recorded figure named 'nothing', found none.\n"
    )


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
