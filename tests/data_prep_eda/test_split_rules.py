"""The study's rule to the letter; leak-free splits: groups stay whole, every class is everywhere, always the same."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep_eda.manifests import CLASSES, MANIFEST, SPLITS
from data_prep_eda.split_rules import grouped_split, study_split


@pytest.mark.parametrize("label", CLASSES)
def test_study_rule_gives_the_studys_split_for_every_name(label):
    with MANIFEST.open(newline="") as stream:
        recorded = {r["filename"]: r["seed_split"] for r in csv.DictReader(stream) if r["class"] == label}
    assert len(recorded) == {"coast": 405, "forest": 351, "mountain": 402}[label]
    assert study_split(list(recorded)) == recorded


@given(st.lists(st.text(min_size=1), unique=True, max_size=60), st.randoms())
def test_study_rule_gives_each_name_one_split_in_any_order(names, random):
    splits = study_split(names)
    shuffled = names.copy()
    random.shuffle(shuffled)
    assert study_split(shuffled) == splits
    assert set(splits) == set(names)
    if len(names) >= 3:
        tenth = max(1, round(0.1 * len(names)))
        assert [list(splits.values()).count(part) for part in ("validation", "test")] == [tenth, tenth]


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=90, max_size=120))
def test_large_classes_keep_groups_whole_and_shares_even(seed, sizes):
    group = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.array(["a", "b", "c"])[group % 3]
    splits = grouped_split(labels, group, seed)
    for members in range(len(sizes)):
        assert len(set(splits[group == members])) == 1
    for label in "abc":
        shares = [np.mean(splits[labels == label] == part) for part in SPLITS]
        assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.12)
    assert list(grouped_split(labels, group, seed)) == list(splits)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=12), min_size=2, max_size=8), st.integers(0, 99)
)
def test_small_classes_are_in_every_split_and_groups_stay_whole(classes, seed):
    labels, group = [], []
    for label, sizes in enumerate(classes):
        for size in sizes:
            labels += [f"class {label}"] * size
            group += [len(set(group))] * size
    labels, group = np.array(labels), np.array(group)
    splits = grouped_split(labels, group, seed)
    for label in np.unique(labels):
        assert set(splits[labels == label]) == set(SPLITS)
    assert all(len(set(splits[group == number])) == 1 for number in np.unique(group))


def test_fifteen_images_are_two_for_validation_and_two_for_test():
    splits = grouped_split(["a"] * 15 + ["b"] * 15, range(30))
    assert [list(splits[:15]).count(part) for part in SPLITS] == [11, 2, 2]


def test_two_images_of_other_things_are_no_obstacle():
    splits = grouped_split(["a"] * 5 + ["b"] * 5 + ["other"] * 2, range(12))
    assert "train" in splits[10:]
