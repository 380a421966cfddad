"""Puts the page together for any static host, and serves it on the loopback.

    python -m containerize_deploy.page --model runs/<timestamp>

copies the page's files, LiteRT.js (which npm installs as `package-lock.json` pins it) and the model into `build/page/`,
and prints the address at which it serves them until interrupted. What the page says of its classes comes from the
model's file; the drawn examples go with a model of the same classes as theirs.
"""

import argparse
import base64
import filecmp
import functools
import gzip
import hashlib
import html
import http.server
import json
import mimetypes
import re
import shutil
import string
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from containerize_deploy.scene_model import MODEL_FILE, ModelError, find_model, read_facts

PAGE = Path(__file__).parent
ROOT = PAGE.parents[1]
SITE = ROOT / "build" / "page"
PACKAGES = ROOT / "build" / "npm"
SAMPLE = ROOT / "data_prep_eda" / "sample"
CARD = "model-card.txt"

EXAMPLES = {  # and what they show
    SAMPLE / "coast" / "coast_08.jpg": "Drawn beach with surf",
    SAMPLE / "forest" / "forest_06.jpg": "Drawn path through a wood",
    SAMPLE / "mountain" / "mountain_22.jpg": "Drawn mountain range with snow",
    PAGE / "cup.jpg": "Drawn cup of coffee",
}
FEW = 60  # characters: labels that take more are counted, not listed
NOT_PUBLISHED = ("*.py", "__pycache__", "*.mjs", "*.md", "package*.json", "cup.jpg", "screenshot.png")
# Not kept for offline use.
LATER = {"_headers", "service-worker.js", "icon.png", "preview.jpg", "LICENSE.txt", CARD}
LITERT = "@litertjs/core"
DRIVERS = ("puppeteer-core", "axe-core")  # what drives a browser in the tests and the benchmark
# LiteRT.js takes the first build on processors with relaxed SIMD, else the second; there are others, not used here.
LITERT_BUILDS = ("litert_wasm_internal.*", "litert_wasm_compat_internal.*")

TYPES = mimetypes.MimeTypes()  # Python's own, and not the system's
TYPES.add_type("text/javascript", ".js")


class PageError(RuntimeError):
    """The page cannot be put together or served; the message says what to do."""


def assemble(site: Path = SITE, model: Path = MODEL_FILE, address: str = "", home: str = "") -> Path:
    """Puts the page together; what an earlier call left in the folder is replaced, all of it or nothing.

    Args:
        site: folder to write.
        model: `.tflite` file.
        address: at which the page will be published; some programs that preview links want it.
        home: the way from the page to the site around it, such as `../`.

    Raises:
        PageError: LiteRT.js is not there and npm could not install it, or the folder holds something else.
        ModelError: the file is no model with its metadata.
    """
    if site.exists() and any(site.iterdir()) and not (site / "files.js").exists():
        raise PageError(f"Expected {site} to be empty or an earlier page; name another folder or empty it.")
    content = model.read_bytes()
    labels, own = read_facts(content, model.name)["labels"], content == MODEL_FILE.read_bytes()
    litert = packages() / LITERT
    part = site.with_name(f"{site.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(PAGE, part, ignore=shutil.ignore_patterns(*NOT_PUBLISHED))
    (part / MODEL_FILE.name).write_bytes(content)
    shutil.copy(ROOT / "LICENSE", part / "LICENSE.txt")
    (part / "litert").mkdir()
    for path in [path for name in LITERT_BUILDS for path in (litert / "wasm").glob(name)]:
        shutil.copy(path, part / "litert")

    words = _sentences(labels) | {"bytes": len(content), "address": address, "home": "", "elsewhere": ""}
    drawn = labels == sorted(folder.name for folder in SAMPLE.iterdir() if folder.is_dir())
    words |= _examples(part) if drawn else {"examples": "", "preview": "icon.png"}
    if home:
        words["home"] = f' <a href="{home}">Notebooks and guides</a> of the study behind it.'
    if own:
        shutil.copy(ROOT / "train_model" / "MODEL_CARD.md", part / CARD)
        metrics = json.loads((ROOT / "notebooks" / "metrics.json").read_text(encoding="utf-8"))
        right = [source["accuracy"] for source in metrics["evaluation"]["left_out"]]
        share = f"{min(right):.0%} to {max(right):.0%} of those that show one of its classes"
        words["elsewhere"] = (
            f"<p>On images from a collection that it was not trained on, it is right on {share}. "
            f'<a href="{f"{home}train_model/MODEL_CARD.html" if home else CARD}">The model’s card</a> says more.</p>'
        )
    for name in ("index.html", "manifest.webmanifest"):
        page = string.Template((part / name).read_text(encoding="utf-8")).substitute(words)
        (part / name).write_text(page, encoding="utf-8")

    # Browsers know no packages. An import map would tell them, but inline, which the security policy forbids.
    for source, name in ((litert, "index.js"), (litert.parent / "wasm-utils", "wasm-utils.js")):
        code = (source / "dist" / "index.js").read_text(encoding="utf-8")
        code = code.replace('from "@litertjs/wasm-utils"', 'from "./wasm-utils.js"')
        code = re.sub(r"\n//# sourceMappingURL=\S*\s*$", "\n", code)  # the map is not published
        (part / "litert" / name).write_text(code, encoding="utf-8")

    # The service worker keeps these; a browser looks for a new version by comparing this file and the worker.
    digests = {}
    for name, content in sorted(_contents(part).items()):
        if name not in LATER:  # as browsers check it (subresource integrity)
            digests[name] = f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"
    (part / "files.js").write_text(f"self.FILES = {json.dumps(digests, indent=2)};\n", encoding="utf-8")
    shutil.rmtree(site, ignore_errors=True)
    part.rename(site)
    return site


def _contents(site: Path) -> dict[str, bytes]:
    """Files by their paths from the site."""
    files = (path for path in site.rglob("*") if path.is_file())
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in files}


def _sentences(labels: Sequence[str]) -> dict[str, str]:
    """What the page says of its classes; the title of `["bar", "café"]` is `Bar or café?`."""
    listed = f"{', '.join(labels[:-1])} or {labels[-1]}"
    few = len(listed) <= FEW
    kinds = listed if few else f"one of {len(labels)} kinds of things"
    words = {
        "title": f"{listed[0].upper()}{listed[1:]}?" if few else f"Which of {len(labels)} kinds?",
        "description": f"Tells whether an image shows {kinds}, on your own device.",
        "first_line": f"Choose an image, and this page tells whether it shows {kinds}, or none of these. Your images stay "
        "on this device: the model runs in the page, and nothing is sent anywhere.",
    }
    return {key: html.escape(text.replace("\\", "/")) for key, text in words.items()}  # for HTML and JSON


def _examples(part: Path) -> dict[str, str]:
    """Copies the drawn examples, makes buttons of them, and the picture that previews of links show."""
    (part / "examples").mkdir()
    preview, buttons = Image.new("RGB", (1200, 630)), ""
    for number, (path, words) in enumerate(EXAMPLES.items()):
        shutil.copy(path, part / "examples")
        with Image.open(path) as image:
            preview.paste(ImageOps.fit(image, (600, 315)), (number % 2 * 600, number // 2 * 315))
        image = f'<img src="examples/{path.name}" alt="{words}" width="256" height="256">'
        buttons += f'<button disabled data-example="{path.name}">{image}</button>'
    preview.save(part / "preview.jpg", quality=80)
    group = f'<div class="examples" role="group" aria-labelledby="examples-label">{buttons}</div>'
    return {"examples": f'<p id="examples-label">Or try a drawn one:</p>{group}', "preview": "preview.jpg"}


def packages(drivers: bool = False) -> Path:
    """The folder of the pinned packages, with `drivers` also of those that drive a browser; PageError if npm fails."""
    pins, modules = ("package.json", "package-lock.json"), PACKAGES / "node_modules"
    current = not any(filecmp.cmpfiles(PAGE, PACKAGES, pins, shallow=False)[1:])
    wanted = (".package-lock.json", LITERT, *(DRIVERS * drivers))  # the first is what npm writes last
    if current and all((modules / name).exists() for name in wanted):
        return modules
    PACKAGES.mkdir(parents=True, exist_ok=True)
    for pin in pins:
        shutil.copy(PAGE / pin, PACKAGES)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    command = [shutil.which("npm") or "npm", "ci", *options, *["--omit=dev"] * (not drivers)]
    try:
        done = subprocess.run(command, cwd=PACKAGES, capture_output=True, text=True, errors="replace")
    except OSError:
        words = "which npm installs, and npm was not found: install Node.js 20 or later (npm comes with it)"
        raise PageError(f"The page needs LiteRT.js, {words}, then run this again.") from None
    if done.returncode:
        said, *_ = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise PageError(
            f"The page needs LiteRT.js, and npm ci in {PACKAGES} ended with status {done.returncode}: {said}. "
            "Check that `npm --version` answers and that a registry can be reached, then run this again."
        )
    return modules


def site_headers(site: Path) -> dict[str, str]:
    """The headers that `_headers` asks of a host for every file."""
    _, *lines = (site / "_headers").read_text(encoding="utf-8").splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if line.strip())


def make_server(site: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the page on the loopback that does what a good static host does: types, gzip, tags, headers.

    It reads the files once, now; its `sent` lists the bytes of every answer. Port 0 takes a free one; PageError for
    one that can't be used.
    """
    headers, contents, sent = site_headers(site), _contents(site), []
    compressed = functools.cache(functools.partial(gzip.compress, mtime=0))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            name = re.sub(r"/$", "/index.html", self.path.split("?")[0]).removeprefix("/")
            if name not in contents:
                self.send_error(404)
                return
            body, suffix = contents[name], Path(name).suffix
            described = headers | {"ETag": f'"{zlib.crc32(body)}-{len(body)}"', "Vary": "Accept-Encoding"}
            kind = TYPES.guess_type(name)[0] or "application/octet-stream"
            described["Content-Type"] = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
            known = self.headers.get("If-None-Match") == described["ETag"]
            if "gzip" in self.headers.get("Accept-Encoding", "") and suffix not in (".jpg", ".png"):
                body, described["Content-Encoding"] = compressed(body), "gzip"
            described["Content-Length"] = str(len(body))
            self.send_response(304 if known else 200)
            for header, value in described.items():
                self.send_header(header, value)
            self.end_headers()
            sent.append(0 if known else len(body))
            if not known and self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET
        log_message = lambda *arguments: None  # noqa: E731

    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:  # the latter for a number that is no port
        reason = getattr(error, "strerror", error)
        raise PageError(f"Port {port} can't be used ({reason}); name another with --port.") from None
    server.sent = sent
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # a browser that hangs up is no news
    return server


def main() -> None:
    """Puts the page together and serves it until interrupted."""
    says = "Serve the page that runs the model in a browser."
    parser = argparse.ArgumentParser(prog="python -m containerize_deploy.page", description=says)
    add = parser.add_argument
    add("--model", help="a .tflite file or a run's folder (default: the committed model)")
    add("--port", type=int, default=8000, help="of 127.0.0.1 (default: 8000); 0 takes a free one")
    add("--out", type=Path, default=SITE, help="folder for the page (default: build/page)")
    add("--no-serve", action="store_true", help="only put it together, for publishing")
    add("--home", default="", help="the way to a site around the page, such as ../ (default: none)")
    add("--address", default="", help="where it will be published, https://…/, for previews of links")
    options = parser.parse_args()
    try:
        site = assemble(options.out.resolve(), find_model(options.model), options.address, options.home)
        if options.no_serve:
            print(f"The page is in {site}")
            return
        server = make_server(site, options.port)
        print(f"The page is at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
    except (PageError, ModelError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The page can't be written to {options.out}: {error.strerror}. Name another by --out.")
    except KeyboardInterrupt:
        sys.exit(130)
