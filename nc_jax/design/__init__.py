"""Decisions from certified optima: thresholds, and how strong a cure must be."""

from nc_jax.design.cures import CURES, cured, margins_of
from nc_jax.design.parameters import FAMILIES, Fit, closest
from nc_jax.design.rows import chosen_with, curve_of, row_of
from nc_jax.design.separation import separation
from nc_jax.design.strengths import Along, Choice, Design, along, best_strength, least_strength
from nc_jax.design.targets import TARGETS, Price
from nc_jax.design.thresholds import Threshold, find_threshold

__all__ = [
    "CURES",
    "FAMILIES",
    "TARGETS",
    "Along",
    "Choice",
    "Design",
    "Fit",
    "Price",
    "Threshold",
    "along",
    "best_strength",
    "chosen_with",
    "closest",
    "cured",
    "curve_of",
    "find_threshold",
    "least_strength",
    "margins_of",
    "row_of",
    "separation",
]
