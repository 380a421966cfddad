"""What the study knows of its images without having them: classes, names, splits and SHA-256."""

import csv
import functools
from pathlib import Path

CLASSES = ("coast", "forest", "mountain")
SPLITS = ("train", "validation", "test")
MANIFEST = Path(__file__).with_name("sun09_manifest.csv")
OTHER_SOURCES = Path(__file__).with_name("other_sources_manifest.csv")


@functools.cache
def read_manifest(path: Path) -> list[dict[str, str]]:
    """The rows of a manifest of this package."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
