"""What the original project's notebooks show: its curves, to be set beside this study's."""

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "original_results.csv"
VALIDATION_IMAGES = 115  # that its validation accuracies are shares of


def original_results(backbone: str, augmentation: str, run: str, source: str = "SUN 09") -> pd.DataFrame:
    """Validation accuracies of the original project: `learning_rate`, `epoch`, `val_accuracy`, `ms_per_step`.

    `run` is `first run` or `sweep`. No rows where the `source` of this run's images is not SUN 09: they could not be compared.
    """
    table = pd.read_csv(RESULTS)
    chosen = (table["backbone"] == backbone) & (table["augmentation"] == augmentation) & (table["run"] == run)
    table = table[chosen & (source == "SUN 09")]
    return table.drop(columns=["backbone", "augmentation", "run"]).reset_index(drop=True)
