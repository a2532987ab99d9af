"""The central path of a penalised and bounded nuclear norm, over group numbers.

The cost λ Σ m_i |σ_i| (σ_i: the singular values, m_i: their multiplicities) and the
ball Σ m_i |σ_i| ≤ τ are lifted to λ Σ m_i y_i with |σ_i| ≤ y_i, Σ m_i y_i ≤ τ, and the
barrier −Σ log(y_i² − σ_i²) − log(τ − Σ m_i y_i). Each group counts once, whatever
its multiplicity, so the number of steps does not grow with K. Minimising
f + λ Σ m_i y_i + ε·barrier over y gives, with ν the multiplier of the ball,
μ = λ + ν and η = μ/ε,

    ∇f + μ m_i g_i = 0,  g_i = x_i/(1 + θ_i),  x_i = η m_i σ_i,  θ_i = √(1 + x_i²),
    (1/η) Σ (1 + θ_i) + ε/ν = τ.

As a matrix, μ g is a spectral function of M: its slopes act in the singular
basis of M, by pairs (i, j), on the symmetric and the antisymmetric part. At a
point of the path the duality gap is (2 #blocks + 1) ε.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.surrogates.grouped import GroupedProgram, GroupLogits, block_sizes


class PathPoint(NamedTuple):
    """An iterate: group numbers, multiplier ν of the ball, barrier weight ε."""

    logits: GroupLogits
    multiplier: Array
    weight: Array


class PathSystem(NamedTuple):
    """The path's equations at a point, in the singular basis of M.

    Attributes:
        left, right: U and V of M = U Σ Vᵀ.
        within, between: residuals ∇f + μ m g; ``between`` is Uᵀ(·)V.
        budget: residual of the budget equation.
        within_curvature: [G] slope of μ m g in α.
        symmetric, antisymmetric: [G, G] slopes of μ g on pairs of singular values.
        drift: [G], [G] slope of the budget residual in α and in the σ of M.
        budget_curvature: minus its slope in ν.
        weight_drift: ε times the slope of μ m g in ε, for α and for σ.
        weight_budget: ε times the slope of the budget residual in ε.
        pull: μ g as a matrix, in the original basis.
    """

    left: Array
    right: Array
    within: Array
    between: Array
    budget: Array
    within_curvature: Array
    symmetric: Array
    antisymmetric: Array
    drift: tuple[Array, Array]
    budget_curvature: Array
    weight_drift: tuple[Array, Array]
    weight_budget: Array
    pull: Array


def barrier_degree(counts: np.ndarray) -> int:
    """Duality gap of a point of the path, in units of ε."""
    return 2 * (len(counts) + int(np.sum(counts > 1))) + 1


def path_system(model: GroupedProgram, gradient: GroupLogits, point: PathPoint) -> PathSystem:
    """Residuals and slopes of the central path's equations."""
    counts, radius = model.sizes.counts, model.nuclear_radius
    groups = len(counts)
    multiplicity, _ = block_sizes(counts, radius.dtype)
    all_multiplicity = jnp.concatenate([multiplicity, jnp.ones(groups, radius.dtype)])
    several = multiplicity > 0
    present = (all_multiplicity > 0).astype(radius.dtype)
    left, singular, right_t = jnp.linalg.svd(point.logits.between)
    multiplier = model.penalty + point.multiplier
    eta = multiplier / point.weight
    slack = point.weight / point.multiplier

    x = eta * all_multiplicity * jnp.concatenate([point.logits.within, singular])
    theta = jnp.sqrt(1 + x**2)
    g = x / (1 + theta)
    remainder = 2 / (1 + theta)  # 1 − g², without cancellation
    slope = x / theta
    scale = multiplier * eta
    spread = present * (1 + theta)

    inner = g[groups:]
    rest = remainder[groups:]
    products = 0.5 * scale * rest[:, None] * rest[None, :]
    plus = 1 + inner[:, None] * inner[None, :]
    minus = 0.5 * (rest[:, None] + rest[None, :] + (inner[:, None] - inner[None, :]) ** 2)

    def split(values: Array) -> tuple[Array, Array]:
        return jnp.where(several, values[:groups], 0), values[groups:]

    pull_within, pull_between = split(multiplier * all_multiplicity * g)
    rotated = _product(left.T, _product(gradient.between, right_t.T))
    ratio = jnp.sum(spread / theta)
    return PathSystem(
        left=left,
        right=right_t.T,
        within=jnp.where(several, gradient.within, 0) + pull_within,
        between=rotated + jnp.diag(pull_between),
        budget=jnp.sum(spread) / eta + slack - radius,
        within_curvature=scale * multiplicity**2 / (theta * (1 + theta))[:groups],
        symmetric=products / plus,
        antisymmetric=products / minus,
        drift=split(all_multiplicity * slope),
        budget_curvature=ratio / (eta**2 * point.weight) + slack / point.multiplier,
        weight_drift=split(-multiplier * all_multiplicity * slope / (1 + theta)),
        weight_budget=ratio / eta + slack,
        pull=_product(left * pull_between, right_t),
    )


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
