"""Images of further sources that somebody has are arranged by the manifest, and nothing is lost or replaced."""

import re
import shutil
import tarfile
import zipfile

import pytest
from PIL import Image

from data_prep_eda.arrange import main, names, wanted
from data_prep_eda.collection import match
from tests.data_prep_eda.costly_images import encoded


def jpeg(colour):
    return encoded(Image.new("RGB", (40, 30), colour), "JPEG")


def test_the_manifest_holds_facts_of_four_sources():
    assert len(wanted()) == 4817
    assert {path.split("/")[0] for path in wanted()} == {"miml", "corel5k", "corel1k", "pexels"}


@pytest.mark.parametrize(
    "path, source, name",
    [
        ("corel1k/coast/corel1k_102.jpg", None, "corel1k/coast/corel1k_102.jpg"),
        ("image.orig/102.jpg", "corel1k", "corel1k/coast/corel1k_102.jpg"),
        ("image.orig/102.jpg", None, None),
        ("original/605.jpg", "miml", "miml/other/canyon_miml_605.jpg"),
        ("../corel1k_102.jpg", None, None),
        ("/corel1k_102.jpg", None, None),
        ("corel1k_5.jpg", None, None),
        (
            "other_sources/pexels/other/near_scenery_pexels_001.jpg",
            None,
            "pexels/other/near_scenery_pexels_001.jpg",
        ),
        ("forest/pexels_001.jpg", None, "pexels/forest/pexels_001.jpg"),
        ("pexels_001.jpg", None, None),
    ],
)
def test_names_and_the_originals_numbers_are_understood(path, source, name):
    assert match(path, names(source)) == name


@pytest.fixture(params=["folder", "zip", "tar.gz"])
def published(request, tmp_path):
    """An archive as its authors publish it: numbers for names, and a broken one."""
    folder = tmp_path / "original"
    folder.mkdir()
    for number, content in {102: jpeg("blue"), 103: jpeg("navy"), 801: jpeg("grey"), 104: b"broken"}.items():
        (folder / f"{number}.jpg").write_bytes(content)
    if request.param == "folder":
        return folder
    archive = tmp_path / f"original.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(archive, "w") as target:
            for path in folder.iterdir():
                target.write(path, f"image.orig/{path.name}")
    else:
        with tarfile.open(archive, "w:gz") as target:
            target.add(folder, "image.orig")
    shutil.rmtree(folder)
    return archive


def test_a_published_archive_is_arranged(published, tmp_path, capsys):
    out = tmp_path / "other_sources"
    mine = out / "corel1k" / "coast" / "corel1k_103.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert main(["--source", str(published), "--as", "corel1k", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"corel1k +970 +3 +967\n", said)
    assert "byte for byte: corel1k/coast/corel1k_102.jpg, " in said
    missing = (out / "corel1k" / "missing.txt").read_text().splitlines()
    assert len(missing) == 967 and "coast/corel1k_106.jpg: not in the source" in missing
    assert any(line.startswith("coast/corel1k_104.jpg: not an image") for line in missing)
    assert not (out / "miml").exists(), "a source that nobody has is no trouble"
    assert mine.read_bytes() == b"mine"
    assert (out / "corel1k" / "mountain" / "corel1k_801.jpg").is_file()
    assert not list(out.rglob(".*"))


def test_mistakes_are_sentences(published, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]  # not this repository's folder
    assert main(["--source", str(published), *out]) == 1
    assert "--as corel1k or corel5k or miml" in capsys.readouterr().err
    assert main(["--source", str(tmp_path / "nowhere"), *out]) == 1
    assert "found nothing" in capsys.readouterr().err
    (tmp_path / "note.tar").write_text("no archive")
    assert main(["--source", str(tmp_path / "note.tar"), *out]) == 1
    assert "Expected a whole tar archive" in capsys.readouterr().err
