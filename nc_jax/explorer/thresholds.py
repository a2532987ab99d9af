"""Exact thresholds to draw over a map: R0, where classifiers coincide, R1, where they vanish.

They are known for cross-entropy: for the Layer-Peeled Model as ratios at a given budget, for
unconstrained features as weight decays at a given ratio.
"""

from typing import NamedTuple

import numpy as np

import nc_jax as nc
from nc_jax.explorer.settings import MapSettings

# Points of a curve.
POINTS = 161
# R1 of unconstrained features is searched for up to this ratio.
FARTHEST = 1e12


class Curves(NamedTuple):
    """Points [P, 2] of R and E (or λ) where the phase changes; empty if it is not known."""

    collapse: np.ndarray
    vanish: np.ndarray


def exact_curves(settings: MapSettings) -> Curves:
    """Both thresholds over the range of a map."""
    if settings.family.loss != "cross-entropy":
        return Curves(np.empty((0, 2)), np.empty((0, 2)))
    if settings.family.surrogate == "layer-peeled":
        return _of_layer_peeled(settings)
    return _of_unconstrained(settings, np.geomspace(*settings.ratios, POINTS))


def exact_ratios(settings: MapSettings, strength: float) -> tuple[float, float]:
    """R0 and R1 at one budget or weight decay; NaN if unknown, infinite if there is none."""
    if settings.family.loss != "cross-entropy":
        return np.nan, np.nan
    major, minor = settings.majority, settings.classes - settings.majority
    if settings.family.surrogate == "layer-peeled":
        collapse = nc.theory.collapse_ratio(major, minor, strength)
        return float(collapse), float(nc.theory.vanish_ratio(major, minor, strength))
    collapse = nc.theory.unconstrained_collapse_ratio(major, minor, settings.largest, strength)
    # Zero means that every ratio collapses at this decay.
    return max(float(collapse), 1.0), _unconstrained_vanish_ratio(settings, strength)


def _of_layer_peeled(settings: MapSettings) -> Curves:
    major, minor = settings.majority, settings.classes - settings.majority
    budgets = np.geomspace(*settings.strengths, POINTS)
    # R1 tends to infinity just below the budget above which nothing vanishes.
    edge = float(nc.theory.vanish_budget(major, minor))
    near = edge * (1 - np.geomspace(1e-14, 0.05, POINTS))
    fine = np.sort(np.where(near > 0, np.clip(near, *settings.strengths), budgets))
    budgets = np.sort(np.r_[budgets, fine])
    collapse = np.asarray(nc.theory.collapse_ratio(major, minor, budgets))
    vanish = np.asarray(nc.theory.vanish_ratio(major, minor, budgets))
    return Curves(_finite(collapse, budgets), _finite(vanish, budgets))


def _of_unconstrained(settings: MapSettings, ratios: np.ndarray) -> Curves:
    major, minor = settings.majority, settings.classes - settings.majority
    small = settings.largest / ratios
    collapse = np.empty((0, 2))
    if minor > 1:
        penalty = np.sqrt(small) / (major * settings.largest + minor * small)
        collapse = _finite(ratios, penalty)
    if settings.family.bias:
        # It is known only without a bias.
        return Curves(collapse, np.empty((0, 2)))
    vanish = nc.theory.unconstrained_vanish_penalty(major, minor, settings.largest, small)
    return Curves(collapse, _finite(ratios, np.asarray(vanish)))


def _unconstrained_vanish_ratio(settings: MapSettings, strength: float) -> float:
    """R1 at one weight decay: where the curve of penalties crosses it, found on finer grids."""
    if settings.family.bias:
        return np.nan
    major, minor = settings.majority, settings.classes - settings.majority

    def penalties(ratios: np.ndarray) -> np.ndarray:
        small = settings.largest / ratios
        largest = settings.largest
        return np.asarray(nc.theory.unconstrained_vanish_penalty(major, minor, largest, small))

    ratios = np.geomspace(1.0, FARTHEST, POINTS)
    known = penalties(ratios)
    if not np.isfinite(known).any():
        return np.nan
    ends = nc.theory.bracket(ratios, known <= strength, first=True)
    options = {"inner": POINTS, "rounds": 4, "logarithmic": True, "first": True}
    return nc.theory.narrow(ends, lambda own: penalties(own) <= strength, **options).high


def _finite(ratios: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    points = np.stack([ratios, strengths], axis=1)
    return points[np.isfinite(points).all(axis=1)]
