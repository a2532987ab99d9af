"""From certified optima to decisions: thresholds, and how strong a cure must be."""

from nc_jax.design.separation import separation
from nc_jax.design.thresholds import Threshold, find_threshold

__all__ = ["Threshold", "find_threshold", "separation"]
