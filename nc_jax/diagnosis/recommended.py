"""Cures for a data set's imbalance, with their parameters, from certified optima."""

import math
from typing import NamedTuple

import numpy as np

from nc_jax.design import best_strength, least_strength, separation
from nc_jax.diagnosis.predicted import grouped_sizes, solvable_energies
from nc_jax.losses import logit_adjustment, size_weights
from nc_jax.surrogates import LayerPeeled, UnconstrainedFeatures

# In the order of recommendation: among networks trained with the strengths chosen here, those
# with the first cure had the best test accuracy (results/cures).
CURES = ("logit-adjustment", "class-weights")


class Recommended(NamedTuple):
    """A cure and its recommended strength.

    Attributes:
        cure: 'logit-adjustment' or 'class-weights'.
        strength: τ of τ log π_k, or s of n_k^−s: the smallest one at which the certified
            optimum is closest to a simplex ETF.
        least: the smallest strength at which no class is merged; 0 if no class is merged
            without a cure, NaN if no strength is sufficient.
        parts: whether no class is merged at ``strength``.
        distance_before, distance: distance of the classifiers from a simplex ETF, without and
            with the cure.
        parameters: [K] offsets, the largest zero, to be added to the logits of a training
            step, or weights, one for the largest class, that multiply its losses.
    """

    cure: str
    strength: float
    least: float
    parts: bool
    distance_before: float
    distance: float
    parameters: np.ndarray


def recommend_cures(
    counts: np.ndarray,
    weight_energy: float | None = None,
    feature_energy: float | None = None,
    weight_decay: float | None = None,
    branches: int = 1,
) -> list[Recommended]:
    """Recommends cures, first those that separate all classes.

    Args:
        counts: [K] samples of each class, positive.
        weight_energy: E_W of the Layer-Peeled Model.
        feature_energy: E_H.
        weight_decay: λ > 0; if it is given, the model is that of unconstrained features with
            the penalties of a network that ends in batch normalisation, and the budgets are
            not used.
        branches: c ≥ 1, the number of normalised outputs that are added to give the features.

    Raises:
        ValueError: neither weight decay nor both budgets; a number that is not positive.
    """
    given = [weight_energy, feature_energy] if weight_decay is None else [weight_decay, branches]
    budgets = [number for number in given if number is not None and 0 < number < math.inf]
    if len(budgets) < len(given):
        raise ValueError(f"weight_decay, or both budgets, must be positive, got {given}")
    counts = np.asarray(counts, float)
    sizes = grouped_sizes(counts)
    if weight_decay is None:
        model = LayerPeeled(sizes, *solvable_energies(*budgets)[:2])
    else:
        penalty = weight_decay / (branches * counts.sum())
        model = UnconstrainedFeatures(sizes, weight_decay, penalty, weight_decay)
    found = []
    for cure in CURES:
        best, least = best_strength(model, cure), least_strength(model, cure)
        if cure == "logit-adjustment":
            offsets = logit_adjustment(counts, best.strength).offsets
            parameters = np.zeros(len(counts)) if offsets is None else np.asarray(offsets.values)
            parameters = parameters - parameters.max()
        else:
            weights = np.asarray(size_weights(counts, best.strength).values)
            parameters = weights / weights[np.argmax(counts)]
        ends = best.distance_before, max(best.distance, 0.0)
        parts = bool(separation(best.solution) > 0)
        found.append(Recommended(cure, best.strength, least.strength, parts, *ends, parameters))
    return sorted(found, key=lambda own: not own.parts)
