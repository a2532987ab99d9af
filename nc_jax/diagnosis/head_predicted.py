"""What the models say of a head's rows from token counts alone, a group of counts at a time.

A token is a class, and every place of the text a sample of its next token with a feature
of its own. Tokens whose counts differ by 1 % at most, or by as little more as keeps the
groups few enough to solve in minutes, share a group of their mean count; the certificate
holds what that costs. Tokens never seen have no size and are left out.
"""

import math
from typing import NamedTuple

import numpy as np

from nc_jax.geometry import ClassSizes, merge_sizes
from nc_jax.solvers import solve
from nc_jax.surrogates import LayerPeeled, UnconstrainedFeatures

# How much counts of one group may differ at the least, and how many groups there are at most:
# with several hundred a solve takes many minutes.
ALIKE, GROUPS = 0.01, 160


class HeadPredicted(NamedTuple):
    """A model's rows by groups of counts, the most frequent first.

    Attributes:
        counts: [G] mean count of a group's tokens.
        tokens: [G] how many.
        alike: how much counts of one group may differ, as a share.
        lengths: [G] length of a row, in the units of E_W or of the decayed weights.
        cosines: [G] cosine of two rows of a group; NaN of a single row and of zero ones.
        objective: of the model at the solution.
        gap: bound on its distance to the optimum.
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
    """The model of what is known of a training, and its name; None of nothing.

    Args:
        counts: [K] zero or positive.
        weight_energy: E_W > 0 of the rows of tokens that were seen.
        feature_energy: E_H > 0, with which E_W gives the budgets.
        weight_decay: λ > 0, which is taken in place of the budgets.
        branches: c ≥ 1, normalised outputs whose sum the features are.

    Raises:
        ValueError: naming the argument; fewer than two tokens seen.
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
        weight_energy: E_W > 0 of the rows of tokens that were seen.
        feature_energy: E_H > 0, the mean over tokens of the mean squared length of the
            features before them.

    Raises:
        ValueError: a number that is not positive; fewer than two tokens seen.
    """
    sizes, alike = _grouped(counts)
    return _of_groups(LayerPeeled(sizes, weight_energy, feature_energy), alike)


def predict_head_at_decay(
    counts: np.ndarray, weight_decay: float, branches: int = 1
) -> HeadPredicted:
    """Unconstrained features at token counts and a weight decay: λ_W = λ, λ_H = λ/(cN).

    N is the number of places, the sum of counts. The derivation supposes features behind a
    normalisation, and λ in the gradient; AdamW's decay is another.

    Args:
        counts: [K] zero or positive.
        weight_decay: λ > 0.
        branches: c ≥ 1, normalised outputs whose sum the features are.

    Raises:
        ValueError: naming the argument; fewer than two tokens seen.
    """
    if not 0 < weight_decay < math.inf:
        raise ValueError(f"weight_decay must be positive and finite, got {weight_decay}")
    if branches < 1:
        raise ValueError(f"branches must be at least 1, got {branches}")
    sizes, alike = _grouped(counts)
    penalty = weight_decay / (branches * float(counts.sum()))
    return _of_groups(UnconstrainedFeatures(sizes, weight_decay, penalty), alike)


def _grouped(counts: np.ndarray) -> tuple[ClassSizes, float]:
    """Sizes of the tokens that were seen, in few groups, and how alike those of one are."""
    alike = ALIKE
    while True:
        sizes = merge_sizes(counts[counts > 0], alike)
        if sizes.num_groups <= GROUPS:
            return sizes, alike
        alike *= 1.5


def _of_groups(model: LayerPeeled | UnconstrainedFeatures, alike: float) -> HeadPredicted:
    solution = solve(model)
    return HeadPredicted(
        np.asarray(model.sizes.group_sizes, float),
        model.sizes.counts,
        alike,
        np.asarray(solution.classifier_norms, float),
        np.asarray(solution.within_cosines, float),
        float(solution.objective),
        float(solution.gap),
    )
