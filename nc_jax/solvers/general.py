"""Arbitrary class sizes: quasi-Newton on the factors W and H, certified in Z.

W and H are points of balls of radius √(K E_W) and √(K E_H), taken as shadows of
spheres one dimension up, so that the program is unconstrained. The factored
program is not convex, but with p = K a local minimum is global, and the duality
gap of Z = H Wᵀ proves it each time. The work of an iteration is a few K×K matrix
products.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nc_jax.immutable import immutable, set_fields
from nc_jax.solvers.solution import (
    Solution,
    default_tolerance,
    finish,
    require_convex,
    symmetrise,
)
from nc_jax.surrogates.layer_peeled import LayerPeeled


class _Factors(NamedTuple):
    """Unnormalised W and H [K, K], and the spheres' extra coordinates."""

    weights: Array
    means: Array
    slack: Array


class _Progress(NamedTuple):
    """State of the outer loop: best point by certified gap, optimiser's state."""

    factors: _Factors
    optimiser: Any
    best: Array
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

    def __call__(self, model: LayerPeeled, key: Array | None = None) -> Solution:
        """Solves one model; vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: any class sizes; its groups are not used on the way.
            key: PRNG key of the start's perturbation; a fixed one by default.

        Raises:
            ValueError: the loss is not convex in the logits.
        """
        require_convex(model, type(self).__name__)
        dtype = model.sizes.group_sizes.dtype
        tolerance = default_tolerance(self.tolerance, dtype)
        factors = _start(model, jax.random.key(0) if key is None else key)

        def objective(candidate: _Factors) -> Array:
            return model.objective(_logits(model, candidate))

        optimiser = optax.lbfgs(memory_size=self.memory)
        value_and_grad = optax.value_and_grad_from_state(objective)

        def iterate(state: tuple[_Factors, Any], _: None) -> tuple[tuple[_Factors, Any], None]:
            point, memory = state
            value, slope = value_and_grad(point, state=memory)
            update, memory = optimiser.update(
                slope, memory, point, value=value, grad=slope, value_fn=objective
            )
            return (optax.apply_updates(point, update), memory), None

        def unfinished(progress: _Progress) -> Array:
            # A NaN lane must end; every comparison with NaN is false.
            return (progress.gap > tolerance) & (progress.iterations < self.max_iterations)

        def chunk(progress: _Progress) -> _Progress:
            state = (progress.factors, progress.optimiser)
            (point, memory), _ = jax.lax.scan(iterate, state, length=self.check_every)
            logits = _logits(model, point)
            gap = _gap(model, logits)
            better = gap < progress.gap
            return _Progress(
                point,
                memory,
                jnp.where(better, logits, progress.best),
                # A point lost to rounding ends the search with the best so far.
                jnp.where(better, gap, progress.gap),
                progress.iterations + jnp.where(jnp.isnan(gap), self.max_iterations, self.check_every),
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
        return finish(model, symmetrise(model, last.best), tolerance, taken)


def _start(model: LayerPeeled, key: Array) -> _Factors:
    """Near the balanced optimum, off every symmetry."""
    size = model.num_classes
    dtype = model.sizes.group_sizes.dtype
    noise = 0.1 / size * jax.random.normal(key, (2, size, size), dtype)
    frame = jnp.eye(size, dtype=dtype) - 1 / size
    # Cross-entropy wants all of the budget; a loss with a minimum may want less.
    slack = 0.0 if model.loss.shift_invariant else 0.5
    return _Factors(frame + noise[0], frame + noise[1], jnp.full(2, slack, dtype))


def _logits(model: LayerPeeled, factors: _Factors) -> Array:
    """Z = H Wᵀ with both factors inside their balls."""
    lengths = [
        jnp.sqrt(jnp.sum(matrix**2) + slack**2)
        for matrix, slack in zip((factors.weights, factors.means), factors.slack, strict=True)
    ]
    product = jnp.matmul(factors.means, factors.weights.T, precision="highest")
    return product * (model.nuclear_radius / (lengths[0] * lengths[1]))


def _gap(model: LayerPeeled, logits: Array) -> Array:
    """Duality gap of logits [K, K]; ‖G‖_op from the smaller symmetric problem."""
    slope = jax.grad(model.objective)(logits)
    square = jnp.matmul(slope, slope.T, precision="highest")
    multiplier = jnp.sqrt(jnp.maximum(jnp.max(jnp.linalg.eigvalsh(square)), 0))
    return jnp.sum(slope * logits) + model.nuclear_radius * multiplier
