"""How far an iterate is from the optimum, measured without decompositions."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import at_groups, largest, product, total, transpose
from nc_jax.solvers.reduced.rows import Slope
from nc_jax.solvers.reduced.state import Iterate, Program


class Measures(NamedTuple):
    """How far a point is from the optimum, and its step, each [L].

    Attributes:
        complementarity: the gap between the primal and the dual variables of the cones.
        gap: bound on the objective minus the optimum.
        scale: the objective, with all positive terms of the gap.
        pull: size of the terms whose differences are the slopes.
        calm: whether the step from there hardly changes anything.
        short: whether it moves M by a small share of its norm.
    """

    complementarity: Array
    gap: Array
    scale: Array
    pull: Array
    calm: Array
    short: Array


@stored
def certified(
    program: Program,
    point: Iterate,
    slope: Slope,
    in_basis: tuple[Array, Array],
    objective: Array,
) -> Array:
    """[L] an upper bound on the objective minus the optimum, from the slopes at the point.

    As :mod:`nc_jax.solvers.certificates`, but with norms bounded from entries in the basis,
    which is nearly singular. A bias without decay counts roughly.
    """
    several, numbers = len(program.several), program.numbers
    multiplicity, penalty = program.multiplicity[:several], numbers.penalty
    steepest = _norm_bound(in_basis[1])
    norm = _nuclear_bound(in_basis[0])
    inner = total(total(slope.between * point.between))
    if several:
        slopes = at_groups(slope.within, program.several)
        steepest = jnp.maximum(steepest, largest(jnp.abs(slopes) / multiplicity))
        norm = norm + total(multiplicity * jnp.abs(point.within))
        inner = inner + total(slopes * point.within)
    priced = objective / jnp.where(penalty > 0, penalty, 1)
    radius = jnp.where(penalty > 0, jnp.minimum(numbers.radius, priced), numbers.radius)
    gap = inner + penalty * norm + radius * jnp.maximum(steepest - penalty, 0)
    if point.bias is not None and numbers.bias_penalty is not None:
        decay = numbers.bias_penalty * program.counts
        decayed = slope.bias**2 / (2 * jnp.where(decay > 0, decay, 1))
        free = jnp.abs(slope.bias) * (1 + jnp.abs(point.bias))
        gap = gap + total(jnp.where(decay > 0, decayed, free))
    return jnp.maximum(gap, 0)


def _norm_bound(matrix: Array) -> Array:
    """An upper bound on the operator norm, √‖AᵀA‖_∞, close for an almost diagonal matrix.

    Singular vectors of M of the value zero are arbitrary, and A is not diagonal in them.
    """
    return jnp.sqrt(largest(total(jnp.abs(product(transpose(matrix), matrix)))))


def _nuclear_bound(matrix: Array) -> Array:
    """An upper bound on the nuclear norm of an almost diagonal matrix."""
    return total(total(jnp.abs(matrix)))
