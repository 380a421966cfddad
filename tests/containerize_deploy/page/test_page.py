"""The page: its resize against Pillow's, its answers against the service's, and itself in a real browser."""

import http.client
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from containerize_deploy.page import website
from containerize_deploy.scene_model import SceneModel
from data_prep_eda.preprocessing import load_image
from tests.containerize_deploy.colours import COLOURS, OTHER_COLOUR, draw
from tests.containerize_deploy.colours import FILE as FIVE_COLOURS

HERE = Path(__file__).parent
ROOT = Path(website.__file__).parents[2]
SAMPLE = ROOT / "data_prep_eda" / "sample"
UPLOAD_PAGE = ROOT / "containerize_deploy" / "upload_page.html"


def tried(name: str) -> str:
    """The path of a program that answers when it is asked for its version; skips where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}, which is not on the PATH")
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60)
    if answer.returncode:
        pytest.skip(
            f"needs {name}, and {path} --version ended with {answer.returncode}: {answer.stderr.strip()}"
        )
    return path


@pytest.fixture(scope="module")
def packages() -> Path:
    """What npm installs: LiteRT.js and what drives the browser."""
    tried("node")
    tried("npm")
    try:
        return website.packages(drivers=True)
    except website.PageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(packages, tmp_path_factory) -> Path:
    """The page, put together."""
    return website.assemble(tmp_path_factory.mktemp("site") / "page")


@pytest.fixture(scope="module")
def model() -> SceneModel:
    return SceneModel()


def drawn(scene: str, width: int, height: int, grain: float = 0.0) -> Image.Image:
    """A picture of the sample at another size; with grain, which a careless resize would alias."""
    with Image.open(SAMPLE / scene / f"{scene}_08.jpg") as image:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if grain:
        noise = np.random.default_rng(0).normal(0, grain, (height, width, 1))
        image = Image.fromarray((image + noise).clip(0, 255).astype(np.uint8))
    return image


def test_the_resize_is_pillows(tmp_path, model):
    node = tried("node")
    rng = np.random.default_rng(0)
    sizes = [
        (1, 1),
        (224, 224),
        (256, 256),
        (223, 225),
        (1, 3000),
        (3000, 1),
        (300, 100),
        (1401, 999),
        (1600, 1200),
    ]
    images = {"noise": [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]}
    for scene in ("coast", "forest", "mountain"):
        images[scene] = [drawn(scene, width, height, grain=8) for width, height in sizes[-3:]]
    files = {}
    for name, number, image in [(name, *each) for name, some in images.items() for each in enumerate(some)]:
        path = tmp_path / f"{name}_{number}.{'png' if name == 'noise' else 'jpg'}"
        image.save(path, compress_level=1, quality=90)
        with Image.open(path) as decoded:
            path.with_suffix(".raw").write_bytes(decoded.convert("RGBA").tobytes())
        files[path] = (
            f"{path.with_suffix('.raw')}:{image.width}:{image.height}:{json.dumps(path.suffix == '.jpg')}"
        )
    subprocess.run([node, HERE / "resize_all.mjs", *files.values()], check=True, timeout=60)

    for path in files:
        expected = load_image(path, 224)
        found = np.fromfile(path.with_suffix(".raw.rgb"), np.uint8).reshape(224, 224, 3)
        assert np.abs(found.astype(int) - expected).max() <= 2, path.name
        there, here = model.classify(expected), model.classify(found)
        assert there.label == here.label
        for scene, probability in there.probabilities.items():
            assert here.probabilities[scene] == pytest.approx(probability, abs=0.05), path.name


# The page in real browsers: page.test.mjs runs once in each, and each of its tests is one here.

BROWSERS = {"chromium": "chromium", "firefox": "firefox-esr"}
BROWSER_TESTS = re.findall(
    r'^test\("(.+)", (?:chromiumOnly, )?async', (HERE / "page.test.mjs").read_text(), re.M
)


def write_images(folder: Path, model: SceneModel) -> None:
    """What people hand to the page: `sample/`, `sound/`, `broken/`, `colours/`, an unsure one and one of 24 megapixels."""
    for name in ("sample", "sound", "broken", "colours"):
        (folder / name).mkdir()
    for number in range(8, 18):
        for scene in ("coast", "forest", "mountain"):
            shutil.copy(SAMPLE / scene / f"{scene}_{number:02}.jpg", folder / "sample")
    unsure(model).save(folder / "unsure.jpg")
    for name, colour in {**COLOURS, "other": OTHER_COLOUR}.items():
        draw(folder / "colours" / f"{name}.jpg", colour)
    drawn("mountain", 6000, 4000).save(folder / "24_megapixels.jpg")
    write_sound(folder / "sound")
    write_broken(folder / "broken", folder / "sound")


def unsure(model: SceneModel) -> Image.Image:
    """Halfway between two scenes: in scope, and no class reaches 0.8."""
    for number in range(40):
        halves = (SAMPLE / scene / f"{scene}_{number:02}.jpg" for scene in ("forest", "mountain"))
        image = Image.blend(*map(Image.open, halves), 0.5)
        answer = model.classify(np.asarray(image.resize((model.size, model.size))))
        if answer.score > model.score_threshold + 0.2 and max(answer.probabilities.values()) < 0.75:
            return image
    raise AssertionError("No two images of the sample make one that the model is unsure of.")


def write_sound(sound: Path) -> None:
    wide = drawn("coast", 1203, 801)
    for orientation in (2, 5, 6):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        for suffix in ("jpg", "png", "webp", "avif"):
            wide.save(sound / f"turned_{orientation}.{suffix}", exif=exif)
    wide.convert("CMYK").save(sound / "cmyk.jpg")
    wide.convert("L").save(sound / "grey.jpg", progressive=True)
    wide.quantize(64).save(sound / "palette.png")
    wide.save(sound / "lossless.webp", lossless=True)
    levels = np.asarray(wide.convert("L")).astype(np.uint16) * 257
    Image.fromarray(levels).save(sound / "sixteen_bits.png")
    seen_through = wide.convert("RGBA")
    seen_through.putalpha(Image.linear_gradient("L").resize(wide.size))
    seen_through.save(sound / "seen_through.png")
    wide.save(sound / "a_png_by_another_name.dat", format="PNG")
    drawn("forest", 3, 30_000).save(sound / "tall.png")


def write_broken(broken: Path, sound: Path) -> None:
    for name, whole in {
        "truncated.jpg": "cmyk.jpg",
        "progressive.jpg": "grey.jpg",
        "truncated.png": "palette.png",
    }.items():
        content = (sound / whole).read_bytes()
        (broken / name).write_bytes(content[: len(content) // 2])
    png = bytearray((sound / "palette.png").read_bytes())
    png[len(png) // 2] ^= 1
    (broken / "one_bit.png").write_bytes(png)
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 12_240, 16_320, 3) + bytes(9)
    (broken / "200_megapixels.jpg").write_bytes(
        b"\xff\xd8\xff\xe1" + struct.pack(">H", 60_000) + bytes(59_998) + frame
    )
    (broken / "200_megapixels.webp").write_bytes(
        b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<IIHBHB", 10, 0, 16_319, 0, 12_239, 0)
    )
    (broken / "empty.jpg").touch()
    (broken / "page.jpg").write_text("There is no image here, only this sentence about one.")
    (broken / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    drawn("coast", 20, 20).save(broken / "scan.tif")


@pytest.fixture(scope="module", params=BROWSERS)
def in_browser(request, packages, model, tmp_path_factory) -> tuple[dict[str, str], Path]:
    """Outcome of each test in a browser, empty where it passed; and the folder with the images and answers."""
    program = tried(BROWSERS[request.param])
    images, sites = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("sites")
    write_images(images, model)
    website.assemble(sites / "page")
    website.assemble(sites / "other", FIVE_COLOURS)
    shutil.copy(sites / "page" / "_headers", sites)
    done = subprocess.run(
        [tried("node"), "--test-reporter=tap", HERE / "page.test.mjs"],
        env={
            **os.environ,
            "BROWSER": request.param,
            "PROGRAM": program,
            "IMAGES": str(images),
            "PACKAGES": str(packages),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "SITES": str(sites),
            "UPLOAD_PAGE": str(UPLOAD_PAGE),
        },
        capture_output=True,
        text=True,
        timeout=840,
    )
    results = re.findall(
        r"^(not )?ok \d+ - ([^\n]+?)( # SKIP[^\n]*)?$(.*?)(?=^(?:not )?ok |^# Subtest|\Z)",
        done.stdout,
        re.M | re.S,
    )
    outcomes = {name: skip or (details if failed else "") for failed, name, skip, details in results}
    assert outcomes, done.stdout + done.stderr
    return outcomes, images


@pytest.mark.slow
@pytest.mark.parametrize("name", BROWSER_TESTS)
def test_in_the_browser(in_browser, name):
    outcomes, _ = in_browser
    details = outcomes.get(name, "did not run")
    if details.startswith(" # SKIP"):
        pytest.skip(details.removeprefix(" # SKIP "))
    if details:
        pytest.fail(details, pytrace=False)


@pytest.mark.slow
def test_the_page_answers_as_the_service_does(in_browser, model):
    _, images = in_browser
    answers = json.loads((images / "answers.json").read_text())
    assert len(answers) == len(list((images / "sound").iterdir()))
    for answer in answers:
        expected = model.classify(load_image(images / "sound" / answer["file"], model.size))
        assert answer["label"] == expected.label, answer["file"]
        assert answer["score"] == pytest.approx(expected.score, abs=0.3), answer["file"]
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=0.05), answer["file"]


def test_both_pages_say_the_same():
    """The upload page is one file, so that it repeats what verdict.js says."""
    words = re.findall(r'^  \[\w+\]: "(.+)",$', (website.PAGE / "verdict.js").read_text(), re.M)
    assert len(words) == 2
    assert all(sentence in UPLOAD_PAGE.read_text() for sentence in words)


@pytest.mark.parametrize(
    ("labels", "title"),
    [
        (["bar", "café"], "Bar or café?"),
        (['<b>"</b>', "a & b"], "&lt;b&gt;&quot;&lt;/b&gt; or a &amp; b?"),
        ([f"class {number}" for number in range(200)], "Which of 200 kinds?"),
    ],
)
def test_the_title_names_the_models_classes(labels, title):
    assert website._sentences(labels)["title"] == title


def test_no_class_is_named_in_the_pages_files():
    for path in (
        UPLOAD_PAGE,
        *website.PAGE.glob("*.js"),
        website.PAGE / "index.html",
        website.PAGE / "style.css",
    ):
        assert not re.search(r"\b(coast|forest|mountain)", path.read_text(), re.I), path.name


# The site, and the guide to its publication.


@pytest.fixture(scope="module")
def server(site):
    server = website.make_server(site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def get(server, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    return response, response.read()


GUIDE = (ROOT / "containerize_deploy" / "deploy_page.md").read_text()


def test_the_server_sends_what_the_guide_asks_of_a_host(site, server):
    types = dict(re.findall(r"^\| `(\.\w+)` \| `(.+)` \|$", GUIDE, re.MULTILINE))
    nginx = dict(re.findall(r'add_header ([\w-]+) "(.+)" always;', GUIDE))
    for path in site.rglob("*"):
        if not path.is_file() or path.name == "_headers":
            continue
        response, _ = get(server, f"/{path.relative_to(site).as_posix()}", Accept_Encoding="gzip")
        assert response.headers["Content-Type"] == types[path.suffix], path.name
        assert {name: response.headers[name] for name in nginx} == nginx
        assert "Cross-Origin-Opener-Policy" not in response.headers

    response, _ = get(server, "/", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    again, body = get(server, "/", If_None_Match=response.headers["ETag"])
    assert (again.status, body) == (304, b"")
    assert get(server, "/../package.json")[0].status == 404


def test_the_pages_own_policy_is_the_headers(site):
    (own,) = re.findall(r'Content-Security-Policy" content="(.+?)"', (site / "index.html").read_text())
    # Framing can only be forbidden by a header.
    assert website.site_headers(site)["Content-Security-Policy"] == f"{own}; frame-ancestors 'none'"
    assert "unsafe-inline" not in own


def test_the_guide_publishes_the_page(site, tmp_path):
    _, publish, _ = re.findall(r"^```bash\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    shutil.copytree(site, tmp_path / "build" / "page")
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "remote"], check=True)
    person = {f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(
        ["bash", "-euc", publish.replace("https://github.com/OWNER/REPOSITORY", str(tmp_path / "remote"))],
        cwd=tmp_path,
        env={**os.environ, **person},
        check=True,
        capture_output=True,
    )
    listing = ["git", "-C", tmp_path / "remote", "ls-tree", "-r", "--name-only", "gh-pages"]
    published = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    here = [path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()]
    assert set(published) == {*here, ".nojekyll"}


@pytest.mark.parametrize(
    ("stub", "said"),
    [
        (None, "npm was not found: install Node.js"),
        ("echo no such version >&2; exit 127", "status 127: no such version"),
    ],
)
def test_without_npm_the_page_says_what_to_do(tmp_path, monkeypatch, stub, said):
    monkeypatch.setattr(website, "PACKAGES", tmp_path / "packages")
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere" if stub is None else f"{tmp_path}:/bin")
    if stub:
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{stub}\n")
        (tmp_path / "npm").chmod(0o755)
    with pytest.raises(website.PageError, match=said):
        website.assemble(tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "/dev/null/page", "--no-serve"], "The page can't be written to"),
        (["--port", "99999"], "can't be used"),
    ],
)
def test_a_place_that_cannot_be_is_a_sentence(packages, tmp_path, monkeypatch, options, said):
    monkeypatch.setattr("sys.argv", ["page", "--out", str(tmp_path / "site"), *options])
    with pytest.raises(SystemExit, match=said):
        website.main()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("Dear")
    with pytest.raises(website.PageError, match="empty or an earlier page"):
        website.assemble(tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "Dear"
