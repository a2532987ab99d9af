"""Proposition 2 of Fang et al. 2021: an ℓ_q norm of the features has optima beyond the ETF."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from nc_jax.experiments.solved import solved
from nc_jax.geometry import cosines
from nc_jax.solvers import FactoredMultiStart, FactoredSolution, Status
from nc_jax.solvers.frames import smallest_frames
from nc_jax.surrogates import LayerPeeled
from nc_jax.sweeps import Build
from nc_jax.theory import balanced_optimum

CERTIFICATES = ("status", "objective", "gap", "spread")
# K = p, and E_H at E_W = 1.
CLASSES, ENERGY = 3, 2.0


def norm_points(restarts: int) -> Build:
    """The batched function from the column q to the best point found and its angles.

    Args:
        restarts: number of random starts of every solve.
    """
    solver = FactoredMultiStart(restarts=restarts, max_iterations=3000)

    def model(_: Mapping[str, Any], columns: Mapping[str, jax.Array]) -> LayerPeeled:
        return LayerPeeled([1.0] * CLASSES, 1.0, ENERGY, feature_power=columns["q"])

    def outputs(solution: FactoredSolution) -> dict[str, jax.Array]:
        features, weights = solution.features, solution.classifiers
        angles = cosines(features @ jnp.swapaxes(features, -1, -2))
        lengths = jnp.linalg.norm(features, axis=-1) * jnp.linalg.norm(weights, axis=-1)
        alignment = jnp.sum(features * weights, axis=-1) / lengths
        pairs = np.transpose(np.triu_indices(CLASSES, 1))
        return {
            **{name: getattr(solution, name) for name in CERTIFICATES},
            **{f"cosine {place}": angles[:, *pair] for place, pair in enumerate(pairs)},
            "least alignment": jnp.min(alignment, axis=-1),
            "largest alignment": jnp.max(alignment, axis=-1),
        }

    return solved(model, outputs, lambda _: solver)


def norm_rows(points: pd.DataFrame, key: jax.Array) -> pd.DataFrame:
    """The best point found for each q, compared with the best simplex ETF.

    Args:
        points: q, and the outputs of :func:`norm_points`.
        key: of the random starts of the search for the best simplex ETF.
    """
    norms = points["q"].to_numpy()
    smallest = smallest_frames(CLASSES, norms, key)
    frames = np.asarray(balanced_optimum(CLASSES, (ENERGY / smallest) ** (1 / norms)).objective)
    return pd.DataFrame(
        {
            "q": row["q"],
            "status": Status(row["status"]).name.lower(),
            "best found": row["objective"],
            "best ETF": frame,
            "gain": frame - row["objective"],
            "cos(h, h')": " ".join(f"{row[f'cosine {place}']:.4f}" for place in range(CLASSES)),
            "cos(w, h)": f"{row['least alignment']:.4f} to {row['largest alignment']:.4f}",
            "spread": f"{row['spread']:.1e}",
        }
        for row, frame in zip(points.to_dict("records"), frames, strict=True)
    )
