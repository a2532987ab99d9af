"""The result of the multilayer solvers: classifiers, and every layer on demand."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.batches import lanes_of
from nc_jax.immutable import derived, immutable
from nc_jax.metrics.moments import ClassMoments
from nc_jax.solvers.restarts import RestartedSolution
from nc_jax.surrogates.multilayer import MultilayerUnconstrainedFeatures


@immutable()
class MultilayerSolution(RestartedSolution):
    """The best of several restarts on a multilayer unconstrained feature model.

    Batch axes lead; the data are shared by all models of a batch.

    Attributes:
        model: the model that was solved.
        classifiers: W [..., K, d].
        layers: [..., L, N, d] if all layers were free, [..., 1, N, d] if only the
            last one was; None if the features were eliminated.

    For a nonconvex loss the gap is the objective itself, and it is never larger.
    """

    model: MultilayerUnconstrainedFeatures
    classifiers: Array
    layers: Array | None

    def lane(self, index: Any) -> "MultilayerSolution":
        """One member of a batch, at an index of its leading axes; the data stay shared."""
        lanes = lanes_of(self.model)
        numbers = [leaf.reshape(lanes.shape)[index] for leaf in lanes.numbers]
        others = dataclasses.replace(self, model=None)
        one = jax.tree.map(lambda leaf: leaf[index], others)
        return dataclasses.replace(one, model=lanes.rebuild(numbers))

    @property
    def bias(self) -> None:
        """None: the model has no bias."""
        return None

    @property
    def labels(self) -> Array:
        """The class [N] of each sample."""
        return self.model.input_samples[1]

    @derived
    def contraction(self) -> Array:
        """A = (I + WᵀW/λ_H)⁻¹ [..., d, d]; under squared error it maps X_w to A X_w."""
        weights = self.classifiers
        size = weights.shape[-2]
        transposed = jnp.swapaxes(weights, -1, -2)
        price = self.model.lambda_h[..., None, None]
        # Woodbury: a K×K system instead of a d×d one.
        inner = price * jnp.eye(size, dtype=weights.dtype) + _product(weights, transposed)
        moved = _product(transposed, jnp.linalg.solve(inner, weights))
        return jnp.eye(weights.shape[-1], dtype=weights.dtype) - moved

    @derived
    def offsets(self) -> Array:
        """A Wᵀe_k/λ_H [..., K, d]: squared error moves a sample of class k to A x + offset_k."""
        weights = self.classifiers
        size = weights.shape[-2]
        price = self.model.lambda_h[..., None, None]
        inner = price * jnp.eye(size, dtype=weights.dtype) + _product(
            weights, jnp.swapaxes(weights, -1, -2)
        )
        return jnp.linalg.solve(inner, weights)

    @property
    def sample_features(self) -> Array:
        """The last layer H^L [..., N, d]."""
        if self.layers is not None:
            return self.layers[..., -1, :, :]
        inputs, labels = self.model.input_samples
        return self.features_of(inputs, labels)

    def features_of(self, inputs: Any, labels: Any) -> Array:
        """Last-layer features [..., n, d] of samples X [n, d] with labels [n].

        For eliminated features; call it on batches of samples if memory is limited.

        Raises:
            ValueError: the layers were free, so they exist only for the model's own inputs.
        """
        if self.layers is not None:
            raise ValueError("features_of needs eliminated features; use sample_features instead")
        rows = jnp.asarray(inputs, self.classifiers.dtype)
        moved = jnp.matmul(rows, jnp.swapaxes(self.contraction, -1, -2), precision="highest")
        return moved + self.offsets[..., jnp.asarray(labels), :]

    def layer_features(self) -> list[Array]:
        """Layers 0 … L [..., N, d]; layer 0 is the data.

        If not all layers were free, the intermediate ones lie on the straight line
        (Theorem 3), at the steps of :attr:`MultilayerUnconstrainedFeatures.positions`.
        """
        model = self.model
        inputs, _ = model.input_samples
        if self.layers is not None and self.layers.shape[-3] == model.num_layers:
            return [inputs, *jnp.moveaxis(self.layers, -3, 0)]
        last = self.sample_features
        return [inputs + t * (last - inputs) for t in model.positions]

    def moments_at(self, position: Any = 1.0) -> ClassMoments:
        """Sample-weighted moments of (1 − t) X + t H^L of a single model, without its samples.

        Requires eliminated features. The moments of the data do not contain the variance
        of each class, so ``variances`` are NaN.

        Args:
            position: t in [0, 1].
        """
        if self.layers is not None:
            raise ValueError("moments_at needs eliminated features; measure layer_features()")
        moments, t = self.model.data.moments, jnp.asarray(position, self.classifiers.dtype)
        eye = jnp.eye(self.model.dimension, dtype=t.dtype)
        linear = (1 - t) * eye + t * self.contraction
        scatter = _product(_product(linear, moments.scatter), linear.T)
        means = _product(moments.means, linear.T) + t * self.offsets
        return ClassMoments(
            moments.counts, means, scatter, jnp.full_like(moments.variances, jnp.nan)
        )

    @derived
    def alignment(self) -> Array:
        """⟨H^L, X⟩/(‖H^L‖‖X‖) [] of a single model; NaN for zero data."""
        if self.layers is not None:
            inputs, last = self.model.input_samples[0], self.sample_features
            inner, squares = jnp.sum(inputs * last), jnp.sum(inputs**2) * jnp.sum(last**2)
            return inner / jnp.sqrt(jnp.where(squares > 0, squares, jnp.nan))
        data, last = self.model.data.moments, self.moments_at(1.0)
        share = data.counts.astype(last.means.dtype) / self.model.num_samples
        inner = jnp.sum(self.contraction * data.scatter)
        inner = inner + jnp.sum(share[:, None] * data.means * last.means)
        squares = jnp.ones((), last.means.dtype)
        for moments in (data, last):
            mean_square = jnp.sum(share[:, None] * moments.means**2)
            squares = squares * (jnp.trace(moments.scatter) + mean_square)
        return inner / jnp.sqrt(jnp.where(squares > 0, squares, jnp.nan))

    @derived
    def features(self) -> Array:
        """Class means [..., K, d] of the last layer."""
        data = self.model.data.moments
        if self.layers is None:
            transposed = jnp.swapaxes(self.contraction, -1, -2)
            return _product(data.means, transposed) + self.offsets
        member = jax.nn.one_hot(self.labels, self.model.num_classes, dtype=self.classifiers.dtype)
        share = member / data.counts.astype(member.dtype)
        return _product(share.T, self.sample_features)

    @derived
    def logits(self) -> Array:
        """Class means [..., K, K] of W h."""
        return _product(self.features, jnp.swapaxes(self.classifiers, -1, -2))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
