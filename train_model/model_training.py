"""Trains the scene classifier and saves it. Generated from notebooks/06_train_final_model.ipynb by `make export`: edit that."""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parents[1]
)  # the repository, so that this runs without installation

# # The final model
#
# **Question.** Which head on MobileNet's frozen features is served?
#
# **Method.** Two heads learn from the same augmented views of the training images. The *gradient* head is the study's: Adam at the best rate, one view a pass, and the checkpoint of the pass that does best on the validation images. The *discriminant* head is computed in closed form: a linear discriminant analysis with a shrunk covariance (Ledoit & Wolf, 2004). It has no learning rate, no passes and no random start. Both are one dense layer, so the choice costs nothing in the service. A temperature, fitted on validation images and corrupted images of them, makes the probabilities honest, and a score says whether an image shows any of the three scenes at all.
#
# **Answer.** On the validation images the two heads differ by one image. On corrupted images of them the discriminant head makes about half the mistakes, and is less sure of those. It also does better on kinds of scene that it wasn't trained on, which notebook `07_evaluate_model` shows, and is the one that is served.
# ## Setup
import keras
import numpy as np
import pandas as pd

from data_prep_eda.dataset import DatasetError, load_dataset
from data_prep_eda.eda import read_names
from data_prep_eda.files import write_json
from train_model.backbones import BACKBONES, WeightsNotFound
from train_model.final_model import fit_discriminant, kind_importance, train, view_features
from train_model.heads import train_heads
from train_model.metrics import load_images, loss_and_accuracy, scene_indices
from train_model.study import DETAILS, output_folder, progress_bar, record_metrics, save_model


def tell(kind, error, trace):
    """Says what is wrong with the input in a sentence; anything else is a bug and keeps its traceback."""
    if issubclass(kind, (DatasetError, WeightsNotFound)):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
parser.add_argument(
    "--data-dir",
    type=str,
    default="",
    help="folder of images; empty for the prepared data or else the embedded sample",
)
parser.add_argument(
    "--output-dir", type=str, default="runs/notebooks", help="where results go, from the repository's top"
)
parser.add_argument("--backbone", type=str, default="mobilenet", help="mobilenet or xception")
parser.add_argument(
    "--weights",
    type=str,
    default="auto",
    help="the backbone's weights: a path, imagenet to download, or auto",
)
parser.add_argument(
    "--head",
    type=str,
    default="discriminant",
    help="the head that is saved: discriminant, or gradient as in the study",
)
parser.add_argument(
    "--augmentation", type=str, default="robust", help="a name in train_model.augmentation, or none"
)
parser.add_argument("--learning-rate", type=float, default=0.01, help="of Adam, for the gradient head")
parser.add_argument(
    "--epochs",
    type=int,
    default=10,
    help="augmented views an image; the gradient head passes over one view an epoch",
)
parser.add_argument("--batch-size", type=int, default=32, help="batch size, for the gradient head")
parser.add_argument(
    "--seed", type=int, default=0, help="of the views, and of the gradient head's start and order"
)
parser.add_argument("--validation-views", type=int, default=4, help="corrupted images a validation image")
parser.add_argument(
    "--keep", type=float, default=0.95, help="share of real scenes that the scope score keeps"
)
parser.add_argument(
    "--save-files",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="write the model's files, 27 MB; a sweep can do without",
)
arguments = parser.parse_args()
data_dir = arguments.data_dir and str(Path(arguments.data_dir).expanduser().resolve())
output_dir = arguments.output_dir and str(Path(arguments.output_dir).expanduser().resolve())
backbone = arguments.backbone
weights = arguments.weights
head = arguments.head
augmentation = arguments.augmentation
learning_rate = arguments.learning_rate
epochs = arguments.epochs
batch_size = arguments.batch_size
seed = arguments.seed
validation_views = arguments.validation_views
keep = arguments.keep
save_files = arguments.save_files


# ## The images

dataset = load_dataset(data_dir)
print(dataset)


# ## Views
#
# The features of every image as it is and in its augmented views. The validation images get views of their own, always of the kind that imitates other sources.

network = BACKBONES[backbone]
training, validation = dataset.split("train"), dataset.split("validation")
labels, validation_labels = scene_indices(training["scene"]), scene_indices(validation["scene"])
views = view_features(
    training["path"],
    epochs,
    augmentation=augmentation,
    seed=seed,
    backbone=network,
    weights=weights,
    progress=progress_bar("Training views"),
)
changed = view_features(
    validation["path"],
    validation_views,
    seed=seed + 1000,
    backbone=network,
    weights=weights,
    progress=progress_bar("Validation views"),
)
print(f"{len(views)} views of {len(labels)} training images, {views.shape[2]} features each")


# ## The gradient head

heads = train_heads(
    lambda epoch: views[min(epoch + 1, len(views) - 1)],
    labels,
    changed[0],
    validation_labels,
    [learning_rate],
    seeds=[seed],
    epochs=epochs,
    batch_size=batch_size,
    progress=progress_bar("Epochs"),
)
best = heads.best().iloc[0]
print(f"Checkpoint: epoch {best['epoch']:.0f}, validation accuracy {best['val_accuracy']:.4f}")


# ## The discriminant head
#
# All views at once. How far the covariance is shrunk was chosen by leaving out sources of images and kinds of scene in turn. SUN 09's file names tell finer kinds of a scene, such as beach and ocean beside coast; a kind counts as the square root of its images, because its share in a collection says nothing about the images to come.

importance = kind_importance(read_names(training["name"])["category"], labels)
discriminant = fit_discriminant(
    np.concatenate(views), np.tile(labels, len(views)), importance=np.tile(importance, len(views))
)
print(f"An image counts for {importance.min():.2f} to {importance.max():.2f} of an average one")


# ## Side by side

candidates = {"gradient": heads.weights(best), "discriminant": discriminant}
rows = []
for name, (kernel, bias) in candidates.items():
    model = train(views, labels, changed, validation_labels, head=(kernel, bias), keep=keep)
    own = loss_and_accuracy(model.logits(changed[0]), validation_labels)
    other = loss_and_accuracy(
        model.logits(np.concatenate(changed[1:])), np.tile(validation_labels, len(changed) - 1)
    )
    rows.append([name, own[1], own[0], other[1], other[0]])
columns = ["head", "accuracy", "loss", "accuracy, corrupted images", "loss, corrupted images"]
comparison = pd.DataFrame(rows, columns=columns).set_index("head")
comparison.round(4)


# ## What is saved
#
# The head, divided by its temperature, on the frozen backbone, with the scope score beside the probabilities: one network from the image to both.

if head not in candidates:
    raise ValueError(f"Expected the head 'discriminant' or 'gradient', found {head!r}.")
chosen = train(views, labels, changed, validation_labels, head=candidates[head], keep=keep)
model = chosen.build(network, weights)
folder = output_folder(output_dir)
files = save_model(model, folder / "models") if save_files else []
details = {"temperature": chosen.temperature, "score_threshold": chosen.score_threshold}
write_json(folder / "models" / DETAILS, details)
for path in files:
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


# The model, loaded again from its file, must answer as the head on the cached features does.

few = validation.iloc[:8]
served = keras.models.load_model(files[0], compile=False) if files else model
answers = served.predict(load_images(few["path"], network.input_size), verbose=0)
difference = np.abs(answers["probabilities"] - chosen.probabilities(changed[0][:8])).max()
assert difference < 0.01, f"the model differs by {difference:.3f} from the head"
print("The model answers as the head on cached features does.")


record_metrics(
    folder,
    "final",
    {
        "images": dataset.kind,
        "backbone": backbone,
        "head": head,
        "augmentation": augmentation,
        "learning_rate": learning_rate,
        "checkpoint_epoch": int(best["epoch"]),
        "val_accuracy": comparison.loc[head, "accuracy"],
        "val_accuracy_changed": comparison.loc[head, "accuracy, corrupted images"],
        "val_accuracy_gradient": comparison.loc["gradient", "accuracy"],
        "val_accuracy_changed_gradient": comparison.loc["gradient", "accuracy, corrupted images"],
        "temperature": chosen.temperature,
        "score_threshold": chosen.score_threshold,
    },
)
print("recorded")


# ## What this tells
#
# Training is a matter of seconds once the features are there; what is worth the time is which views they are taken from. `train_model/model_training.py` is this notebook as a script, written by `make export`. Next: notebook `07_evaluate_model`, on images that had no part in the training.
