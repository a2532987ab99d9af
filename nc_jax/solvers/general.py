"""Arbitrary class sizes: quasi-Newton on factors of the logits, with a certificate for X.

If every class is its own group, X = A Bᵀ for A, B of size K×K (features and
classifiers up to scale). In general the group numbers factor in the same way,
α_g = a_g b_g/(K_g − 1) and M = A_M B_Mᵀ, scaled so that ‖A‖² = Σ a_g² + ‖A_M‖².
The penalty λ acts on ½(‖A‖² + ‖B‖²), which is at least ‖X‖_* and equal to it at the optimum.
Without a penalty A and B are points of balls of radius √τ, written as projections of spheres
with one more dimension, so that the program is unconstrained. It is not convex,
but with full-rank factors a local minimum is global, and the duality gap proves
it each time. One iteration costs a few G×G matrix products.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.forms import has_minimum
from nc_jax.solvers.acceptance import Batching, convex_refusal, require_accepted
from nc_jax.solvers.duals import FIRST_CUT, dual_bound
from nc_jax.solvers.finishing import finish
from nc_jax.solvers.limited_memory import Limits, Search, advance, begin
from nc_jax.solvers.multilevel import Factors, coarsened, spread, spread_bias
from nc_jax.solvers.solution import Solution, default_tolerance
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    bias_cost,
    block_sizes,
    data_loss,
    start_bias,
)

# How far below the default tolerance the iterations continue while the gap still decreases.
BEYOND = 1e-6
# A lane within its tolerance ends after this many certificates without much progress.
PATIENCE = 5
# Any lane ends after this many steps that do not lower the objective. The gap, which is linear in
# the error of the gradient, still decreases for some steps more than the objective.
STEPS_WITHOUT_PROGRESS = 100
# Relative gap up to which a smaller program is solved to obtain a start.
COARSE = 1e-4


class _Point(NamedTuple):
    """Both factors, and the bias if there is one."""

    means: Factors
    weights: Factors
    bias: Array | None


class _Progress(NamedTuple):
    """State of the outer loop: the search, its best point and bound, remaining work."""

    search: Search
    best: GroupLogits
    objective: Array
    bound: Array
    cut: Array
    gap: Array
    idle: Array
    iterations: Array


@immutable(static=("max_iterations", "check_every", "memory", "order"))
class FactoredQuasiNewton:
    """L-BFGS on the factors, started from a smaller program and stopped by a duality gap.

    Attributes:
        tolerance: duality gap up to which a lane counts as converged; by default 1e−9 in
            float64 and 1e−5 in float32. If a tolerance is given, the iterations
            stop there; by default they continue down to rounding while they make progress,
            because the error of logits and angles is about the square root of the gap.
        max_iterations: largest number of iterations; the status tells if it was reached.
        check_every: number of iterations between two certificates (each is an eigenvalue
            problem of the size of the number of groups).
        memory: number of L-BFGS pairs; by default 20 up to 50 groups, six beyond 160, where
            reading them would take longer than the products.
        order: groups by size, static; needed only to choose a start if groups contain
            different numbers of classes. :func:`nc_jax.solve` provides it.
    """

    tolerance: Any
    max_iterations: int
    check_every: int
    memory: int | None
    order: tuple[int, ...] | None

    def __init__(
        self,
        tolerance: Any = None,
        max_iterations: int = 5000,
        check_every: int = 20,
        memory: int | None = None,
        order: tuple[int, ...] | None = None,
    ):
        set_fields(
            self,
            tolerance=tolerance,
            max_iterations=max_iterations,
            check_every=check_every,
            memory=memory,
            order=order,
        )

    def refusal(self, model: Any) -> Exception | None:
        """The error for a model without a certificate in group numbers; None for all others."""
        return convex_refusal(self, model)

    def floats_per_lane(self, model: GroupedProgram) -> int:
        """The pairs that L-BFGS stores, and some temporaries."""
        groups = model.sizes.num_groups
        return 2 * (2 * self._memory(groups) + 20) * (groups + groups**2)

    def batching(self, model: GroupedProgram, lanes: int) -> Batching:
        """On a CPU each core solves one lane after another; none waits for one with more steps."""
        if jax.default_backend() != "cpu":
            return Batching(1, lanes)
        return Batching(min(os.cpu_count() or 1, lanes), None)

    def _memory(self, groups: int) -> int:
        return max(6, min(20, 1000 // groups)) if self.memory is None else self.memory

    def __call__(self, model: GroupedProgram, key: Array | None = None) -> Solution:
        """Solves one model; use vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: any class sizes; work grows as the cube of the number of groups G and
                memory as its square (some 60 G² numbers), whatever the number of classes.
            key: PRNG key of a perturbation of the start; by default there is none.

        Raises:
            ValueError: the loss is not convex in the logits.
        """
        require_accepted(self, model)
        given, model = model, jax.lax.stop_gradient(model)
        tolerance = default_tolerance(self.tolerance, model.sizes.group_sizes.dtype)
        aim = tolerance if self.tolerance is not None else BEYOND * tolerance
        start = _perturbed(_good_start(model, self.order, self._minimise), key)
        _, last = self._minimise(model, start, tolerance, aim)
        taken = jnp.minimum(last.iterations, self.max_iterations)
        return finish(given, last.best, tolerance, taken, last.bound)

    def _minimise(
        self, model: GroupedProgram, start: _Point, tolerance: Array, aim: Array
    ) -> tuple[_Point, _Progress]:
        """Iterates until the gap reaches the aim, or is within tolerance and stops decreasing."""
        memory = self._memory(model.sizes.num_groups)
        flat, unravel = ravel_pytree(start)
        # The gap alone tells when to stop.
        limits = Limits(0.0, 0.0, self.max_iterations, STEPS_WITHOUT_PROGRESS)

        def loss(point: Array) -> Array:
            logits, norm = _logits(model, unravel(point))
            return data_loss(model, logits) + model.penalty * norm + bias_cost(model, logits)

        def iterate(place: Array, search: Search) -> Search:
            value, slope = jax.value_and_grad(loss)(search.trial[0])
            return advance(search, place % memory, value[None], slope[None], limits)

        def unfinished(progress: _Progress) -> Array:
            # A NaN lane must end; every comparison with NaN is false.
            done = (progress.gap <= tolerance) & (progress.idle >= PATIENCE)
            done = done | progress.search.done[0]
            return (progress.gap > aim) & ~done & (progress.iterations < self.max_iterations)

        def chunk(progress: _Progress) -> _Progress:
            first = progress.iterations
            search = jax.lax.fori_loop(first, first + self.check_every, iterate, progress.search)
            found = unravel(search.point[0])
            return _judged(model, progress, search, found, self.check_every, self.max_iterations)

        logits, norm = _logits(model, start)
        infinite = jnp.full((), jnp.inf, norm.dtype)
        none = jnp.zeros((), jnp.int32)
        cut = jnp.full((), FIRST_CUT, norm.dtype)
        search = begin(flat[None], memory)
        first = _Progress(search, logits, infinite, -infinite, cut, infinite, none, none)
        last = jax.lax.while_loop(unfinished, chunk, first)
        return unravel(last.search.point[0]), last


def _judged(
    model: GroupedProgram,
    progress: _Progress,
    search: Search,
    point: _Point,
    steps: int,
    most: int,
) -> _Progress:
    """The state after some steps, with the lowest point and the highest bound so far."""
    logits, norm = _logits(model, point)
    value, found = dual_bound(model, logits, norm, progress.cut)
    better = value < progress.objective
    objective = jnp.where(better, value, progress.objective)
    bound = jnp.maximum(found.value, progress.bound)
    gap = jnp.maximum(objective - bound, 0)
    gains = gap < 0.5 * progress.gap
    # A point spoilt by rounding ends the search with the best point so far.
    lost = jnp.isnan(value)
    return _Progress(
        search,
        jax.tree.map(lambda a, b: jnp.where(better, a, b), logits, progress.best),
        objective,
        bound,
        found.cut,
        gap,
        jnp.where(gains, 0, progress.idle + 1),
        progress.iterations + jnp.where(lost, most, steps).astype(jnp.int32),
    )


def _good_start(
    model: GroupedProgram,
    order: tuple[int, ...] | None,
    minimise: Callable[..., tuple[_Point, _Progress]],
) -> _Point:
    """The optimum of a program with fewer groups, which is itself started in the same way."""
    level = coarsened(model, order)
    if level is None:
        return _start(model)
    small = level.model
    start = _good_start(small, None, minimise)
    logits, norm = _logits(small, start)
    value = data_loss(small, logits) + small.penalty * norm + bias_cost(small, logits)
    tolerance = COARSE * value
    point, _ = minimise(small, start, tolerance, tolerance)
    means, weights = spread(level, point.means, point.weights)
    return _Point(means, weights, spread_bias(level, point.bias))


def _start(model: GroupedProgram) -> _Point:
    """The balanced optimum: a simplex ETF, or a frame if the loss has a minimiser."""
    counts = model.sizes.counts
    dtype = model.sizes.group_sizes.dtype
    groups, size = len(counts), model.num_classes
    multiplicity, root = block_sizes(counts, dtype)
    copies, _ = block_sizes(np.maximum(counts, 2), dtype)
    within, between = jnp.sqrt(multiplicity), jnp.eye(groups, dtype=dtype)
    # Fraction of the ball's radius at which to start; the rest of the sphere is slack.
    radius = model.nuclear_radius
    if model.loss.shift_invariant:
        between = between - root[:, None] * root / size
    square = jnp.sum(within**2) + jnp.sum(between**2)
    bias = start_bias(model)

    def cost(part: Array) -> Array:
        point = GroupLogits(part * within**2 / square / copies, part * between / square, bias)
        return data_loss(model, point) + model.penalty * part

    # Without slack a point stays on the sphere, which is right if the loss decreases outwards.
    parts = radius * jnp.exp2(-jnp.arange(1.0, 40.0, dtype=dtype))
    inside = parts[jnp.argmin(jax.lax.map(cost, parts))]
    part = inside if has_minimum(model.loss) else jnp.where(model.penalty > 0, inside, radius)
    # A quotient of equal numbers may be rounded below one, as it is on GPUs.
    slack = jnp.where(model.penalty > 0, 0, jnp.sqrt(square * jnp.maximum(radius / part - 1, 0)))
    # Points of balls are known up to a factor.
    unit = jnp.where(model.penalty > 0, jnp.sqrt(part / square), 1)
    within, between = unit * within, unit * between
    return _Point(Factors(within, between, slack), Factors(within, between, slack), bias)


def _perturbed(start: _Point, key: Array | None) -> _Point:
    """A start with noise of a tenth of the size of each row."""
    if key is None:
        return start
    parts = []
    for part, own in zip((start.means, start.weights), jax.random.split(key), strict=True):
        noise = jax.random.normal(own, part.between.shape, part.between.dtype)
        unit = 0.1 * jnp.linalg.norm(part.between) / len(part.between) ** 1.5
        parts.append(part._replace(between=part.between + unit * noise))
    return _Point(parts[0], parts[1], start.bias)


def _logits(model: GroupedProgram, point: _Point) -> tuple[GroupLogits, Array]:
    """The group numbers of X = A Bᵀ, without a penalty from balls; ½(‖A‖² + ‖B‖²)."""
    copies, _ = block_sizes(np.maximum(model.sizes.counts, 2), model.nuclear_radius.dtype)
    parts = (point.means, point.weights)
    inside = [jnp.sum(part.within**2) + jnp.sum(part.between**2) for part in parts]
    squares = [square + part.slack**2 for square, part in zip(inside, parts, strict=True)]
    radius = model.nuclear_radius
    penalised = model.penalty > 0
    scale = jnp.where(penalised, 1, radius / jnp.sqrt(squares[0] * squares[1]))
    in_ball = 0.5 * radius * (inside[0] / squares[0] + inside[1] / squares[1])
    norm = jnp.where(penalised, 0.5 * (inside[0] + inside[1]), in_ball)
    product = jnp.matmul(parts[0].between, parts[1].between.T, precision="highest")
    within = scale * parts[0].within * parts[1].within / copies
    return GroupLogits(within, scale * product, point.bias), norm
