"""Which differences between recipes are real: repeated, stratified, group-aware cross-validation.

Near-duplicates and images of one series stay on one side of every fold (`data_prep_eda.duplicates.groups`);
else an image that was trained on comes back as a test. Recipes are compared on the same folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.model_selection import StratifiedGroupKFold


@dataclass(frozen=True)
class Fold:
    """One division of the images.

    Attributes:
        repeat: number of the repeat, from 0.
        fold: number within the repeat, from 0.
        train: positions trained on, `int [n]`.
        test: positions tested on, `int [m]`.
    """

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


def folds(
    labels: np.ndarray, groups: np.ndarray, n_folds: int = 5, repeats: int = 5, seed: int = 0
) -> Iterator[Fold]:
    """Stratified folds of whole groups, repeated with other shuffles.

    Args:
        labels: `int [n]`.
        groups: `int [n]`; images of a group share a fold.
        n_folds: folds a repeat.
        repeats: how often all images are divided anew.
        seed: of the shuffles.

    Yields:
        `n_folds * repeats` folds; in each repeat every image is tested once.
    """
    for repeat in range(repeats):
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed + repeat)
        for number, (train, test) in enumerate(splitter.split(labels, labels, groups)):
            yield Fold(repeat, number, train, test)


def cross_validate(
    recipes: dict[str, Callable[[Fold], np.ndarray]],
    labels: np.ndarray,
    divisions: list[Fold],
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Scores of recipes on the same folds.

    Args:
        recipes: name to a function that trains on a fold's `train` and returns probabilities `[m, scenes]` of
            its `test`.
        labels: `int [n]`.
        divisions: from `folds`.
        progress: called with (done, all).

    Returns:
        One row a recipe and fold: `recipe`, `repeat`, `fold`, `train` and `test` (images), `accuracy`,
        `worst_scene` (accuracy of the worst scene), `log_loss`.
    """
    rows = []
    for division in divisions:
        truth = labels[division.test]
        for name, recipe in recipes.items():
            probabilities = recipe(division)
            right = probabilities.argmax(axis=1) == truth
            own = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1)
            rows.append(
                {
                    "recipe": name,
                    "repeat": division.repeat,
                    "fold": division.fold,
                    "train": len(division.train),
                    "test": len(division.test),
                    "accuracy": right.mean(),
                    "worst_scene": min(right[truth == scene].mean() for scene in np.unique(truth)),
                    "log_loss": -np.log(own).mean(),
                }
            )
            if progress:
                progress(len(rows), len(divisions) * len(recipes))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Difference:
    """A difference between two recipes with its 95 % interval.

    Attributes:
        value: mean over the folds of first minus second.
        low: lower end of the interval.
        high: upper end.
        p: of the test that there is none.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:+.4f} (95 % interval {self.low:+.4f} to {self.high:+.4f})"


def compare(scores: pd.DataFrame, first: str, second: str, metric: str = "accuracy") -> Difference:
    """The corrected resampled t-test of two recipes.

    The folds of a repeat share training images, and the repeats share all of them, so the plain t-test
    finds differences that aren't there. Nadeau & Bengio (Machine Learning 52, 2003) widen its variance by
    the ratio of tested to trained images; Bouckaert & Frank (PAKDD 2004) show that this holds for
    repeated cross-validation.

    Args:
        scores: from `cross_validate`.
        first: name of a recipe.
        second: name of the other.
        metric: a column of `scores`.

    Returns:
        First minus second.
    """
    wide = scores.pivot(index=["repeat", "fold"], columns="recipe", values=metric)
    differences = (wide[first] - wide[second]).to_numpy()
    sizes = scores[scores["recipe"] == first]
    n, mean = len(differences), float(differences.mean())
    spread = np.sqrt((1 / n + (sizes["test"] / sizes["train"]).mean()) * differences.var(ddof=1))
    if spread == 0:  # the same score in every fold
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = float(student.ppf(0.975, n - 1) * spread)
    return Difference(mean, mean - reach, mean + reach, float(2 * student.sf(abs(mean) / spread, n - 1)))


def summarise(
    scores: pd.DataFrame, reference: str, metrics: tuple[str, ...] = ("accuracy", "log_loss")
) -> pd.DataFrame:
    """Each recipe's mean over the folds, and its difference from a reference recipe.

    Returns:
        One row a recipe, in the order of `scores`: each metric's mean, `<metric>_difference`, `<metric>_low`,
        `<metric>_high` and `<metric>_p` against the reference (missing in its own row).
    """
    rows = {}
    for recipe in scores["recipe"].unique():
        row = {}
        for metric in metrics:
            row[metric] = scores.loc[scores["recipe"] == recipe, metric].mean()
            if recipe != reference:
                difference = compare(scores, recipe, reference, metric)
                row |= {
                    f"{metric}_difference": difference.value,
                    f"{metric}_low": difference.low,
                    f"{metric}_high": difference.high,
                    f"{metric}_p": difference.p,
                }
        rows[recipe] = row
    return pd.DataFrame.from_dict(rows, orient="index")
