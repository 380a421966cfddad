"""Which images a run uses, and clear words where a folder cannot be used."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from data_prep_eda import dataset
from data_prep_eda.dataset import DatasetError, load_dataset, resolve_data_dir
from data_prep_eda.preprocessing import SCENES


def test_one_folder_a_scene_is_split_by_the_studys_rule(images):
    data = load_dataset(str(images))
    assert data.counts().loc["total"].to_dict() == {"train": 30, "validation": 3, "test": 3, "total": 36}
    assert list(data.images["scene"].unique()) == list(SCENES)
    assert data.kind == "your own images"


def test_prepared_folders_are_taken_clean(images, tmp_path):
    for split in ("train", "validation", "test"):
        shutil.copytree(images, tmp_path / "prepared" / split)
    data = load_dataset(str(tmp_path / "prepared"))
    assert (data.counts().loc[list(SCENES), ["train", "validation", "test"]] == 12).all().all()


def test_sun09_names_get_the_studys_split_also_when_some_are_missing(images):
    names = [name for name, split in dataset.study_splits().items() if "coast_n" in name and split == "test"][
        :3
    ]
    for name in names:
        shutil.copy(images / "coast" / "coast_00.jpg", images / "coast" / name)
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
