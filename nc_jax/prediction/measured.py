"""The measures of a trained network's last layer, as one row of a table."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from nc_jax.metrics import minority_metrics
from nc_jax.prediction.rest import measure_rest
from nc_jax.training.images import Images
from nc_jax.training.loop import Run, Trainer
from nc_jax.training.measures import accuracies, budgets
from nc_jax.training.steps import Weights


def measure_last_layer(
    trainer: Trainer,
    weights: Weights,
    indices: np.ndarray,
    test: Images,
    minority: np.ndarray,
    run: Run,
) -> dict[str, Any]:
    """One row of measures.

    Args:
        trainer: the trainer with the images that the indices refer to.
        weights: the weights of the network.
        indices: indices of the training subset, none repeated.
        test: the held-out images.
        minority: the small classes; may be empty.
        run: gives the loss and weight decay, repeated images and class weights.

    Returns:
        Accuracies as in :func:`nc_jax.training.measure`, and
        ``least_minority_accuracy``, that of the worst small class on training samples;
        ``stationarity``, ``balance`` and ``train_loss``
        (:class:`nc_jax.prediction.Rest`); ``weight_energy``, ``feature_energy``,
        ``budget``; ``minority_cosine`` and ``minority_norm_variation`` of the classifiers
        if there are at least two small classes; ``classifier_gram`` and ``mean_gram``, the Gram
        matrices of the classifiers and of the centred class means, flat [K²],
        the large classes first, each group in the order of its labels.
    """
    logits, features, labels = trainer.outputs(weights, trainer.images, indices)
    kernel, bias = trainer.classifier(weights)
    kernel = np.asarray(kernel, float)
    small = np.isin(np.arange(len(kernel)), minority)
    held = trainer.outputs(weights, test, np.arange(len(test.labels)))
    row = accuracies("train", logits, labels, minority)
    row |= accuracies("test", held[0], held[2], minority)
    each = [accuracies("train", logits, labels, np.array([k])) for k in minority]
    least = min((own["train_accuracy_minority"] for own in each), default=float("nan"))
    row["least_minority_accuracy"] = least
    if not (np.isfinite(features).all() and np.isfinite(kernel).all()):
        return row
    offset = None if bias is None else np.asarray(bias)
    times = np.bincount(run.indices, minlength=len(trainer.images.labels))[indices]
    recipe, weights_of = run.recipe, run.class_weights
    rest = measure_rest(
        recipe.loss, recipe.weight_decay, features, labels, kernel, offset, times, weights_of
    )
    row |= {"train_loss": rest.loss, "stationarity": rest.stationarity, "balance": rest.balance}
    row |= budgets(kernel, features, labels)
    if small.sum() > 1:
        own = minority_metrics(jnp.asarray(kernel), np.flatnonzero(small))
        row["minority_cosine"] = float(own.cosine)
        row["minority_norm_variation"] = float(own.norm_variation)
    order = np.argsort(small, kind="stable")
    means = np.array([features[labels == k].mean(axis=0, dtype=float) for k in order])
    means -= means.mean(axis=0)
    own = kernel[order]
    grams = {"classifier_gram": own @ own.T, "mean_gram": means @ means.T}
    return row | {name: matrix.ravel().tolist() for name, matrix in grams.items()}
