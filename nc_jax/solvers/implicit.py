"""Derivatives of an optimum over group numbers, by the implicit function theorem.

With X = A Bᵀ and ½(‖A‖² + ‖B‖²) in place of ‖X‖_* the optimum is a stationary point of
a smooth Lagrangian, whose Hessian is positive semidefinite there; it is singular only
along rotations of both factors, which leave X unchanged. The derivative of the optimum with
respect to the model's numbers is therefore given by one linear system, solved by conjugate
gradients. Singular values that are zero stay zero: at a change of rank of the optimum, these
are the derivatives within the current phase.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from nc_jax.solvers.certificates import certify
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    bias_cost,
    block_sizes,
    data_loss,
)

TOLERANCE = 1e-11
MAX_ITERATIONS = 2000


def differentiable(model: GroupedProgram, point: GroupLogits) -> GroupLogits:
    """The optimum itself, with derivatives in the model's numbers; no cost if none are taken.

    Args:
        model: a single model.
        point: its optimum, whose derivatives are not known.
    """
    return _attach(model, jax.lax.stop_gradient(point))


@jax.custom_jvp
def _attach(model: GroupedProgram, point: GroupLogits) -> GroupLogits:
    return point


@_attach.defjvp
def _attach_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    model, point = primals
    changes, _ = tangents
    factors = _factors(model, point)
    flat, unravel = ravel_pytree(factors)
    multiplier = certify(model, point).multiplier
    excess = multiplier - model.penalty

    def lagrangian(z: Array, model: GroupedProgram) -> Array:
        own = unravel(z)
        logits = _product(model, own)
        value = data_loss(model, logits) + bias_cost(model, logits)
        return value + (model.penalty + excess) * _half_squares(own)

    def across(x: Array) -> Array:
        return ravel_pytree(_without_rotations(factors, unravel(x)))[0]

    def curved(x: Array) -> Array:
        slope = jax.jvp(lambda z: jax.grad(lagrangian)(z, model), (flat,), (across(x),))[1]
        return across(slope)

    def solved(right: Array) -> Array:
        return jax.lax.custom_linear_solve(
            curved,
            right,
            lambda matvec, b: cg(matvec, across(b), tol=TOLERANCE, maxiter=MAX_ITERATIONS)[0],
            symmetric=True,
        )

    # Only the model's numbers change here; then the multiplier of an active ball changes too.
    pull = jax.jvp(lambda m: jax.grad(lagrangian)(flat, m), (model,), (changes,))[1]
    radius = jax.jvp(lambda m: m.nuclear_radius, (model,), (changes,))[1]
    outward = jax.grad(lambda z: _half_squares(unravel(z)))(flat)
    free = -solved(pull)
    along = jax.lax.stop_gradient(solved(outward))
    full = (model.penalty == 0) & (excess * model.nuclear_radius > 1e-9)
    reach = jnp.dot(outward, along, precision="highest")
    short = radius - jnp.dot(outward, free, precision="highest")
    change = free + jnp.where(full, short / jnp.where(full, reach, 1), 0) * along
    return point, jax.jvp(lambda z: _product(model, unravel(z)), (flat,), (change,))[1]


def _factors(model: GroupedProgram, point: GroupLogits) -> dict[str, Any]:
    """Balanced factors of the group numbers, and the bias."""
    several = jnp.asarray(model.sizes.counts > 1)
    copies, _ = block_sizes(np.maximum(model.sizes.counts, 2), point.within.dtype)
    root = jnp.where(several, jnp.sqrt(copies * jnp.abs(point.within)), 0)
    left, singular, right = jnp.linalg.svd(point.between)
    half = jnp.sqrt(singular)
    within = (root, jnp.sign(point.within) * root)
    return {"within": within, "between": (left * half, right.T * half), "bias": point.bias}


def _without_rotations(factors: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A change without its part (A Ω, B Ω), Ω skew, along which the Lagrangian is constant.

    If the point is not exactly stationary, the Hessian is not exactly zero along this part, and
    conjugate gradients would diverge.
    """
    means, weights = factors["between"]
    squares = jnp.sum(means**2, axis=0)
    inner = jnp.matmul(means.T, change["between"][0], precision="highest")
    inner = inner + jnp.matmul(weights.T, change["between"][1], precision="highest")
    total = squares[:, None] + squares[None, :]
    known = total > 8 * jnp.finfo(total.dtype).eps * jnp.max(squares)
    turn = jnp.where(known, 0.5 * (inner - inner.T) / jnp.where(known, total, 1), 0)
    parts = tuple(
        own - jnp.matmul(factor, turn, precision="highest")
        for factor, own in zip((means, weights), change["between"], strict=True)
    )
    return change | {"between": parts}


def _product(model: GroupedProgram, factors: dict[str, Any]) -> GroupLogits:
    copies, _ = block_sizes(np.maximum(model.sizes.counts, 2), factors["within"][0].dtype)
    means, weights = factors["between"]
    within = factors["within"][0] * factors["within"][1] / copies
    between = jnp.matmul(means, weights.T, precision="highest")
    return GroupLogits(within, between, factors["bias"])


def _half_squares(factors: dict[str, Any]) -> Array:
    squares = [jnp.sum(part**2) for part in (*factors["within"], *factors["between"])]
    return 0.5 * jnp.sum(jnp.stack(squares))
