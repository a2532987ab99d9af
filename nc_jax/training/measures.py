"""Measures of a network during training: accuracies, neural collapse, budgets."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from nc_jax.metrics import NetworkLayer, collapse_metrics, minority_metrics
from nc_jax.training.images import Images
from nc_jax.training.loop import Trainer
from nc_jax.training.steps import Weights


def measure(
    trainer: Trainer, weights: Weights, indices: Any, test: Images, minority: Any
) -> dict[str, float]:
    """One row of measures.

    Args:
        trainer: the trainer with the images that the indices refer to.
        weights: the weights of the network.
        indices: indices of the training subset, none repeated.
        test: the held-out images.
        minority: the indices of the small classes; may be empty.

    Returns:
        Accuracies of all, majority and minority classes (each class has the same weight) on
        ``train`` and ``test``; NC1–NC4 and separation of the training features by
        :func:`nc_jax.metrics.collapse_metrics`; ``minority_cosine``,
        ``minority_norm_variation`` and ``minority_distance`` of the classifiers;
        ``weight_energy`` E_W = (1/K) Σ‖w_k‖² and ``feature_energy`` E_H, the mean over
        classes of the mean squared length of their features about the global mean
        (Fang et al. 2021, Fig. 2), and ``budget`` √(E_W E_H). A measure that does not exist
        is NaN.

    Raises:
        ValueError: a class without an image in the subset.
    """
    logits, features, labels = trainer.outputs(weights, trainer.images, indices)
    kernel, bias = trainer.classifier(weights)
    members = np.asarray(minority, int)
    row = accuracies("train", logits, labels, members)
    held = trainer.outputs(weights, test, np.arange(len(test.labels)))
    row |= accuracies("test", held[0], held[2], members)
    if not (np.isfinite(features).all() and np.isfinite(np.asarray(kernel)).all()):
        return row
    layer = NetworkLayer(jnp.asarray(features), jnp.asarray(labels), kernel, bias)
    row |= {name: float(value) for name, value in collapse_metrics(layer)._asdict().items()}
    if len(members):
        own = minority_metrics(kernel, members)
        row |= {
            "minority_cosine": float(own.cosine),
            "minority_norm_variation": float(own.norm_variation),
            "minority_distance": float(own.distance),
        }
    return row | budgets(np.asarray(kernel), features, labels)


def budgets(classifiers: np.ndarray, features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """E_W of classifiers [K, p], E_H of features [N, p] with labels [N], and √(E_W E_H)."""
    squares = np.sum((features - features.mean(0, dtype=np.float64)) ** 2, axis=1)
    count = np.bincount(labels, minlength=len(classifiers))
    total = np.bincount(labels, squares, len(classifiers))
    weight_energy = float(np.mean(np.sum(classifiers.astype(np.float64) ** 2, axis=1)))
    feature_energy = float(np.mean(total / count))
    energies = {"weight_energy": weight_energy, "feature_energy": feature_energy}
    return energies | {"budget": float(np.sqrt(weight_energy * feature_energy))}


def accuracies(
    split: str, logits: np.ndarray, labels: np.ndarray, minority: np.ndarray
) -> dict[str, float]:
    """Shares of correct answers, with equal weight for each class; NaN without images."""
    size = logits.shape[1]
    right = (np.argmax(logits, axis=1) == labels) & np.isfinite(logits).all(axis=1)
    count = np.bincount(labels, minlength=size)
    with np.errstate(invalid="ignore"):
        by_class = np.bincount(labels, right, size) / count
    small = np.isin(np.arange(size), minority)
    groups = {"all": np.ones(size, bool), "majority": ~small, "minority": small}
    return {
        f"{split}_accuracy_{name}": float(np.mean(by_class[group & (count > 0)]))
        if (group & (count > 0)).any()
        else float("nan")
        for name, group in groups.items()
    }
