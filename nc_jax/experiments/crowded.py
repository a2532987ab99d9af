"""More classes than dimensions: spherical codes, and which classes merge first."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax.geometry import ClassSizes, cosines, gram
from nc_jax.metrics import one_vs_rest_margins
from nc_jax.solvers import (
    FactoredMultiStart,
    Status,
    least_curvature,
    phase,
    solve,
    solve_batch,
    spherical_code,
)
from nc_jax.surrogates import LayerPeeled
from nc_jax.theory import known_code, least_largest_cosine


def code_row(num_classes: int, dimension: int, key: jax.Array) -> dict[str, Any]:
    """The best code found for K classes in p dimensions, beside the best one known.

    Args:
        num_classes: K.
        dimension: p.
        key: of the random starts.

    Returns:
        ``p``, ``K``; of the code its largest cosine, smallest one-vs-rest margin, residual and
        how many restarts reached it; the best code known, and a bound that none can beat.
    """
    code = spherical_code(num_classes, dimension, key=key)
    known = known_code(num_classes, dimension)
    return {
        "p": dimension,
        "K": num_classes,
        "code_cosine": code.cosine,
        "code_margin": float(np.min(one_vs_rest_margins(code.points))),
        "code_residual": code.residual,
        "code_restarts": len(code.restart_cosines),
        "code_restarts_at_best": code.restarts_within(1e-3),
        "known_cosine": np.nan if known is None else known.cosine,
        "known_name": "" if known is None else known.name,
        "proved": known is not None and known.proved,
        "bound": least_largest_cosine(num_classes, dimension),
    }


def crowded_row(
    num_classes: int, dimension: int, budget: float, restarts: int, key: jax.Array
) -> dict[str, Any]:
    """The balanced Layer-Peeled Model in p dimensions, with its residual and least curvature.

    Args:
        num_classes: K.
        dimension: p.
        budget: E = E_W = E_H.
        restarts: number of random starts.
        key: of the random starts.
    """
    model = LayerPeeled(np.ones(num_classes), budget, budget, dimension=dimension)
    found = solve(model, FactoredMultiStart(restarts=restarts), key)
    angles = np.array(cosines(gram(jnp.asarray(found.classifiers))))
    return {
        "model_cosine": float(np.max(angles[~np.eye(num_classes, dtype=bool)])),
        "model_margin": float(np.min(one_vs_rest_margins(found.classifiers))),
        "model_residual": float(found.residual),
        "model_curvature": float(least_curvature(found).relative),
        "model_restarts_at_best": int(found.restarts_within(1e-6)),
        "model_status": Status(int(found.status)).name.lower(),
    }


def merging_rows(
    sizes: ClassSizes, dimension: int, budgets: np.ndarray, restarts: int, key: jax.Array
) -> list[dict[str, Any]]:
    """Length of every classifier and its distance from the nearest other one, over the budget.

    Args:
        sizes: sizes of K classes.
        dimension: p.
        budgets: [L], E = E_W = E_H.
        restarts: number of random starts of every solve.
        key: of the random starts.

    Returns:
        One row for each budget and class; ``length`` and ``distance`` are relative to the longest
        classifier.
    """
    models = LayerPeeled(sizes, budgets, budgets, dimension=dimension)
    # A queue of fewer slots compiles only once; the number of steps matters little here.
    solver = FactoredMultiStart(restarts=restarts, stationarity=1e-5, slots=56)
    found = solve_batch(models, solver, key)
    classifiers = np.asarray(found.classifiers)
    num_classes = classifiers.shape[1]
    lengths = np.linalg.norm(classifiers, axis=-1)
    singular = np.linalg.svd(classifiers, compute_uv=False)
    distances = np.linalg.norm(classifiers[:, :, None] - classifiers[:, None], axis=-1)
    nearest = np.min(distances + np.where(np.eye(num_classes), np.inf, 0), axis=-1)
    longest = np.max(lengths, axis=1, keepdims=True)
    lanes = {
        "E": budgets,
        "rank": np.sum(singular > 1e-3 * singular[:, :1], axis=1),
        "objective": np.asarray(found.objective),
        "gap": np.asarray(found.gap),
        "spread": np.asarray(found.spread),
        "status": [Status(code).name.lower() for code in np.asarray(found.status)],
        "phase": phase(found),
    }
    return [
        {"p": dimension}
        | {name: values[lane] for name, values in lanes.items()}
        | {
            "class": place,
            "length": (lengths / longest)[lane, place],
            "distance": (nearest / longest)[lane, place],
        }
        for lane, place in itertools.product(range(len(budgets)), range(num_classes))
    ]
