"""Arbitrary class sizes: quasi-Newton on the factors W and H, certified in Z.

With every class a group of its own, Z = H Wᵀ for W, H of size K×K; in general
the group numbers factor the same way, α_g = h_g w_g/(K_g − 1) and M = H_M W_Mᵀ,
scaled so that ‖W‖² = Σ w_g² + ‖W_M‖². W and H are points of balls of radius √(K E_W)
and √(K E_H), taken as shadows of spheres one dimension up, so that the program
is unconstrained. It is not convex, but with full-rank factors a local minimum
is global, and the duality gap proves it each time. An iteration costs a few
G×G matrix products.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from nc_jax.immutable import immutable, set_fields
from nc_jax.solvers.certificates import within_slopes
from nc_jax.solvers.solution import Solution, default_tolerance, finish, require_convex
from nc_jax.surrogates.grouped import GroupLogits, block_sizes, objective, value_and_gradient
from nc_jax.surrogates.layer_peeled import LayerPeeled


class _Factors(NamedTuple):
    """One unnormalised factor, W or H: w [G], W_M [G, G], extra coordinate."""

    within: Array
    between: Array
    slack: Array


_Pair = tuple[_Factors, _Factors]


class _Progress(NamedTuple):
    """State of the outer loop: best point by certified gap, optimiser's state."""

    factors: _Pair
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

    def floats_per_lane(self, model: LayerPeeled) -> int:
        """The pairs that L-BFGS keeps, and some temporaries."""
        groups = model.sizes.num_groups
        return 2 * (2 * self.memory + 20) * (groups + groups**2)

    def __call__(self, model: LayerPeeled, key: Array | None = None) -> Solution:
        """Solves one model; vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: any class sizes; work grows as the cube of the number of groups.
            key: PRNG key to perturb the start with; by default it is exact.

        Raises:
            ValueError: the loss is not convex in the logits.
        """
        require_convex(model, type(self).__name__)
        dtype = model.sizes.group_sizes.dtype
        tolerance = default_tolerance(self.tolerance, dtype)
        factors = _start(model, key)

        def loss(candidate: _Pair) -> Array:
            return objective(model, _logits(model, candidate))

        optimiser = optax.lbfgs(memory_size=self.memory)
        value_and_grad = optax.value_and_grad_from_state(loss)

        def iterate(state: tuple[_Pair, Any], _: None) -> tuple[tuple[_Pair, Any], None]:
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
            state = (progress.factors, progress.optimiser)
            (point, memory), _ = jax.lax.scan(iterate, state, length=self.check_every)
            logits = _logits(model, point)
            gap = _gap(model, logits)
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

        logits = _logits(model, factors)
        first = _Progress(
            factors,
            optimiser.init(factors),
            logits,
            _gap(model, logits),
            jnp.zeros((), jnp.int32),
        )
        last = jax.lax.while_loop(unfinished, chunk, first)
        taken = jnp.minimum(last.iterations, self.max_iterations)
        return finish(model, last.best, tolerance, taken)


def _start(model: LayerPeeled, key: Array | None) -> _Pair:
    """The balanced optimum: a simplex ETF, or for a loss with a minimum a frame."""
    counts = model.sizes.counts
    dtype = model.sizes.group_sizes.dtype
    groups, size = len(counts), model.num_classes
    multiplicity, root = block_sizes(counts, dtype)
    within, between = jnp.sqrt(multiplicity), jnp.eye(groups, dtype=dtype)
    slack = jnp.zeros((), dtype)
    if model.loss.shift_invariant:
        between = between - root[:, None] * root / size
    else:
        # Reach min(E, 1) of the identity; what is left of the sphere is slack.
        slack = jnp.sqrt(size * (jnp.maximum(model.budget, 1) - 1))
    noise = jnp.zeros((2, groups, groups), dtype)
    if key is not None:
        noise = 0.1 / groups * jax.random.normal(key, noise.shape, dtype)
    return (
        _Factors(within, between + noise[0], slack),
        _Factors(within, between + noise[1], slack),
    )


def _logits(model: LayerPeeled, factors: _Pair) -> GroupLogits:
    """The group numbers of Z = H Wᵀ with both factors inside their balls."""
    copies, _ = block_sizes(np.maximum(model.sizes.counts, 2), model.nuclear_radius.dtype)
    weights, means = factors
    squares = [
        jnp.sum(part.within**2) + jnp.sum(part.between**2) + part.slack**2 for part in factors
    ]
    scale = model.nuclear_radius / jnp.sqrt(squares[0] * squares[1])
    product = jnp.matmul(means.between, weights.between.T, precision="highest")
    return GroupLogits(scale * means.within * weights.within / copies, scale * product)


def _gap(model: LayerPeeled, logits: GroupLogits) -> Array:
    """Duality gap, with the operator norm from a symmetric eigenvalue problem.

    Half the price of the singular values that :func:`certify` takes at the end.
    """
    _, slope = value_and_gradient(model, logits)
    square = jnp.matmul(slope.between, slope.between.T, precision="highest")
    between = jnp.sqrt(jnp.maximum(jnp.max(jnp.linalg.eigvalsh(square)), 0))
    multiplier = jnp.maximum(between, jnp.max(within_slopes(model.sizes.counts, slope)))
    inner = jnp.sum(slope.within * logits.within) + jnp.sum(slope.between * logits.between)
    return inner + model.nuclear_radius * multiplier
