"""Measures of a language model during training: rows of the head, budgets, accuracies.

Adding the same row to all rows of the head changes no probability, so rows are centred,
like those of a surrogate's optimum. Features are not centred: because the head has no
bias, their mean distinguishes frequent tokens from rare ones.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from nc_jax.datasets import ContextRows, Text, context_rows
from nc_jax.metrics.tokens import (
    BinnedRows,
    binned_rows,
    frequency_bins,
    mean_cosine_of_rows,
    nearest_distances,
    participation,
)
from nc_jax.training.text_loop import TextOutputs, TextState, TextTrainer


class Looked(NamedTuple):
    """The settings of the measures of a language model.

    Attributes:
        text: the text that it is trained on.
        contexts: clusters of the contexts of this text.
        bins: [V] frequency bin of each token.
        rare: [V] booleans, the rare tokens.
        merged: distance to the nearest row, relative to the longest row, up to which a row
            counts as merged with it.
        places: largest number of positions of the training and of the test text.
    """

    text: Text
    contexts: ContextRows
    bins: np.ndarray
    rare: np.ndarray
    merged: float
    places: int


def look_at(text: Text, rows: int, bins: int, rare: float, merged: float, places: int) -> Looked:
    """Frequency bins, rare tokens and clusters of contexts of a text.

    Args:
        text: the text of the training.
        rows: J, number of clusters of contexts, see :func:`nc_jax.datasets.context_rows`.
        bins: number of frequency bins, see :func:`nc_jax.metrics.tokens.frequency_bins`.
        rare: share of the vocabulary that counts as rare: its least frequent tokens.
        merged: as in :class:`Looked`.
        places: as in :class:`Looked`.
    """
    vocabulary = len(text.counts)
    least = np.zeros(vocabulary, bool)
    least[np.argsort(text.counts, kind="stable")[: math.ceil(rare * vocabulary)]] = True
    contexts = context_rows(text.train, vocabulary, rows)
    return Looked(text, contexts, frequency_bins(text.counts, bins), least, merged, places)


class MeasuredText(NamedTuple):
    """The measures of a language model at one moment.

    Attributes:
        numbers: named scalars.
        norms: [V] lengths of the head's centred rows.
        binned: the rows averaged in bins of frequency.
    """

    numbers: dict[str, float]
    norms: np.ndarray
    binned: BinnedRows


def measure_text(trainer: TextTrainer, state: TextState, look: Looked) -> MeasuredText:
    """Measures a run; a measure that does not exist is NaN.

    Returns:
        Among the numbers are ``train_loss`` and ``test_loss`` in nats and ``…_accuracy``, and
        ``…_rare_loss`` and ``…_rare_accuracy`` for positions whose next token is rare;
        ``weight_energy`` E_W, the mean squared length of the centred rows;
        ``feature_energy`` E_H, the mean over next tokens of the mean squared length of the
        features before them, and ``context_energy``, the mean over clusters of contexts;
        ``mean_feature``, the squared length of the mean feature; ``norm_energy``,
        ‖γ‖² + ‖β‖² of the last normalisation over the mean squared length of the features;
        ``balance`` ‖W‖²/(‖γ‖² + ‖β‖²), which is one at every stationary point of an untied
        network with an L2 penalty on both, because W c and (γ, β)/c give the same logits;
        ``participation`` of the head; the shares ``merged`` and ``rare_merged``;
        ``rare_distance``, the median distance of a rare row to its nearest row, relative to
        the longest row; ``rare_norm``, the mean length of rare rows, and ``rare_cosine``,
        the mean cosine over pairs of them.
    """
    rows = trainer.head(state).astype(np.float64)
    rows = rows - rows.mean(axis=0)
    nearest = nearest_distances(rows)
    merged = nearest <= look.merged
    numbers = {
        "weight_energy": float(np.mean(np.sum(rows**2, axis=1))),
        "participation": participation(rows),
        "merged": float(np.mean(merged)),
        "rare_merged": float(np.mean(merged[look.rare])),
        "rare_distance": float(np.median(nearest[look.rare])),
        "rare_norm": float(np.mean(np.linalg.norm(rows[look.rare], axis=1))),
        "rare_cosine": mean_cosine_of_rows(rows[look.rare]),
    }
    for part in ("train", "test"):
        made = trainer.outputs(state, getattr(look.text, part), look.places)
        numbers |= _scores(part, made, look.rare)
        if part == "train":
            numbers |= _energies(trainer, state, made, look, np.sum(rows**2))
    norms = np.linalg.norm(rows, axis=1)
    return MeasuredText(numbers, norms, binned_rows(rows, look.bins, merged))


def _scores(part: str, made: TextOutputs, rare: np.ndarray) -> dict[str, float]:
    """Loss, and shares of correct answers."""
    chosen = rare[made.following]
    some = bool(chosen.any())
    return {
        f"{part}_loss": float(np.mean(made.losses, dtype=np.float64)),
        f"{part}_accuracy": float(np.mean(made.right)),
        f"{part}_rare_loss": float(np.mean(made.losses[chosen])) if some else float("nan"),
        f"{part}_rare_accuracy": float(np.mean(made.right[chosen])) if some else float("nan"),
    }


def _energies(
    trainer: TextTrainer, state: TextState, made: TextOutputs, look: Looked, weights: float
) -> dict[str, float]:
    """Mean squared lengths of the features, over next tokens, clusters, and positions."""
    squares = np.sum(made.features.astype(np.float64) ** 2, axis=1)
    mean = float(np.mean(squares))
    decayed = float(sum(np.sum(own.astype(np.float64) ** 2) for own in trainer.gain(state)))
    clusters = look.contexts.cluster[made.previous]
    return {
        "feature_energy": _mean_of_means(squares, made.following),
        "context_energy": _mean_of_means(squares, clusters),
        "mean_feature": float(np.sum(made.features.mean(0, dtype=np.float64) ** 2)),
        "norm_energy": decayed / mean,
        "balance": float(weights) / decayed if decayed > 0 else float("nan"),
    }


def _mean_of_means(values: np.ndarray, labels: Any) -> float:
    """Mean of the mean value of each label, over the labels that occur."""
    count, total = np.bincount(labels), np.bincount(labels, values)
    return float(np.mean(total[count > 0] / count[count > 0]))
