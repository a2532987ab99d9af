"""One step of the primal–dual interior-point method on the reduced program, in all lanes."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.solvers.alignment import Basis, aligned
from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import (
    at_groups,
    diagonal,
    diagonal_matrix,
    is_diagonal,
    largest,
    least,
    rotated,
    total,
    transpose,
    unrotated,
)
from nc_jax.solvers.reduced.cones import (
    Blocks,
    Cones,
    Residuals,
    budget_residual,
    change_of,
    complementarity,
    cones_at,
    longest_step,
    pair_stiffness,
    residuals,
)
from nc_jax.solvers.reduced.factorisation import solved
from nc_jax.solvers.reduced.measures import Measures, certified
from nc_jax.solvers.reduced.newton import newton_matrix
from nc_jax.solvers.reduced.rows import Slope, Slots, curvature_of, slope_of, slots_of
from nc_jax.solvers.reduced.state import (
    LARGEST_CHANGE,
    Iterate,
    Program,
    bias_cost,
    with_decay,
)

# Share of the way to the boundary of the cones that a step may go.
TO_BOUNDARY = 0.995
# Smallest and largest reduction of the complementarity that a step aims at.
REDUCTIONS = 1e-3, 0.9
# The complementarity aims at no less than this share of the gap: where it runs ahead of the slopes,
# as under losses with an exponential tail, the system becomes too badly conditioned.
FOLLOW = 1e-3
# Sweeps of Jacobi's method in a step, which follows the basis.
SWEEPS = 1
# A step is calm if it reduces the complementarity by the first factor, or raises it at most by the
# second factor and changes M by at most the third share of its norm.
CALM = 0.1, 10, 0.01


class _Point(NamedTuple):
    """What a step needs of the current point, in the singular basis of M."""

    basis: Basis
    blocks: Blocks
    cones: Cones
    stiffness: tuple[Array, Array]
    between: Array
    slope: Slope
    rotated_slope: Array
    drift: Array


def advance(program: Program, old: Iterate) -> tuple[Iterate, Measures]:
    """A predictor–corrector step.

    Returns:
        The new point, and how good the old one is.
    """
    numbers = program.numbers
    slots = slots_of(program.chain, program.spread(old.within), old.between, old.bias)
    rows = program.losses(program.counts, numbers, slots)
    slope = with_decay(program, slope_of(program.chain, rows), old.bias)
    basis, blocks, between = _in_basis(program, old)
    cones = cones_at(program.multiplicity, numbers.penalty, blocks)
    gap = complementarity(numbers.penalty, program.multiplicity, blocks)
    target = gap / (2 * len(blocks.value) + 1)
    several = len(program.several)
    value, bound, dual = (part[several:] for part in blocks[:3])
    of_means = blocks._replace(value=value, bound=bound, dual=dual)
    stiffness = pair_stiffness(numbers.penalty + blocks.multiplier, of_means)
    curvature = curvature_of(program.chain, rows)
    decay = _bias_decay(program, total(curvature.means) if old.bias is not None else None)
    within_stiffness = cones.stiffness[:several]
    matrix = newton_matrix(
        program.chain,
        curvature,
        basis,
        program.several,
        (within_stiffness, *stiffness),
        decay,
    )
    rotated_slope = rotated(basis.left, slope.between, basis.right)
    norm = total(program.multiplicity * blocks.bound)
    objective = rows.value + numbers.penalty * norm + bias_cost(program, old.bias)
    drift = _unknowns(
        cones.drift[:several], diagonal_matrix(cones.drift[several:]), _zeros(old.bias)
    )
    point = _Point(basis, blocks, cones, stiffness, between, slope, rotated_slope, drift)
    affine = residuals(cones, blocks, jnp.zeros_like(target), None)
    rights = jnp.stack([_right_hand(program, point, affine), drift], axis=1)
    found, again = solved(matrix, rights, program.factorisation)
    predicted = _direction(program, point, affine, found)
    length = jnp.minimum(1, TO_BOUNDARY * longest_step(cones, blocks, predicted.blocks))
    ahead = blocks.moved(length, predicted.blocks)
    remaining = complementarity(numbers.penalty, program.multiplicity, ahead) / gap
    distance = certified(program, old, slope, (between, rotated_slope), objective)
    lowest = jnp.clip(FOLLOW * distance / gap, *REDUCTIONS)
    reduction = jnp.clip(jnp.clip(remaining, 0, 1) ** 3, lowest, REDUCTIONS[1])
    second = Blocks(*(length * part for part in predicted.blocks))
    aimed = residuals(cones, blocks, reduction * target, second)
    change = _direction(program, point, aimed, again(_right_hand(program, point, aimed)))
    new, ahead = _moved(program, old, point, change, slots)
    short = _size(new.between - old.between) <= CALM[2] * _size(old.between)
    measures = Measures(
        complementarity=gap,
        gap=distance,
        scale=objective + blocks.multiplier * norm,
        pull=total(rows.own_curvature * slots.own**2),
        calm=(ahead <= CALM[0] * gap) | ((ahead <= CALM[1] * gap) & short),
        short=short,
    )
    return new, measures


class _Change(NamedTuple):
    """A direction: of the blocks, of M in its basis, and of the bias."""

    blocks: Blocks
    between: Array
    bias: Array | None


@stored
def _direction(program: Program, point: _Point, of: Residuals, found: Array) -> _Change:
    """The Newton direction of the solutions [n, 2, L] for the residuals and for the drift."""
    several, groups = len(program.several), len(program.counts)
    blocks, cones = point.blocks, point.cones
    towards, to_drift = found[:, 0], found[:, 1]
    short = budget_residual(blocks, cones, program.numbers.radius, of)
    own = total(cones.yielding) + blocks.slack / blocks.multiplier
    coupling = total(point.drift * to_drift)
    multiplier = (total(point.drift * towards) - short) / (own + coupling)
    unknowns = towards - to_drift * multiplier
    between = unknowns[several : several + groups**2].reshape(groups, groups, -1)
    value = jnp.concatenate([unknowns[:several], diagonal(between)])
    bias = unknowns[several + groups**2 :] if program.numbers.bias_penalty is not None else None
    change = change_of(cones, blocks, of, value, multiplier)
    return _Change(change, between, bias)


@stored
def _right_hand(program: Program, point: _Point, of: Residuals) -> Array:
    several = len(program.several)
    dual = point.blocks.dual + of.dual
    between = point.rotated_slope + diagonal_matrix(dual[several:])
    between = between + _off_diagonal(point.stiffness, point.between)
    within = at_groups(point.slope.within, program.several) + dual[:several]
    bias = None if program.numbers.bias_penalty is None else point.slope.bias
    return -_unknowns(within, between, bias)


def _unknowns(within: Array, between: Array, bias: Array | None) -> Array:
    """All unknowns [n, L]."""
    flat = between.reshape(-1, between.shape[-1])
    return jnp.concatenate([within, flat] if bias is None else [within, flat, bias])


def _zeros(bias: Array | None) -> Array | None:
    return None if bias is None else jnp.zeros_like(bias)


@stored
def _off_diagonal(stiffness: tuple[Array, Array], matrix: Array) -> Array:
    """κ applied to the off-diagonal part of a matrix in the singular basis."""
    symmetric, antisymmetric = stiffness
    mirrored = transpose(matrix)
    both = symmetric * (matrix + mirrored) + antisymmetric * (matrix - mirrored)
    return jnp.where(is_diagonal(len(matrix)), 0, 0.5 * both)


@stored
def _in_basis(program: Program, old: Iterate) -> tuple[Basis, Blocks, Array]:
    """The current basis, the blocks, and M in that basis."""
    several = len(program.several)
    multiplier = program.numbers.penalty + old.multiplier
    tiny = jnp.finfo(multiplier.dtype).tiny
    eps = 4 * jnp.finfo(multiplier.dtype).eps
    # Where M has vanished beside the budget or logits of order one, its own vectors mean nothing.
    unit = total(program.counts) / least(program.numbers.row_scale)
    size = jnp.maximum(_size(old.between), jnp.minimum(unit, program.numbers.radius))
    # M and S have the same singular vectors on the path. Where singular values of one
    # are equal or zero, those of the other determine them.
    both = old.between / size + old.dual_between / multiplier
    basis, bounds = aligned(both, old.basis, old.bound[several:], SWEEPS)
    between = rotated(basis.left, old.between, basis.right)
    dual = rotated(basis.left, old.dual_between, basis.right)
    cap = multiplier * program.multiplicity * (1 - eps)
    value = jnp.concatenate([old.within, diagonal(between)])
    bound = jnp.concatenate([old.bound[:several], bounds])
    bound = jnp.maximum(bound, jnp.abs(value) * (1 + eps) + tiny)
    duals = jnp.clip(jnp.concatenate([old.dual_within, diagonal(dual)]), -cap, cap)
    return basis, Blocks(value, bound, duals, old.multiplier, old.slack), between


@stored
def _bias_decay(program: Program, curvature: Array | None) -> Array | None:
    """Curvature [G, G, L] that the bias has besides that of the loss, or None."""
    penalty = program.numbers.bias_penalty
    if penalty is None or curvature is None:
        return None
    decay = diagonal_matrix(penalty * program.counts)
    if program.free:
        # Fixes the constant that an unregularised bias leaves open; no slope points there.
        steepest = largest(diagonal(curvature))
        decay = decay + jnp.where(penalty > 0, 0, jnp.where(steepest > 0, steepest, 1))
    return decay


@stored
def _size(matrix: Array) -> Array:
    """Frobenius norm [L] of [G, G, L]."""
    return jnp.sqrt(total(total(matrix**2)))


@stored
def _reach(program: Program, slots: Slots, change: Slots) -> Array:
    """[L] largest change of a difference of logits, in units of what the curvature allows.

    Large differences are saturated and may change in proportion.
    """
    scales = program.numbers.loss.scales
    allowed = LARGEST_CHANGE + jnp.abs(_margins(slots, scales)) / 2
    return largest([largest(row) for row in jnp.abs(_margins(change, scales)) / allowed])


def _margins(slots: Slots, scales: Array | None) -> Array:
    """[G, G, L] logits of the groups minus the own one, as the loss scales them."""
    own, others = slots
    if scales is not None:
        own, others = own * scales, others * scales
    return others - own[:, None]


@stored
def _moved(
    program: Program, old: Iterate, point: _Point, change: _Change, slots: Slots
) -> tuple[Iterate, Array]:
    """The point after the longest safe step along a direction, and its complementarity."""
    several = len(program.several)
    basis, blocks = point.basis, point.blocks
    step = change.blocks
    between = unrotated(basis.left, change.between, basis.right)
    turned = slots_of(program.chain, program.spread(step.value[:several]), between, change.bias)
    length = TO_BOUNDARY * longest_step(point.cones, blocks, step)
    length = jnp.minimum(
        jnp.minimum(1, length), 1 / jnp.maximum(_reach(program, slots, turned), 1e-30)
    )
    after = blocks.moved(length, step)
    # The old off-diagonal part of S is replaced by that of M times its stiffness.
    crossed = _off_diagonal(point.stiffness, point.between + length * change.between)
    dual = diagonal_matrix(after.dual[several:]) + crossed
    bias = old.bias
    if bias is not None and change.bias is not None:
        bias = bias + length * change.bias
    new = Iterate(
        after.value[:several],
        old.between + length * between,
        bias,
        basis,
        after.bound,
        after.dual[:several],
        unrotated(basis.left, dual, basis.right),
        after.multiplier,
        after.slack,
    )
    return new, complementarity(program.numbers.penalty, program.multiplicity, after)
