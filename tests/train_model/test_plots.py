"""One colour per class and figures that hold, for two classes as for two hundred."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from train_model import plots


@pytest.fixture(autouse=True)
def without_a_screen():
    matplotlib.use("agg")
    yield
    plt.close("all")


def test_every_class_has_a_colour_of_its_own_and_the_studys_keep_theirs():
    study = plots.class_colours(["coast", "forest", "mountain"])
    assert study == plots.STUDY_COLOURS
    for count in (2, 8, 9, 200):
        names = ["coast", *map(str, range(count - 1))]
        colours = plots.class_colours(names)
        assert list(colours) == names and colours["coast"] == study["coast"]
        assert len(set(colours.values())) == count


def test_a_title_takes_the_colour_of_the_longest_class_that_it_starts_with():
    colours = {"sea": "#111111", "sea ice": "#222222"}
    images = [np.zeros((4, 4, 3), np.uint8)] * 3
    figure = plots.show_images(images, ["sea ice 0.9", "sea, not ice", "seal"], colours=colours)
    assert [axis.title.get_color() for axis in figure.axes[:3]] == ["#222222", "#111111", "black"]


@pytest.mark.parametrize("classes", [2, 200])
def test_a_confusion_matrix_has_numbers_only_where_they_fit(classes):
    _, axis = plt.subplots()
    plots.plot_confusion(np.eye(classes, dtype=int), axis, [f"class {i}" for i in range(classes)])
    assert len(axis.texts) == (4 if classes == 2 else 0)
    assert len(axis.get_xticklabels()) == (2 if classes == 2 else 0)
