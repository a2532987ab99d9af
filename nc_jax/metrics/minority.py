"""Measures of minority collapse, for the classifiers of a set of classes."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_array
from nc_jax.geometry import cosines, gram


def mean_cosine(classifiers: Array) -> Array:
    """Mean cosine over pairs of the rows [..., K, p] (Fig. 3 of Fang et al. 2021).

    NaN if a classifier is zero or there are fewer than two.
    """
    require_array("classifiers", classifiers, "[..., K, p]")
    size = classifiers.shape[-2]
    if size < 2:
        return jnp.full(classifiers.shape[:-2], jnp.nan, classifiers.dtype)
    pair = ~np.eye(size, dtype=bool)
    angles = jnp.where(pair, cosines(gram(classifiers)), 0)
    return jnp.sum(angles, axis=(-2, -1)) / (size * (size - 1))


def norm_variation(classifiers: Array) -> Array:
    """Standard deviation of the rows' lengths over their mean (Table 1 of Fang et al. 2021)."""
    require_array("classifiers", classifiers, "[..., K, p]")
    norms = jnp.linalg.norm(classifiers, axis=-1)
    mean = jnp.mean(norms, axis=-1)
    return jnp.std(norms, axis=-1) / jnp.where(mean > 0, mean, jnp.nan)


def largest_distance(classifiers: Array, members: np.ndarray) -> Array:
    """Largest ‖w_k − w_k'‖ over two members, relative to the longest of all classifiers.

    Args:
        classifiers: [..., K, p].
        members: indices of the classes to compare (concrete).
    """
    chosen = classifiers[..., np.asarray(members), :]
    squares = jnp.sum((chosen[..., :, None, :] - chosen[..., None, :, :]) ** 2, axis=-1)
    longest = jnp.max(jnp.sum(classifiers**2, axis=-1), axis=-1)
    return jnp.sqrt(jnp.max(squares, axis=(-2, -1)) / jnp.where(longest > 0, longest, jnp.nan))
