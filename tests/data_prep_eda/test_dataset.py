"""Which images a run uses, and clear words where a folder cannot be used."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data_prep_eda import dataset
from data_prep_eda.dataset import DatasetError, load_dataset, resolve_data_dir
from data_prep_eda.other_sources import load_sources
from data_prep_eda.preprocessing import SCENES


def test_one_folder_a_scene_is_split_by_the_studys_rule(images):
    data = load_dataset(str(images))
    assert data.counts().loc["total"].to_dict() == {"train": 30, "validation": 3, "test": 3, "total": 36}
    assert list(data.images["scene"].unique()) == list(SCENES)
    assert data.kind == "your own images"


def arrange(images, out, splits=("train", "validation", "test")):
    """The same images in split folders, a third of each scene in each."""
    for path in images.glob("*/*.jpg"):
        place = out / splits[int(path.stem[-2:]) % 3] / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return out


@pytest.mark.parametrize("splits", [("train", "validation", "test"), ("Train", "val", "TEST")])
def test_prepared_folders_are_taken_as_they_are(images, tmp_path, splits):
    data = load_dataset(str(arrange(images, tmp_path / "prepared", splits)))
    assert (data.counts().loc[list(SCENES), ["train", "validation", "test"]] == 4).all().all()


def test_what_is_tested_is_not_trained_on(images, tmp_path):
    prepared = arrange(images, tmp_path / "prepared")
    shutil.copy(prepared / "test" / "coast" / "coast_02.jpg", prepared / "train" / "coast" / "again.jpg")
    data = load_dataset(str(prepared))
    (left_out,) = data.rejected.itertuples()
    assert left_out.path.endswith("train/coast/again.jpg")
    assert left_out.reason == "the same image as coast_02.jpg, which is in test"


def test_one_image_under_two_scenes_is_neither(images):
    shutil.copy(images / "coast" / "coast_00.jpg", images / "forest" / "wood.jpg")
    data = load_dataset(str(images))
    assert list(data.rejected["reason"]) == ["the same image lies under coast and forest"] * 2


def test_a_broken_image_never_leaves_a_split_empty(images):
    for scene in SCENES:
        for path in sorted((images / scene).iterdir())[6:]:
            path.unlink()
    (images / "coast" / "coast_01.jpg").write_bytes((images / "coast" / "coast_01.jpg").read_bytes()[:400])
    (images / "forest" / "forest_00.jpg").write_text("<html>not found</html>")
    data = load_dataset(str(images))
    assert data.counts().loc["coast"].to_dict() == {"train": 3, "validation": 1, "test": 1, "total": 5}
    assert len(data.rejected) == 2


def test_what_systems_leave_behind_is_skipped_and_case_does_not_matter(images):
    (images / "coast").rename(images / "Coast")
    for folder in ("__MACOSX", ".ipynb_checkpoints", "@eaDir"):
        (images / folder).mkdir()
    for name in ("Thumbs.db", ".DS_Store", "._coast_00.jpg", "desktop.ini"):
        (images / "Coast" / name).write_bytes(b"x")
    data = load_dataset(str(images))
    assert len(data.images) == 36 and data.rejected.empty


def test_formats_that_are_not_read_come_with_advice(images):
    for name in ("a.HEIC", "b.tif", "c.gif", "d.bmp"):
        (images / "coast" / name).write_bytes(b"x")
    assert all("export it as JPEG" in reason for reason in load_dataset(str(images)).rejected["reason"])


def test_names_that_are_not_text(images):
    broken = bytes(images / "coast") + b"/k\xfcste.jpg"
    with open(broken, "wb") as stream:
        stream.write(b"no image")
    assert r"k\udcfcste.jpg" in str(load_dataset(str(images)))


def test_fingerprint_tells_other_images_and_not_other_junk(images):
    before = dataset.fingerprint(images)
    (images / "coast" / "Thumbs.db").write_bytes(b"x")
    assert dataset.fingerprint(images) == before
    (images / "coast" / "coast_00.jpg").write_bytes((images / "coast" / "coast_01.jpg").read_bytes())
    assert dataset.fingerprint(images) != before


def test_fingerprint_sees_behind_links_and_not_in_circles(images, tmp_path):
    before = dataset.fingerprint(images)
    (images / "coast").rename(tmp_path / "elsewhere")
    (images / "coast").symlink_to(tmp_path / "elsewhere")
    assert dataset.fingerprint(images) == before
    (images / "coast" / "back").symlink_to(images)
    assert dataset.fingerprint(images) == before
    (images / "coast" / "coast_00.jpg").unlink()
    assert dataset.fingerprint(images) != before


def test_fingerprint_tells_an_unreadable_image(images, monkeypatch):
    before, real = dataset.fingerprint(images), Path.read_bytes

    def read_bytes(path):
        if path.name == "coast_00.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert load_dataset(str(images)).rejected["reason"].tolist() == ["Permission denied"]
    assert dataset.fingerprint(images) != before


def test_sun09_names_get_the_studys_split_also_when_some_are_missing(images):
    names = [name for name, split in dataset.study_splits().items() if "coast_n" in name and split == "test"][
        :3
    ]
    for number, name in enumerate(names):
        Image.new("RGB", (48, 48), (number, 90, 160)).save(images / "coast" / name)
    rows = load_dataset(str(images)).images.set_index("name")
    assert set(rows.loc[names, "split"]) == {"test"}


def test_without_a_folder_the_sample_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(dataset, "PREPARED", tmp_path / "data")
    assert resolve_data_dir() == dataset.SAMPLE
    (tmp_path / "data" / "train").mkdir(parents=True)
    assert resolve_data_dir() == tmp_path / "data"


def test_environment_variable_names_the_folder(monkeypatch, images):
    monkeypatch.setenv("SCENES_DATA_DIR", str(images))
    assert resolve_data_dir() == images
    monkeypatch.setenv("SCENES_DATA_DIR", str(images / "nowhere"))
    with pytest.raises(DatasetError, match="environment variable SCENES_DATA_DIR"):
        resolve_data_dir()


def test_unusable_files_are_listed_by_name_and_the_rest_is_used(images):
    coast = images / "coast"
    (coast / "zero.jpg").write_bytes(b"")
    (coast / "cut.jpg").write_bytes((coast / "coast_00.jpg").read_bytes()[:300])
    (coast / "text.jpg").write_text("I am not an image")
    (coast / "notes.txt").write_text("neither am I")
    (coast / ".DS_Store").write_bytes(b"")
    Image.new("1", (9000, 9000)).save(coast / "huge.png")
    Image.new("CMYK", (40, 40)).save(coast / "cmyk.jpg")
    data = load_dataset(str(images))
    reasons = {row.path.rsplit("/", 1)[1]: row.reason for row in data.rejected.itertuples()}
    assert set(reasons) == {"zero.jpg", "cut.jpg", "text.jpg", "notes.txt", "huge.png"}
    assert "0 bytes" in reasons["zero.jpg"]
    assert "megapixels" in reasons["huge.png"]
    assert "cmyk.jpg" in set(data.images["name"])
    assert "Left out, unusable: 5" in str(data)


def test_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match="found nothing"):
        load_dataset(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-that-name/images", "\ud800", " "])
def test_names_that_no_folder_can_have(name):
    with pytest.raises(DatasetError, match="found nothing"):
        load_dataset(name)


def test_two_folders_for_one_thing_are_named(images, tmp_path):
    prepared = arrange(images, tmp_path / "prepared", ("train", "val", "test"))
    shutil.copytree(prepared / "val", prepared / "validation")
    with pytest.raises(DatasetError, match=r"one folder for validation .* found val and validation"):
        load_dataset(str(prepared))
    if (images / "COAST").exists():
        return  # a disk on which both are one
    (images / "Coast").mkdir()
    with pytest.raises(DatasetError, match=r"one folder for coast .* found Coast and coast"):
        load_dataset(str(images))


def test_folders_within_a_scene_are_named(images):
    (images / "coast" / "2024").mkdir()
    assert "2024: a folder" in str(load_dataset(str(images)))


def test_other_classes(images):
    (images / "desert").mkdir()
    with pytest.raises(
        DatasetError, match=r"exactly the subfolders coast, forest, mountain.*found coast, desert"
    ):
        load_dataset(str(images))


def test_empty_class(images):
    for path in (images / "forest").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="usable forest image"):
        load_dataset(str(images))


def test_class_of_broken_images_names_them(images):
    for path in (images / "forest").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"forest_00\.jpg: the file is empty"):
        load_dataset(str(images))


def test_one_split_alone(images, tmp_path):
    shutil.copytree(images, tmp_path / "half" / "train")
    with pytest.raises(DatasetError, match="found only train"):
        load_dataset(str(tmp_path / "half"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_are_not_text_are_split_listed_and_packed(images, tmp_path, encoding):
    odd = os.fsdecode(b"k\xfcste.jpg")
    (images / "coast" / "coast_00.jpg").rename(images / "coast" / odd)
    (images / "coast" / f"broken_{odd}").write_bytes(b"")
    sources = tmp_path / "other_sources"
    shutil.copytree(images, sources / "second")
    (sources / "second" / "coast" / odd).unlink()
    assert r"broken_k\udcfcste.jpg" in str(load_sources(str(sources), load_dataset(str(images))))

    command = [sys.executable, "-m", "data_prep_eda.split", "--source", images, "--out", tmp_path / "data"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    for _ in range(2):
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert r"broken_k\udcfcste.jpg: the file is empty" in said.stderr
    assert "nothing to do" in said.stdout
    assert any(path.name == odd for path in (tmp_path / "data").rglob("*.jpg"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes in folders")
def test_a_pipe_is_listed_and_not_waited_for(images):
    os.mkfifo(images / "coast" / "pipe.jpg")
    assert load_dataset(str(images)).rejected["reason"].tolist() == ["a broken link or a device, not a file"]


def test_the_cache_may_lie_in_the_home_folder(tmp_path):
    program = "from data_prep_eda.dataset import CACHE; print(CACHE)"
    environment = os.environ | {"SCENES_CACHE_DIR": "~/kept", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "kept")
