"""What the original project's notebooks show: its curves, to be set beside this study's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "original_results.csv"
VALIDATION_IMAGES = 115  # that its validation accuracies are shares of


def original_results(backbone: str, augmentation: str, run: str, source: str = "SUN 09") -> pd.DataFrame:
    """Validation accuracies of the original project.

    Args:
        backbone: `mobilenet` or `xception`.
        augmentation: `none` or `as_implemented`.
        run: `first run` or `sweep`.
        source: of this run's images, see `data_prep_eda.dataset.Dataset`; beside other images than SUN 09's its
            curves mean nothing.

    Returns:
        One row per learning rate and epoch: `learning_rate`, `epoch`, `val_accuracy`, `ms_per_step`; no rows where the
        images are not SUN 09's.
    """
    table = pd.read_csv(RESULTS)
    chosen = (table["backbone"] == backbone) & (table["augmentation"] == augmentation) & (table["run"] == run)
    chosen &= source == "SUN 09"
    return table[chosen].drop(columns=["backbone", "augmentation", "run"]).reset_index(drop=True)
