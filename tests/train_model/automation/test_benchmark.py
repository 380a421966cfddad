"""The benchmark measures what it says, and its published figures are whole."""

import json

import numpy as np

from data_prep_eda.dataset import load_dataset
from data_prep_eda.preprocessing import load_image
from train_model.automation import benchmark


def test_copies_show_the_same_image_and_are_files_of_their_own(images, tmp_path):
    rows = load_dataset(str(images)).split("test")
    copies = benchmark.repeated(rows, 3, tmp_path)
    assert len(copies) == 3 * len(rows)
    files = [open(path, "rb").read() for path in copies["path"]]  # noqa: SIM115
    assert len(set(files)) == len(files)  # equal files would come out of the feature cache
    for original, copy in zip([*rows["path"]] * 3, copies["path"], strict=True):
        np.testing.assert_array_equal(load_image(original, 64), load_image(copy, 64))


def test_the_published_figures_are_whole_and_make_a_table():
    results = json.loads(benchmark.PUBLISHED.read_text())
    assert {"recipe", "views", "size", "heads", "papermill"} <= set(results)
    table = benchmark.markdown(results)
    assert benchmark.PAGE.read_text() == table + "\n", "run `make benchmark ARGS=--publish`"
    assert "SUN 09" in table
    for recipe in results["recipe"].values():
        assert f"| {benchmark.times(recipe['ratio'])} × |" in table
        # Faster only counts where it is as good: at most three of the validation images behind.
        behind = recipe["original_best_val_accuracy"] - recipe["project_best_val_accuracy"]
        assert behind <= 3 / recipe["validation"]
