"""Vanishing regularisation: the SELI geometry (Thrampoulidis et al. 2022)."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.theory.regularised import positive_arrays, whole_numbers


class SeliCosines(NamedTuple):
    """Cosines [...] of two majority, of two minority, and of two different classifiers.

    NaN for a pair that does not exist.
    """

    majority: Array
    minority: Array
    mixed: Array


def seli_cosines(majority: Any, minority: Any, ratio: Any) -> SeliCosines:
    """Classifiers of unconstrained features in the limit λ → 0, two groups.

    The logits become simplex-encoded labels, Z ∝ I − 11ᵀ/K, for any
    imbalance (arXiv 2208.05512); the classifiers' Gram matrix is (Zᵀ D Z)^½. No
    finite ratio makes minority classifiers coincide.

    Args:
        majority: K_A ≥ 1; a number or an array.
        minority: K_B ≥ 1.
        ratio: R = n_A/n_B > 0. All broadcast to [...].

    Raises:
        TypeError, ValueError: naming the invalid argument, outside of transformations.
    """
    major, minor, r = positive_arrays(majority=majority, minority=minority, ratio=ratio)
    whole_numbers(majority=major, minority=minor)
    total = major + minor
    coupling = jnp.sqrt((r * minor + major) / total)
    large = jnp.sqrt(r)

    def gram(own: Array, other: Array, within: Array) -> tuple[Array, Array]:
        """K_own times the squared norm, and the inner product of two of a group."""
        share = coupling * other / total
        return share + (own - 1) * within, share - within

    square_a, product_a = gram(major, minor, large)
    square_b, product_b = gram(minor, major, jnp.ones_like(r))
    mixed = -coupling / total * jnp.sqrt(major * minor / (square_a * square_b))
    return SeliCosines(
        jnp.where(major > 1, product_a / square_a, jnp.nan),
        jnp.where(minor > 1, product_b / square_b, jnp.nan),
        mixed,
    )
