"""The benchmark measures what it says, and its published figures are whole."""

import json

import numpy as np

from data_prep_eda.dataset import load_dataset
from data_prep_eda.preprocessing import load_image
from train_model.automation import benchmark


def test_copies_show_the_same_image_and_are_files_of_their_own(images, tmp_path):
    rows = load_dataset(str(images)).split("test")
    copies = benchmark.repeated(rows, 3 * len(rows), tmp_path)
    assert len(copies) == 3 * len(rows)
    files = [open(path, "rb").read() for path in copies["path"]]  # noqa: SIM115
    assert len(set(files)) == len(files)  # equal files would come out of the feature cache
    for original, copy in zip([*rows["path"]] * 3, copies["path"], strict=True):
        np.testing.assert_array_equal(load_image(original, 64), load_image(copy, 64))


def test_both_recipes_train_the_same_sweep_and_make_a_table(images, tmp_path, monkeypatch):
    """One rate and epoch each, by the command, on a few images."""
    monkeypatch.setattr(benchmark, "ENOUGH", 1)
    monkeypatch.setattr(benchmark, "RATES", {kind: (0.01,) for kind in benchmark.RATES})
    options = [
        "--only",
        "recipe",
        "--epochs",
        "2",
        "--original-epochs",
        "1",
        "--out",
        str(tmp_path / "b.json"),
    ]
    assert benchmark.main(["--data-dir", str(images), *options]) == 0
    results = json.loads((tmp_path / "b.json").read_text())
    for measured in results["recipe"].values():
        assert measured["ratio"] > 0 and measured["original_epochs_trained"] == 1
        for who in ("original", "project"):
            assert 0.3 < measured[f"{who}_best_val_accuracy"] <= 1
    assert "| original_epochs_trained | 1 | 1 |" in " ".join(benchmark.markdown(results).split())


def test_the_published_figures_make_the_page():
    results = json.loads(benchmark.PUBLISHED.read_text())
    assert set(benchmark.TITLES) <= set(results)
    assert benchmark.PAGE.read_text() == benchmark.markdown(results)
    for recipe in results["recipe"].values():  # faster only counts where it is as good, within three images
        behind = recipe["original_best_val_accuracy"] - recipe["project_best_val_accuracy"]
        assert behind <= 3 / recipe["validation"]
