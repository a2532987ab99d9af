"""L-BFGS for several searches side by side, one evaluation of each at a time.

In one tick a search accepts its trial point and takes a new direction, or it shortens its step.
The pairs of all searches are stored in one ring, written at one common place per tick; a search
that rejects its trial leaves that place empty.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Fraction of the predicted decrease that a step must bring (Armijo).
SUFFICIENT = 1e-4
# Losses are sums of terms of order one: their rounding error is at least this multiple of
# eps, however small the sum is.
ROUNDING_SCALE = 0.1


class Limits(NamedTuple):
    """When a search ends.

    Attributes:
        relative: a search is finished at residual ≤ relative·|objective| + absolute.
        absolute: see ``relative``.
        max_iterations: largest number of accepted steps.
        patience: number of evaluations without a lower objective after which it has reached its
            rounding floor.
    """

    relative: Any
    absolute: Any
    max_iterations: int
    patience: int


class Memory(NamedTuple):
    """Pairs (s, y) of steps and gradient changes, in the compact form of L-BFGS.

    In this form the inverse Hessian is γ + [S γY] N [S γY]ᵀ, where N consists of γ, the
    diagonal D of SᵀY, the inverse of its upper triangle R (by age) and YᵀY
    (Byrd, Nocedal, Schnabel 1994). When they are updated in place, none of them depends on
    the order in which the ring stores the pairs; an empty place is all zeros.

    Attributes:
        pairs: [B, 2m, d] columns of S and Y in turn.
        curvatures: [B, m] D.
        inverse_triangle: [B, m, m] R⁻¹.
        change_products: [B, m, m] YᵀY.
        scale: [B] γ; zero while there is no pair.
    """

    pairs: Array
    curvatures: Array
    inverse_triangle: Array
    change_products: Array
    scale: Array


class Search(NamedTuple):
    """State of B searches in d dimensions.

    Attributes:
        point: [B, d] the last accepted points.
        value: [B] objective there; infinity before the first evaluation.
        gradient: [B, d] there.
        direction: [B, d] of the next trial.
        slope: [B] of the objective along it.
        step: [B] length of the next trial step, in units of the direction.
        rejected: [B] number of evaluations since the last progress.
        iterations: [B] number of accepted steps; −1 before the first evaluation.
        evaluations: [B] number of evaluations.
        done: [B] whether it has ended; its point does not move any more.
        memory: of the pairs.
    """

    point: Array
    value: Array
    gradient: Array
    direction: Array
    slope: Array
    step: Array
    rejected: Array
    iterations: Array
    evaluations: Array
    done: Array
    memory: Memory

    @property
    def trial(self) -> Array:
        """[B, d] where the objective is evaluated next."""
        return self.point + self.step[:, None] * self.direction

    @property
    def residual(self) -> Array:
        """[B] ‖gradient‖·‖point‖."""
        return _norm(self.gradient) * _norm(self.point)


def begin(points: Array, memory: int) -> Search:
    """Searches that start at the points [B, d], with at most ``memory`` pairs each."""
    count, width = points.shape
    number, none = jnp.zeros(count, points.dtype), jnp.zeros(count, jnp.int32)
    ring = Memory(
        jnp.zeros((count, 2 * memory, width), points.dtype),
        jnp.zeros((count, memory), points.dtype),
        jnp.zeros((count, memory, memory), points.dtype),
        jnp.zeros((count, memory, memory), points.dtype),
        number,
    )
    return Search(
        point=points,
        # The first tick evaluates the start and accepts any finite value.
        value=jnp.full_like(number, jnp.inf),
        gradient=jnp.zeros_like(points),
        direction=jnp.zeros_like(points),
        slope=number,
        step=number,
        rejected=none,
        iterations=none - 1,
        evaluations=none,
        done=jnp.zeros(count, bool),
        memory=ring,
    )


def restarted(search: Search, fresh: Array, points: Array) -> Search:
    """The searches of the mask ``fresh`` [B] start anew, at their points of [B, d]."""
    old = search.memory
    # The vectors of the pairs are kept, but never read.
    empty = Memory(
        old.pairs,
        *(select(fresh, jnp.zeros_like(part), part) for part in old[1:]),
    )
    new = begin(points, old.curvatures.shape[-1])._replace(memory=empty)
    parts = [select(fresh, *pair) for pair in zip(new[:-1], search[:-1], strict=True)]
    return Search(*parts, memory=empty)


def select(mask: Array, new: Any, old: Any) -> Any:
    """Leaves of ``new`` where the mask [B] is set, of ``old`` elsewhere; all [B, ...]."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


def advance(search: Search, place: Array, value: Array, gradient: Array, limits: Limits) -> Search:
    """Accepts or rejects the trials; new directions for the accepted.

    Args:
        search: the state, with B trials.
        place: [] where the ring stores this tick's pairs: all ticks take it in turn.
        value: [B] objective at the trials.
        gradient: [B, d] there.
        limits: when a search ends.
    """
    eps = jnp.finfo(value.dtype).eps
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient), axis=-1)
    along = _dot(gradient, search.direction)
    armijo = value <= search.value + SUFFICIENT * search.step * search.slope
    # If the decrease is below rounding, the slope still decides (Hager and Zhang).
    level = value <= search.value + 64 * eps * (jnp.abs(search.value) + ROUNDING_SCALE)
    accept = finite & ~search.done & (armijo | (level & (along <= -0.8 * search.slope)))

    step = jnp.where(accept, search.step, 0)[:, None]
    difference = step * search.direction
    change = jnp.where(accept[:, None], gradient - search.gradient, 0)
    gradient = jnp.where(accept[:, None], gradient, search.gradient)
    point = jnp.where(accept[:, None], search.trial, search.point)
    new_value = jnp.where(accept, value, search.value)
    # At the first evaluation there is no earlier gradient to compare with.
    usable = accept & (search.iterations >= 0)
    memory, direction = _remember(search.memory, place, difference, change, gradient, usable)
    slope = _dot(direction, gradient)
    # First step, or first after the memory was emptied: a tenth of the point's length.
    length, size = _norm(gradient), _norm(point)
    positive = jnp.where(length > 0, length, 1)
    plain = (memory.scale == 0) | ~(slope < 0)
    steepest = -(0.1 * size / positive)[:, None] * gradient
    direction = jnp.where(plain[:, None], steepest, direction)
    slope = jnp.where(plain, -0.1 * size * length, slope)

    # A rejected step shrinks to the minimiser of the parabola through the known values.
    drop = value - search.value - search.step * search.slope
    parabola = -0.5 * search.step * search.slope / jnp.where(drop > 0, drop, 1)
    shorter = search.step * jnp.where(finite & (drop > 0), jnp.clip(parabola, 0.1, 0.5), 0.1)

    rejected = jnp.where(accept & (value < search.value), 0, search.rejected + 1)
    iterations = search.iterations + accept.astype(jnp.int32)
    residual = length * size
    small = residual <= limits.relative * jnp.abs(new_value) + limits.absolute
    lost = ~finite & ~jnp.isfinite(search.value)
    ends = small | (iterations >= limits.max_iterations) | (rejected >= limits.patience) | lost
    return search._replace(
        point=point,
        value=new_value,
        gradient=gradient,
        direction=jnp.where(accept[:, None], direction, search.direction),
        slope=jnp.where(accept, slope, search.slope),
        step=jnp.where(accept, 1, shorter),
        rejected=rejected,
        iterations=iterations,
        evaluations=search.evaluations + (~search.done).astype(jnp.int32),
        done=search.done | ends,
        memory=memory,
    )


def _remember(
    memory: Memory, place: Array, difference: Array, change: Array, gradient: Array, usable: Array
) -> tuple[Memory, Array]:
    """Stores a pair if it is usable and drops the oldest; the new direction −H g."""
    count = memory.curvatures.shape[-1]
    curvature, square = _dot(difference, change), _dot(change, change)
    limits = jnp.finfo(gradient.dtype)
    usable = usable & (curvature > limits.eps * _norm(difference) * jnp.sqrt(square))
    # An accelerator does not flush tiny numbers to zero, and one over them is infinite.
    usable = usable & (jnp.minimum(curvature, square) > limits.tiny / limits.eps)
    kept = usable[:, None]
    pair = jnp.where(kept[:, None], jnp.stack([difference, change], axis=1), 0)
    pairs = jax.lax.dynamic_update_slice_in_dim(memory.pairs, pair, 2 * place, axis=1)
    # XLA would otherwise copy all pairs for each product.
    pairs = jax.lax.optimization_barrier(pairs)

    def products(vector: Array) -> tuple[Array, Array]:
        """With all steps and with all changes, [B, m] each."""
        both = jnp.einsum("bmd,bd->bm", pairs, vector, precision="highest")
        return both[:, ::2], both[:, 1::2]

    # Two products with vectors are faster than one with a matrix of two columns.
    steps_by_change, changes_by_change = products(change)
    steps_by_gradient, changes_by_gradient = products(gradient)
    here = jnp.arange(count, dtype=jnp.int32) == place
    positive = jnp.where(usable, curvature, 1)
    # Only pairs in the triangle count: a dropped pair is zero there.
    known = (memory.curvatures > 0) & ~here
    older = jnp.where(known & kept, steps_by_change, 0)
    triangle = jnp.where(here[:, None] | here, 0, memory.inverse_triangle)
    column = -jnp.einsum("bij,bj->bi", triangle, older, precision="highest") / positive[:, None]
    column = jnp.where(here, jnp.where(kept, 1 / positive[:, None], 0), column)
    triangle = jnp.where(here, column[:, :, None], triangle)
    cross = jnp.where((known | here) & kept, changes_by_change, 0)
    change_products = jnp.where(here, cross[:, :, None], memory.change_products)
    change_products = jnp.where(here[:, None], cross[:, None, :], change_products)
    curvatures = jnp.where(here, jnp.where(kept, curvature[:, None], 0), memory.curvatures)
    scale = jnp.where(usable, curvature / jnp.where(usable, square, 1), memory.scale)

    live = curvatures > 0
    from_steps = jnp.where(live, steps_by_gradient, 0)
    from_changes = jnp.where(live, changes_by_gradient, 0)
    u = jnp.einsum("bij,bj->bi", triangle, from_steps, precision="highest")
    inner = jnp.einsum("bij,bj->bi", change_products, u, precision="highest") - from_changes
    v = jnp.einsum(
        "bji,bj->bi", triangle, curvatures * u + scale[:, None] * inner, precision="highest"
    )
    weights = jnp.stack([v, -scale[:, None] * u], axis=-1).reshape(v.shape[0], -1)
    applied = jnp.einsum("bmd,bm->bd", pairs, weights, precision="highest")
    updated = Memory(pairs, curvatures, triangle, change_products, scale)
    return updated, -(scale[:, None] * gradient + applied)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


def _norm(a: Array) -> Array:
    return jnp.sqrt(_dot(a, a))
