"""Arbitrary class sizes: quasi-Newton on factors of the logits, certified in X.

With every class a group of its own, X = A Bᵀ for A, B of size K×K (features and
classifiers up to scale); in general the group numbers factor the same way,
α_g = a_g b_g/(K_g − 1) and M = A_M B_Mᵀ, scaled so that ‖A‖² = Σ a_g² + ‖A_M‖².
A and B are points of balls of radius √τ, taken as shadows of spheres one dimension
up, so that the program is unconstrained; ½(‖A‖² + ‖B‖²), which is at least
‖X‖_* and no more than it at the optimum, carries the price λ. It is not convex,
but with full-rank factors a local minimum is global, and the duality gap proves
it each time. An iteration costs a few G×G matrix products.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.floors import has_minimum
from nc_jax.solvers.certificates import certify_with
from nc_jax.solvers.solution import Solution, default_tolerance, finish, require_convex
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    bias_cost,
    block_sizes,
    data_loss,
    start_bias,
    value_and_gradient,
)


class _Factors(NamedTuple):
    """One unnormalised factor, A or B: a [G], A_M [G, G], extra coordinate."""

    within: Array
    between: Array
    slack: Array


class _Point(NamedTuple):
    """Both factors, and the bias where there is one."""

    means: _Factors
    weights: _Factors
    bias: Array | None


class _Progress(NamedTuple):
    """State of the outer loop: best point by certified gap, optimiser's state."""

    point: _Point
    optimiser: Any
    best: GroupLogits
    gap: Array
    iterations: Array


@immutable(static=("max_iterations", "check_every", "memory"))
class FactoredQuasiNewton:
    """L-BFGS on the factors, stopped by the duality gap.

    Attributes:
        tolerance: duality gap to stop at; by default 1e−9 in float64 and 1e−5
            in float32.
        max_iterations: iterations at most; then the status says so.
        check_every: iterations between two certificates (each an eigenvalue
            problem of size K).
        memory: L-BFGS pairs kept.
    """

    tolerance: Any
    max_iterations: int
    check_every: int
    memory: int

    def __init__(
        self,
        tolerance: Any = None,
        max_iterations: int = 5000,
        check_every: int = 50,
        memory: int = 20,
    ):
        set_fields(
            self,
            tolerance=tolerance,
            max_iterations=max_iterations,
            check_every=check_every,
            memory=memory,
        )

    def floats_per_lane(self, model: GroupedProgram) -> int:
        """The pairs that L-BFGS keeps, and some temporaries."""
        groups = model.sizes.num_groups
        return 2 * (2 * self.memory + 20) * (groups + groups**2)

    def __call__(self, model: GroupedProgram, key: Array | None = None) -> Solution:
        """Solves one model; vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: any class sizes; work grows as the cube of the number of groups.
            key: PRNG key to perturb the start with; by default it is exact.

        Raises:
            ValueError: the loss is not convex in the logits.
        """
        require_convex(model, type(self).__name__)
        given, model = model, jax.lax.stop_gradient(model)
        dtype = model.sizes.group_sizes.dtype
        tolerance = default_tolerance(self.tolerance, dtype)
        start = _start(model, key)

        def loss(candidate: _Point) -> Array:
            logits, norm = _logits(model, candidate)
            return data_loss(model, logits) + model.penalty * norm + bias_cost(model, logits)

        optimiser: Any = optax.lbfgs(memory_size=self.memory)
        value_and_grad: Any = optax.value_and_grad_from_state(loss)

        def iterate(state: tuple[_Point, Any], _: None) -> tuple[tuple[_Point, Any], None]:
            point, memory = state
            value, slope = value_and_grad(point, state=memory)
            # optax 0.2.8 mixes int32 and int64 counters, which strict promotion forbids.
            with jax.numpy_dtype_promotion("standard"):
                update, memory = optimiser.update(
                    slope, memory, point, value=value, grad=slope, value_fn=loss
                )
            return (jax.tree.map(jnp.add, point, update), memory), None

        def unfinished(progress: _Progress) -> Array:
            # A NaN lane must end; every comparison with NaN is false.
            return (progress.gap > tolerance) & (progress.iterations < self.max_iterations)

        def chunk(progress: _Progress) -> _Progress:
            state = (progress.point, progress.optimiser)
            (point, memory), _ = jax.lax.scan(iterate, state, length=self.check_every)
            logits, norm = _logits(model, point)
            gap = _gap(model, logits, norm)
            better = gap < progress.gap
            # A point lost to rounding ends the search with the best so far.
            taken = jnp.where(jnp.isnan(gap), self.max_iterations, self.check_every)
            return _Progress(
                point,
                memory,
                jax.tree.map(lambda a, b: jnp.where(better, a, b), logits, progress.best),
                jnp.where(better, gap, progress.gap),
                progress.iterations + taken,
            )

        logits, norm = _logits(model, start)
        first = _Progress(
            start,
            optimiser.init(start),
            logits,
            _gap(model, logits, norm),
            jnp.zeros((), jnp.int32),
        )
        last = jax.lax.while_loop(unfinished, chunk, first)
        taken = jnp.minimum(last.iterations, self.max_iterations)
        return finish(given, last.best, tolerance, taken)


def _start(model: GroupedProgram, key: Array | None) -> _Point:
    """The balanced optimum: a simplex ETF, or for a loss with a minimum a frame."""
    counts = model.sizes.counts
    dtype = model.sizes.group_sizes.dtype
    groups, size = len(counts), model.num_classes
    multiplicity, root = block_sizes(counts, dtype)
    copies, _ = block_sizes(np.maximum(counts, 2), dtype)
    within, between = jnp.sqrt(multiplicity), jnp.eye(groups, dtype=dtype)
    # The part of the ball's radius to start at; what is left of the sphere is slack.
    radius = model.nuclear_radius
    if model.loss.shift_invariant:
        between = between - root[:, None] * root / size
    square = jnp.sum(within**2) + jnp.sum(between**2)
    bias = start_bias(model)

    def cost(part: Array) -> Array:
        point = GroupLogits(part * within**2 / square / copies, part * between / square, bias)
        return data_loss(model, point) + model.penalty * part

    # Without slack a point stays on the sphere: right where the loss always falls outwards.
    parts = radius * jnp.exp2(-jnp.arange(1.0, 40.0, dtype=dtype))
    inside = parts[jnp.argmin(jax.lax.map(cost, parts))]
    part = inside if has_minimum(model.loss) else jnp.where(model.penalty > 0, inside, radius)
    slack = jnp.sqrt(square * (radius / part - 1))
    noise = jnp.zeros((2, groups, groups), dtype)
    if key is not None:
        noise = 0.1 / groups * jax.random.normal(key, noise.shape, dtype)
    return _Point(
        _Factors(within, between + noise[0], slack),
        _Factors(within, between + noise[1], slack),
        bias,
    )


def _logits(model: GroupedProgram, point: _Point) -> tuple[GroupLogits, Array]:
    """The group numbers of X = A Bᵀ, both factors in their balls; ½(‖A‖² + ‖B‖²)."""
    copies, _ = block_sizes(np.maximum(model.sizes.counts, 2), model.nuclear_radius.dtype)
    parts = (point.means, point.weights)
    inside = [jnp.sum(part.within**2) + jnp.sum(part.between**2) for part in parts]
    squares = [square + part.slack**2 for square, part in zip(inside, parts, strict=True)]
    radius = model.nuclear_radius
    scale = radius / jnp.sqrt(squares[0] * squares[1])
    norm = 0.5 * radius * (inside[0] / squares[0] + inside[1] / squares[1])
    product = jnp.matmul(parts[0].between, parts[1].between.T, precision="highest")
    within = scale * parts[0].within * parts[1].within / copies
    return GroupLogits(within, scale * product, point.bias), norm


def _gap(model: GroupedProgram, logits: GroupLogits, norm: Array) -> Array:
    """Duality gap, with the operator norm from a symmetric eigenvalue problem.

    Half the price of the singular values that the final certificate takes.
    """
    _, slope = value_and_gradient(model, logits)
    square = jnp.matmul(slope.between, slope.between.T, precision="highest")
    between = jnp.sqrt(jnp.maximum(jnp.max(jnp.linalg.eigvalsh(square)), 0))
    return certify_with(model, logits, between, norm).gap
