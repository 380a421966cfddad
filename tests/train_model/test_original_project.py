"""The original project's curves, read from its notebooks."""

from train_model.original_project import VALIDATION_IMAGES, original_results


def test_a_curve_has_ten_epochs_and_counts_whole_images():
    curve = original_results("xception", "none", "first run")
    assert list(curve["epoch"]) == list(range(1, 11))
    wrong = (1 - curve["val_accuracy"]) * VALIDATION_IMAGES
    assert (wrong.round() - wrong).abs().max() < 0.01


def test_other_images_get_no_curve_to_be_compared_with():
    assert original_results("mobilenet", "none", "sweep", source="own").empty
    assert not original_results("mobilenet", "none", "sweep", source="SUN 09").empty
