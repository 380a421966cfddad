"""How good a classifier is, how sure one can be of that, and whether its probabilities are calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import binomtest
from scipy.stats import t as student_t
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from data_prep_eda.preprocessing import load_image

if TYPE_CHECKING:  # figures and intervals need no TensorFlow
    import keras


@dataclass(frozen=True)
class Proportion:
    """A share `value`, of `successes` among `trials`, with its 95 % Wilson score interval `low` to `high`."""

    successes: int
    trials: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, {self.successes} of {self.trials})"


def share(hits: np.ndarray) -> Proportion:
    """Share of true entries in `bool [n]` with its Wilson score interval (JASA 22:209); of no entries nothing is known.

    `share(np.array([True] * 9 + [False]))` prints as `0.900 (95 % interval 0.596 to 0.982, 9 of 10)`.
    """
    count, trials = int(np.sum(hits)), len(hits)
    if not trials:
        return Proportion(0, 0, np.nan, 0.0, 1.0)
    interval = binomtest(count, trials).proportion_ci(0.95, method="wilson")
    return Proportion(count, trials, count / trials, float(interval.low), float(interval.high))


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> Proportion:
    """Share of equal entries of `int [n]` and `int [n]`, with its interval; see `share`."""
    return share(np.asarray(truth) == np.asarray(predicted))


def auroc(known: np.ndarray, others: np.ndarray) -> float:
    """Area under the ROC curve: the chance that the score of an image of the classes is above another image's."""
    truth = np.r_[np.ones(len(known)), np.zeros(len(others))]
    return float(roc_auc_score(truth, np.r_[known, others]))


def confusion(truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Counts `[classes, classes]` with the true class in the row and the predicted one in the column."""
    return confusion_matrix(truth, predicted, labels=range(len(class_names)))


def worst_confusions(
    truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], n: int = 10
) -> pd.DataFrame:
    """The `n` most frequent mistakes: `label`, `predicted`, `images`, and their `share` of the label's images."""
    matrix = confusion(truth, predicted, class_names)
    rows, columns = np.nonzero(matrix * (1 - np.eye(len(matrix), dtype=int)))
    names, counts = np.array(class_names, object), matrix[rows, columns]
    table = pd.DataFrame({"label": names[rows], "predicted": names[columns], "images": counts})
    table["share"] = counts / matrix.sum(axis=1)[rows]
    return table.sort_values("images", ascending=False, kind="stable", ignore_index=True).head(n)


def per_class(truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall with its 95 % interval (`low`, `high`), F1 and number of images, a row per class.

    Recall is missing where there is no image; the mean of the column is the macro average.
    """
    labels = range(len(class_names))
    recalls = [share(predicted[truth == label] == label) for label in labels]
    table = pd.DataFrame(recalls, list(class_names)).rename(columns={"value": "recall", "trials": "images"})
    scores = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    table["precision"], _, table["f1"], _ = scores
    return table[["precision", "recall", "low", "high", "f1", "images"]]


def label_indices(labels: pd.Series, class_names: Sequence[str]) -> np.ndarray:
    """Labels to their positions in the model's output, `int64 [n]`."""
    position = {name: index for index, name in enumerate(class_names)}
    return labels.map(position.__getitem__).to_numpy(dtype=np.int64)


def half_width(values: pd.Series) -> float:
    """Half the width of the 95 % t interval of a mean over repeats; 0 for a single run."""
    return float(values.sem() * student_t.ppf(0.975, len(values) - 1)) if len(values) > 1 else 0.0


def load_images(paths: pd.Series, size: int) -> np.ndarray:
    """Images as `uint8 [n, size, size, 3]`."""
    return np.stack([load_image(path, size) for path in paths])


def predict(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """A Keras model's output `probabilities`, `float32 [n, classes]`, of images `uint8 [n, size, size, 3]`."""
    return model.predict(images, verbose=0)["probabilities"]


def multiply_adds(model: "keras.Model") -> int:
    """Multiplications with their additions of one image, by the convolutions and dense layers of a functional model."""
    from keras import layers

    total = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D | layers.Dense):
            kernels = [weight for weight in layer.weights if len(weight.shape) > 1]  # not the bias
            total += np.prod(layer.output.shape[1:-1]) * sum(np.prod(kernel.shape) for kernel in kernels)
    return int(total)


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, of `[n, classes]` logits against `int [n]` labels."""
    logarithms = log_softmax(np.asarray(logits, np.float64), axis=1)[np.arange(len(labels)), labels]
    return float(-logarithms.mean()), float((logits.argmax(axis=1) == labels).mean())


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Accuracy against confidence, in at most `bins` with equally many images; equal confidences stay together.

    A row per bin: `images`, `confidence` (mean of the highest probability), `accuracy` with its interval, `low` to `high`.
    """
    confidence, right, groups = _binned(probabilities, labels, bins)
    table = pd.DataFrame([share(right[members]) for members in groups])
    table["confidence"] = [confidence[members].mean() for members in groups]
    table = table.rename(columns={"trials": "images", "value": "accuracy"})
    return table[["images", "confidence", "accuracy", "low", "high"]]


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, draws: int = 200) -> SimpleNamespace:
    """Signed gap between confidence and accuracy, and expected calibration error (ECE, Guo et al., ICML 2017).

    With confidence c_i, the highest probability, and r_i = 1 where the answer is right and else 0:

        gap = mean(c) - mean(r)
        ECE = sum over bins b of n_b / n |mean_b(c) - mean_b(r)|, bins of `reliability_table`

    The ECE is above 0 by chance alone, the more so the fewer images a bin has (Kumar, Liang & Ma, NeurIPS 2019). What chance
    makes of it is simulated: every r_i is drawn as right with probability c_i (Bröcker & Smith, Weather and Forecasting 22).

    Returns:
        `gap` with the ends `low` and `high` of its 95 % interval, which is the accuracy's, Wilson's; `ece`, and the mean
        ECE of `draws` simulations, `expected_if_calibrated`.
    """
    confidence, right, groups = _binned(probabilities, labels, 10)
    mean, correct, rng = float(confidence.mean()), share(right), np.random.default_rng(0)

    def ece(hits: np.ndarray) -> float:
        excess = confidence - hits
        return float(sum(abs(excess[members].sum()) for members in groups) / len(excess))

    by_chance = [ece(rng.random(len(right)) < confidence) for _ in range(draws)]
    return SimpleNamespace(
        gap=mean - correct.value,
        low=mean - correct.high,
        high=mean - correct.low,
        ece=ece(right),
        expected_if_calibrated=float(np.mean(by_chance)),
    )


def _binned(
    probabilities: np.ndarray, labels: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Confidence and whether the answer is right, `[n]`, and the images of each bin; none is empty."""
    confidence, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    edges = np.searchsorted(confidence[order], np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    return confidence, right, [members for members in np.split(order, np.unique(edges)) if len(members)]
