"""Puts the page together for any static host, and serves it on the loopback.

    python -m containerize_deploy.page

copies the page's files, LiteRT.js (which npm installs as `package-lock.json` pins it), the model and three images of
the sample into `build/page/`, and prints the address at which it serves them until interrupted.
"""

from __future__ import annotations

import argparse
import base64
import filecmp
import gzip
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent
ROOT = PAGE.parents[1]
SITE = ROOT / "build" / "page"
PACKAGES = ROOT / "build" / "npm"

MODEL = "scene-classifier-model.tflite"
EXAMPLES = {"coast.jpg": "coast_08.jpg", "forest.jpg": "forest_11.jpg", "mountain.jpg": "mountain_04.jpg"}
LITERT = "@litertjs/core"
DRIVERS = ("puppeteer-core", "axe-core")  # what drives a browser in the tests and the benchmark
# LiteRT.js takes the first build on processors with relaxed SIMD, else the second; there are others, not used here.
LITERT_BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal")

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",  # browsers compile it while it arrives only under this type
    ".webmanifest": "application/manifest+json",
}


class PageError(RuntimeError):
    """The page cannot be put together or served; the message says what to do."""


def assemble(site: Path = SITE) -> Path:
    """Puts the page together.

    Args:
        site: folder to write; what an earlier call left there is replaced, all of it or nothing.

    Returns:
        The folder.

    Raises:
        PageError: LiteRT.js is not there and npm could not install it, or the folder holds something else.
    """
    if site.exists() and any(site.iterdir()) and not (site / "files.js").exists():
        raise PageError(f"Expected {site} to be empty or an earlier page; name another folder or empty it.")
    litert = packages() / LITERT
    part = site.with_name(f"{site.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "litert").mkdir(parents=True)
    (part / "examples").mkdir()

    for source in sorted(PAGE.iterdir()):
        if (
            source.suffix in {".html", ".js", ".css", ".svg", ".webmanifest", ".txt"}
            or source.name == "_headers"
        ):
            shutil.copy(source, part)
    shutil.copy(ROOT / "LICENSE", part / "LICENSE.txt")
    shutil.copy(PAGE.parent / MODEL, part)
    for name, drawn in EXAMPLES.items():
        shutil.copy(ROOT / "data_prep_eda" / "sample" / drawn.split("_")[0] / drawn, part / "examples" / name)

    for build in LITERT_BUILDS:
        for suffix in (".js", ".wasm"):
            shutil.copy(litert / "wasm" / f"{build}{suffix}", part / "litert")
    # Browsers know no packages. An import map would tell them, but inline, which the security policy forbids.
    code = (litert / "dist" / "index.js").read_text(encoding="utf-8")
    code = code.replace('from "@litertjs/wasm-utils"', 'from "./wasm-utils.js"')
    (part / "litert" / "index.js").write_text(_without_map(code), encoding="utf-8")
    utilities = (litert.parent / "wasm-utils" / "dist" / "index.js").read_text(encoding="utf-8")
    (part / "litert" / "wasm-utils.js").write_text(_without_map(utilities), encoding="utf-8")

    # The service worker keeps these; a browser looks for a new version by comparing this file and the worker.
    names = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
    digests = {name: _digest(part / name) for name in names if name not in {"_headers", "service-worker.js"}}
    (part / "files.js").write_text(f"self.FILES = {json.dumps(digests, indent=2)};\n", encoding="utf-8")

    shutil.rmtree(site, ignore_errors=True)
    part.rename(site)
    return site


def packages(drivers: bool = False) -> Path:
    """The folder `node_modules` with the packages as pinned; npm installs them where they are not there yet.

    Args:
        drivers: whether those that drive a browser are needed too.

    Raises:
        PageError: npm is missing, does not run, or failed.
    """
    pins, modules = ("package.json", "package-lock.json"), PACKAGES / "node_modules"
    current = all(
        (PACKAGES / name).is_file() and filecmp.cmp(PAGE / name, PACKAGES / name, False) for name in pins
    )
    wanted = (
        ".package-lock.json",
        LITERT,
        *(DRIVERS if drivers else ()),
    )  # the first is what npm writes last
    if not current or not all((modules / name).exists() for name in wanted):
        PACKAGES.mkdir(parents=True, exist_ok=True)
        for name in pins:
            shutil.copy(PAGE / name, PACKAGES)
        _npm("ci", *([] if drivers else ["--omit=dev"]))
    return modules


def _npm(*arguments: str) -> None:
    command = [shutil.which("npm") or "npm", *arguments, "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(command, cwd=PACKAGES, capture_output=True, text=True, errors="replace")
    except OSError:
        raise PageError(
            "The page needs LiteRT.js, which npm installs, and npm was not found: install Node.js 20 or later "
            "(npm comes with it), then run this again."
        ) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise PageError(
            f"The page needs LiteRT.js, and npm could not install it (npm {' '.join(arguments)} in {PACKAGES} ended "
            f"with status {done.returncode}: {lines[0]}). Check that `npm --version` answers and that a registry "
            "can be reached, then run this again."
        )


def _without_map(code: str) -> str:
    """JavaScript without its reference to a source map that is not published."""
    return re.sub(r"\n//# sourceMappingURL=\S*\s*$", "\n", code)


def _digest(path: Path) -> str:
    """As browsers check it (subresource integrity)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()


def site_headers(site: Path) -> dict[str, str]:
    """The headers that `_headers` asks of a host for every file."""
    pattern, *lines = (site / "_headers").read_text(encoding="utf-8").splitlines()
    assert pattern == "/*"
    return dict(line.strip().split(": ", 1) for line in lines if line.strip())


@dataclass(frozen=True)
class _File:
    content: bytes
    compressed: bytes  # gzip
    media_type: str
    tag: str


def make_server(site: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the page on the loopback that does what a good static host does: types, gzip, tags, headers.

    Args:
        site: what `assemble` made. Its files are read once, now.
        port: of 127.0.0.1; 0 takes a free one.

    Returns:
        The server; its `sent` lists path and size in bytes of every answer.

    Raises:
        PageError: the port is taken.
    """
    headers, files, sent = site_headers(site), {}, []
    for path in site.rglob("*"):
        if path.is_file() and path.name != "_headers":
            content = path.read_bytes()
            files["/" + path.relative_to(site).as_posix()] = _File(
                content,
                gzip.compress(content, mtime=0),
                TYPES.get(path.suffix, "application/octet-stream"),
                f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            )
    files["/"] = files["/index.html"]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            file = files.get(self.path.split("?")[0])
            if file is None:
                return self._reply(404, {"Content-Type": TYPES[".txt"]}, b"There is no such file.\n")
            described = {
                **headers,
                "ETag": file.tag,
                "Vary": "Accept-Encoding",
                "Content-Type": file.media_type,
            }
            if self.headers.get("If-None-Match") == file.tag:
                return self._reply(304, described, b"")
            if "gzip" in self.headers.get("Accept-Encoding", "") and len(file.compressed) < len(file.content):
                return self._reply(200, {**described, "Content-Encoding": "gzip"}, file.compressed)
            return self._reply(200, described, file.content)

        do_HEAD = do_GET

        def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            sent.append((self.path, len(body)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:  # the latter for a number that is no port
        raise PageError(
            f"Port {port} can't be used ({getattr(error, 'strerror', error)}); name another: make page ARGS='--port 8001'."
        ) from None
    server.sent = sent
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # a browser that hangs up is no news
    return server


def main() -> None:
    """Puts the page together and serves it until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m containerize_deploy.page",
        description="Serve the page that runs the model in a browser.",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="of 127.0.0.1 (default: 8000); 0 takes a free one"
    )
    parser.add_argument("--out", type=Path, default=SITE, help="folder for the page (default: build/page)")
    parser.add_argument("--no-serve", action="store_true", help="only put it together, for publishing")
    options = parser.parse_args()
    try:
        site = assemble(options.out.resolve())
        if options.no_serve:
            print(f"The page is in {site}")
            return
        server = make_server(site, options.port)
        print(f"The page is at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
    except PageError as error:
        sys.exit(str(error))
    except OSError as error:  # of the folder
        sys.exit(
            f"Expected to write the page to {options.out}: {error.strerror}. Name another folder: --out FOLDER."
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
