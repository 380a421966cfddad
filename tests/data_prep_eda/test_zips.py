"""Zip files for upload: whole, the same for the same files, and never over somebody else's."""

import os
import zipfile

import pytest

from data_prep_eda.dataset import DatasetError
from data_prep_eda.zips import write_zip


@pytest.fixture
def content(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.jpg").write_bytes(b"two")
    return [("coast/a.jpg", tmp_path / "a.jpg"), ("coast/b.jpg", tmp_path / "b.jpg")]


def test_the_same_files_make_the_same_zip_which_is_known_again(content, tmp_path):
    write_zip(tmp_path / "one.zip", content)
    os.utime(content[0][1], (0, 0))
    write_zip(tmp_path / "two.zip", content)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.testzip() is None and archive.read("coast/b.jpg") == b"two"
    assert not write_zip(tmp_path / "one.zip", content)
    content[1][1].write_bytes(b"six")
    assert write_zip(tmp_path / "one.zip", content)


def test_a_zip_of_somebody_elses_is_left_alone(content, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("thesis.txt", "years of work")
    before = (tmp_path / "data.zip").read_bytes()
    with pytest.raises(DatasetError, match="left alone; name another one with --zip"):
        write_zip(tmp_path / "data.zip", content)
    assert (tmp_path / "data.zip").read_bytes() == before


def test_a_write_that_fails_leaves_the_zip_that_was_there(content, tmp_path):
    write_zip(tmp_path / "data.zip", content)
    before = (tmp_path / "data.zip").read_bytes()
    content[1][1].unlink()
    with pytest.raises(FileNotFoundError):
        write_zip(tmp_path / "data.zip", content)
    assert (tmp_path / "data.zip").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_names_that_are_not_text_are_packed_with_escapes(tmp_path):
    (tmp_path / "x").write_bytes(b"one")
    write_zip(tmp_path / "data.zip", [("coast/k\udcfcste.jpg", tmp_path / "x")])
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert archive.namelist() == [r"coast/k\udcfcste.jpg"]
