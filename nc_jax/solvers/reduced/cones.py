"""Complementarity of singular values and their duals, one second-order cone for each.

The norm Σ m_i |x_i| (x_i: α of a group, or a singular value of M; m_i: its multiplicity) is
lifted to Σ m_i y_i with |x_i| ≤ y_i. Its dual variables satisfy |s_i| ≤ μ m_i, where μ is the
multiplier of the norm: the penalty λ plus the multiplier ν of the ball. Optimality is
μ m_i y_i = s_i x_i, and the central path of an interior-point method is

    c y − s x = 2ε,  c x − s y = 0  (c = μ m),  ν w = ε,  w = τ − Σ m y.

Linearised, s and y follow from x and ν: ds = κ dx + q dν + t, and the same for dy.
As a matrix, S is a spectral function of M, and κ extends to pairs (i, j) of singular values: it
acts on the symmetric and on the antisymmetric part of U dM Vᵀ in their basis.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import least, total, transpose


class Blocks(NamedTuple):
    """Primal x, bound y and dual s of all blocks [B, L]; multiplier ν and slack w of the ball [L].

    Also a change of all of them.
    """

    value: Array
    bound: Array
    dual: Array
    multiplier: Array
    slack: Array

    def moved(self, step: Array, change: "Blocks") -> "Blocks":
        """The point after a step of a length [L] along a change."""
        return Blocks(*(old + step * new for old, new in zip(self, change, strict=True)))


class _Ends(NamedTuple):
    """The size |x| of the blocks, y − |x| and c ∓ s, all of them positive."""

    size: Array
    slack: Array
    below: Array
    above: Array


def _ends(cap: Array, blocks: Blocks) -> _Ends:
    """How far x is from its bound, and s from the cap on the side of x and on the other side.

    Near an optimum c y − s x is of the size of rounding, so it is computed as a sum of positive
    terms: c (y − |x|) + (c − s sign x) |x|.
    """
    size = jnp.abs(blocks.value)
    along = jnp.where(blocks.value < 0, -blocks.dual, blocks.dual)
    return _Ends(size, blocks.bound - size, cap - along, cap + along)


class Cones(NamedTuple):
    """Coefficients of the linearised conditions at a point.

    Attributes:
        multiplicity: m [B, 1].
        cap: c = μ m [B, L].
        inverse: 1/(c y + s x).
        stiffness: κ.
        drift: q.
        yielding: minus the slope of m y in ν.
    """

    multiplicity: Array
    cap: Array
    inverse: Array
    stiffness: Array
    drift: Array
    yielding: Array


@stored
def cones_at(multiplicity: Array, penalty: Array, blocks: Blocks) -> Cones:
    """The coefficients at a point in the interior of all cones."""
    x, y, s = blocks.value, blocks.bound, blocks.dual
    cap = (penalty + blocks.multiplier) * multiplicity
    ends = _ends(cap, blocks)
    inverse = 1 / (cap * ends.slack + ends.above * ends.size)
    return Cones(
        multiplicity,
        cap,
        inverse,
        stiffness=(cap - s) * (cap + s) * inverse,
        drift=multiplicity * (cap * x + s * y) * inverse,
        yielding=multiplicity**2 * (y - x) * (y + x) * inverse,
    )


@stored
def pair_stiffness(multiplier: Array, blocks: Blocks) -> tuple[Array, Array]:
    """κ [G, G, L] on symmetric and antisymmetric parts; the blocks are those of M.

    Where M turns, y lags behind x, and steps would overshoot. So y is taken from c x = s y where
    that makes it smaller.
    """
    x, s = blocks.value, blocks.dual
    room = (multiplier - s) * (multiplier + s)
    both = room[:, None] + room[None, :]
    sums, differences = _pair_sums(multiplier, x, s, blocks.bound)
    return both / (sums + transpose(sums)), both / (differences + transpose(differences))


@stored
def _pair_sums(multiplier: Array, x: Array, s: Array, bound: Array) -> tuple[Array, Array]:
    """μ y_i ± s_j x_i [G, G, L]."""
    active = jnp.abs(s) > 0.5 * multiplier
    aligned = multiplier * x / jnp.where(active, s, 1)
    y = jnp.where(active & (x * s > 0), jnp.minimum(bound, aligned), bound)
    # As sums of positive terms, as for the other conditions.
    size = jnp.abs(x)[:, None]
    slack = (multiplier * (y - jnp.abs(x)))[:, None]
    along = jnp.where(x < 0, -1, 1)[:, None] * s[None, :]
    return slack + (multiplier + along) * size, slack + (multiplier - along) * size


@stored
def complementarity(penalty: Array, multiplicity: Array, blocks: Blocks) -> Array:
    """[L] Σ (c y − s x) + ν w: the duality gap of a feasible point."""
    cap = (penalty + blocks.multiplier) * multiplicity
    ends = _ends(cap, blocks)
    return total(cap * ends.slack + ends.below * ends.size) + blocks.multiplier * blocks.slack


class Residuals(NamedTuple):
    """Right-hand sides of the linearised conditions for a target ε.

    Attributes:
        bound: 2ε − (c y − s x) [B, L].
        slack: ε − ν w [L].
        dual: t [B, L].
        lifted: the part of dy that depends neither on dx nor on dν [B, L].
    """

    bound: Array
    slack: Array
    dual: Array
    lifted: Array


@stored
def residuals(cones: Cones, blocks: Blocks, target: Array, second: Blocks | None) -> Residuals:
    """Residuals of the conditions, with the products of a predicted change (Mehrotra 1992)."""
    x, s = blocks.value, blocks.dual
    ends = _ends(cones.cap, blocks)
    bound = 2 * target - (cones.cap * ends.slack + ends.below * ends.size)
    alignment = s * ends.slack - jnp.sign(x) * ends.below * ends.size
    slack = target - blocks.multiplier * blocks.slack
    if second is not None:
        cap = cones.multiplicity * second.multiplier
        bound = bound - (cap * second.bound - second.dual * second.value)
        alignment = alignment - (cap * second.value - second.dual * second.bound)
        slack = slack - second.multiplier * second.slack
    dual = -(cones.cap * alignment + s * bound) * cones.inverse
    return Residuals(bound, slack, dual, (bound + x * dual) / cones.cap)


@stored
def budget_residual(blocks: Blocks, cones: Cones, radius: Array, of: Residuals) -> Array:
    """[L] what Σ q dx − (Σ yielding + w/ν) dν must be for the budget τ = Σ m y + w."""
    short = radius - total(cones.multiplicity * blocks.bound) - blocks.slack
    return short - of.slack / blocks.multiplier - total(cones.multiplicity * of.lifted)


@stored
def change_of(
    cones: Cones, blocks: Blocks, of: Residuals, value: Array, multiplier: Array
) -> Blocks:
    """All changes, given those of x and of ν."""
    dual = cones.stiffness * value + cones.drift * multiplier + of.dual
    lifted = cones.drift * value - cones.yielding * multiplier
    bound = lifted / cones.multiplicity + of.lifted
    slack = (of.slack - blocks.slack * multiplier) / blocks.multiplier
    return Blocks(value, bound, dual, multiplier, slack)


@stored
def longest_step(cones: Cones, blocks: Blocks, change: Blocks) -> Array:
    """[L] the step at which the first cone is left; infinite if none is."""
    cap = cones.multiplicity * change.multiplier
    edges = [
        _leaves(blocks.bound - blocks.value, change.bound - change.value),
        _leaves(blocks.bound + blocks.value, change.bound + change.value),
        _leaves(cones.cap - blocks.dual, cap - change.dual),
        _leaves(cones.cap + blocks.dual, cap + change.dual),
    ]
    ball = jnp.minimum(
        _leaves(blocks.slack, change.slack), _leaves(blocks.multiplier, change.multiplier)
    )
    return jnp.minimum(least([least(edge) for edge in edges]), ball)


@stored
def _leaves(distance: Array, change: Array) -> Array:
    falls = change < 0
    return jnp.where(falls, -distance / jnp.where(falls, change, -1), jnp.inf)
