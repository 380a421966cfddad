"""The site: every link leads somewhere, nothing is fetched from elsewhere, and a browser finds no fault with it."""

import html.parser
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from containerize_deploy.page import website

HERE = Path(__file__).parent
ROOT = website.ROOT
SITE = ROOT / "build" / "site"
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.slow


class Page(html.parser.HTMLParser):
    """Links, ids and what is loaded of an HTML file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(filter(None, (given.get("id"), given.get("name"))))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in {"img", "script", "source", "iframe"} and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") not in {"canonical", "search", "next", "prev", "index"}:
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    """The site, built, by path; the page with the model among them."""
    if not shutil.which("npm"):
        pytest.skip("needs npm, which is not on the PATH")
    built = subprocess.run(["make", "site"], cwd=ROOT, capture_output=True, text=True, timeout=900)
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip(f"Sphinx could not be installed: {built.stderr.splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    return {path: Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def test_every_link_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name.split("?")[0])).resolve() if name else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                anchor and target in pages and unquote(anchor) not in pages[target].ids
            ):
                broken.append(f"{path.relative_to(SITE)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    loaded = {(path.name, source) for path, page in pages.items() for source in page.loaded}
    assert not [each for each in loaded if re.match(r"(https?:)?//", each[1])]
    for style in SITE.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_model_is_a_click_from_every_notebook(pages, name):
    page = pages[SITE / "notebooks" / f"{name}.html"]
    assert "../page/index.html" in page.links


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_that_only_draw_are_folded(pages, name):
    text = (SITE / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert "tag_hide-input" in text and text.count("Show code cell source") == text.count("tag_hide-input")


def test_placeholders_stand_where_photographs_are_shown(pages):
    """The notebooks are shown as committed: no image that isn't in them."""
    text = (SITE / "notebooks" / "01_eda.html").read_text(encoding="utf-8")
    assert "photograph" in text


def test_it_fits_a_phone_is_dark_at_will_and_axe_finds_no_fault(pages):
    chromium, node = shutil.which("chromium"), shutil.which("node")
    if not (chromium and node):
        pytest.skip("needs Chromium and Node.js on the PATH")
    packages = website.packages(drivers=True)
    environment = {**os.environ, "CHROMIUM": chromium, "PACKAGES": str(packages), "SITE": str(SITE)}
    done = subprocess.run(
        [node, "--test", HERE / "site.test.mjs"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
