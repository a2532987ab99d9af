"""What is known in closed form, or as one scalar equation."""

from nc_jax.theory.balanced import BalancedOptimum, balanced_optimum
from nc_jax.theory.thresholds import collapse_ratio, log_collapse_ratio, vanish_budget, vanish_ratio

__all__ = [
    "BalancedOptimum",
    "balanced_optimum",
    "collapse_ratio",
    "log_collapse_ratio",
    "vanish_budget",
    "vanish_ratio",
]
