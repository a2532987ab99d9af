"""Results in closed form, or as one scalar equation."""

from nc_jax.theory.balanced import (
    BalancedOptimum,
    balanced_optimum,
    contrastive_optimum,
    softmax_condition,
)
from nc_jax.theory.brackets import Bracket, bracket, narrow, narrow_all
from nc_jax.theory.codes import KnownCode, known_code, least_largest_cosine
from nc_jax.theory.deep_linear import (
    DeepLinearLines,
    DeepLinearOptimum,
    deep_linear_lines,
    deep_linear_optimum,
    deep_linear_ratio,
)
from nc_jax.theory.homogeneous import collapsed_loss, quasi_interpolation_norm
from nc_jax.theory.limits import SeliCosines, seli_cosines
from nc_jax.theory.objectives import balanced_objective, unconstrained_objective
from nc_jax.theory.regularised import (
    UnconstrainedOptimum,
    unconstrained_collapse_penalty,
    unconstrained_collapse_ratio,
    unconstrained_optimum,
    unconstrained_vanish_penalty,
)
from nc_jax.theory.roots import Search, root_between, search_change
from nc_jax.theory.squared_error import (
    SquaredErrorOptimum,
    balanced_squared_error_optimum,
    squared_error_optimum,
)
from nc_jax.theory.thresholds import collapse_ratio, log_collapse_ratio, vanish_budget, vanish_ratio

__all__ = [
    "BalancedOptimum",
    "Bracket",
    "DeepLinearLines",
    "DeepLinearOptimum",
    "KnownCode",
    "Search",
    "SeliCosines",
    "SquaredErrorOptimum",
    "UnconstrainedOptimum",
    "balanced_objective",
    "balanced_optimum",
    "balanced_squared_error_optimum",
    "bracket",
    "collapse_ratio",
    "collapsed_loss",
    "contrastive_optimum",
    "deep_linear_lines",
    "deep_linear_optimum",
    "deep_linear_ratio",
    "known_code",
    "least_largest_cosine",
    "log_collapse_ratio",
    "narrow",
    "narrow_all",
    "quasi_interpolation_norm",
    "root_between",
    "search_change",
    "seli_cosines",
    "softmax_condition",
    "squared_error_optimum",
    "unconstrained_collapse_penalty",
    "unconstrained_collapse_ratio",
    "unconstrained_objective",
    "unconstrained_optimum",
    "unconstrained_vanish_penalty",
    "vanish_budget",
    "vanish_ratio",
]
