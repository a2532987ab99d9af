"""Moments in one pass over the data, and the union of moments of several parts.

For data that can be read only once, or that are distributed over several machines: the
moments of every batch are taken about its own means and merged (Chan, Golub, LeVeque 1983), so
that no difference of large squares is formed.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_count
from nc_jax.metrics.moments import Batch, ClassMoments, batch_moments, checked


def accumulate_moments(batches: Iterable[Batch], num_classes: int) -> ClassMoments:
    """Sample-weighted moments from one pass, in O(K p + p² + batch) memory.

    Args:
        batches: of (features [n, p], labels [n]); read once. Batches of equal
            shape share a compiled program.
        num_classes: K ≥ 2.

    Returns:
        The result of :func:`nc_jax.metrics.class_moments` with ``weighting='sample'``.

    Raises:
        TypeError, ValueError: naming the invalid argument (a wrong shape, a label out of
            range, a class without a sample, no batch).
    """
    num_classes = require_count("num_classes", num_classes, 2)
    total = None
    for features, labels in batches:
        features, labels = checked(features, labels, num_classes)
        if len(features) == 0:
            continue
        if total is None:
            total = _empty(num_classes, features)
        if features.shape[1] != total.means.shape[1]:
            raise ValueError(f"features must have equal width in all batches, got {features.shape}")
        total = _absorb(total, features, labels, num_classes)
    if total is None:
        raise ValueError("batches must hold at least one sample")
    empty = np.flatnonzero(np.asarray(total.counts) == 0)
    if empty.size:
        raise ValueError(
            f"labels must contain every class at least once, missing: {empty.tolist()}"
        )
    return total


def merge_moments(one: ClassMoments, other: ClassMoments) -> ClassMoments:
    """Sample-weighted moments of the union of two sets of samples; counts may be zero."""
    dtype = one.means.dtype
    n, m = one.counts.astype(dtype), other.counts.astype(dtype)
    both = jnp.maximum(n + m, 1)
    first, second = jnp.sum(n), jnp.sum(m)
    total = jnp.maximum(first + second, 1)
    apart = other.means - one.means
    lever = n * m / both
    between = jnp.matmul((lever / total * apart.T), apart, precision="highest")
    inside = (n * one.variances + m * other.variances) / both
    return ClassMoments(
        one.counts + other.counts,
        one.means + (m / both)[:, None] * apart,
        (first / total) * one.scatter + (second / total) * other.scatter + between,
        inside + lever / both * jnp.sum(apart**2, axis=-1),
    )


def _empty(num_classes: int, features: Any) -> ClassMoments:
    dtype, width = jnp.asarray(features[:1]).dtype, features.shape[1]
    return ClassMoments(
        jnp.zeros(num_classes, jnp.int32),
        jnp.zeros((num_classes, width), dtype),
        jnp.zeros((width, width), dtype),
        jnp.zeros(num_classes, dtype),
    )


@partial(jax.jit, static_argnums=3)
def _absorb(total: ClassMoments, features: Array, labels: Array, num_classes: int) -> ClassMoments:
    return merge_moments(total, batch_moments(features, labels, num_classes))
