"""How Sphinx builds the site (make site): notebooks as they are committed, README, guides and the model's card."""

import re
import shutil
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("notebooks", "data_prep_eda", "train_model", "containerize_deploy")

project = "Coast, forest or mountain?"
version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
project_copyright = "the scene classifier’s authors, Apache-2.0"
language = "en"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx.ext.githubpages"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "notebooks/*.ipynb", *(f"{room}/**.md" for room in ROOMS)]
exclude_patterns = [".*", "build", "data", "other_sources", "runs", "tests"]  # not even looked into
templates_path = ["templates"]

nb_execution_mode = "off"  # they are shown as published
nb_ipywidgets_js = {}  # no scripts from elsewhere
nb_merge_streams = True
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_title = project
html_favicon = "../page/icon.svg"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_sidebars = {"**": ["top.html", "sbt-sidebar-nav.html"]}
html_theme_options = {
    "article_header_end": ["try.html", "article-header-buttons.html"],
    "use_download_button": False,
    "show_navbar_depth": 1,
}


def pages(pattern: str) -> list[str]:
    """Names of pages as Sphinx has them; a folder's README comes first."""
    paths = sorted(ROOT.glob(pattern), key=lambda path: (path.parent, path.stem != "README", path))
    return [path.relative_to(ROOT).with_suffix("").as_posix() for path in paths]


CONTENTS = {
    "The study": ["notebooks/README", *pages("notebooks/0*.ipynb")],
    "Side roads": pages("notebooks/1*.ipynb"),
    "Use it": pages("containerize_deploy/**/*.md"),
    "What it rests on": ["CONTRIBUTING", *pages("train_model/**/*.md"), *pages("data_prep_eda/**/*.md")],
}
EMPTY_HEAD = r'<th(?: class="[^"]*head[^"]*")?>(?:<p></p>)?</th>'
FOLDER = re.compile(r"\]\(((?:\.\./)*\w+)/\)")


def prepare(app: Sphinx, name: str, source: list[str]) -> None:
    """Gives the first page its table of contents, leads from folders to their READMEs."""
    source[0] = FOLDER.sub(r"](\1/README.md)", source[0])
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            listed = "\n".join(pages)
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def mend(app: Sphinx, name: str, template: str, context: dict, doctree: object) -> None:
    """For whoever hears a page or has no mouse: no empty heads of tables, names as they read, tables that scroll."""
    body = re.sub(EMPTY_HEAD, "<td></td>", context.get("body", ""))
    body = body.replace(' aria-label="Toggle hidden content"', "")
    context["body"] = body.replace("<table ", '<table tabindex="0" ')


def finish(app: Sphinx, error: Exception | None) -> None:
    """Hosts open `index.html`."""
    if error is None:
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    app.connect("source-read", prepare)
    app.connect("html-page-context", mend)
    app.connect("build-finished", finish)
