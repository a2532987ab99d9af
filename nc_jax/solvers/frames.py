"""The rotation of a simplex ETF in which its features are smallest in an ℓ_q norm.

With the constraint (1/K) Σ ‖h_k‖_q^q ≤ E_H of Fang et al. 2021 (Proposition 2), simplex ETFs of the
same length differ in how much of the budget they use: the longest one that the budget allows
is the one whose rotation has the smallest mean of ‖h_k‖_q^q.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import simplex_etf
from nc_jax.solvers.quasi_newton import Settings, minimise_lanes


def smallest_frames(num_classes: int, powers: Any, key: Array, starts: int = 16) -> np.ndarray:
    """The smallest mean of ‖h_k‖_q^q over all rotations of the simplex ETF, K = p.

    Args:
        num_classes: K ≥ 2.
        powers: [Q], q ≥ 1.
        key: of the random starts.
        starts: number of random rotations from which the search starts, for each q.

    Returns:
        [Q] the smallest values found.
    """
    frame, powers = simplex_etf(num_classes, dtype=float), jnp.asarray(powers, float)

    def size(q: Array, point: Array) -> Array:
        rotation = jnp.linalg.qr(point.reshape(num_classes, num_classes))[0]
        return jnp.mean(jnp.sum(jnp.abs(frame @ rotation) ** q, axis=1))

    def start(_: Array, key: Array) -> Array:
        return jax.random.normal(key, (num_classes**2,))

    @jax.jit
    def smallest(powers: Array, keys: Array) -> Array:
        settings = Settings(1e-9, 1e-12, 500, 6, len(powers))
        return minimise_lanes(size, start, powers, keys, settings).value

    keys = jax.random.split(key, starts * len(powers))
    found = smallest(jnp.repeat(powers, starts), keys).reshape(-1, starts)
    return np.nanmin(np.asarray(found), axis=1)
