"""Cures over their strengths, and the strengths that are designed, as columns of tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nc_jax.design.cures import Curable, margins_of
from nc_jax.design.strengths import along, best_strength, least_strength
from nc_jax.solvers import phase


def curve_of(
    model: Curable, cure: str, strengths: Any, majority: int, target: str
) -> dict[str, Any]:
    """The certified optima of a cure at several strengths.

    Args:
        model: the model of the plain training, with two class sizes, the large classes first.
        cure: a name in :data:`nc_jax.design.CURES`.
        strengths: [S].
        majority: K_A, the number of large classes.
        target: a name in :data:`nc_jax.design.TARGETS`.

    Returns:
        Columns [S]: ``minority_cosine`` (NaN if classifiers vanish), ``norm_ratio`` of small to
        large classifiers, margins of both kinds of classes, ``distance`` from the target,
        ``separation``, ``phase`` and ``gap``.
    """
    found = along(model, cure, strengths)
    solution, norms = found.solution, np.asarray(found.solution.classifier_norms)
    margins, phases = np.asarray(margins_of(solution.logits)), np.asarray(phase(solution))
    cosine = np.asarray(solution.within_cosines)[:, -1]
    return {
        "cure": cure,
        "strength": found.strengths,
        "phase": phases,
        "minority_cosine": np.where(phases == "vanished", np.nan, cosine),
        "norm_ratio": norms[:, -1] / norms[:, 0],
        "majority_margin": margins[:, 0],
        "minority_margin": margins[:, majority],
        "distance": found.distances[target],
        "separation": found.separation,
        "gap": np.asarray(solution.gap),
    }


def row_of(model: Curable, cure: str) -> dict[str, Any]:
    """The strengths that are designed for a cure, and what they cost a large class.

    Returns:
        ``least``, the smallest strength that separates all classes (NaN if there is none),
        ``best``, the one closest to a simplex ETF; the distance from it without the cure and
        with the best strength; loss and margin of the first class without the cure and with
        the least strength; the largest duality gap.
    """
    least, best = least_strength(model, cure), best_strength(model, cure)
    price = least.price
    return {
        "cure": cure,
        "least": least.strength,
        "best": best.strength,
        "distance": best.distance_before,
        "at best": max(best.distance, 0.0),
        "large loss": float(price.losses_before[0]),
        "at least": float(price.losses_after[0]),
        "large margin": float(price.margins_before[0]),
        "with it": float(price.margins_after[0]),
        "gap": max(float(least.solution.gap), float(best.solution.gap)),
    }


def chosen_with(
    model: Curable, cure: str, strengths: Sequence[float], target: str
) -> dict[str, Any]:
    """The best strength of a cure, to three digits, and predictions on a grid that has it.

    Args:
        model: the model of the plain training, with two class sizes, the large classes first.
        cure: a name in :data:`nc_jax.design.CURES`.
        strengths: further strengths of the grid; zero is always in it.
        target: a name in :data:`nc_jax.design.TARGETS`.

    Returns:
        Columns [S]: ``strength``, ``predicted_cosine`` of the small classes, ``distance`` from
        the target, ``separation``; the same for all: ``designed``, ``at_end`` (whether it is the
        strongest one scanned) and ``least``, the smallest strength that separates all classes.
    """
    chosen = best_strength(model, cure, target)
    designed = float(f"{chosen.strength:.3g}")
    grid = sorted({0.0, *strengths, designed})
    found = along(model, cure, grid)
    return {
        "cure": cure,
        "strength": grid,
        "predicted_cosine": np.asarray(found.solution.within_cosines)[:, -1],
        "distance": found.distances[target],
        "separation": found.separation,
        "designed": designed,
        "at_end": chosen.at_end,
        "least": least_strength(model, cure).strength,
    }
