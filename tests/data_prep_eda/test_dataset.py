"""Which images a run uses, and clear words where a folder cannot be used."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep_eda import dataset
from data_prep_eda.dataset import DatasetError, load_dataset, resolve_data_dir
from data_prep_eda.other_sources import load_sources
from data_prep_eda.split_rules import study_splits
from data_prep_eda.sun09 import CLASSES


def test_one_folder_per_class_is_split(images):
    data = load_dataset(str(images))
    assert data.counts().loc["total"].to_dict() == {"train": 30, "validation": 3, "test": 3, "total": 36}
    assert list(data.images["label"].unique()) == list(CLASSES) == list(data.class_names)
    assert data.kind == "your own images" and data.source == "own" and data.found == 36


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
    assert (data.counts().loc[list(CLASSES), ["train", "validation", "test"]] == 4).all().all()


def test_what_is_tested_is_not_trained_on(images, tmp_path):
    prepared = arrange(images, tmp_path / "prepared")
    shutil.copy(prepared / "test" / "coast" / "coast_02.jpg", prepared / "train" / "coast" / "again.jpg")
    data = load_dataset(str(prepared))
    (left_out,) = data.rejected.itertuples()
    assert left_out.path.endswith("train/coast/again.jpg")
    assert left_out.reason == "the same image as coast_02.jpg, which is in test"


def test_one_image_under_two_classes_is_neither(images):
    shutil.copy(images / "coast" / "coast_00.jpg", images / "forest" / "wood.jpg")
    data = load_dataset(str(images))
    assert (
        list(data.rejected["reason"])
        == ["the same image lies under coast and forest, a conflict of labels"] * 2
    )


def test_a_broken_image_never_leaves_a_split_empty(images):
    for label in CLASSES:
        for path in sorted((images / label).iterdir())[6:]:
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
    names = [name for name, split in study_splits().items() if "coast_n" in name and split == "test"][:3]
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
    with pytest.raises(
        DatasetError, match=r"one folder for coast .* found Coast and coast, which differ in case"
    ):
        load_dataset(str(images))


def test_subfolders_of_a_class_are_read_and_names_may_repeat(images):
    for number, year in enumerate(("2023", "2024")):
        (images / "coast" / year).mkdir()
        (images / "coast" / f"coast_{number:02d}.jpg").rename(images / "coast" / year / "a.jpg")
    (images / "coast" / "2024" / "back").symlink_to(images)
    data = load_dataset(str(images))
    assert {"2023/a.jpg", "2024/a.jpg"} <= set(data.images["name"]) and len(data.images) == 36


def test_images_in_no_class_are_found_and_listed(images, tmp_path):
    shutil.copy(images / "coast" / "coast_00.jpg", images / "loose.jpg")
    (images / "notes.txt").write_text("no image")
    data = load_dataset(str(images))
    assert "36 used of 37 found" in str(data) and "loose.jpg: it lies in no folder of a class" in str(data)
    prepared = arrange(images, tmp_path / "prepared")
    shutil.copy(images / "loose.jpg", prepared)
    assert "loose.jpg: it lies in no folder of a split" in str(load_dataset(str(prepared)))


def test_class_names_come_from_the_folders(awkward_classes):
    data = load_dataset(str(awkward_classes))
    assert data.class_names == (
        "2024",
        "Old Town",
        "caf\u00e9",
        "\u0434\u0440\u0443\u0433\u043e\u0435",
        "\u6d77",
    )
    assert len(data.images) == 40 and set(data.images["label"]) == set(data.class_names)
    assert set(data.others["label"]) == {"other"} and len(data.others) == 4
    assert list(data.counts().index) == [*data.class_names, "total"]
    assert "Of none of these classes (folder other): 4" in str(data)
    assert load_dataset(str(awkward_classes)).images.equals(data.images)


def class_folder(folder, name, number, size=48):
    (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(list(name.encode()))
    for n in range(number):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((size, size)).save(folder / name / f"{n}.jpg")
    return folder


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["solo"], r"two or more classes .* found solo.*If the classes lie in solo, name that"),
        (["solo", "other"], r"two or more classes"),
        (["caf\u00e9", "cafe\u0301"], r"one folder for caf. .* differ in case or Unicode form only"),
        (["line\nbreak", "b"], r"one line of text.* found 'line\\nbreak'"),
        (["b ", "c"], r"without spaces around it, found 'b '"),
    ],
)
def test_folders_that_can_be_no_classes_are_refused(tmp_path, names, sentence):
    for name in names:
        if (tmp_path / name).exists():
            pytest.skip("a disk on which both are one")
        class_folder(tmp_path, name, 3)
    with pytest.raises(DatasetError, match=sentence):
        load_dataset(str(tmp_path))


def test_fewer_than_three_images_are_refused_by_name(tmp_path):
    for name, number in {"a": 3, "b": 2, "empty": 0}.items():
        class_folder(tmp_path, name, number)
    with pytest.raises(DatasetError, match="found 2 usable b images, 0 usable empty images"):
        load_dataset(str(tmp_path))


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        class_folder(tmp_path, name, 4)
    assert load_dataset(str(tmp_path)).class_names == ("bus", "car", "train")


def test_one_class_spelled_in_two_ways_in_two_splits_is_refused(images, tmp_path):
    prepared = arrange(images, tmp_path / "prepared")
    for label in CLASSES:
        (prepared / "train" / label).rename(prepared / "train" / f"{label}s")
        (prepared / "test" / label).rename(prepared / "test" / f"{label}S")
        (prepared / "validation" / label).rename(prepared / "validation" / f"{label}s")
    with pytest.raises(DatasetError, match="one spelling of each class"):
        load_dataset(str(prepared))


def test_two_hundred_classes_are_quick(tmp_path):
    for number in range(200):
        class_folder(tmp_path, f"class {number}", 3, size=16)
    started = time.process_time()
    assert len(load_dataset(str(tmp_path)).class_names) == 200
    assert time.process_time() - started < 60


def near_copy(source, target):
    with Image.open(source) as image:
        image.resize((40, 40)).save(target, quality=70)


def test_copies_stay_in_one_split_and_across_classes_are_a_conflict(tmp_path):
    for name in ("a", "b"):
        class_folder(tmp_path, name, 12, size=256)
    near_copy(tmp_path / "a/0.jpg", tmp_path / "a/again.jpg")
    near_copy(tmp_path / "a/1.jpg", tmp_path / "b/taken.jpg")
    data = load_dataset(str(tmp_path))
    assert data.notes == ("A conflict of labels, nearly the same image: a/1.jpg and b/taken.jpg",)
    splits = (
        (data.images["label"] + "/" + data.images["name"]).to_frame("key").assign(split=data.images["split"])
    )
    split = splits.set_index("key")["split"]
    assert split["a/0.jpg"] == split["a/again.jpg"] and split["a/1.jpg"] == split["b/taken.jpg"]


def test_a_class_of_one_series_is_split_all_the_same_and_says_so(tmp_path):
    class_folder(tmp_path, "b", 5, size=256)
    class_folder(tmp_path, "a", 1, size=256)
    for number in range(1, 5):
        with Image.open(tmp_path / "a/0.jpg") as image:
            image.rotate(number / 4).save(tmp_path / f"a/{number}.jpg", quality=90 - number)
    data = load_dataset(str(tmp_path))
    assert set(data.images.loc[data.images["label"] == "a", "split"]) == {"train", "validation", "test"}
    assert "images that belong together are in different splits" in str(data)


def test_images_are_decoded_once_per_fingerprint(images, monkeypatch):
    (images / "coast" / "cut.jpg").write_bytes((images / "coast/coast_00.jpg").read_bytes()[:300])
    calls, real = [], dataset.load_image
    monkeypatch.setattr(dataset, "load_image", lambda *given: calls.append(1) or real(*given))
    first = load_dataset(str(images))
    assert len(calls) == 37
    again = load_dataset(str(images))
    assert len(calls) == 37 and again.images.equals(first.images) and again.rejected.equals(first.rejected)
    (images / "coast" / "cut.jpg").unlink()
    assert load_dataset(str(images)).rejected.empty and len(calls) == 37 + 36


def test_empty_class(images):
    for path in (images / "forest").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="0 usable forest images"):
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
