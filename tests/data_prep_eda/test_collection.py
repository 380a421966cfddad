"""What is kept of a source, and what is said of the rest."""

import hashlib

import pytest
from PIL import Image

from data_prep_eda import arrange
from data_prep_eda.archives import Member
from data_prep_eda.collection import Collection, match
from data_prep_eda.sun09 import acquire
from tests.data_prep_eda.costly_images import encoded


def jpeg(colour):
    return encoded(Image.new("RGB", (40, 30), colour), "JPEG")


def member(path, content):
    return Member(path, len(content), lambda: content)


def test_the_manifests_have_the_digest_of_every_image_that_was_available():
    digests = list(acquire.wanted().values())
    assert len(digests) == 1158 and sum(len(digest) == 64 for digest in digests) == 1026
    assert all(len(digest) == 64 for digest in arrange.wanted().values())


@pytest.mark.real_data
def test_the_real_images_are_those_of_the_manifest(real_images):
    for path in sorted(real_images.glob("*/*.jpg")):
        wanted = acquire.wanted()[f"{path.parent.name}/{path.name}"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted, path.name


@pytest.mark.parametrize("path", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "x\\a.jpg", "a\0.jpg", ""])
def test_paths_that_lead_out_of_an_archive_stand_for_nothing(path):
    assert match(path, {"*/a.jpg": "a.jpg", "*/a": "a.jpg", "": "a.jpg"}) is None


def test_the_first_image_of_a_name_is_kept_and_what_differs_or_is_missing_is_named(tmp_path):
    wanted = {"coast/a.jpg": "0" * 64, "forest/b.jpg": "", "forest/c.jpg": ""}
    collection = Collection(tmp_path, wanted)
    members = [member("a.jpg", jpeg("blue")), member("a.jpg", jpeg("red"))]
    members += [member("b.jpg", b"broken"), member("b.jpg", jpeg("red"))]
    collection.gather(members, {path.split("/")[1]: path for path in wanted})
    assert (tmp_path / "coast/a.jpg").read_bytes() == jpeg("blue")
    assert "byte for byte: coast/a.jpg." in collection.differing()
    collection.write_missing()
    first, second = (tmp_path / "missing.txt").read_text().splitlines()
    assert first.startswith("forest/b.jpg: not an image") and second == "forest/c.jpg: not in the source"
    collection.available = {*wanted}
    collection.write_missing()
    assert not (tmp_path / "missing.txt").exists()
