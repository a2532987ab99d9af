"""Solvers of the multilayer unconstrained feature model: over W, or over W and the features.

Under squared error the features are eliminated in closed form. The reduced problem
depends on the data only through the second moments C = XXᵀ/N and Q = YXᵀ/N, so
neither time nor memory of a solve grows with N. In the eigenbasis of C, with
the columns of W in units of 1/√(s + λ_W), the curvature is even and a step costs
O(K² d + K³).

For a loss convex in the logits, weak duality bounds the optimum: with g_i the
slope of the loss at sample i, a = mean(L − ⟨g, z⟩), M = (1/N) Σ g gᵀ and
B = (1/N) Σ g xᵀ, minimising over all H and then over all W gives for θ in [0, 1]

    optimum ≥ θ a − (θ²/2) tr[Bᵀ (λ_W I − θ² M/λ_H)⁻¹ B]

if the matrix is positive definite (and L ≥ 0). The bound is tight if
M ≼ λ_W λ_H I at a stationary point: then the point is a global optimum, although the
program is not convex. Otherwise a feature space with K more dimensions, in
which the data are zero, has a lower optimum.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.batches import lanes_of
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import MeanSquaredError
from nc_jax.solvers.acceptance import require_accepted
from nc_jax.solvers.multilayer_solution import MultilayerSolution
from nc_jax.solvers.quasi_newton import Minima
from nc_jax.solvers.restarts import (
    SETTINGS,
    MultiStart,
    best_of,
    checked_counts,
    minimise_restarts,
)
from nc_jax.surrogates.multilayer import LayerInputs, MultilayerUnconstrainedFeatures

# Fractions of the largest θ at which the bound is evaluated: it is concave in θ,
# and its maximum is at the largest θ if the bound is tight.
SHRINKAGES = 48


class _Spectrum(NamedTuple):
    """C = U diag(s) Uᵀ, and the parts of the squared error that depend on the labels.

    (1/N)(Y − W X)(Y − W X)ᵀ = (A − W U√s)(A − W U√s)ᵀ + S⊥ with A = Q U/√s and S⊥
    the error of the best possible W. A difference of large squares would lose digits.

    Attributes:
        values: s [d], set to zero below rounding.
        vectors: U [d, d].
        fitted: A [K, d].
        rest: S⊥ [K, K].
    """

    values: Array
    vectors: Array
    fitted: Array
    rest: Array

    def units(self, model: MultilayerUnconstrainedFeatures) -> Array:
        """Units of the columns of W in the eigenbasis [d]."""
        return jax.lax.rsqrt(self.values + model.lambda_w)


def _spectrum(model: MultilayerUnconstrainedFeatures) -> _Spectrum:
    moments = model.data.moments
    share = moments.counts.astype(moments.means.dtype) / model.num_samples
    weighted = share[:, None] * moments.means
    second = moments.scatter + jnp.matmul(moments.means.T, weighted, precision="highest")
    values, vectors = jnp.linalg.eigh(second)
    floor = len(values) * jnp.finfo(values.dtype).eps * jnp.max(values)
    values = jnp.where(values > floor, values, 0)
    roots = jnp.where(values > 0, jax.lax.rsqrt(jnp.where(values > 0, values, 1)), 0)
    fitted = jnp.matmul(weighted, vectors, precision="highest") * roots
    rest = jnp.diag(share) - jnp.matmul(fitted, fitted.T, precision="highest")
    return _Spectrum(values, vectors, fitted, rest)


class _Settled(NamedTuple):
    """Quantities computed from a solver's parameters: weights, layers, numbers of the bound."""

    weights: Array
    layers: Array | None
    objective: Array
    offset: Array
    slopes: Array
    pull: Array


@immutable(static=SETTINGS)
class EliminatedMultiStart(MultiStart):
    """L-BFGS on W alone with features eliminated, for squared error, from many random starts.

    Attributes:
        tolerance: see :class:`.MultiStart`, as for all others. More slots would not fit into a
            core's cache. By default a lane is stationary at 1e−9 in float64 and 1e−3 in float32.
    """

    takes_batches = True

    def __init__(
        self,
        tolerance: Any = None,
        stationarity: Any = None,
        restarts: int = 16,
        max_iterations: int = 3000,
        memory: int = 10,
        slots: int = 16,
    ):
        counts = checked_counts(
            restarts=restarts, max_iterations=max_iterations, memory=memory, slots=slots
        )
        set_fields(self, tolerance=tolerance, stationarity=stationarity, **counts)

    def refusal(self, model: Any) -> Exception | None:
        """The error for another model, or for a loss that is not squared error."""
        refused = _refusal(self, model)
        if refused is None and not isinstance(model.loss, MeanSquaredError):
            return ValueError(
                "EliminatedMultiStart needs MeanSquaredError, "
                f"got {type(model.loss).__name__}; use LayerwiseMultiStart"
            )
        return refused

    def floats_per_lane(self, model: MultilayerUnconstrainedFeatures) -> int:
        """W of all restarts."""
        return 4 * self.restarts * model.num_classes * model.dimension

    def needed(self, model: MultilayerUnconstrainedFeatures) -> MultilayerUnconstrainedFeatures:
        """The model without its samples, of which only the moments are used."""
        return model.with_data(LayerInputs(model.data.moments, None, None))

    def __call__(
        self, model: MultilayerUnconstrainedFeatures, key: Array | None = None
    ) -> MultilayerSolution:
        """Solves a model, or a batch of them on the same data.

        Raises:
            TypeError, ValueError: another model, or the loss is not squared error.
        """
        require_accepted(self, model)
        spectrum = _spectrum(model)
        shape = (model.num_classes, model.dimension)

        roots = jnp.sqrt(spectrum.values)

        def eliminated(one: MultilayerUnconstrainedFeatures, point: Array) -> tuple:
            """W in the eigenbasis, P = (I + WWᵀ/λ_H)⁻¹, A − W√s and S."""
            weights = point.reshape(shape) * spectrum.units(one)
            missed = spectrum.fitted - weights * roots
            with jax.default_matmul_precision("highest"):
                errors = missed @ missed.T + spectrum.rest
            return weights, _shrinking(weights, one.lambda_h), missed, errors

        def objective(one: MultilayerUnconstrainedFeatures, point: Array) -> Array:
            weights, inverse, _, errors = eliminated(one, point)
            return 0.5 * (jnp.sum(inverse * errors) + one.lambda_w * jnp.sum(weights**2))

        def start(one: MultilayerUnconstrainedFeatures, key: Array) -> Array:
            return _random_weights(one, key).reshape(-1)

        def settle(one: MultilayerUnconstrainedFeatures, point: Array) -> _Settled:
            # The slopes are g = W h − e_y = −P (Y − W X), for each column.
            weights, inverse, missed, errors = eliminated(one, point)
            with jax.default_matmul_precision("highest"):
                slopes = inverse @ errors @ inverse
                towards = jnp.sum(inverse * (missed @ spectrum.fitted.T + spectrum.rest))
                pull = -inverse @ (missed * roots)
                turned = weights @ spectrum.vectors.T
            offset = towards - 0.5 * jnp.trace(slopes)
            return _Settled(turned, None, objective(one, point), offset, slopes, pull)

        return _solve(self, model, objective, start, settle, key)


def _shrinking(weights: Array, price: Array) -> Array:
    """P = (I + WWᵀ/λ_H)⁻¹ [K, K], from the smaller of two systems."""
    size, dimension = weights.shape
    with jax.default_matmul_precision("highest"):
        if dimension < size:
            # W then has a null space, in which the K×K system would lose digits.
            inner = price * jnp.eye(dimension, dtype=weights.dtype) + weights.T @ weights
            factor = jnp.linalg.cholesky(inner)
            solved = jax.scipy.linalg.cho_solve((factor, True), weights.T)
            return jnp.eye(size, dtype=weights.dtype) - weights @ solved
        factor = jnp.linalg.cholesky(
            jnp.eye(size, dtype=weights.dtype) + weights @ weights.T / price
        )
        return jax.scipy.linalg.cho_solve((factor, True), jnp.eye(size, dtype=weights.dtype))


@immutable(static=("reduced", *SETTINGS))
class LayerwiseMultiStart(MultiStart):
    """L-BFGS on W and the features of the last layer, or of all layers; any loss.

    Time and memory grow linearly with N.

    Attributes:
        tolerance: see :class:`EliminatedMultiStart`, as for all others.
        reduced: whether the intermediate layers are left out, as Theorem 3 allows; otherwise
            all L layers are free.
    """

    reduced: bool

    takes_batches = True

    def __init__(
        self,
        tolerance: Any = None,
        stationarity: Any = None,
        reduced: bool = True,
        restarts: int = 4,
        max_iterations: int = 5000,
        memory: int = 10,
        slots: int = 8,
    ):
        counts = checked_counts(
            restarts=restarts, max_iterations=max_iterations, memory=memory, slots=slots
        )
        set_fields(
            self, tolerance=tolerance, stationarity=stationarity, reduced=bool(reduced), **counts
        )

    def refusal(self, model: Any) -> Exception | None:
        """The error for another model."""
        return _refusal(self, model)

    def floats_per_lane(self, model: MultilayerUnconstrainedFeatures) -> int:
        """W and the layers of all restarts."""
        rows = model.num_classes + model.num_layers * model.input_samples[0].shape[0]
        return 4 * self.restarts * rows * model.dimension

    def __call__(
        self, model: MultilayerUnconstrainedFeatures, key: Array | None = None
    ) -> MultilayerSolution:
        """Solves a model, or a batch of them on the same data.

        Raises:
            TypeError: another model.
            ValueError: the model was made from moments and has no samples.
        """
        require_accepted(self, model)
        inputs, labels = model.input_samples
        spectrum = _spectrum(model)
        size, dimension = model.num_classes, model.dimension
        depth = 1 if self.reduced else model.num_layers
        shape = (depth, *inputs.shape)

        def parts(one: MultilayerUnconstrainedFeatures, point: Array) -> tuple[Array, Array]:
            """W and the layers; the parameters are the steps between layers, in even units."""
            weights = point[: size * dimension].reshape(size, dimension) * spectrum.units(one)
            weights = jnp.matmul(weights, spectrum.vectors.T, precision="highest")
            prices = one.lambda_h * (jnp.ones(1, point.dtype) if depth == 1 else one.layer_scales)
            units = jnp.sqrt(inputs.shape[0] / prices)
            steps = point[size * dimension :].reshape(shape) * units[:, None, None]
            return weights, inputs + jnp.cumsum(steps, axis=0)

        def objective(one: MultilayerUnconstrainedFeatures, point: Array) -> Array:
            weights, layers = parts(one, point)
            if self.reduced:
                return one.reduced_cost(weights, layers[-1])
            return one.cost(weights, layers)

        def start(one: MultilayerUnconstrainedFeatures, key: Array) -> Array:
            steps = jax.random.normal(jax.random.fold_in(key, 1), shape, inputs.dtype)
            steps = steps / (inputs.shape[0] * depth) ** 0.5
            return jnp.concatenate([_random_weights(one, key).reshape(-1), steps.reshape(-1)])

        def settle(one: MultilayerUnconstrainedFeatures, point: Array) -> _Settled:
            weights, layers = parts(one, point)
            logits = jnp.matmul(layers[-1], weights.T, precision="highest")
            losses, slopes = jax.vmap(jax.value_and_grad(one.loss))(logits, labels)
            count = inputs.shape[0]
            offset = jnp.mean(losses - jnp.sum(slopes * logits, axis=-1))
            offset = offset if one.loss.convex else jnp.full_like(offset, -jnp.inf)
            with jax.default_matmul_precision("highest"):
                products, pull = slopes.T @ slopes / count, slopes.T @ inputs / count
            value = objective(one, point)
            return _Settled(weights, layers, value, offset, products, pull)

        return _solve(self, model, objective, start, settle, key)


def _random_weights(model: MultilayerUnconstrainedFeatures, key: Array) -> Array:
    """Normal W [K, d] in its even units, with lengths over two decades."""
    shape, dtype = (model.num_classes, model.dimension), model.lambda_w.dtype
    size = jnp.exp(jax.random.uniform(jax.random.fold_in(key, 2), (), dtype, -4, 1))
    return size * jax.random.normal(key, shape, dtype) / shape[1] ** 0.5


def _solve(
    solver: EliminatedMultiStart | LayerwiseMultiStart,
    model: MultilayerUnconstrainedFeatures,
    objective: Any,
    start: Any,
    settle: Any,
    key: Array | None,
) -> MultilayerSolution:
    """All restarts of all lanes; the best of each lane with its certificate."""
    lanes = lanes_of(model)
    key = jax.random.key(0) if key is None else key
    settings = solver.settings(model.lambda_w.dtype)
    minima = minimise_restarts(lanes, objective, start, key, solver.restarts, settings)

    def finish(lane: tuple[list[Array], Minima]) -> MultilayerSolution:
        one, restarts = lanes.rebuild(lane[0]), lane[1]
        best = best_of(restarts)
        settled = settle(one, best.point)
        bound = _bound(one, settled)
        ending = solver.conclude(restarts, best, settled.objective, bound, one.valid)
        weights, layers = ending.masked((settled.weights, settled.layers))
        # The data are shared, so the model is inserted after the lanes.
        unknown: Any = None
        return MultilayerSolution(
            model=unknown, classifiers=weights, layers=layers, **ending.fields
        )

    count = minima.value.shape[0]
    solved = jax.lax.map(finish, (lanes.numbers, minima), batch_size=min(count, 256))
    solved = jax.tree.map(lambda leaf: leaf.reshape(lanes.shape + leaf.shape[1:]), solved)
    return dataclasses.replace(solved, model=model)


def _refusal(solver: Any, model: Any) -> Exception | None:
    """The error for a model of another kind."""
    if isinstance(model, MultilayerUnconstrainedFeatures):
        return None
    return TypeError(
        f"{type(solver).__name__} needs a MultilayerUnconstrainedFeatures model, got "
        f"{type(model).__name__}"
    )


def _bound(model: MultilayerUnconstrainedFeatures, settled: _Settled) -> Array:
    """The dual bound at the best θ; never below zero, the lower bound of every loss."""
    values, vectors = jnp.linalg.eigh(settled.slopes)
    values = jnp.maximum(values, 0)
    squares = jnp.sum(jnp.matmul(vectors.T, settled.pull, precision="highest") ** 2, axis=-1)
    limit = model.lambda_w * model.lambda_h
    largest = jnp.sqrt(limit / jnp.maximum(values[-1], limit))
    shrink = 1 - 0.5 ** jnp.arange(1, SHRINKAGES + 1, dtype=values.dtype)
    theta = largest * jnp.concatenate([shrink, jnp.ones(1, values.dtype)])
    left = model.lambda_w - theta[:, None] ** 2 * values / model.lambda_h
    cost = jnp.where(squares > 0, squares / jnp.where(left > 0, left, 0), 0)
    bounds = theta * settled.offset - 0.5 * theta**2 * jnp.sum(cost, axis=-1)
    return jnp.maximum(jnp.max(jnp.where(jnp.isnan(bounds), -jnp.inf, bounds)), 0)
