"""How good a classifier is, how sure one can be of that, and whether its probabilities are calibrated.

On calibration: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import binomtest
from scipy.stats import t as student_t
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from data_prep_eda.preprocessing import load_image


@dataclass(frozen=True)
class Proportion:
    """A share with its 95 % interval.

    Attributes:
        successes: how many.
        trials: of how many.
        value: the share.
        low: lower end of the Wilson score interval.
        high: upper end.
    """

    successes: int
    trials: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, {self.successes} of {self.trials})"


def share(hits: np.ndarray) -> Proportion:
    """Share of true entries in `bool [n]` with its Wilson score interval (Wilson 1927, JASA 22:209), within 0 and 1.

    Example:
        `share(np.array([True] * 9 + [False]))` prints as `0.900 (95 % interval 0.596 to 0.982, 9 of 10)`. Of no entries
        at all nothing is known: the share is missing, and the interval goes from 0 to 1.
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
    """The `n` most frequent mistakes: `label`, `predicted`, `images`, and their `share` of the label's images.

    Example:
        With 200 classes a matrix has 40,000 cells; ten rows say what a reader looks for.
    """
    matrix = confusion(truth, predicted, class_names)
    rows, columns = np.nonzero(matrix * (1 - np.eye(len(matrix), dtype=int)))
    names, counts = np.array(class_names, object), matrix[rows, columns]
    table = pd.DataFrame({"label": names[rows], "predicted": names[columns], "images": counts})
    table["share"] = counts / matrix.sum(axis=1)[rows]
    return table.sort_values("images", ascending=False, kind="stable", ignore_index=True).head(n)


def per_class(truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall with its 95 % interval (`low`, `high`), F1 and number of images per class.

    Args:
        truth: `int [n]`, positions in `class_names`.
        predicted: `int [n]`.
        class_names: the classes, one row each.

    Returns:
        The table, indexed by class. Recall is missing where there is no image. The macro average, in which every class
        counts the same, is the mean of its column `recall`.
    """
    columns = precision_recall_fscore_support(
        truth, predicted, labels=range(len(class_names)), zero_division=0
    )
    names = ("precision", "recall", "f1", "images")
    table = pd.DataFrame(dict(zip(names, columns, strict=True)), index=list(class_names))
    shares = [share(predicted[truth == label] == label) for label in range(len(class_names))]
    table["low"], table["high"] = [s.low for s in shares], [s.high for s in shares]
    table.loc[table["images"] == 0, "recall"] = np.nan
    return table[["precision", "recall", "low", "high", "f1", "images"]]


def label_indices(labels: pd.Series, class_names: Sequence[str]) -> np.ndarray:
    """Labels to their positions in the model's output, `int64 [n]`."""
    position = {name: index for index, name in enumerate(class_names)}
    return labels.map(position.__getitem__).to_numpy(dtype=np.int64)


def half_width(values: pd.Series) -> float:
    """Half the width of the 95 % t interval of a mean over repeats; 0 for a single run."""
    if len(values) < 2:
        return 0.0
    return float(values.sem() * student_t.ppf(0.975, len(values) - 1))


def load_images(paths: pd.Series, size: int) -> np.ndarray:
    """Images as `uint8 [n, size, size, 3]`."""
    return np.stack([load_image(path, size) for path in paths])


def predict(model: keras.Model, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Probabilities of a Keras model.

    Args:
        model: takes `[n, size, size, 3]` pixels of levels 0 to 255 and has an output `probabilities`.
        images: `uint8 [n, size, size, 3]`.
        batch_size: images at a time.

    Returns:
        `float32 [n, classes]`.
    """
    return model.predict(images, batch_size=batch_size, verbose=0)["probabilities"]


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one image: what its convolutions and dense layers cost.

    Args:
        model: a functional model of a fixed input size.

    Returns:
        Number of multiplications with their additions, the usual measure of a network's cost.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.SeparableConv2D):
            places = np.prod(layer.output.shape[1:3])
            depthwise, pointwise = layer.weights[:2]
            total += places * (np.prod(depthwise.shape) + np.prod(pointwise.shape))
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            total += np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            total += np.prod(layer.kernel.shape)
    return int(total)


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, of `[n, classes]` logits against `[n]` labels."""
    return log_loss(logits, labels), float((logits.argmax(axis=1) == labels).mean())


# --- calibration -----------------------------------------------------------------------------------------


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood in nats of `[n, classes]` logits against `int [n]` labels."""
    logarithms = log_softmax(np.asarray(logits, np.float64), axis=1)
    return float(-logarithms[np.arange(len(labels)), labels].mean())


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Accuracy against confidence, in bins with equally many images.

    Bins of equal width, the older habit, leave nearly all images of a good model in the last one.

    Args:
        probabilities: `[n, classes]`.
        labels: `int [n]`.
        bins: how many, at most; equal confidences stay together.

    Returns:
        One row a bin: `images`, `confidence` (mean of the highest probability), `accuracy`, and the ends
        `low` and `high` of its 95 % Wilson interval.
    """
    confidence, right = _confidence(probabilities, labels)
    rows = []
    for members in _bins(confidence, bins):
        hits = int(right[members].sum())
        interval = binomtest(hits, len(members)).proportion_ci(method="wilson")
        rows.append(
            (len(members), confidence[members].mean(), hits / len(members), interval.low, interval.high)
        )
    return pd.DataFrame(rows, columns=["images", "confidence", "accuracy", "low", "high"])


@dataclass(frozen=True)
class CalibrationError:
    """How far a classifier's probabilities are from how often it is right.

    Attributes:
        gap: mean confidence minus accuracy; below 0 where the classifier is underconfident.
        low: lower end of the gap's 95 % interval.
        high: upper end.
        ece: expected calibration error.
        expected_if_calibrated: mean ECE of a perfectly calibrated classifier with the same confidences.
    """

    gap: float
    low: float
    high: float
    ece: float
    expected_if_calibrated: float


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 10, draws: int = 200, seed: int = 0
) -> CalibrationError:
    """Signed gap between confidence and accuracy, and expected calibration error (ECE) beside its own bias.

    With confidence c_i, the highest probability, and r_i = 1 where the answer is right and else 0:

        gap = mean(c) - mean(r)
        ECE = sum over bins b of n_b / n |mean_b(c) - mean_b(r)|, bins of `reliability_table`

    The gap's interval is that of the accuracy, Wilson's, the confidences being given: it also holds where hardly any
    answer is wrong, and errs on the wide side, since answers with different chances of being right vary less together
    than equal ones do. The ECE is an absolute value, so it is above 0 by chance alone, the more so the fewer images a bin
    has (Kumar, Liang & Ma, "Verified Uncertainty Calibration", NeurIPS 2019). What chance makes of it is simulated: every
    r_i is drawn as right with probability c_i (Bröcker & Smith, Weather and Forecasting 22, 2007).

    Args:
        probabilities: `[n, classes]`.
        labels: `int [n]`.
        bins: as in `reliability_table`.
        draws: of the simulation.
        seed: of the simulation.

    Returns:
        Gap, interval, ECE, and mean ECE of the simulation.
    """
    confidence, right = _confidence(probabilities, labels)
    mean, correct = float(confidence.mean()), share(right)
    parts, rng = _bins(confidence, bins), np.random.default_rng(seed)
    by_chance = [_ece(confidence - (rng.random(len(right)) < confidence), parts) for _ in range(draws)]
    return CalibrationError(
        mean - correct.value,
        mean - correct.high,
        mean - correct.low,
        _ece(confidence - right, parts),
        float(np.mean(by_chance)),
    )


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels


def _bins(confidence: np.ndarray, bins: int) -> list[np.ndarray]:
    """Positions of the images in each bin, from the least confident; none is empty."""
    order = np.argsort(confidence, kind="stable")
    edges = np.searchsorted(confidence[order], np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    return [part for part in np.split(order, np.unique(edges)) if len(part)]


def _ece(excess: np.ndarray, parts: list[np.ndarray]) -> float:
    """From confidence minus right or wrong, `[n]`, and the positions in each bin."""
    return float(sum(abs(excess[part].sum()) for part in parts) / len(excess))
