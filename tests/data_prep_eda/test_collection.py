"""What is kept of a source, and what is said of the rest."""

import hashlib

import pytest
from PIL import Image

from data_prep_eda import arrange
from data_prep_eda.archives import Member
from data_prep_eda.collection import ATTEMPTS, Collection, match
from data_prep_eda.sun09 import acquire
from tests.data_prep_eda.costly_images import encoded


def jpeg(colour):
    return encoded(Image.new("RGB", (40, 30), colour), "JPEG")


def member(path, content):
    return Member(path, len(content), "", lambda: content, 0)


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


def test_the_first_whole_image_is_kept_and_what_differs_is_named(tmp_path):
    collection = Collection(tmp_path, {"coast/a.jpg": "0" * 64, "forest/b.jpg": ""})
    members = [member("a.jpg", content) for content in (b"broken", jpeg("blue"), jpeg("red"))]
    for _ in collection.gather(members, {"a.jpg": "coast/a.jpg"}, None):
        pass
    assert (tmp_path / "coast/a.jpg").read_bytes() == jpeg("blue") and not collection.rejected
    assert "byte for byte: coast/a.jpg." in collection.differing()
    collection.write_missing()
    assert (tmp_path / "missing.txt").read_text() == "forest/b.jpg: not in the source\n"


def test_many_headers_for_one_image_cost_a_few_attempts(tmp_path):
    collection, reads = Collection(tmp_path, {"a.jpg": ""}), []
    broken = Member("a.jpg", 9, "", lambda: reads.append(1) or b"no image", 0)
    for _ in collection.gather([broken] * 10_000, {"a.jpg": "a.jpg"}, None):
        pass
    assert len(reads) == ATTEMPTS and "not an image" in collection.rejected["a.jpg"]
