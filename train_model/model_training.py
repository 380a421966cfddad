"""Trains the scene classifier and saves it. Generated from notebooks/06_train_final_model.ipynb by `make export`: edit that."""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parents[1]
)  # the repository, so that this runs without installation


def tell(kind, error, trace):
    """Says what is wrong with the input in a sentence; anything else is a bug and keeps its traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nInterrupted. The features computed so far are kept.", file=sys.stderr, flush=True)
        os._exit(130)
    from data_prep_eda.dataset import DatasetError
    from train_model.backbones import WeightsNotFound
    from train_model.features import CacheError
    from train_model.parameters import ParameterError

    if issubclass(kind, (DatasetError, WeightsNotFound, ParameterError, CacheError)):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell

# # The final model
#
# **Question.** Which model is served: which head on MobileNet's frozen features, trained on what, and when does it abstain?
#
# **Method.** The head is the original project's, one dense layer, with L2 and trained until it has converged. It learns from SUN 09's training images and from every other source that is available. Recipes, and the score that finds images of something else, are compared by leaving one source out with its family: a model of all other sources answers for the source that it has never seen. The validation and test images of SUN 09 are never trained on, and its test images have no part in any choice.
#
# **Answer.** The plain dense layer, since it is the simplest: on sources that were not trained on, no augmentation, no discriminant and no weighting of rare subcategories is significantly better. Protocols inside SUN 09 don't rank the recipes reliably, and neither does leaving sources out, which is preferred because it asks about images from elsewhere. At equal numbers of images, which sources are trained on matters more than how many. An image is in scope when it looks more like a scene than like something else, has a clear winner and lies near the training images; the threshold keeps 95 % of the scenes of unseen sources.

# ## Setup

import keras
import numpy as np
import pandas as pd

from data_prep_eda.dataset import load_dataset
from data_prep_eda.other_sources import all_images, load_sources
from data_prep_eda.preprocessing import SCENES
from train_model.augmentation import AUGMENTATIONS
from train_model.backbones import BACKBONES
from train_model.evaluation.leave_one_source_out import elsewhere, folds
from train_model.features import View, extract_features, quantised_extractor
from train_model.final_model import FinalModel, fit_head, fit_model
from train_model.metrics import load_images, loss_and_accuracy, scene_indices
from train_model.out_of_scope import fit_ood_score, threshold
from train_model.parameters import check_parameters
from train_model.study import output_folder, progress_bar, record_metrics, save_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
parser.add_argument(
    "--data-dir",
    type=str,
    default="",
    help="folder of images; empty for the prepared data or else the embedded sample",
)
parser.add_argument(
    "--other-sources",
    type=str,
    default="",
    help="folder of further sources; empty for the one beside the data, if there is one",
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
    "--augmentation",
    type=str,
    default="none",
    help="none, as_implemented or as_intended; trained on beside the clean images",
)
parser.add_argument(
    "--learning-rate", type=float, default=0.01, help="of Adam, at the start; it falls to 0 along a cosine"
)
parser.add_argument(
    "--epochs", type=int, default=50, help="passes over the training images; the head has converged after 30"
)
parser.add_argument("--batch-size", type=int, default=32, help="images per step")
parser.add_argument("--l2", type=float, default=0.03, help="strength of the L2 regularisation")
parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the images")
parser.add_argument(
    "--keep", type=float, default=0.95, help="share of the scenes of unseen sources that the OOD score keeps"
)
parser.add_argument("--views", type=int, default=3, help="augmented views per image")
parser.add_argument(
    "--save-files",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="write the model's files, 27 MB; a sweep can do without",
)
arguments = parser.parse_args()
data_dir = arguments.data_dir and str(Path(arguments.data_dir).expanduser().resolve())
other_sources = arguments.other_sources and str(Path(arguments.other_sources).expanduser().resolve())
output_dir = arguments.output_dir and str(Path(arguments.output_dir).expanduser().resolve())
backbone = arguments.backbone
weights = arguments.weights
augmentation = arguments.augmentation
learning_rate = arguments.learning_rate
epochs = arguments.epochs
batch_size = arguments.batch_size
l2 = arguments.l2
seed = arguments.seed
keep = arguments.keep
views = arguments.views
save_files = arguments.save_files


check_parameters(
    backbone=backbone,
    augmentation=augmentation,
    learning_rate=learning_rate,
    epochs=epochs,
    batch_size=batch_size,
    l2=l2,
    seed=seed,
    keep=keep,
    views=views,
)


# ## The images

dataset = load_dataset(data_dir)
sources = load_sources(other_sources, dataset)
images = all_images(dataset, sources)
folder = output_folder(output_dir)
print(f"Images: {dataset.kind}", sources, sep="\n")


pd.crosstab(images["source"], [images["scene"]], margins=True)


# What was left out, if anything, is listed above. Other collections hold images of SUN 09 whole that it has as square crops, its validation and test images among them: those that comparing the middles too finds, or that `other_sources_copies.csv` lists, are trained on by nobody.
#
# Of SUN 09, or of your own images, only the training split is trained on. Of the other sources everything is: their scenes for the head, and their images of other things for the OOD score.

scenes = images[images["scene"] != "other"].reset_index(drop=True)
others = images[images["scene"] == "other"].reset_index(drop=True)
labels = scene_indices(scenes["scene"])
train = np.flatnonzero(scenes["split"] == "train")
validation = np.flatnonzero(scenes["split"] == "validation")
print(
    f"{len(train)} images to train on, of {scenes['source'].nunique()} sources; {len(others)} of other things"
)


# ## Features, once

network = BACKBONES[backbone]
features = extract_features(scenes["path"], network, weights=weights, progress=progress_bar("Scenes"))
other_features = extract_features(others["path"], network, weights=weights, progress=progress_bar("Others"))


training_features, training_labels = features[train], labels[train]
if augmentation != "none":
    looks = [View(AUGMENTATIONS[augmentation], seed, number) for number in range(views)]
    augmented = [
        extract_features(scenes["path"][train], network, weights=weights, view=look) for look in looks
    ]
    training_features = np.concatenate([training_features, *augmented])
    training_labels = np.tile(training_labels, 1 + views)


# ## The head
#
# One dense layer on the pooled features. The features are centred, which makes the problem rounder and changes nothing in its solution: the mean goes into the bias afterwards.

keras.utils.set_random_seed(seed)
mean = training_features.mean(axis=0)
dense = keras.layers.Dense(len(SCENES), kernel_regularizer=keras.regularizers.L2(l2), name="logits")
head = keras.Sequential([keras.Input((network.features,)), dense])
head.summary()


# Nothing but this layer is trained; what is below it stays as ImageNet left it.

steps = -(-len(training_labels) // batch_size)
head.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    steps_per_execution=steps,  # one compiled call per epoch: a step is tiny
)


# The checkpoint keeps the epoch with the lowest training loss, the regularisation included. Nothing is chosen on the validation images, which only show how the training goes.

checkpoint = folder / "models" / "checkpoint.weights.h5"
checkpoint.parent.mkdir(parents=True, exist_ok=True)
history = head.fit(
    training_features - mean,
    training_labels,
    validation_data=(features[validation] - mean, labels[validation]),
    batch_size=batch_size,
    epochs=epochs,
    callbacks=[
        keras.callbacks.ModelCheckpoint(
            checkpoint, monitor="loss", save_best_only=True, save_weights_only=True
        )
    ],
    verbose=0,
)
head.load_weights(checkpoint)
kernel, bias = dense.get_weights()
bias = bias - mean @ kernel


# Loss and accuracy stand still in the last epochs: the head has converged. Since the problem is convex there is one solution, and scikit-learn's solver, which is another algorithm altogether, must find the same one.

exact_kernel, exact_bias = fit_head(training_features, training_labels, l2)
trained = FinalModel(kernel, bias, None).probabilities(features)
exact = FinalModel(exact_kernel, exact_bias, None).probabilities(features)
difference = np.abs(trained - exact).max()
print(f"Largest difference in a probability: {difference:.3f}, on {len(features)} images")


# The comparisons that follow need dozens of heads, and take this quicker way to them.

# The served score, fitted to all sources:

score = fit_ood_score(features[train], kernel, bias, other_features, seed)


# ## The threshold
#
# The threshold has to keep the wanted share of scenes **of sources that were not trained on**, so it is read off held-out scores: each source's scenes, scored by a model that knows neither the source nor its family. Every source counts the same, however many images it has, and SUN 09's test images are not among them. What is served computes in 8 bits, so the scored features are those of the 8-bit backbone. With one source only, its validation images have to do, and the threshold is too strict for other sources.

eight_bit = quantised_extractor(scenes["path"][train], network, weights=weights)
served_features = extract_features(
    scenes["path"], network, model=eight_bit, progress=progress_bar("Scenes, 8 bits")
)


held_out, scene_sources = {}, scenes["source"].to_numpy()
askable = (scenes["split"] != "test").to_numpy()
parts = folds(scene_sources, scenes.index.isin(train), labels, tested=askable)
for name, (trained_on, tested) in parts.items():
    known = other_features[elsewhere(others["source"], name)]
    fold_model = fit_model(features[trained_on], labels[trained_on], known, l2, seed)
    held_out[name] = fold_model.score(served_features[tested])
if not held_out:
    held_out["validation"] = score(served_features[validation])


names = np.repeat(list(held_out), [len(scores) for scores in held_out.values()])
limit = threshold(np.concatenate(list(held_out.values())), names, keep)
score = score.with_threshold(limit)
print(f"The threshold, from {len(names)} held-out scenes, becomes the score's zero")


# ## What is saved
#
# Head and score on the frozen backbone: one network from the image to both. Its score is 0 or more for an image in scope.

model = FinalModel(kernel, bias, score)
network_model = model.build(network, weights)
files = save_model(network_model, folder / "models") if save_files else []
for path in files:
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


# The model, loaded again from its file, must answer as head and score on the cached features do.

few = scenes.iloc[validation[:8]]
saved = keras.models.load_model(files[0], compile=False) if files else network_model
answers = saved.predict(load_images(few["path"], network.input_size), verbose=0)
assert np.abs(answers["probabilities"] - model.probabilities(features[validation[:8]])).max() < 0.01
assert np.abs(answers["score"][:, 0] - score(features[validation[:8]])).max() < 0.05
print("The model answers as the head on cached features does.")


val_loss, val_accuracy = loss_and_accuracy(features[validation] @ kernel + bias, labels[validation])
settings = {"backbone": backbone, "augmentation": augmentation, "learning_rate": learning_rate, "l2": l2}
results = {
    "data": dataset.kind,
    "trained_on": len(train),
    "others": len(others),
    "sources": int(scenes["source"].nunique()),
    "left_out": len(sources.rejected),
}
results |= {"val_accuracy": val_accuracy, "val_loss": val_loss, "difference_from_exact": float(difference)}
record_metrics(folder, "final", settings | results)
print("recorded")


# ## What this tells
#
# The recipe is the simplest one there is, and no other was significantly better on images from elsewhere. `train_model/model_training.py` is this notebook as a script, written by `make export`. Next: notebook `07_evaluate_model` tests this one model.
