"""What a surrogate demands of its layers: budgets, or weight decay.

These are data: how a solver keeps a budget or scales its variables is its own matter
(:mod:`nc_jax.solvers.parametrisations`).
"""

from typing import NamedTuple

from jax import Array


class EnergyBalls(NamedTuple):
    """All features in one ball, and the weights together or each matrix in a ball.

    Attributes:
        feature_radius: r_H [], Σ_k Σ_i ‖h_{k,i}‖^q / s_k ≤ r_H^q over the s_k features of each
            class: every class has the same share of the budget.
        weight_radii: [1] Σ_l ‖W_l‖² ≤ r² for all weights together, or [m] for each matrix.
        joint: whether there is one radius for all weights.
        reach: [] logits at the boundary are about this large.
        feature_power: q > 1 []; None for the Euclidean norm.
    """

    feature_radius: Array
    weight_radii: Array
    joint: bool
    reach: Array
    feature_power: Array | None = None


class WeightDecay(NamedTuple):
    """No constraint but a sign: weights and features are penalised by their squares.

    Attributes:
        weights: λ_W [].
        features: λ_H [], of each sample.
        copies: c [S], how many samples each free feature represents.
        nonnegative: whether features must be nonnegative.
    """

    weights: Array
    features: Array
    copies: Array
    nonnegative: bool
