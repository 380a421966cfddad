"""One look for every figure: a theme and a colour per class."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from IPython.display import display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from train_model.metrics import half_width
from train_model.original_project import VALIDATION_IMAGES

# Okabe and Ito's: distinguishable with any colour vision. The study's three classes have the colours that they suggest.
STUDY_COLOURS = {"coast": "#0072B2", "forest": "#009E73", "mountain": "#D55E00"}
PALETTE = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#5B4B8A")


def class_colours(class_names: Sequence[str]) -> dict[str, str]:
    """A colour per class, for two classes or two hundred; coast, forest and mountain keep theirs."""
    own = {name: STUDY_COLOURS[name] for name in class_names if name in STUDY_COLOURS}
    free = [colour for colour in PALETTE if colour not in own.values()]
    rest = [name for name in class_names if name not in own]
    if len(rest) > len(free):
        free = sns.color_palette("husl", len(rest)).as_hex()
    return {name: own.get(name) or free[rest.index(name)] for name in class_names}


def use_theme() -> None:
    """Sets the figure style of the study."""
    rc = {"figure.figsize": (8, 4), "figure.dpi": 100, "figure.constrained_layout.use": True}
    rc |= {"axes.titleweight": "bold", "axes.titlesize": "medium"}
    rc |= {"axes.spines.top": False, "axes.spines.right": False}
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9, rc=rc)
    if get_ipython():  # twice the pixels, shown at the same size
        set_matplotlib_formats("retina")


def show(description: str) -> None:
    """Shows the current figure with a description for whoever can't see it, and closes it."""
    display(plt.gcf(), metadata={"image/png": {"alt": description}})
    plt.close()


def show_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    columns: int = 6,
    edge: float = 1.6,
    colours: Mapping[str, str] = STUDY_COLOURS,
) -> plt.Figure:
    """Images `uint8 [h, w, 3]`, `edge` inches each, with a title over each, which takes the colour of its class."""
    rows = max(1, -(-len(images) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(edge * columns, (edge + 0.3) * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image)
        named = [name for name in colours if title == name or title.startswith((f"{name} ", f"{name},"))]
        colour = colours[max(named, key=len)] if named else "black"
        axis.set_title(title, fontsize=8, fontweight="normal", color=colour)
    return figure


def plot_confusion(matrix: np.ndarray, axis: plt.Axes, class_names: Sequence[str]) -> None:
    """Counts `[classes, classes]`, true classes in rows, shaded by their share; numbers and names only where they fit."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few, names = len(class_names) <= 12, list(class_names) if len(class_names) <= 40 else False
    style = {"cmap": "Greys", "vmin": 0, "vmax": 1, "cbar": False, "square": True, "linewidths": int(few)}
    style |= {"annot": matrix if few else None, "fmt": "d", "xticklabels": names, "yticklabels": names}
    sns.heatmap(share, ax=axis, **style)
    axis.set(xlabel="predicted", ylabel="true")


def plot_curves(history: pd.DataFrame, original: pd.DataFrame, axes: Sequence[plt.Axes], images: int) -> None:
    """Learning curves, an axis per learning rate: validation `images` wrong, mean and 95 % interval over the seeds.

    `history` is that of `train_model.heads.TrainedHeads`; `original_results`, where there are some, are drawn in grey.
    """
    for axis, (rate, curves) in zip(axes, history.groupby("learning_rate"), strict=True):
        by_epoch = ((1 - curves["val_accuracy"]) * images).groupby(curves["epoch"])
        mean, half = by_epoch.mean(), by_epoch.agg(half_width)
        low = (mean - half).clip(lower=0)  # the t interval doesn't know that no fewer than none are wrong
        axis.fill_between(mean.index, low, mean + half, color="C0", alpha=0.25, linewidth=0)
        axis.plot(mean.index, mean, "C0o-", markersize=4, label="here, mean and 95 % interval")
        theirs = original[original["learning_rate"] == rate]
        if len(theirs):
            wrong = (1 - theirs["val_accuracy"]) * VALIDATION_IMAGES
            style = {"color": "#8C8C8C", "marker": "s", "markersize": 3}
            axis.plot(theirs["epoch"], wrong, label=f"original project, of {VALIDATION_IMAGES}", **style)
        axis.set(title=f"learning rate {rate:g}", xlabel="epoch", ylabel=f"wrong, of {images} images")
        # The slowest rate starts with dozens of wrong images, the others end with one or two.
        axis.set_yscale("symlog", linthresh=10)
        axis.set_yticks([0, 2, 5, 10, 20, 50, 100, 200, 500], minor=False)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes:
        axis.set_ylim(-0.3, max(3, *(other.dataLim.y1 * 1.05 for other in axes)))
    most = max(axes, key=lambda axis: len(axis.lines))  # the original has no curve at some rates
    axes[-1].legend(*most.get_legend_handles_labels(), loc="upper right", fontsize=8)
