"""Prediction of the rows of a head from token counts alone, by groups of similar counts.

Each token is a class, and each position of the text is a sample of its next token with a
feature of its own. Tokens whose counts differ by at most 1 % share a group with their mean
count; the limit is raised as far as needed for a number of groups that can be solved in
minutes. The certificate includes the error of this grouping. Tokens that never occur have no
size and are left out. Tiny budgets are raised as in :mod:`nc_jax.diagnosis.predicted`.
"""

import math
from typing import NamedTuple

import numpy as np

from nc_jax.diagnosis.predicted import certified_at, solvable_energies
from nc_jax.geometry import ClassSizes, merge_sizes
from nc_jax.solvers import Solution, solve
from nc_jax.solvers.solution import certified
from nc_jax.surrogates import LayerPeeled, UnconstrainedFeatures

# The smallest limit on the difference of counts in one group, and the largest number of groups:
# with several hundred a solve takes many minutes.
ALIKE, GROUPS = 0.01, 160


class HeadPredicted(NamedTuple):
    """The predicted rows by groups of counts, the most frequent group first.

    Attributes:
        counts: [G] mean count of a group's tokens.
        tokens: [G] number of tokens in each group.
        alike: largest relative difference of the counts in one group.
        lengths: [G] length of a row, in the units of E_W or of the decayed weights.
        cosines: [G] cosine of two rows of a group; NaN for a single row and for zero rows.
        objective: of the model at the solution.
        gap: upper bound on the distance of the objective from its optimum.
    """

    counts: np.ndarray
    tokens: np.ndarray
    alike: float
    lengths: np.ndarray
    cosines: np.ndarray
    objective: float
    gap: float


def predict_head(
    counts: np.ndarray,
    weight_energy: float,
    feature_energy: float | None = None,
    weight_decay: float | None = None,
    branches: int = 1,
) -> tuple[HeadPredicted | None, str]:
    """Solves the model for what is known about a training; returns it with its name.

    None and an empty name if neither a feature energy nor a weight decay is known.

    Args:
        counts: [K] zero or positive.
        weight_energy: E_W > 0 of the rows of tokens that occur in the text.
        feature_energy: E_H > 0, with which E_W gives the budgets.
        weight_decay: λ > 0; it is used instead of the budgets.
        branches: c ≥ 1, the number of normalised outputs that are added to give the features.

    Raises:
        ValueError: naming the argument; fewer than two tokens occur.
    """
    if weight_decay is not None:
        model = predict_head_at_decay(counts, weight_decay, branches)
        return model, f"weight decay {weight_decay:g} alone"
    if feature_energy is None:
        return None, ""
    by = f"the Layer-Peeled Model at E_W = {weight_energy:.4g}, E_H = {feature_energy:.4g}"
    return predict_head_at_budgets(counts, weight_energy, feature_energy), by


def predict_head_at_budgets(
    counts: np.ndarray, weight_energy: float, feature_energy: float
) -> HeadPredicted:
    """The Layer-Peeled Model at token counts and two budgets.

    Args:
        counts: [K] zero or positive.
        weight_energy: E_W > 0 of the rows of tokens that occur in the text.
        feature_energy: E_H > 0, the mean over tokens of the mean squared length of the
            features before them.

    Raises:
        ValueError: a number that is not positive; fewer than two tokens occur.
    """
    sizes, alike = _grouped(counts)
    raised_weight, raised_feature, scale = solvable_energies(weight_energy, feature_energy)
    solution = certified(solve(LayerPeeled(sizes, raised_weight, raised_feature)))
    own = LayerPeeled(sizes, weight_energy, feature_energy)
    return _of_groups(solution, alike, scale, *certified_at(own, solution, scale))


def predict_head_at_decay(
    counts: np.ndarray, weight_decay: float, branches: int = 1
) -> HeadPredicted:
    """Unconstrained features at token counts and a weight decay: λ_W = λ, λ_H = λ/(cN).

    N is the number of positions, the sum of the counts. The derivation assumes that
    the features are outputs of a normalisation and that λ enters the gradient; the decoupled
    decay of AdamW is different.

    Args:
        counts: [K] zero or positive.
        weight_decay: λ > 0.
        branches: c ≥ 1, the number of normalised outputs that are added to give the features.

    Raises:
        ValueError: naming the argument; fewer than two tokens occur.
    """
    if not 0 < weight_decay < math.inf:
        raise ValueError(f"weight_decay must be positive and finite, got {weight_decay}")
    if branches < 1:
        raise ValueError(f"branches must be at least 1, got {branches}")
    sizes, alike = _grouped(counts)
    penalty = weight_decay / (branches * float(counts.sum()))
    solution = certified(solve(UnconstrainedFeatures(sizes, weight_decay, penalty)))
    return _of_groups(solution, alike, 1.0, float(solution.objective), float(solution.gap))


def _grouped(counts: np.ndarray) -> tuple[ClassSizes, float]:
    """Sizes of the tokens that occur, in few groups, and the largest difference in a group."""
    alike = ALIKE
    while True:
        sizes = merge_sizes(counts[counts > 0], alike)
        if sizes.num_groups <= GROUPS:
            return sizes, alike
        alike *= 1.5


def _of_groups(
    solution: Solution, alike: float, scale: float, objective: float, gap: float
) -> HeadPredicted:
    """The rows by groups, at energies that are ``scale`` times those of the solution."""
    return HeadPredicted(
        np.asarray(solution.model.sizes.group_sizes, float),
        solution.model.sizes.counts,
        alike,
        math.sqrt(scale) * np.asarray(solution.classifier_norms, float),
        np.asarray(solution.within_cosines, float),
        objective,
        gap,
    )
