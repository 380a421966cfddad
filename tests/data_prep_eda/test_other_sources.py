"""Further sources: found beside the data, any subset of classes, copies of known images left out and listed."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from data_prep_eda import other_sources
from data_prep_eda.dataset import DatasetError, load_dataset
from data_prep_eda.other_sources import all_images, find_sources, load_sources


def textured(path, seed, size=200):
    """Writes an image with structure of every size; none like another."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(size=(size, size, 3)), (s, s, 0)) * s for s in (1, 3, 10, 30)]
    levels = sum(layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(255 * (levels - levels.min()) / np.ptp(levels))).save(path, quality=90)
    return path


@pytest.fixture(autouse=True)
def not_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setattr(other_sources, "REPOSITORY", tmp_path / "repository")


@pytest.fixture
def dataset(images):
    textured(images / "coast" / "coast_99.jpg", 0)
    return load_dataset(str(images))


@pytest.fixture
def folder(dataset):
    """A folder of two sources beside the data set: one whole, one with a single class."""
    place = dataset.folder.parent / "other_sources"
    for number, name in enumerate(("coast", "forest", "mountain", "other")):
        textured(place / "first" / name / f"desert_first_{number}.jpg", 10 + number)
    textured(place / "second" / "coast" / "one.jpg", 20)
    return place


def test_sources_beside_the_data_are_found_and_joined(dataset, folder):
    sources = load_sources("", dataset)
    assert sources.folder == folder and sources.counts().loc["second"].to_dict() == {
        **dict.fromkeys(("forest", "mountain", "other"), 0), "coast": 1,
    }  # fmt: skip
    table = all_images(dataset, sources)
    assert len(table) == len(dataset.images) + 5
    assert set(table["source"]) == {"own", "first", "second"}
    assert set(table.loc[table["source"] != "own", "split"]) == {"train"}
    assert table.loc[table["label"] == "other", "theme"].tolist() == ["desert"]


def test_copies_of_the_data_set_and_of_other_sources_are_left_out_by_name(dataset, folder):
    known = Image.open(dataset.folder / "coast" / "coast_99.jpg")
    known.resize((150, 150)).save(folder / "second" / "coast" / "smaller.jpg", quality=40)
    shutil.copy(folder / "first" / "coast" / "desert_first_0.jpg", folder / "second" / "coast" / "twice.jpg")
    rejected = load_sources("", dataset).rejected.set_index("path")["reason"]
    assert rejected[str(folder / "second" / "coast" / "smaller.jpg")] == "shows the same as coast_99.jpg"
    assert rejected[str(folder / "second" / "coast" / "twice.jpg")] == "the same image as desert_first_0.jpg"
    assert len(rejected) == 2


def test_unreadable_files_are_listed(dataset, folder):
    (folder / "first" / "other" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    assert "cut.jpg" in str(load_sources("", dataset))


def test_a_source_named_directly_is_the_only_one(dataset, folder):
    assert set(load_sources(str(folder / "first"), dataset).images["source"]) == {"first"}


def test_a_folder_without_scenes_is_explained(dataset, tmp_path):
    (tmp_path / "empty" / "holiday").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"one subfolder per source.*found holiday"):
        load_sources(str(tmp_path / "empty"), dataset)
    with pytest.raises(DatasetError, match="found nothing"):
        load_sources(str(tmp_path / "nowhere"), dataset)


@pytest.mark.parametrize("image", ["coast/sea.jpg", "sea.jpg"])
def test_a_source_that_is_named_like_a_class_is_to_be_renamed(dataset, folder, image):
    textured(folder / "other" / image, 30)
    with pytest.raises(DatasetError, match=r"named otherwise than .*, found other\. Rename it"):
        load_sources("", dataset)


def test_without_sources_it_says_what_is_missing(dataset):
    sources = load_sources("", dataset)
    assert sources.images.empty and "images from elsewhere" in str(sources)
    assert len(all_images(dataset, sources)) == len(dataset.images)


def test_an_empty_folder_beside_the_data_is_no_source(dataset):
    (dataset.folder.parent / "other_sources").mkdir()
    assert find_sources("", dataset) is None


def test_a_square_that_was_cut_out_of_a_wider_image_is_its_copy(dataset, folder):
    whole = Image.open(textured(folder / "whole.jpg", 30, 300)).resize((300, 200))
    whole.crop((50, 0, 250, 200)).save(dataset.folder / "coast" / "coast_98.jpg", quality=85)
    whole.save(folder / "second" / "coast" / "whole.jpg", quality=85)
    rejected = load_sources("", load_dataset(str(dataset.folder))).rejected
    assert list(rejected["reason"]) == ["shows the same as coast_98.jpg"]


@pytest.mark.real_data
def test_the_copies_of_sun_09_among_the_real_sources_are_left_out(real_images):
    sources = load_sources("", load_dataset(str(real_images)))
    if sources.folder is None:
        pytest.skip("needs the other sources beside the real images")
    left_out = " ".join(sources.rejected["path"])
    assert "miml_546.jpg" in left_out, "the middle of it is an image of SUN 09's test set"
    assert "miml_423.jpg" in left_out, "known to show, off its middle, another of them"
    assert len(sources.rejected) < 80, "no more than the copies"


def test_sources_of_other_classes_never_join_by_themselves(awkward_classes, dataset, folder, tmp_path):
    shutil.copytree(awkward_classes, tmp_path / "mine")
    own = load_dataset(str(tmp_path / "mine"))
    assert own.folder.parent / "other_sources" == folder
    assert load_sources("", own).folder is None


def test_other_of_sources_that_know_not_all_classes_may_hold_one(dataset, folder, tmp_path):
    for start, name in enumerate(("coast", "forest", "desert")):
        for number in range(3):
            textured(tmp_path / "mine" / name / f"{number}.jpg", 100 + 10 * start + number)
    shutil.rmtree(folder / "first/mountain")
    own = load_dataset(str(tmp_path / "mine"))
    sources = load_sources("", own)
    assert set(sources.images["label"]) == {"coast", "forest"}
    assert "may hold images of desert: no source has such a folder" in str(sources)
    (folder / "second/desert").mkdir()
    assert "other" in set(load_sources("", own).images["label"])


def test_folders_of_no_class_are_listed_where_the_sources_are_named(dataset, folder):
    textured(folder / "second/kitchen/one.jpg", 40)
    sources = load_sources(str(folder), dataset)
    assert "kitchen: a folder of no class of the data set" in str(sources)
    assert len(sources.images) == 5


def test_others_of_the_data_set_keep_their_split_and_their_folder_is_their_theme(dataset):
    for number in range(3):
        textured(dataset.folder / "other/desert" / f"{number}.jpg", 50 + number)
    own = load_dataset(str(dataset.folder))
    table = all_images(own, load_sources("", own))
    others = table[table["label"] == "other"]
    assert set(others["theme"]) == {"desert"} and set(others["split"]) == {"train", "validation", "test"}


def test_known_copies_are_left_out_where_the_data_set_has_what_they_show():
    rows = [{"path": f"/{name}", "source": "miml", "name": name} for name in ("miml_423.jpg", "miml_1.jpg")]
    shown = "m_mountain_snowy_mountain_land778.jpg"
    assert other_sources._known_copies(rows, {shown}) == {"/miml_423.jpg": f"shows the same as {shown}"}
    assert other_sources._known_copies(rows, {"of_my_own.jpg"}) == {}


def test_one_image_under_two_labels_of_a_source_is_neither(dataset, folder):
    shutil.copy(folder / "first/coast/desert_first_0.jpg", folder / "first/mountain/again.jpg")
    rejected = load_sources("", dataset).rejected
    assert (
        set(rejected["reason"]) == {"the same image lies under coast and mountain, a conflict of labels"}
        and len(rejected) == 2
    )


def test_an_image_of_the_data_set_is_left_out_of_other_too(dataset, folder):
    with Image.open(dataset.folder / "coast/coast_99.jpg") as image:
        image.resize((150, 150)).save(folder / "first/other/sea_1.jpg", quality=70)
    assert load_sources("", dataset).rejected["reason"].tolist() == ["shows the same as coast_99.jpg"]


def test_a_source_without_scene_folders_beside_one_that_has_them_is_named(dataset, folder):
    textured(folder / "third" / "one.jpg", 30)
    with pytest.raises(DatasetError, match="third, found images without"):
        load_sources("", dataset)
