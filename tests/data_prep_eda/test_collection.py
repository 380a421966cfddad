"""What is kept of a source, and what is said of the rest."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from data_prep_eda.arrange import MANIFEST as OTHER_SOURCES
from data_prep_eda.collection import ATTEMPTS, Collection, Wanted, inner_parts, read_wanted
from data_prep_eda.dataset import MANIFEST
from data_prep_eda.sun09.sources import Member


def jpeg(colour):
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(stream, "JPEG")
    return stream.getvalue()


def member(path, content):
    return Member(path, len(content), "", lambda: content, 0)


def test_the_manifests_have_the_digest_of_every_image_that_was_at_hand():
    digests = [image.sha256 for image in read_wanted(MANIFEST).values()]
    assert len(digests) == 1158 and sum(map(bool, digests)) == 1026
    assert all(len(image.sha256) == 64 for image in read_wanted(OTHER_SOURCES).values())


@pytest.mark.real_data
def test_the_real_images_are_those_of_the_manifest(real_images):
    wanted = read_wanted(MANIFEST)
    for path in sorted(real_images.glob("*/*.jpg")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted[path.name].sha256, path.name


@pytest.mark.parametrize("path", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "x\\a.jpg", "a\0.jpg", ""])
def test_paths_that_lead_out_of_an_archive_stand_for_nothing(path):
    assert inner_parts(path) == ()


def test_the_first_whole_image_is_kept_and_what_differs_is_named(tmp_path):
    wanted = {"a.jpg": Wanted("", "coast", "0" * 64), "b.jpg": Wanted("", "forest", "")}
    collection = Collection(tmp_path, wanted)
    members = [member("a.jpg", content) for content in (b"broken", jpeg("blue"), jpeg("red"))]
    for _ in collection.gather(members, str):
        pass
    assert (tmp_path / "coast/a.jpg").read_bytes() == jpeg("blue") and not collection.rejected
    assert "byte for byte: a.jpg." in collection.differing(collection.digests())
    assert collection.write_missing(tmp_path / "missing.txt", wanted) == 1
    assert (tmp_path / "missing.txt").read_text() == "forest/b.jpg: not in the source\n"


def test_many_headers_for_one_image_cost_a_few_attempts(tmp_path):
    collection, reads = Collection(tmp_path, {"a.jpg": Wanted("", "coast", "")}), []
    broken = Member("a.jpg", 9, "", lambda: reads.append(1) or b"no image", 0)
    for _ in collection.gather([broken] * 10_000, lambda path: Path(path).name):
        pass
    assert len(reads) == ATTEMPTS and "not an image" in collection.rejected["a.jpg"]
