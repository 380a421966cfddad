"""What was here lies in `record`, `heads` (original_results), `metrics` (half_width) and `final_model`; goes when all have moved."""

from __future__ import annotations

from train_model.record import (  # noqa: F401
    METRICS,
    MODEL,
    MODEL_FILE,
    output_folder,
    progress_bar,
    read_metrics,
    record_metrics,
)


def __getattr__(name):
    from train_model import final_model, metrics, original_project, tflite

    homes = {"original_results": original_project.original_results, "interval": metrics.half_width}
    homes |= {"save_model": final_model.save_model, "trained_model": final_model.trained_model}
    homes |= {"classify": tflite.probabilities}
    if name not in homes:
        raise AttributeError(name)
    return homes[name]
