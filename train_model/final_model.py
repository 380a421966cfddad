"""The served model: one dense layer with softmax and L2 on frozen features, and the OOD score, on top of the backbone.

    kernel, bias = argmin  mean_i w_i (-log softmax(kernel' f_i + bias)[y_i])  +  l2 * |kernel|^2

The problem is convex, so it has one solution, which scikit-learn's solver finds.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.class_weight import compute_sample_weight

from data_prep_eda.files import replacing
from train_model.backbones import BACKBONES, Backbone, assemble
from train_model.out_of_scope import OodScore, fit_ood_score, unit_length
from train_model.parameters import ParameterError
from train_model.record import MODEL, opened_alone, read_metrics

NEVER = -100.0  # bias of a class that a training set has no image of
ALIKE = 0.9  # cosine of two images' features from which on they are not held out from each other
FOLDS = 5  # or fewer where there are few images
TOLERANCE = 1e-6  # of the solver, in the largest number of the gradient


@dataclass(frozen=True)
class FinalModel:
    """A head, `kernel [features, classes]` and `bias [classes]`, and its OOD score, whose threshold is 0."""

    kernel: np.ndarray
    bias: np.ndarray
    score: OodScore

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities `[n, classes]` of pooled features `[n, features]`."""
        return softmax(features @ self.kernel + self.bias, axis=1)

    def build(self, backbone: Backbone = BACKBONES["mobilenet"], weights: str = "auto") -> keras.Model:
        """The model of `assemble`, with a second output: `score [n, 1]`, which is 0 or more for an image in scope."""
        classifier = assemble(backbone, self.kernel, self.bias, weights)
        score = self.score.layers(classifier.get_layer("pool").output)
        outputs = {"probabilities": classifier.get_layer("probabilities").output, "score": score}
        return keras.Model(classifier.input, outputs, name=classifier.name)


def fit_model(
    features: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    l2: float,
    classes: int,
    seed: int = 0,
    class_weights: str = "none",
) -> FinalModel:
    """Head and OOD score in one go; see `fit_head` and `train_model.out_of_scope.fit_ood_score`."""
    kernel, bias = fit_head(features, labels, l2, classes, class_importance(labels, class_weights))
    return FinalModel(kernel, bias, fit_ood_score(features, labels, kernel, bias, others, seed))


def fit_head(
    features: np.ndarray, labels: np.ndarray, l2: float, classes: int, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The dense layer with the least mean cross-entropy + l2 * |kernel|^2, as `keras.regularizers.L2(l2)` means it.

    Features are `[n, features]`, labels `int [n]`; a class without an image is never predicted. `importance [n]` is of mean 1.

    Returns:
        Kernel `float32 [features, classes]` and bias `float32 [classes]` of the logits. No number of the gradient
        is over 1e-5, and so a probability is right to 1e-4.
    """
    mean = features.mean(axis=0, dtype=np.float64)  # centred features converge sooner, to the same head
    # Of two classes scikit-learn regularises the difference of their kernels, which is twice as long as either.
    inverse = (2 if len(np.unique(labels)) == 2 else 1) / (2 * l2 * len(features))
    solver = LogisticRegression(C=inverse, tol=TOLERANCE, max_iter=10_000)
    solver.fit(features - mean, labels, importance)  # in float64: float32 ends too early
    kernel, bias = solver.coef_.T, solver.intercept_
    if kernel.shape[1] == 1:  # the second class's log odds
        kernel, bias = np.c_[-kernel, kernel] / 2, np.r_[-bias, bias] / 2
    full_kernel, full_bias = np.zeros((features.shape[1], classes)), np.full(classes, NEVER)
    full_kernel[:, solver.classes_], full_bias[solver.classes_] = kernel, bias - mean @ kernel
    return full_kernel.astype(np.float32), full_bias.astype(np.float32)


def class_importance(labels: np.ndarray, class_weights: str = "none") -> np.ndarray | None:
    """How much each image counts, `[n]` of mean 1: `balanced`, as every class does; `none`, all alike, which is None."""
    return compute_sample_weight("balanced", labels) if class_weights == "balanced" else None


def held_out_scores(
    features: np.ndarray,
    served_features: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray,
    others: np.ndarray,
    l2: float,
    classes: int,
    *,
    seed: int = 0,
    class_weights: str = "none",
) -> np.ndarray:
    """OOD scores of training images, each by a head and a score that were fitted without its fold.

    Every fold has its share of each class and source (`sources [n]`); images that show nearly the same are in one fold. What
    is scored is `served_features [n, features]`, of the same images by the backbone that is served.

    Returns:
        `[k]`, of the images whose class has images outside their fold too: k is n, or less where images are few.
    """
    groups, strata = _alike(features), pd.factorize(pd.Series(labels).astype(str) + " " + sources)[0]
    n_folds = min(FOLDS, len(np.unique(groups)), np.bincount(strata).max())
    if n_folds < 2:
        return np.zeros(0)
    with warnings.catch_warnings(action="ignore"):  # of strata with fewer images than folds
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        splits = list(folds.split(features, strata, groups))
    scores = []
    for rest, fold in splits:
        fold = fold[np.isin(labels[fold], labels[rest])]
        if len(fold) and len(np.unique(labels[rest])) > 1:
            model = fit_model(features[rest], labels[rest], others, l2, classes, seed, class_weights)
            scores.append(model.score(served_features[fold]))
    return np.concatenate([np.zeros(0), *scores])


def _alike(features: np.ndarray) -> np.ndarray:
    """Group numbers `[n]` that put images together whose features are nearly the same: copies, shots of one series."""
    unit = unit_length(features)
    blocks = [csr_array(unit[start : start + 1000] @ unit.T > ALIKE) for start in range(0, len(unit), 1000)]
    return connected_components(vstack(blocks), directed=False)[1]


def save_model(model: keras.Model, folder: Path) -> list[Path]:
    """Saves a model as `.keras` and, as the original project did, as `.h5`; returns the two files."""
    files = [folder / f"{MODEL}{suffix}" for suffix in (".keras", ".h5")]  # Keras goes by the suffix
    for path in files:
        with replacing(path) as part:
            model.save(part)
    return files


def trained_model(folder: Path) -> Path:
    """The model that a run trained; the committed one, said in a sentence, where a notebook was opened alone.

    Raises:
        ParameterError: the run has trained none, or did not save it.
    """
    path = folder / "models" / f"{MODEL}.keras"
    if opened_alone(folder):
        print("No model has been trained here, so this is about the published one.")
        return Path(__file__).parent / path.name
    if not path.is_file() or not read_metrics(folder).get("final", {}).get("saved", True):
        raise ParameterError(
            f"Expected the model of this run at {path}, found none. Run notebook 06_train_final_model with the same "
            "'output_dir', and with 'save_files'."
        )
    return path
