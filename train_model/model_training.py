"""Trains the scene classifier and saves it. Generated from notebooks/06_train_final_model.ipynb by `make export`: edit that."""

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parents[1]
)  # the repository, so that this runs without installation
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever keras.json says


def report(kind, error, trace):
    """Says what is wrong with the input in a sentence; anything else is a bug and keeps its traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nInterrupted. The features computed so far are kept.", file=sys.stderr, flush=True)
        os._exit(130)
    if kind.__module__.startswith(("data_prep_eda.", "train_model.")):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = report
if os.environ["KERAS_BACKEND"] not in ("tensorflow", "jax"):
    sys.exit(
        "Expected KERAS_BACKEND to be tensorflow or jax, found " + os.environ["KERAS_BACKEND"] + ". Unset it."
    )

# # The final model
#
# **Question.** Which model is served: which head on the backbone's frozen features, trained on what, and when does it abstain?
#
# **Method.** The head is the original project's, one dense layer, with L2. Its training problem is convex, so it has one solution; a solver finds it, and the training with Adam, as Keras users know it, is held against it. It learns from the training images and from every other source that is available. Validation and test images are never trained on, and the test images have no part in any choice. The out-of-distribution score's threshold is read off five folds over the training images.
#
# **Answer.** The exact solution of the plain dense layer. Adam with the default rate and epochs misses it by up to 0.14 in a probability, and a longer training without the noise of small batches comes nearer. An image is in scope when it looks more like the classes than like something else, has a clear winner and lies near the training images; the threshold keeps 97.5 % or more of images that head and score have not seen, a share that evidence from outside decided. Why this recipe, this strength of L2 and this score: side roads `11_recipes` and `12_ood_scores`.

# ## Setup

import keras
import numpy as np
import pandas as pd

from data_prep_eda.dataset import OTHER, load_dataset
from data_prep_eda.other_sources import all_images, load_sources
from train_model.augmentation import AUGMENTATIONS
from train_model.backbones import BACKBONES
from train_model.features import View, extract_features, quantised_extractor
from train_model.final_model import FinalModel, class_importance, fit_head, held_out_scores, save_model
from train_model.metrics import label_indices, load_images, loss_and_accuracy
from train_model.out_of_scope import fit_ood_score, threshold
from train_model.parameters import check_parameters
from train_model.record import begin, output_folder, progress_bar, record_metrics

keras.config.set_floatx("float32")  # whatever keras.json says
keras.config.set_image_data_format("channels_last")
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
    "--head",
    type=str,
    default="exact",
    help="exact, the solution, or adam, as Keras trains it with the rate and epochs given",
)
parser.add_argument(
    "--class-weights",
    type=str,
    default="none",
    help="none, every image counts the same, or balanced, every class does",
)
parser.add_argument(
    "--learning-rate",
    type=float,
    default=0.01,
    help="of Adam, at the start; it falls to 0 along a cosine; served with head adam",
)
parser.add_argument(
    "--epochs", type=int, default=50, help="of Adam, passes over the training images; served with head adam"
)
parser.add_argument("--batch-size", type=int, default=32, help="of Adam, images per step")
parser.add_argument("--l2", type=float, default=0.03, help="strength of the L2 regularisation")
parser.add_argument(
    "--seed", type=int, default=0, help="of the initial weights, the order of the images and the folds"
)
parser.add_argument(
    "--keep", type=float, default=0.975, help="share of images of the classes that the OOD score is to keep"
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
head = arguments.head
class_weights = arguments.class_weights
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
    head=head,
    class_weights=class_weights,
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
folder = output_folder(output_dir)
begin(folder, dataset, sources)


images = all_images(dataset, sources)
pd.crosstab(images["source"], [images["label"]], margins=True)


# Of the data set only the training split is trained on. Of the other sources everything is, except copies of the data set's images: their images of the classes for the head, and those in `other` for the score.

class_names = dataset.class_names
known = images[images["label"] != OTHER].reset_index(drop=True)
others = images[(images["label"] == OTHER) & (images["split"] == "train")].reset_index(drop=True)
labels = label_indices(known["label"], class_names)
train = np.flatnonzero(known["split"] == "train")
validation = np.flatnonzero(known["split"] == "validation")
print(f"{len(train)} images to train on, and {len(others)} of other classes")


# ## Features, once

network = BACKBONES[backbone]
features = extract_features(known["path"], network, weights=weights, progress=progress_bar("Images"))
other_features = extract_features(others["path"], network, weights=weights, progress=progress_bar("Others"))


training_features, training_labels = features[train], labels[train]
if augmentation != "none":
    looks = [View(AUGMENTATIONS[augmentation], seed, number) for number in range(views)]
    augmented = [
        extract_features(known["path"][train], network, weights=weights, view=look) for look in looks
    ]
    training_features = np.concatenate([training_features, *augmented])
    training_labels = np.tile(training_labels, 1 + views)
importance = class_importance(training_labels, class_weights)


# ## The head, as Keras trains it
#
# One dense layer on the pooled features. The features are centred, which makes the problem rounder and changes nothing in its solution: the mean goes into the bias afterwards.

keras.utils.set_random_seed(seed)
mean = training_features.mean(axis=0)
dense = keras.layers.Dense(len(class_names), kernel_regularizer=keras.regularizers.L2(l2), name="logits")
layer = keras.Sequential([keras.Input((network.features,)), dense])
layer.summary()


# Nothing but this layer is trained; what is below it stays as ImageNet left it.

steps = -(-len(training_labels) // batch_size)
layer.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    steps_per_execution=steps,  # one compiled call per epoch: a step is tiny
)


# The checkpoint keeps the epoch with the lowest training loss, the regularisation included. Nothing is chosen on the validation images, which only show how the training goes.

checkpoint = folder / "models" / "checkpoint.weights.h5"
checkpoint.parent.mkdir(parents=True, exist_ok=True)
history = layer.fit(
    training_features - mean,
    training_labels,
    sample_weight=importance,
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
layer.load_weights(checkpoint)
adam_kernel, adam_bias = dense.get_weights()


# ## The head, exactly
#
# The curves stand still at the end because the learning rate has fallen to 0, not because the solution is reached. Mean cross-entropy plus L2 is convex: there is one solution, and scikit-learn's solver goes on until the gradient is 0 to five places.

kernel, bias = fit_head(training_features, training_labels, l2, len(class_names), importance)
exact = FinalModel(kernel, bias, None)
adam = FinalModel(adam_kernel, adam_bias - mean @ adam_kernel, None)
keras_difference = np.abs(adam.probabilities(features) - exact.probabilities(features)).max()
print(f"Adam's head differs by up to {keras_difference:.3f} in a probability, on {len(features)} images")


# The exact head is served, unless `head` asks for Adam's. The Keras layer gets its weights, and says what is served.

if head == "exact":
    dense.set_weights([kernel, bias + mean @ kernel])
else:
    dense.set_weights([adam_kernel, adam_bias])
kernel, bias = dense.get_weights()
bias = bias - mean @ kernel
served = FinalModel(kernel, bias, None).probabilities(features)
difference = np.abs(served - exact.probabilities(features)).max()
print(f"The served head differs by up to {difference:.6f} from the solution")


# ## The score and its threshold
#
# The score is a sum of up to three answers: evidence against images of other classes, where there are some; how clear the winner is; and how near the image is to a prototype of a class.

score = fit_ood_score(features[train], labels[train], kernel, bias, other_features, seed)
parts = "evidence, lead and nearness" if len(others) else "lead and nearness, without images of other classes"
print(f"Score of {parts}; {score.prototypes.shape[1]} prototypes")


# Its threshold is to keep the wanted share of images that head and score have not seen. So both are fitted five times without a fifth of the training images, which are then scored; images that show nearly the same are in one fold. Of few images the threshold leaves a margin below the lowest score. What is served computes in 8 bits, so the scored features are those of the 8-bit backbone.

eight_bit = quantised_extractor(known["path"][train], network, weights=weights)
served_features = extract_features(
    known["path"], network, model=eight_bit, progress=progress_bar("Images, 8 bits")
)


held_out = held_out_scores(
    features[train],
    served_features[train],
    labels[train],
    known["source"].to_numpy()[train],
    other_features,
    l2,
    len(class_names),
    seed=seed,
    class_weights=class_weights,
)


n_sources = known["source"][train].nunique()
read_off = f"five folds over {len(held_out):,} training images of {n_sources} source{'s' * (n_sources > 1)}"
if len(held_out) < 2:
    held_out = score(served_features[validation])
    read_off = f"the {len(validation)} validation images, for want of training images"
limit = threshold(held_out, keep)
score = score.with_threshold(limit)
print(f"The threshold, from {read_off}, becomes the score's zero")


model = FinalModel(kernel, bias, score)
network_model = model.build(network, weights)
files = save_model(network_model, folder / "models") if save_files else []
for path in files:
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


# The model, loaded again from its file, must answer as head and score on the cached features do.

few = known.iloc[validation[:8]]
saved = keras.models.load_model(files[0], compile=False) if files else network_model
answers = saved.predict(load_images(few["path"], network.input_size), verbose=0)
assert np.abs(answers["probabilities"] - model.probabilities(features[validation[:8]])).max() < 0.01
assert np.abs(answers["score"][:, 0] - score(features[validation[:8]])).max() < 0.05
print("The model answers as the head on cached features does.")


val_loss, val_accuracy = loss_and_accuracy(features[validation] @ kernel + bias, labels[validation])
settings = {"backbone": backbone, "augmentation": augmentation, "head": head, "class_weights": class_weights}
settings |= {"learning_rate": learning_rate, "epochs": epochs, "l2": l2, "keep": keep, "seed": seed}
counts = pd.concat([known.iloc[train], others]).groupby("source")["label"].value_counts()
results = {
    "data": dataset.kind,
    "trained_on": len(train),
    "others": len(others),
    "sources": int(n_sources),
    "left_out": len(sources.rejected),
    "counts": {name: counts[name].to_dict() for name in counts.index.unique("source")},
    "read_off": read_off,
    "saved": save_files,
}
results |= {"val_accuracy": val_accuracy, "val_loss": val_loss}
results |= {"difference_from_exact": float(difference), "keras_difference": float(keras_difference)}
record_metrics(folder, "final", settings | results)
print("recorded")


# ## What this tells
#
# The head is the solution of its problem and no longer a matter of rate and epochs. `train_model/model_training.py` is this notebook as a script, written by `make export`. Next: `07_tflite_conversion` makes the file that is served, and `08_evaluate_model` tests that file.
