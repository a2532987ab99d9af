"""Free parameters of a surrogate's layers: every value of them satisfies the constraints.

A ball is the projection of a sphere with one more dimension, the slack; variables under weight
decay are scaled so that features and weights have the same penalty per parameter. A model
declares its constraint as data, and the type of the constraint chooses the parametrisation. For a
constraint of your own, register a function of the constraint and the model with
``parametrisation.register``.
"""

from functools import singledispatch
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.surrogates.constraints import EnergyBalls, WeightDecay
from nc_jax.surrogates.layers import FactoredProgram, TopLayers, labels_of


class Parametrisation(Protocol):
    """Maps between free parameters and the layers of one model."""

    def start(self, key: Array) -> Any:
        """Random parameters, a pytree of arrays."""
        ...

    def layers(self, parameters: Any) -> TopLayers:
        """Layers that satisfy the constraint, for any parameters."""
        ...

    def parameters(self, layers: TopLayers) -> Any:
        """Parameters of given feasible layers: an inverse of :meth:`layers`."""
        ...


def parametrised(model: FactoredProgram) -> Parametrisation:
    """The parametrisation of a single model.

    Raises:
        TypeError: no parametrisation is known for its constraint.
    """
    return parametrisation(model.constraint, model)


@singledispatch
def parametrisation(constraint: Any, model: FactoredProgram) -> Parametrisation:
    """The parametrisation for a type of constraint; register one for a new type."""
    raise TypeError(
        f"constraint of {type(model).__name__} must have a parametrisation: register one for "
        f"{type(constraint).__name__} with nc_jax.solvers.parametrisations.parametrisation"
    )


class _Balls(NamedTuple):
    """Matrices and the slacks of their balls."""

    constraint: EnergyBalls
    model: FactoredProgram

    def start(self, key: Array) -> dict[str, Any]:
        """Random factors in the interior of the balls, so that no loss is saturated."""
        matrices = random_layers(self.model, key)
        # The initial slack makes the logits of order one.
        own = [jnp.linalg.norm(matrix) for matrix in matrices]
        slacks = jnp.stack(own) * jnp.sqrt(jnp.maximum(self.constraint.reach, 1))
        return {"matrices": matrices, "slacks": slacks, "biases": zero_biases(self.model)}

    def layers(self, parameters: Any) -> TopLayers:
        """Features and weights inside their balls."""
        features, *weights = parameters["matrices"]
        slacks, radii = parameters["slacks"], self.constraint.weight_radii
        features = self._features(features, slacks[0])
        if not self.constraint.joint:
            weights = [into_ball(w, slacks[1 + i], radii[i]) for i, w in enumerate(weights)]
        elif len(weights) == 1:
            weights = [into_ball(weights[0], slacks[1], radii[0])]
        elif weights:
            flat = jnp.concatenate([weight.reshape(-1) for weight in weights])
            inside = into_ball(flat, jnp.linalg.norm(slacks[1:]), radii[0])
            parts = jnp.split(inside, np.cumsum([weight.size for weight in weights])[:-1])
            weights = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
        return TopLayers(features, tuple(weights), parameters["biases"])

    def parameters(self, layers: TopLayers) -> dict[str, Any]:
        """Factors on the unit spheres that give these layers."""
        (radius, radii, joint, *_), power = self.constraint, self.constraint.feature_power
        shares = self._shares(layers.features.dtype)
        if power is None:
            features, slack = from_ball(jnp.sqrt(shares) * layers.features, radius)
        else:
            features = layers.features / radius
            slack = jnp.maximum(1 - jnp.sum(shares * jnp.abs(features) ** power), 0) ** (1 / power)
        weights, slacks = list(layers.weights), [slack]
        if joint:
            weights = [weight / radii[0] for weight in weights]
            inside = sum(jnp.sum(weight**2) for weight in weights)
            slacks += [jnp.sqrt(jnp.maximum(1 - inside, 0) / max(len(weights), 1))] * len(weights)
        else:
            pairs = [from_ball(weight, radii[i]) for i, weight in enumerate(weights)]
            weights, slacks = [w for w, _ in pairs], slacks + [own for _, own in pairs]
        matrices = (features, *weights)
        return {"matrices": matrices, "slacks": jnp.stack(slacks), "biases": layers.biases}

    def _features(self, values: Array, slack: Array) -> Array:
        radius, power = self.constraint.feature_radius, self.constraint.feature_power
        shares = self._shares(values.dtype)
        if power is None:
            return into_ball(values, slack, radius) / jnp.sqrt(shares)
        total = jnp.sum(shares * jnp.abs(values) ** power) + jnp.abs(slack) ** power
        return values * (radius**power / total) ** (1 / power)

    def _shares(self, dtype: Any) -> Array:
        """1/s_k of each free feature, [S, 1]."""
        counts = np.asarray(self.model.samples)
        return jnp.asarray(1 / counts[labels_of(self.model.samples)], dtype)[:, None]


class _Decayed(NamedTuple):
    """Matrices in units in which features and weights have the same penalty per parameter."""

    constraint: WeightDecay
    model: FactoredProgram

    def start(self, key: Array) -> dict[str, Any]:
        """Random factors of order one and zero biases."""
        return {"matrices": random_layers(self.model, key), "biases": zero_biases(self.model)}

    def layers(self, parameters: Any) -> TopLayers:
        """Scaled features and weights; nonnegative features are squares."""
        features, *weights = parameters["matrices"]
        features = features**2 if self.constraint.nonnegative else features
        of_features, of_weights = self._units()
        scaled = tuple(of_weights * weight for weight in weights)
        return TopLayers(of_features * features, scaled, parameters["biases"])

    def parameters(self, layers: TopLayers) -> dict[str, Any]:
        """The factors that give these layers."""
        of_features, of_weights = self._units()
        features = layers.features / of_features
        features = jnp.sqrt(features) if self.constraint.nonnegative else features
        matrices = (features, *(weight / of_weights for weight in layers.weights))
        return {"matrices": matrices, "biases": layers.biases}

    def _units(self) -> tuple[Array, Array]:
        """Scale factors of features [S, 1] and weights [] relative to their parameters."""
        decay, layers = self.constraint, max(len(self.model.shapes.weights), 1)
        size = _root(jnp.max(decay.copies), layers)
        ratio = _root(decay.weights / decay.features, layers)
        # With several layers zero attracts the descent, so random starts must be larger.
        enlarged = size if layers == 1 else 2 * size
        return size * ratio**layers / jnp.sqrt(decay.copies)[:, None], enlarged / ratio


def _root(value: Array, layers: int) -> Array:
    """value^{1/(2m + 2)}: with m + 1 factors of such a unit, logits are of order one."""
    return jnp.sqrt(jnp.sqrt(value)) if layers == 1 else value ** (0.5 / (layers + 1))


@parametrisation.register
def _(constraint: EnergyBalls, model: Any) -> Parametrisation:
    return _Balls(constraint, model)


@parametrisation.register
def _(constraint: WeightDecay, model: Any) -> Parametrisation:
    return _Decayed(constraint, model)


def into_ball(value: Array, slack: Array, radius: Array) -> Array:
    """A point of the ball ‖x‖ ≤ radius: the projection of a sphere with one more dimension."""
    return value * (radius / jnp.sqrt(jnp.sum(value**2) + slack**2))


def from_ball(inside: Array, radius: Array) -> tuple[Array, Array]:
    """Value and slack of a point of the ball, on the unit sphere: an inverse of into_ball."""
    value = inside / radius
    return value, jnp.sqrt(jnp.maximum(1 - jnp.sum(value**2), 0))


def random_layers(model: FactoredProgram, key: Array) -> tuple[Array, ...]:
    """Random features and weights; half of the starts are antipodal if dimensions are too few."""
    shapes = [model.shapes.features, *model.shapes.weights]
    matrices = random_matrices(key, shapes, model.sizes.group_sizes.dtype)
    short = model.shapes.features[1] < getattr(model, "full_dimension", 0)
    # Nonnegative features are squares, in which a sign is lost.
    signed = not getattr(model, "nonnegative", False)
    if short and signed and set(model.samples) == {1}:
        return maybe_mirrored(jax.random.fold_in(key, 1), matrices)
    return matrices


def zero_biases(model: FactoredProgram) -> tuple[Array, ...]:
    """A bias of zeros for each layer that has one."""
    dtype = model.sizes.group_sizes.dtype
    return tuple(jnp.zeros(width, dtype) for width in model.shapes.biases)


def random_matrices(key: Array, shapes: Any, dtype: Any) -> tuple[Array, ...]:
    """Standard normal matrices, each divided by the square root of its width."""
    keys = jax.random.split(key, len(shapes))
    return tuple(
        jax.random.normal(k, shape, dtype) / shape[1] ** 0.5
        for k, shape in zip(keys, shapes, strict=True)
    )


def maybe_mirrored(key: Array, matrices: tuple[Array, ...]) -> tuple[Array, ...]:
    """With probability one half, replaces the second half of the rows by minus the first.

    With many classes and few dimensions, plain random starts mostly end in local minima,
    while the best known codes are often antipodal (24-cell, 600-cell, E8 roots). With an
    odd number of rows the last one is kept.
    """

    def mirrored(matrix: Array) -> Array:
        half = len(matrix) // 2
        return jnp.concatenate([matrix[:half], -matrix[:half], matrix[2 * half :]])

    chosen = jax.random.bernoulli(key)
    return tuple(jnp.where(chosen, mirrored(matrix), matrix) for matrix in matrices)
