"""The iterates of the interior-point method, the batch of programs, and where it starts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses.forms import bias_is_free
from nc_jax.solvers.alignment import Basis, aligned
from nc_jax.solvers.lanes import (
    at_groups,
    diagonal,
    diagonal_matrix,
    is_diagonal,
    largest,
    rotated,
    total,
    unrotated,
)
from nc_jax.solvers.reduced.cones import Blocks
from nc_jax.solvers.reduced.factorisation import Factorisation
from nc_jax.solvers.reduced.rows import (
    Chain,
    Numbers,
    RowLosses,
    Slope,
    chain_of,
    group_counts,
    several_of,
    slope_of,
    slots_of,
)
from nc_jax.surrogates.grouped import GroupedProgram

# Largest difference of logits at the start, and its largest change in one step: beyond it
# the curvature of a softmax at the old point says little.
LARGEST_CHANGE = 3.0
# Sweeps of Jacobi's method for the first basis.
FIRST_SWEEPS = 8
# Largest dual at the start of a penalised program, in units of the penalty.
SHARE_OF_CAP = 0.1


class Iterate(NamedTuple):
    """A point of the method, lanes last.

    Attributes:
        within: α [W, L] of the groups with several classes.
        between: M [G, G, L].
        bias: b [G, L], or None.
        basis: singular basis of M and of its dual, approximately.
        bound: y [W + G, L].
        dual_within, dual_between: s [W, L] and S [G, G, L].
        multiplier, slack: ν and w [L].
    """

    within: Array
    between: Array
    bias: Array | None
    basis: Basis
    bound: Array
    dual_within: Array
    dual_between: Array
    multiplier: Array
    slack: Array


class Program(NamedTuple):
    """A batch of models of the same structure.

    Attributes:
        counts: [G, 1 or L] classes of each group.
        several: indices [W] of the groups with several classes, static.
        free: whether a shift of a bias without decay leaves every loss unchanged, static.
        numbers: of the models.
        losses: evaluates the rows.
        factorisation: how the matrices of Newton steps are factored, static.
    """

    counts: Array
    several: np.ndarray
    free: bool
    numbers: Numbers
    losses: RowLosses
    factorisation: Factorisation

    @property
    def multiplicity(self) -> Array:
        """Multiplicities m [W + G, 1 or L] of all blocks."""
        within = jnp.maximum(at_groups(self.counts, self.several) - 1, 1)
        return jnp.concatenate([within, jnp.ones_like(self.counts)])

    @property
    def chain(self) -> Chain:
        """Slopes of the logits in the group numbers."""
        return chain_of(self.counts, self.numbers.row_scale)

    def spread(self, within: Array) -> Array:
        """α [G, L], zero for groups of one class."""
        return spread(self.several, len(self.counts), within)


def spread(several: np.ndarray, groups: int, within: Array) -> Array:
    """α [G, L] from those [W, L] of the groups with several classes; all others are zero."""
    place = {group: k for k, group in enumerate(several)}
    zero = jnp.zeros(within.shape[1:], within.dtype)
    return jnp.stack([within[place[g]] if g in place else zero for g in range(groups)])


def program_of(
    models: GroupedProgram, numbers: Numbers, losses: RowLosses, factorisation: Factorisation
) -> Program:
    """The static and the traced parts of a batch of models."""
    return Program(
        group_counts(models),
        several_of(models),
        bias_is_free(models.loss),
        numbers,
        losses,
        factorisation,
    )


def start_of(program: Program) -> Iterate:
    """A point near the central path, in the direction of −∇f(0)."""
    numbers = program.numbers
    several = len(program.several)
    groups, lanes = numbers.shares.shape
    zero = jnp.zeros((groups, groups, lanes), numbers.shares.dtype)
    bias = None if numbers.bias_penalty is None else zero[0]
    slots = slots_of(program.chain, zero[0], zero, bias)
    slope = slope_of(program.chain, program.losses(program.counts, numbers, slots))
    eye = jnp.where(is_diagonal(groups), 1, zero)
    basis, _ = aligned(-slope.between, Basis(eye, eye), zero[0], FIRST_SWEEPS)
    values = diagonal(rotated(basis.left, -slope.between, basis.right))
    downhill = jnp.concatenate([-at_groups(slope.within, program.several), values])
    blocks = jax.tree.map(
        lambda *either: jnp.where(numbers.penalty > 0, *either),
        _penalised(program, downhill),
        _constrained(program, downhill),
    )

    def matrix(diagonals: Array) -> Array:
        return unrotated(basis.left, diagonal_matrix(diagonals[several:]), basis.right)

    return Iterate(
        blocks.value[:several],
        matrix(blocks.value),
        bias,
        basis,
        blocks.bound,
        blocks.dual[:several],
        matrix(blocks.dual),
        blocks.multiplier,
        blocks.slack,
    )


def _constrained(program: Program, downhill: Array) -> Blocks:
    """The start at large ε if the norm is constrained: X = −(2ε/μ²) ∇f(0) to first order.

    Args:
        program: the programs.
        downhill: minus the slope ∇f(0) of all blocks, [B, L].
    """
    numbers, multiplicity = program.numbers, program.multiplicity

    def at(multiplier: Array) -> tuple[Array, Array, Array]:
        """The x and y of the blocks, and ε, with the duals fixed."""
        value, bound = _aligned_blocks(multiplier * multiplicity, downhill)
        weight = numbers.radius / (total(multiplicity * bound) + 1 / multiplier)
        return weight * value, weight * bound, weight

    multiplier = 2 * largest(jnp.abs(downhill) / multiplicity)
    # If the ball is so large that the loss would be saturated, start farther inside.
    reach = largest(jnp.abs(at(multiplier)[0])) * largest(numbers.row_scale)
    multiplier = multiplier * jnp.maximum(reach / LARGEST_CHANGE, 1)
    value, bound, weight = at(multiplier)
    return Blocks(value, bound, downhill, multiplier, weight / multiplier)


def _penalised(program: Program, downhill: Array) -> Blocks:
    """The start if the norm is penalised: logits of the size of those at an optimum.

    The bound on the norm is then far from any optimum and its multiplier is about zero. So the
    duals must be below the penalty, and are no slopes.
    """
    numbers, multiplicity = program.numbers, program.multiplicity
    penalty = jnp.where(numbers.penalty > 0, numbers.penalty, 1)
    ratio = largest(jnp.abs(downhill) / multiplicity) / penalty
    dual = downhill * jnp.minimum(1, SHARE_OF_CAP / ratio)
    value, bound = _aligned_blocks(penalty * multiplicity, dual)
    # Slopes that fall exponentially are as small as the penalty at logits of this size.
    reach = jnp.maximum(jnp.log(ratio), 1)
    weight = reach / (largest(jnp.abs(value)) * largest(numbers.row_scale))
    weight = jnp.minimum(weight, 0.5 * numbers.radius / total(multiplicity * bound))
    slack = numbers.radius - weight * total(multiplicity * bound)
    return Blocks(weight * value, weight * bound, dual, weight / slack, slack)


def _aligned_blocks(cap: Array, dual: Array) -> tuple[Array, Array]:
    """The x and y [B, L] of the central path at given duals, for ε = 1."""
    room = (cap - dual) * (cap + dual)
    return 2 * dual / room, 2 * cap / room


def with_decay(program: Program, slope: Slope, bias: Array | None) -> Slope:
    """The slope with that of the bias's penalty."""
    penalty = program.numbers.bias_penalty
    if penalty is None or bias is None:
        return slope
    return slope._replace(bias=slope.bias + penalty * program.counts * bias)


def bias_cost(program: Program, bias: Array | None) -> Array:
    """(λ_b/2)‖b‖² over all classes [L]; zero without a bias."""
    penalty = program.numbers.bias_penalty
    if penalty is None or bias is None:
        return jnp.zeros_like(program.numbers.radius)
    return 0.5 * penalty * total(program.counts * bias**2)
