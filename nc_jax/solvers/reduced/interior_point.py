"""Primal–dual interior point on the symmetry-reduced program: any groups, any convex loss.

Starts near the known end of the central path and takes predictor–corrector steps, each of
which factors one dense system of G + G² unknowns (plus G for a bias). Most programs need 10 to
20 steps to the accuracy of rounding. On a CPU a batch is solved in chunks that fit into a cache;
the steps of a chunk of few groups are one kernel. When most lanes of the chunks have converged,
the others are collected and go on together.
"""

import math
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.forms import family_of
from nc_jax.solvers.acceptance import Batching, convex_refusal, require_accepted
from nc_jax.solvers.finishing import finish
from nc_jax.solvers.kernels import MOST_GROUPS, MOST_LANES, one_kernel, stored
from nc_jax.solvers.lanes import total
from nc_jax.solvers.reduced.factorisation import Factorisation, factorisation_of
from nc_jax.solvers.reduced.measures import Measures
from nc_jax.solvers.reduced.rows import Numbers, numbers_of, row_losses, several_of
from nc_jax.solvers.reduced.state import Iterate, Program, program_of, spread, start_of
from nc_jax.solvers.reduced.step import advance
from nc_jax.solvers.singular import SMALL
from nc_jax.solvers.solution import Solution, default_tolerance
from nc_jax.surrogates.counted import counted
from nc_jax.surrogates.grouped import GroupedProgram, GroupLogits

# Numbers of the Newton matrices of a chunk on an accelerator, as many as its memory holds.
CHUNK_FLOATS_OF_ACCELERATORS = 2**26
# On a CPU a chunk has as many numbers of Newton matrices, or rows of them if that is more, and then
# stays in a cache, mostly. A loop over a multiple of so many lanes takes whole vectors; one over
# eight lanes does not, and takes longer than one over sixteen.
CHUNK_FLOATS, CHUNK_ROWS, WHOLE = 2**15, 2**11, 16
# Lanes of a chunk where LAPACK is called for large matrices, one after another.
LANES_OF_LAPACK = 8
# Batches that are solved in hundredths of a second: numbers of their Newton matrices, or lanes.
BRIEF_FLOATS, BRIEF_LANES = 2**16, 32
# The lanes of a batch are divided between the cores of a CPU if each has at least so many.
LANES_WORTH_A_THREAD, LAPACK_LANES_WORTH_A_THREAD = 512, 8
# A chunk is left when this share of its lanes is still active, if there are several chunks.
STRAGGLERS = 0.25
# A lane has converged when its gap is below this many units of rounding per block, relative to
# its objective; sums over the blocks are hardly more accurate.
ROUNDING = 4
# A gap that no longer falls is one of rounding if it is below this multiple of it.
STANDSTILL = 1e5
# A lane whose complementarity is within this multiple of its goal takes no step that changes much.
CLOSE = 3e3
# Nothing above this share of the objective is rounding, in float32 either.
ROUNDED = 1e-5


@immutable(static=("steps",))
class ReducedInteriorPoint:
    """Interior-point solver of a grouped Layer-Peeled or unconstrained feature model.

    Attributes:
        tolerance: duality gap up to which a lane counts as converged; by default
            1e−9 in float64 and 1e−5 in float32. All lanes are solved to the accuracy of
            rounding, if they reach it.
        steps: largest number of Newton steps.
    """

    tolerance: Any
    steps: int

    def __init__(self, tolerance: Any = None, steps: int = 60):
        set_fields(self, tolerance=tolerance, steps=steps)

    def brief(self, model: GroupedProgram) -> bool:
        """True for a batch whose Newton matrices are small, or of few programs."""
        return _is_brief(math.prod(model.batch_shape), _unknowns(model))

    def refusal(self, model: Any) -> Exception | None:
        """The error for a model without a certificate in group numbers; None for all others."""
        return convex_refusal(self, model)

    def needed(self, model: GroupedProgram) -> GroupedProgram:
        """The model with traced numbers of classes, so that other numbers compile nothing."""
        return counted(model)

    def floats_per_lane(self, model: GroupedProgram) -> int:
        """Iterates and the parts of the rows; the Newton matrices exist for a chunk at a time."""
        groups = model.sizes.num_groups
        return 64 * (groups + groups**2)

    def calls_lapack(self, model: GroupedProgram) -> bool:
        """Whether the program of a large batch calls LAPACK: for more than three groups."""
        return model.sizes.num_groups > SMALL

    def batching(self, model: GroupedProgram, lanes: int) -> Batching:
        """A part for each core, if it has lanes enough; LAPACK never needs more than one thread."""
        by_lapack = self.calls_lapack(model)
        worth = LAPACK_LANES_WORTH_A_THREAD if by_lapack else LANES_WORTH_A_THREAD
        parts = max(1, min(os.cpu_count() or 1, lanes // worth))
        return Batching(parts, -(-lanes // parts), one_thread=by_lapack)

    def __call__(self, model: GroupedProgram, key: Array | None = None) -> Solution:
        """Solves one model; use vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: any groups; work grows as G⁶, so best for G up to about 16.
            key: unused; the method has no randomness.

        Raises:
            ValueError: the loss is not convex in the logits.
        """
        require_accepted(self, model)
        tolerance = default_tolerance(self.tolerance, model.sizes.group_sizes.dtype)
        point, steps = _solved(jax.lax.stop_gradient(model), self.steps)
        return finish(model, point, tolerance, steps)


def _solved(model: GroupedProgram, steps: int) -> tuple[GroupLogits, Array]:
    """The end point of one model; under vmap all lanes are solved by one program."""

    @custom_vmap
    def single(model: GroupedProgram) -> tuple[GroupLogits, Array]:
        models = jax.tree.map(lambda leaf: leaf[None], model)
        return jax.tree.map(lambda leaf: leaf[0], _solve_lanes(models, 1, steps))

    @single.def_vmap
    def batch(lanes: int, batched: Any, model: GroupedProgram) -> Any:
        (is_batched,) = batched

        def lead(leaf: Array, own: bool) -> Array:
            return leaf if own else jnp.broadcast_to(leaf, (lanes, *leaf.shape))

        solved = _solve_lanes(jax.tree.map(lead, model, is_batched), lanes, steps)
        return solved, jax.tree.map(lambda _: True, solved)

    return single(model)


class _Progress(NamedTuple):
    """How far the lanes [L] of a chunk are.

    Attributes:
        point: the iterates.
        best: α, M and b of the last iterate if a lane has converged, else of that with the
            smallest gap and complementarity: near an optimum where the system is almost
            singular, steps of rounding can lead away from it.
        active: whether a lane goes on.
        gap, complementarity: those of the step before.
        least: the smallest sum of both.
        steps: number of steps.
    """

    point: Iterate
    best: GroupLogits
    active: Array
    gap: Array
    complementarity: Array
    least: Array
    steps: Array


def _solve_lanes(models: Any, lanes: int, steps: int) -> tuple[GroupLogits, Array]:
    """All lanes of models with one leading axis; chunk by chunk, stragglers in a second pass."""
    groups, unknowns = models.sizes.num_groups, _unknowns(models)
    how = factorisation_of(unknowns, lanes)
    kernel = _is_kernel(models, how)
    # Several chunks need more code, which takes longer to compile.
    single = lanes <= MOST_LANES and not kernel and _is_brief(lanes, unknowns)
    chunk = lanes if single else min(lanes, _most_lanes(unknowns, how, kernel))
    chunks = math.ceil(lanes / chunk)

    def arranged(leaf: Array) -> Array:
        """[lanes, ...] to [chunks, chunk, ...]; copies of the first lanes fill the last chunk."""
        filled = jnp.resize(leaf, (chunks * chunk, *leaf.shape[1:]))
        return filled.reshape(chunks, chunk, *leaf.shape[1:])

    run = _run_in_a_kernel if kernel else _run

    def started(models: Any) -> _Progress:
        program = _program(models, how)
        lanes_shape = program.numbers.radius.shape
        active = jnp.ones(lanes_shape, bool)
        infinite = jnp.full_like(program.numbers.radius, jnp.inf)
        before = infinite, infinite, infinite
        start, none = start_of(program), jnp.zeros(lanes_shape, jnp.int32)
        return _Progress(start, _logits(start), active, *before, none)

    def continued(models: Any, progress: _Progress, limit: Array) -> _Progress:
        return run(_program(models, how), progress, limit, steps)

    def go_through(number: int, state: tuple[Any, _Progress, Array]) -> Any:
        models, progress, order = state
        # Chunks wait for few of their lanes; the second time such lanes are together.
        limit = jnp.where(number == 0, int(STRAGGLERS * chunk), 0)
        progress = jax.lax.map(lambda own: continued(own[0], own[1], limit), (models, progress))
        flat = _flat(models), _lanes_first(progress)
        done = (~flat[1].active).astype(order.dtype)
        order = jnp.argsort(jnp.where(number == 0, done, order), stable=True)
        models, progress = jax.tree.map(arranged, _taken(flat, order))
        progress = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, -1), progress)
        return models, progress, order

    models = jax.tree.map(arranged, models)
    if chunks == 1:
        models = jax.tree.map(lambda leaf: leaf[0], models)
        progress = continued(models, started(models), jnp.asarray(0))
        progress = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), progress)
    else:
        # One loop for both passes is compiled in half of the time of two.
        state = models, jax.lax.map(started, models), jnp.arange(chunks * chunk)
        progress = _lanes_first(jax.lax.fori_loop(0, 2, go_through, state)[1])
    point = progress.best
    within = spread(several_of(models), groups, point.within.T).T
    solved = GroupLogits(within, point.between, point.bias), progress.steps
    return jax.tree.map(lambda leaf: leaf[:lanes], solved)


def _is_brief(lanes: int, unknowns: int) -> bool:
    return lanes * unknowns**2 <= BRIEF_FLOATS or lanes <= BRIEF_LANES


def _is_kernel(models: GroupedProgram, how: Factorisation) -> bool:
    """Whether the steps of a chunk are one kernel."""
    if how is Factorisation.LAPACK or family_of(models.loss) is None:
        return False
    return models.sizes.num_groups <= MOST_GROUPS


def _most_lanes(unknowns: int, how: Factorisation, kernel: bool) -> int:
    """Number of lanes of a chunk."""
    if jax.default_backend() != "cpu":
        return max(8, CHUNK_FLOATS_OF_ACCELERATORS // unknowns**2)
    if kernel:
        return MOST_LANES
    if how is Factorisation.LAPACK:
        return LANES_OF_LAPACK
    fitting = max(CHUNK_FLOATS // unknowns**2, CHUNK_ROWS // unknowns)
    return WHOLE * max(1, round(fitting / WHOLE))


def _unknowns(models: GroupedProgram) -> int:
    """Number of unknowns of a Newton step."""
    groups, biased = models.sizes.num_groups, models.bias_penalty is not None
    return len(several_of(models)) + groups**2 + groups * biased


def _program(models: Any, how: Factorisation) -> Program:
    return program_of(models, numbers_of(models), row_losses(models), how)


def _lanes_first(chunks: Any) -> Any:
    """[chunks, ..., chunk] to [lanes, ...]."""
    return _flat(jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 1), chunks))


def _flat(chunks: Any) -> Any:
    """[chunks, chunk, ...] to [lanes, ...]."""
    # Without -1, which cannot be found for the empty numbers within groups of one class.
    return jax.tree.map(
        lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), chunks
    )


def _taken(lanes: Any, order: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[order], lanes)


def _run_in_a_kernel(program: Program, progress: _Progress, limit: Array, steps: int) -> _Progress:
    """As :func:`_run`, in one kernel."""

    def run(counts: Array, numbers: Numbers, progress: _Progress, limit: Array) -> _Progress:
        given = program._replace(counts=counts, numbers=numbers)
        return _run(given, progress, limit, steps)

    return one_kernel(run)(program.counts, program.numbers, progress, limit)


def _run(program: Program, progress: _Progress, limit: Array, steps: int) -> _Progress:
    """Steps until at most ``limit`` lanes are active, or none may take another step."""
    eps = jnp.finfo(program.numbers.radius.dtype).eps
    precision = ROUNDING * len(program.multiplicity) * eps

    def goes_on(state: _Progress) -> Array:
        return jnp.sum(state.active) > limit

    def body(state: _Progress) -> _Progress:
        new, measures = advance(program, state.point)
        return _after(state, new, measures, steps, precision)

    return jax.lax.while_loop(goes_on, body, progress)


@stored
def _after(
    state: _Progress, new: Iterate, measures: Measures, steps: int, precision: Any
) -> _Progress:
    """The progress of all lanes, of which some take the step to a new point."""
    changed = _changed(state, new, measures, steps, precision)
    point = _where(changed.moves, new, state.point)
    good = _where(changed.ends, _logits(point), _logits(state.point))
    best = _where(changed.better, good, state.best)
    now = measures.gap, measures.complementarity, changed.least
    return _Progress(point, best, changed.active, *now, changed.steps)


class _Changed(NamedTuple):
    """What happens to the lanes [L].

    Attributes:
        moves: whether a lane takes the step.
        active: whether it goes on.
        ends: whether the step is its last one, and trusted.
        better: whether the point is the best one so far.
        least: smallest sum of the gap and the complementarity.
        steps: number of steps.
    """

    moves: Array
    active: Array
    ends: Array
    better: Array
    least: Array
    steps: Array


@stored
def _changed(
    state: _Progress, new: Iterate, measures: Measures, steps: int, precision: Any
) -> _Changed:
    # The gap alone means nothing where rounding has led out of the budget.
    distance = measures.gap + measures.complementarity
    least = jnp.minimum(state.least, distance)
    before = state.gap, state.complementarity, least
    done, close, stalled = _done(measures, *before, precision)
    sound = jnp.isfinite(new.multiplier + total(new.bound) + total(total(new.between)))
    # The last step is already computed and gains some digits, unless the point is so
    # accurate that the direction is one of rounding.
    moves = state.active & sound & (state.steps < steps) & (measures.calm | ~close) & ~stalled
    better = state.active & ((done & ~stalled) | (distance < state.least))
    # Where the curvature of the loss jumps, the last step may also lead anywhere.
    ends = done & measures.short
    return _Changed(
        moves, moves & ~done, ends, better, least, state.steps + moves.astype(jnp.int32)
    )


@stored
def _where(chosen: Array, one: Any, other: Any) -> Any:
    """Lanes [..., L] of one tree or of another."""
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), one, other)


def _logits(point: Iterate) -> GroupLogits:
    return GroupLogits(point.within, point.between, point.bias)


@stored
def _done(
    measures: Measures, last_gap: Array, last: Array, least: Array, precision: Any
) -> tuple[Array, Array, Array]:
    """Whether a lane has reached the accuracy of rounding, is close to it, and gets no closer."""
    complementarity, gap, scale, pull = measures[:4]
    # At an optimum of zero the scale falls with the gap; then the logits are accurate.
    goal = precision * (scale + jnp.sqrt(jnp.finfo(gap.dtype).eps) * pull)
    # Near the accuracy of rounding the gap stops to fall.
    standstill = min(STANDSTILL * precision, ROUNDED) * (scale + pull)
    low = gap <= standstill
    done = (complementarity <= goal) & ((gap <= goal) | (low & (gap >= 0.5 * last_gap)))
    near = complementarity <= min(CLOSE, ROUNDED / precision) * goal
    # Where many singular values vanish, the bound on the gap can rise again by orders of
    # magnitude, and further steps lead away from the optimum.
    stalled = near & (least <= standstill) & (complementarity >= last / 2)
    return done | stalled, done | (low & near), stalled & ~done
