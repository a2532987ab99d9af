"""L-BFGS on many small problems at once, in which no lane waits for another.

Lanes are processed in a fixed number of slots. In one tick every slot uses
one evaluation: it accepts its trial point and takes a new direction, or it
shortens its step. Finished lanes leave, and the next lanes of the queue take
their slots; when the queue is empty, the remaining lanes (those at a phase
transition) continue in fewer slots. The total work is therefore the sum of all steps,
not the number of lanes times the steps of the slowest one.

The pairs of all slots are stored in one ring buffer, written at one common place per tick; a
slot that rejects its trial leaves that place empty.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Number of ticks between two checks for finished lanes.
PERIOD = 8
# The number of slots shrinks by this factor when only so few of them are still in use.
SHRINK = 8
SMALLEST = 8
# Fraction of the predicted decrease that a step must bring (Armijo).
SUFFICIENT = 1e-4
# Number of evaluations without progress after which a lane has reached its rounding floor.
PATIENCE = 20

# Losses are sums of terms of order one: their rounding error is at least this multiple of
# eps, however small the sum is.
ROUNDING_SCALE = 0.1

Objective = Callable[[Any, Array], Array]
Start = Callable[[Any, Array], Array]


class Minima(NamedTuple):
    """The end points of L lanes.

    Attributes:
        point: [L, d].
        value: [L] objective at the end point.
        residual: [L] ‖gradient‖·‖point‖, the first-order change of the objective
            for a relative change of the point.
        iterations: [L] number of accepted steps.
        evaluations: [L] number of evaluations of objective and gradient.
    """

    point: Array
    value: Array
    residual: Array
    iterations: Array
    evaluations: Array


class _Slots(NamedTuple):
    """State of B slots; ``lane`` is L for an empty one."""

    lane: Array
    data: Any
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
    memory: "_Memory"


class _Memory(NamedTuple):
    """Pairs (s, y) of steps and gradient changes, in the compact form of L-BFGS.

    In this form the inverse Hessian is γ + [S γY] N [S γY]ᵀ, where N consists of γ, the
    diagonal D of SᵀY, the inverse of its upper triangle R (by age) and YᵀY
    (Byrd, Nocedal, Schnabel 1994). When they are updated in place, none of them depends on
    the order in which the ring stores the pairs; an empty place is all zeros.

    Attributes:
        pairs: [B, 2m, d] S above Y.
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


class _Run(NamedTuple):
    """The slots, the position in the ring, the head of the queue and the results."""

    slots: _Slots
    tick: Array
    head: Array
    minima: Minima


class Settings(NamedTuple):
    """How long and how precisely to minimise.

    Attributes:
        relative: a lane is finished at residual ≤ relative·|objective| + absolute.
        absolute: see ``relative``.
        max_iterations: largest number of accepted steps.
        memory: number of stored pairs.
        slots: number of lanes processed at a time.
    """

    relative: Any
    absolute: Any
    max_iterations: int
    memory: int
    slots: int


def minimise_lanes(
    objective: Objective, start: Start, data: Any, keys: Array, settings: Settings
) -> Minima:
    """Minimises ``objective(data[i], ·)`` from ``start(data[i], keys[i])`` for all lanes i.

    Args:
        objective: of one lane's data and a point [d].
        start: a point [d] from one lane's data and key.
        data: pytree whose leaves have the lanes [L] as leading axis.
        keys: [L] PRNG keys.
        settings: see :class:`Settings`.
    """
    lanes = keys.shape[0]
    evaluate = jax.vmap(jax.value_and_grad(objective, argnums=1))
    shape = jax.eval_shape(lambda: start(*jax.tree.map(lambda leaf: leaf[0], (data, keys))))
    width, dtype = shape.shape[0], shape.dtype
    size = min(settings.slots, lanes)

    def load(slots: _Slots, fresh: Array, lane: Array) -> _Slots:
        """Puts the queue's next lanes into the slots marked ``fresh``."""
        source = jnp.minimum(lane, lanes - 1)
        new_data = jax.tree.map(lambda leaf: leaf[source], data)
        points = jax.vmap(start)(new_data, keys[source])
        count = len(fresh)
        zero, none = jnp.zeros((count, width), dtype), jnp.zeros(count, jnp.int32)
        new = slots._replace(
            lane=lane,
            data=new_data,
            point=points,
            # The next tick evaluates the start and accepts any finite value.
            value=jnp.full(count, jnp.inf, dtype),
            gradient=zero,
            direction=zero,
            slope=jnp.zeros(count, dtype),
            step=jnp.zeros(count, dtype),
            rejected=none,
            iterations=none - 1,
            evaluations=none,
            done=lane >= lanes,
        )
        return _where(fresh, new, slots)._replace(memory=_forget(slots.memory, fresh))

    def tick(place: Array, slots: _Slots) -> _Slots:
        trial = slots.point + slots.step[:, None] * slots.direction
        value, gradient = evaluate(slots.data, trial)
        return _advance(slots, place, trial, value, gradient, settings)

    def retire(run: _Run, refill: bool) -> _Run:
        """Stores the finished lanes and loads the next ones of the queue, if there are any."""
        slots = run.slots
        target = jnp.where(slots.done, slots.lane, lanes)
        ended = _ended(slots)
        minima = jax.tree.map(lambda a, b: a.at[target].set(b, mode="drop"), run.minima, ended)
        if not refill:
            lane = jnp.where(slots.done, lanes, slots.lane)
            return run._replace(slots=slots._replace(lane=lane), minima=minima)
        rank = jnp.cumsum(slots.done, dtype=jnp.int32) - 1
        lane = jnp.minimum(jnp.where(slots.done, run.head + rank, slots.lane), lanes)
        head = jnp.minimum(run.head + jnp.sum(slots.done, dtype=jnp.int32), lanes)
        return _Run(load(slots, slots.done, lane), run.tick, head, minima)

    def stage(run: _Run, least: int, refill: bool) -> _Run:
        """Runs until the queue is empty and at most ``least`` slots are in use."""

        def busy(run: _Run) -> Array:
            return (run.head < lanes) | (jnp.sum(run.slots.lane < lanes) > least)

        def chunk(run: _Run) -> _Run:
            waiting = run.slots.done & ((run.slots.lane < lanes) | (run.head < lanes))
            run = jax.lax.cond(jnp.any(waiting), lambda r: retire(r, refill), lambda r: r, run)

            def body(i: Array, slots: _Slots) -> _Slots:
                return tick((run.tick + i.astype(jnp.int32)) % settings.memory, slots)

            slots = jax.lax.fori_loop(0, PERIOD, body, run.slots)
            return run._replace(slots=slots, tick=(run.tick + PERIOD) % settings.memory)

        return jax.lax.while_loop(busy, chunk, run)

    zero = jnp.zeros((), jnp.int32)
    nothing = Minima(
        jnp.zeros((lanes, width), dtype),
        jnp.full(lanes, jnp.nan, dtype),
        jnp.full(lanes, jnp.nan, dtype),
        jnp.zeros(lanes, jnp.int32),
        jnp.zeros(lanes, jnp.int32),
    )
    empty = _empty(size, width, dtype, settings.memory, data)
    empty = empty._replace(lane=jnp.full(size, lanes, jnp.int32), done=jnp.ones(size, bool))
    run, refill = _Run(empty, zero, zero, nothing), True
    while True:
        smaller = size // SHRINK if size // SHRINK >= SMALLEST else 0
        run = stage(run, smaller, refill)
        if not smaller:
            return run.minima
        run, size, refill = run._replace(slots=_compact(run.slots, smaller, lanes)), smaller, False


def _empty(size: int, width: int, dtype: Any, memory: int, data: Any) -> _Slots:
    vector = jnp.zeros((size, width), dtype)
    number, count = jnp.zeros(size, dtype), jnp.zeros(size, jnp.int32)
    ring = _Memory(
        jnp.zeros((size, 2 * memory, width), dtype),
        jnp.zeros((size, memory), dtype),
        jnp.zeros((size, memory, memory), dtype),
        jnp.zeros((size, memory, memory), dtype),
        number,
    )
    return _Slots(
        lane=count,
        data=jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), data),
        point=vector,
        value=number,
        gradient=vector,
        direction=vector,
        slope=number,
        step=number,
        rejected=count,
        iterations=count,
        evaluations=count,
        done=jnp.zeros(size, bool),
        memory=ring,
    )


def _ended(slots: _Slots) -> Minima:
    return Minima(
        slots.point,
        slots.value,
        _norm(slots.gradient) * _norm(slots.point),
        slots.iterations,
        slots.evaluations,
    )


def _compact(slots: _Slots, size: int, lanes: int) -> _Slots:
    """The first ``size`` slots after the busy ones are sorted to the front."""
    order = jnp.argsort(slots.lane >= lanes)[:size]
    return jax.tree.map(lambda leaf: leaf[order], slots)


def _where(mask: Array, new: _Slots, old: _Slots) -> _Slots:
    """Selects slot by slot, for all fields except the memory."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    names = [name for name in old._fields if name != "memory"]
    fields = {name: jax.tree.map(choose, getattr(new, name), getattr(old, name)) for name in names}
    return old._replace(**fields)


def _forget(memory: _Memory, mask: Array) -> _Memory:
    """Empties the memory in the slots of the mask; the vectors are kept, but never read."""
    return _Memory(
        memory.pairs,
        jnp.where(mask[:, None], 0, memory.curvatures),
        jnp.where(mask[:, None, None], 0, memory.inverse_triangle),
        jnp.where(mask[:, None, None], 0, memory.change_products),
        jnp.where(mask, 0, memory.scale),
    )


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


def _norm(a: Array) -> Array:
    return jnp.sqrt(_dot(a, a))


def _advance(
    slots: _Slots, place: Array, trial: Array, value: Array, gradient: Array, settings: Settings
) -> _Slots:
    """Accepts or rejects the trials; new directions for the accepted."""
    dtype = value.dtype
    eps = jnp.finfo(dtype).eps
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient), axis=-1)
    along = _dot(gradient, slots.direction)
    armijo = value <= slots.value + SUFFICIENT * slots.step * slots.slope
    # If the decrease is below rounding, the slope still decides (Hager and Zhang).
    level = value <= slots.value + 64 * eps * (jnp.abs(slots.value) + ROUNDING_SCALE)
    accept = finite & ~slots.done & (armijo | (level & (along <= -0.8 * slots.slope)))

    step = jnp.where(accept, slots.step, 0)[:, None]
    difference = step * slots.direction
    change = jnp.where(accept[:, None], gradient - slots.gradient, 0)
    gradient = jnp.where(accept[:, None], gradient, slots.gradient)
    point = jnp.where(accept[:, None], trial, slots.point)
    new_value = jnp.where(accept, value, slots.value)
    # At the first evaluation of a lane there is no earlier gradient to compare with.
    usable = accept & (slots.iterations >= 0)
    memory, direction = _remember(slots.memory, place, difference, change, gradient, usable)
    slope = _dot(direction, gradient)
    # First step, or first after the memory was emptied: a tenth of the point's length.
    length, size = _norm(gradient), _norm(point)
    positive = jnp.where(length > 0, length, 1)
    plain = (memory.scale == 0) | ~(slope < 0)
    steepest = -(0.1 * size / positive)[:, None] * gradient
    direction = jnp.where(plain[:, None], steepest, direction)
    slope = jnp.where(plain, -0.1 * size * length, slope)

    # A rejected step shrinks to the minimiser of the parabola through the known values.
    drop = value - slots.value - slots.step * slots.slope
    parabola = -0.5 * slots.step * slots.slope / jnp.where(drop > 0, drop, 1)
    shorter = slots.step * jnp.where(finite & (drop > 0), jnp.clip(parabola, 0.1, 0.5), 0.1)

    rejected = jnp.where(accept & (value < slots.value), 0, slots.rejected + 1)
    iterations = slots.iterations + accept.astype(jnp.int32)
    residual = length * size
    small = residual <= settings.relative * jnp.abs(new_value) + settings.absolute
    lost = ~finite & ~jnp.isfinite(slots.value)
    ends = small | (iterations >= settings.max_iterations) | (rejected >= PATIENCE) | lost
    return slots._replace(
        point=point,
        value=new_value,
        gradient=gradient,
        direction=jnp.where(accept[:, None], direction, slots.direction),
        slope=jnp.where(accept, slope, slots.slope),
        step=jnp.where(accept, 1, shorter),
        rejected=rejected,
        iterations=iterations,
        evaluations=slots.evaluations + (~slots.done).astype(jnp.int32),
        done=slots.done | ends,
        memory=memory,
    )


def _remember(
    memory: _Memory, place: Array, difference: Array, change: Array, gradient: Array, usable: Array
) -> tuple[_Memory, Array]:
    """Stores a pair if it is usable and drops the oldest; the new direction −H g."""
    count = memory.curvatures.shape[-1]
    curvature, square = _dot(difference, change), _dot(change, change)
    limits = jnp.finfo(gradient.dtype)
    usable = usable & (curvature > limits.eps * _norm(difference) * jnp.sqrt(square))
    # An accelerator does not flush tiny numbers to zero, and one over them is infinite.
    usable = usable & (jnp.minimum(curvature, square) > limits.tiny / limits.eps)
    kept = usable[:, None]
    pairs = memory.pairs.at[:, place].set(jnp.where(kept, difference, 0))
    pairs = pairs.at[:, count + place].set(jnp.where(kept, change, 0))

    new = jnp.stack([change, gradient], axis=1)
    products = jnp.einsum("bmd,bnd->bmn", pairs, new, precision="highest")
    here = jnp.arange(count, dtype=jnp.int32) == place
    positive = jnp.where(usable, curvature, 1)
    # Only pairs in the triangle count: a dropped pair is zero there.
    known = (memory.curvatures > 0) & ~here
    older = jnp.where(known & kept, products[:, :count, 0], 0)
    triangle = jnp.where(here[:, None] | here, 0, memory.inverse_triangle)
    column = -jnp.einsum("bij,bj->bi", triangle, older, precision="highest") / positive[:, None]
    column = jnp.where(here, jnp.where(kept, 1 / positive[:, None], 0), column)
    triangle = jnp.where(here, column[:, :, None], triangle)
    cross = jnp.where((known | here) & kept, products[:, count:, 0], 0)
    change_products = jnp.where(here, cross[:, :, None], memory.change_products)
    change_products = jnp.where(here[:, None], cross[:, None, :], change_products)
    curvatures = jnp.where(here, jnp.where(kept, curvature[:, None], 0), memory.curvatures)
    scale = jnp.where(usable, curvature / jnp.where(usable, square, 1), memory.scale)

    live = curvatures > 0
    from_steps = jnp.where(live, products[:, :count, 1], 0)
    from_changes = jnp.where(live, products[:, count:, 1], 0)
    u = jnp.einsum("bij,bj->bi", triangle, from_steps, precision="highest")
    inner = jnp.einsum("bij,bj->bi", change_products, u, precision="highest") - from_changes
    v = jnp.einsum(
        "bji,bj->bi", triangle, curvatures * u + scale[:, None] * inner, precision="highest"
    )
    weights = jnp.concatenate([v, -scale[:, None] * u], axis=1)
    applied = jnp.einsum("bmd,bm->bd", pairs, weights, precision="highest")
    updated = _Memory(pairs, curvatures, triangle, change_products, scale)
    return updated, -(scale[:, None] * gradient + applied)
