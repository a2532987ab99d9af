"""From certified optima to decisions: thresholds, and how strong a cure must be."""

from nc_jax.design.cures import CURES, cured, margins_of
from nc_jax.design.designer import FAMILIES, TARGETS, Design, Fit, Price, closest, least_strength
from nc_jax.design.separation import separation
from nc_jax.design.thresholds import Threshold, find_threshold

__all__ = [
    "CURES",
    "FAMILIES",
    "TARGETS",
    "Design",
    "Fit",
    "Price",
    "Threshold",
    "closest",
    "cured",
    "find_threshold",
    "least_strength",
    "margins_of",
    "separation",
]
