"""Probabilities that mean what they say: a temperature, and how well confidence matches accuracy.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The temperature divides the logits; it
changes no answer, only how sure the model says it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest


def log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats of `[n, scenes]` logits against `int [n]` labels."""
    logarithms = log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)
    return float(-logarithms[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray, low: float = 0.05, high: float = 50.0) -> float:
    """The temperature with the least log loss.

    Args:
        logits: `[n, scenes]`, of photographs that the model was not trained on.
        labels: `int [n]`. Where every answer is right, no temperature is too low and `low` comes back: show
            the model harder photographs, for instance augmented views.
        low: smallest temperature considered.
        high: largest.

    Returns:
        The temperature; above 1 the model was too sure of itself.
    """
    found = minimize_scalar(
        lambda logarithm: log_loss(logits, labels, np.exp(logarithm)),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
    )
    return float(np.exp(found.x))


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Accuracy against confidence, in bins with equally many photographs.

    Bins of equal width, the older habit, leave nearly all photographs of a good model in the last one.

    Args:
        probabilities: `[n, scenes]`.
        labels: `int [n]`.
        bins: how many, at most; equal confidences stay together.

    Returns:
        One row a bin: `photographs`, `confidence` (mean of the highest probability), `accuracy`, and the ends
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
    return pd.DataFrame(rows, columns=["photographs", "confidence", "accuracy", "low", "high"])


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with its 95 % bootstrap interval.

    The estimate is biased upwards on few photographs, and so is every resample of them; the interval is the
    basic (reflected) bootstrap's, cut off at 0.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 10, resamples: int = 1000, seed: int = 0
) -> CalibrationError:
    """Mean gap between confidence and accuracy over the bins of `reliability_table`, weighted by their size.

    Args:
        probabilities: `[n, scenes]`.
        labels: `int [n]`.
        bins: as in `reliability_table`.
        resamples: of the bootstrap over photographs.
        seed: of the bootstrap.

    Returns:
        The error and its interval.
    """
    confidence, right = _confidence(probabilities, labels)
    value = _gap(confidence, right, bins)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(right), (resamples, len(right)))
    low, high = np.quantile([_gap(confidence[draw], right[draw], bins) for draw in draws], [0.025, 0.975])
    return CalibrationError(value, float(max(0.0, 2 * value - high)), float(max(0.0, 2 * value - low)))


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def _bins(confidence: np.ndarray, bins: int) -> list[np.ndarray]:
    """Positions of the photographs in each bin, from the least confident; none is empty."""
    order = np.argsort(confidence, kind="stable")
    edges = np.searchsorted(confidence[order], np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    return [part for part in np.split(order, np.unique(edges)) if len(part)]


def _gap(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    parts = _bins(confidence, bins)
    return float(sum(abs(confidence[p].sum() - right[p].sum()) for p in parts) / len(right))
