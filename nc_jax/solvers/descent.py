"""Plain gradient descent, the baseline: standard normal W and H, a constant learning rate.

The numerical experiments of Wang, Gai, Zhang (2024) apply it to the reduced form
of the multilayer model and to unconstrained features. The path is recorded, so that
collapse can be measured over the iterations.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_count
from nc_jax.immutable import immutable, set_fields
from nc_jax.surrogates.layers import FactoredProgram, TopLayers
from nc_jax.surrogates.multilayer import MultilayerUnconstrainedFeatures


@immutable()
class Trajectory:
    """The path of gradient descent at T recorded iterations, including the start.

    Attributes:
        iterations: [T] integers.
        objectives: [T].
        classifiers: W [T, K, d].
        layers: features [T, m, N, d] of the free layers.
    """

    iterations: Array
    objectives: Array
    classifiers: Array
    layers: Array

    @property
    def features(self) -> Array:
        """The last layer [T, N, d]."""
        return self.layers[:, -1]


@immutable(static=("rate", "steps", "records", "reduced"))
class GradientDescent:
    """Gradient descent on a multilayer model, or on unconstrained features with one linear layer.

    Attributes:
        rate: step size.
        steps: number of iterations.
        records: largest number of states to record after the start, evenly spaced in the
            logarithm of the iteration.
        reduced: whether a multilayer model is replaced by its reduced form; otherwise
            all its layers are optimised.
    """

    rate: float
    steps: int
    records: int
    reduced: bool

    def __init__(
        self, rate: float = 0.1, steps: int = 20_000, records: int = 100, reduced: bool = True
    ):
        require_count("steps", steps, 1)
        require_count("records", records, 1)
        if not 0 < rate < float("inf"):
            raise ValueError(f"rate must be positive and finite, got {rate}")
        set_fields(self, rate=float(rate), steps=steps, records=records, reduced=bool(reduced))

    def __call__(
        self, model: MultilayerUnconstrainedFeatures | FactoredProgram, key: Array | None = None
    ) -> Trajectory:
        """Descends on one model; jit-able.

        Raises:
            ValueError: a batch, a model without samples, or one with several linear layers.
        """
        if model.batch_shape:
            raise ValueError(f"model must be a single one, got batch shape {model.batch_shape}")
        # Imported here, because most solvers do without it, and it takes a tenth of a second.
        import optax

        key = jax.random.key(0) if key is None else key
        objective, start = _problem(model, key, self.reduced)
        optimizer = optax.sgd(self.rate)

        def step(_: Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
            point, memory = state
            updates, memory = optimizer.update(jax.grad(objective)(point), memory, point)
            return optax.apply_updates(point, updates), memory

        def record(state: tuple[Any, Any], count: Array) -> tuple[Any, Any]:
            state = jax.lax.fori_loop(jnp.zeros_like(count), count, step, state)
            return state, (objective(state[0]), state[0])

        # From the end backwards, so that a single record is the last state.
        spots = np.round(np.geomspace(self.steps, 1, self.records)).astype(np.int32)
        spots = np.unique(spots)
        counts = jnp.asarray(np.diff(spots, prepend=0).astype(np.int32))
        _, later = jax.lax.scan(record, (start, optimizer.init(start)), counts)
        first = (objective(start), start)
        values, (weights, layers) = jax.tree.map(
            lambda a, b: jnp.concatenate([a[None], b]), first, later
        )
        iterations = jnp.asarray(np.concatenate([np.zeros(1, np.int32), spots]))
        return Trajectory(iterations, values, weights, layers)


def _problem(model: Any, key: Array, reduced: bool) -> tuple[Any, tuple[Array, Array]]:
    """The objective of (W, layers) and a standard normal start."""
    first, second = jax.random.split(key)
    if isinstance(model, MultilayerUnconstrainedFeatures):
        count, dtype = model.input_samples[0].shape[0], model.lambda_w.dtype
        depth = 1 if reduced else model.num_layers

        def objective(point: tuple[Array, Array]) -> Array:
            weights, layers = point
            return model.reduced_cost(weights, layers[-1]) if reduced else model.cost(*point)

    else:
        count, dtype, depth = sum(model.samples), model.sizes.group_sizes.dtype, 1
        depth_given = len(model.shapes.weights)
        if depth_given != 1:
            raise ValueError(f"model must have one linear layer, got {depth_given}")

        def objective(point: tuple[Array, Array]) -> Array:
            weights, layers = point
            bias = () if model.lambda_b is None else (jnp.zeros(model.num_classes, dtype),)
            return model.cost(TopLayers(layers[-1], (weights,), bias))

    weights = jax.random.normal(first, (model.num_classes, model.dimension), dtype)
    layers = jax.random.normal(second, (depth, count, model.dimension), dtype)
    return objective, (weights, layers)
