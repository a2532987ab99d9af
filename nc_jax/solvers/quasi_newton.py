"""L-BFGS on many small problems at once, in which no lane waits for another.

Lanes are processed in a fixed number of slots. In one tick every slot uses one evaluation
(:mod:`nc_jax.solvers.limited_memory`). Finished lanes leave, and the next lanes of the queue take
their slots; when the queue is empty, the remaining lanes (those at a phase
transition) continue in fewer slots. The total work is therefore the sum of all steps,
not the number of lanes times the steps of the slowest one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.solvers.limited_memory import Limits, Search, advance, begin, restarted, select

# Number of ticks between two checks for finished lanes.
PERIOD = 8
# The number of slots shrinks by this factor when only so few of them are still in use.
SHRINK = 8
SMALLEST = 8
# Number of evaluations without progress after which a lane has reached its rounding floor.
PATIENCE = 40

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
    """State of B slots; ``lane`` is L for an empty one, whose search is done."""

    lane: Array
    data: Any
    search: Search


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
    limits = Limits(settings.relative, settings.absolute, settings.max_iterations, PATIENCE)

    def load(slots: _Slots, fresh: Array, lane: Array) -> _Slots:
        """Puts the queue's next lanes into the slots marked ``fresh``."""
        source = jnp.minimum(lane, lanes - 1)
        own = jax.tree.map(lambda leaf: leaf[source], data)
        search = restarted(slots.search, fresh, jax.vmap(start)(own, keys[source]))
        search = search._replace(done=search.done | (lane >= lanes))
        return _Slots(jnp.where(fresh, lane, slots.lane), select(fresh, own, slots.data), search)

    def tick(place: Array, slots: _Slots) -> _Slots:
        value, gradient = evaluate(slots.data, slots.search.trial)
        return slots._replace(search=advance(slots.search, place, value, gradient, limits))

    def retire(run: _Run, refill: bool) -> _Run:
        """Stores the finished lanes and loads the next ones of the queue, if there are any."""
        slots, done = run.slots, run.slots.search.done
        target = jnp.where(done, slots.lane, lanes)
        found = slots.search
        ended = Minima(
            found.point, found.value, found.residual, found.iterations, found.evaluations
        )
        minima = jax.tree.map(lambda a, b: a.at[target].set(b, mode="drop"), run.minima, ended)
        if not refill:
            lane = jnp.where(done, lanes, slots.lane)
            return run._replace(slots=slots._replace(lane=lane), minima=minima)
        rank = jnp.cumsum(done, dtype=jnp.int32) - 1
        lane = jnp.minimum(jnp.where(done, run.head + rank, slots.lane), lanes)
        head = jnp.minimum(run.head + jnp.sum(done, dtype=jnp.int32), lanes)
        return _Run(load(slots, done, lane), run.tick, head, minima)

    def stage(run: _Run, least: int, refill: bool) -> _Run:
        """Runs until the queue is empty and at most ``least`` slots are in use."""

        def busy(run: _Run) -> Array:
            return (run.head < lanes) | (jnp.sum(run.slots.lane < lanes) > least)

        def chunk(run: _Run) -> _Run:
            waiting = run.slots.search.done & ((run.slots.lane < lanes) | (run.head < lanes))
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
    search = begin(jnp.zeros((size, width), dtype), settings.memory)
    empty = _Slots(
        jnp.full(size, lanes, jnp.int32),
        jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), data),
        search._replace(done=jnp.ones(size, bool)),
    )
    run, refill = _Run(empty, zero, zero, nothing), True
    while True:
        smaller = size // SHRINK if size // SHRINK >= SMALLEST else 0
        run = stage(run, smaller, refill)
        if not smaller:
            return run.minima
        run, size, refill = run._replace(slots=_compact(run.slots, smaller, lanes)), smaller, False


def _compact(slots: _Slots, size: int, lanes: int) -> _Slots:
    """The first ``size`` slots after the busy ones are sorted to the front."""
    order = jnp.argsort(slots.lane >= lanes)[:size]
    return jax.tree.map(lambda leaf: leaf[order], slots)
