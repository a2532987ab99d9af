"""The multilayer unconstrained feature model: features that move away from the data.

Layer 0 is the data X; H^1 … H^L are free features of the same width. Minimise over W and H^l

    (1/N) Σ_i L(W h_i^L, y_i) + (λ_W/2)‖W‖² + (1/2N) Σ_l c_l ‖H^l − H^{l−1}‖²

(Wang, Gai, Zhang 2024; L is their ½‖W h − e_y‖² by default). With c_l = λ_H L, our
choice, the last term is the kinetic energy of the path (Benamou and Brenier)
for any number of layers L. For a fixed H^L the best intermediate layers lie on the straight
line from X, and the model reduces to (their Theorem 3 and Eq. 13)

    (1/N) Σ_i L(W h_i, y_i) + (λ_W/2)‖W‖² + (λ_H/2N)‖H − X‖²,

for general c_l with λ_H = 1/Σ(1/c_l), like springs in series. At X = 0 it is
:class:`UnconstrainedFeatures` with λ_H/N in place of its λ_H.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.batches import batch_shape, batch_shapes
from nc_jax.checks import (
    arrays_for,
    common_dtype,
    float_array,
    is_concrete,
    is_positive,
    require_count,
    require_positive,
)
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import Loss, MeanSquaredError, require_classes, require_loss
from nc_jax.metrics.moments import ClassMoments, checked, class_moments
from nc_jax.surrogates.arguments import require_labels


@immutable()
class LayerInputs:
    """The data X: their moments, and the samples themselves if they are available.

    Attributes:
        moments: sample-weighted moments of N samples in K classes.
        features: X [N, d], or None.
        labels: [N], or None.
    """

    moments: ClassMoments
    features: Any
    labels: Any


@immutable(static=("num_layers",), shared=("data", "layer_scales"))
class MultilayerUnconstrainedFeatures:
    """A multilayer unconstrained feature model, or a batch of them on the same data.

    Attributes:
        data: X and its labels, or only their moments. Shared by all models of a batch.
        lambda_w: λ_W > 0 [...], weight decay of the classifiers.
        lambda_h: λ_H > 0 [...], the penalty on moving features in the reduced form.
        layer_scales: [L] c_l/λ_H; by default all equal to L. Shared by all models of a batch.
        loss: a loss of logits and label; squared error by default.
        num_layers: L, static.
    """

    data: LayerInputs
    lambda_w: Array
    lambda_h: Array
    layer_scales: Array
    loss: Loss
    num_layers: int

    def __init__(
        self,
        inputs: Any,
        labels: Any,
        lambda_w: Any,
        lambda_h: Any,
        num_layers: int = 1,
        loss: Loss | None = None,
        num_classes: int | None = None,
        layer_scales: Any = None,
    ):
        """Checks and converts; see the class for the arguments.

        Args:
            inputs: X [N, d], floats.
            labels: [N] integers 0…K−1.
            lambda_w: λ_W, a number or an array; leading axes make a batch.
            lambda_h: λ_H, a number or an array.
            num_layers: L ≥ 1.
            loss: ½‖z − e_k‖² by default; losses of features are not accepted.
            num_classes: K ≥ 2; by default the largest label plus one.
            layer_scales: [L] positive numbers proportional to c_l; they are
                scaled so that the reduced form keeps λ_H.

        Raises:
            TypeError, ValueError: naming the invalid argument.
        """
        if num_classes is None:
            if not is_concrete(labels):
                raise ValueError("num_classes must be given if labels are traced")
            integers = np.asarray(labels)
            if integers.dtype.kind not in "iu" or not integers.size:
                raise ValueError(f"labels must be [N] integers, got {integers.dtype} {labels!r}")
            num_classes = max(int(integers.max()) + 1, 2)
        features, labels = checked(inputs, labels, require_count("num_classes", num_classes, 2))
        if is_concrete(features) and not bool(np.all(np.isfinite(np.asarray(features)))):
            raise ValueError("inputs must be finite, got NaN or infinity")
        moments = class_moments(features, labels, num_classes, "sample")
        data = LayerInputs(moments, features, labels)
        self._set(data, lambda_w, lambda_h, num_layers, loss, layer_scales)

    @classmethod
    def from_moments(
        cls,
        moments: ClassMoments,
        lambda_w: Any,
        lambda_h: Any,
        num_layers: int = 1,
        layer_scales: Any = None,
    ) -> "MultilayerUnconstrainedFeatures":
        """A model under squared error that is given only the moments of its data.

        Args:
            moments: sample-weighted, from :func:`nc_jax.metrics.accumulate_moments`.
            lambda_w: λ_W, a number or an array.
            lambda_h: λ_H, a number or an array.
            num_layers: L ≥ 1.
            layer_scales: see the constructor.

        Raises:
            TypeError, ValueError: naming the invalid argument.
        """
        if not isinstance(moments, ClassMoments):
            raise TypeError(f"moments must be ClassMoments, got {type(moments).__name__}")
        model = object.__new__(cls)
        data = LayerInputs(moments, None, None)
        model._set(data, lambda_w, lambda_h, num_layers, None, layer_scales)
        return model

    def with_data(self, data: LayerInputs) -> "MultilayerUnconstrainedFeatures":
        """The same model with other data, or with only the moments of the same data."""
        model = object.__new__(type(self))
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        set_fields(model, **(fields | {"data": data}))
        return model

    def _set(
        self,
        data: LayerInputs,
        lambda_w: Any,
        lambda_h: Any,
        num_layers: int,
        loss: Loss | None,
        layer_scales: Any,
    ) -> None:
        loss = require_loss(MeanSquaredError() if loss is None else loss)
        require_labels(loss)
        require_classes(loss, data.moments.num_classes)
        num_layers = require_count("num_layers", num_layers, 1)
        dtype = common_dtype(data.moments.means, lambda_w, lambda_h)
        numbers = {}
        for name, value in (("lambda_w", lambda_w), ("lambda_h", lambda_h)):
            numbers[name] = float_array(name, value, dtype)
            require_positive(name, numbers[name], lanes=numbers[name].ndim > 0)
        shapes = {name: value.shape for name, value in numbers.items()}
        try:
            jnp.broadcast_shapes(*shapes.values(), *batch_shapes(loss))
        except ValueError:
            shapes["loss"] = batch_shapes(loss)
            raise ValueError(f"leading (batch) axes must broadcast, got {shapes}") from None
        scales = np.ones(num_layers) if layer_scales is None else layer_scales
        scales = float_array("layer_scales", scales, dtype)
        require_positive("layer_scales", scales)
        if scales.shape != (num_layers,):
            raise ValueError(f"layer_scales must have shape [{num_layers}], got {scales.shape}")
        array = arrays_for(scales)
        scales = jax.device_put(array.asarray(scales) * array.sum(1 / array.asarray(scales)))
        moments = ClassMoments(
            data.moments.counts,
            data.moments.means.astype(dtype),
            data.moments.scatter.astype(dtype),
            data.moments.variances.astype(dtype),
        )
        data = LayerInputs(moments, data.features, data.labels)
        set_fields(
            self, data=data, layer_scales=scales, loss=loss, num_layers=num_layers, **numbers
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return self.data.moments.num_classes

    @property
    def dimension(self) -> int:
        """d, the width of the data and of every layer."""
        return self.data.moments.means.shape[-1]

    @property
    def num_samples(self) -> Array:
        """N [], in the dtype of the model."""
        return jnp.sum(self.data.moments.counts.astype(self.lambda_w.dtype))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model."""
        return batch_shape(self)

    @property
    def valid(self) -> Array:
        """[...] whether the penalties of a lane are positive and finite."""
        return is_positive(self.lambda_w) & is_positive(self.lambda_h)

    @property
    def input_samples(self) -> tuple[Array, Array]:
        """X [N, d] and its labels [N]; ValueError if only the moments are known."""
        if self.data.features is None:
            raise ValueError("model must hold its input samples for this; it was made from moments")
        return jnp.asarray(self.data.features, self.lambda_w.dtype), jnp.asarray(self.data.labels)

    @property
    def positions(self) -> Array:
        """Positions of layers 0 … L of the best path on the line from X to H^L, [L + 1]."""
        steps = 1 / self.layer_scales
        return jnp.concatenate([jnp.zeros(1, steps.dtype), jnp.cumsum(steps) / jnp.sum(steps)])

    def mean_loss(self, weights: Array, features: Array) -> Array:
        """(1/N) Σ L(W h_i, y_i) of a single model for W [K, d] and H [N, d]."""
        labels = self.input_samples[1]
        logits = jnp.matmul(features, weights.T, precision="highest")
        return jnp.mean(self.loss(logits, labels))

    def cost(self, weights: Array, layers: Array) -> Array:
        """The objective of a single model at W [K, d] and all layers [L, N, d]."""
        inputs = self.input_samples[0]
        steps = jnp.diff(layers, axis=0, prepend=inputs[None])
        squares = jnp.sum(steps**2, axis=(1, 2))
        moving = self.lambda_h * jnp.sum(self.layer_scales * squares) / inputs.shape[0]
        decay = self.lambda_w * jnp.sum(weights**2)
        return self.mean_loss(weights, layers[-1]) + 0.5 * (decay + moving)

    def reduced_cost(self, weights: Array, features: Array) -> Array:
        """The reduced form (13) of a single model at W [K, d] and the last layer H [N, d]."""
        inputs = self.input_samples[0]
        moving = self.lambda_h * jnp.sum((features - inputs) ** 2) / inputs.shape[0]
        decay = self.lambda_w * jnp.sum(weights**2)
        return self.mean_loss(weights, features) + 0.5 * (decay + moving)

    def eliminated_cost(self, weights: Array) -> Array:
        """Squared error: minimum over H of the reduced form, computed from the moments.

        ½ tr[(I + W Wᵀ/λ_H)⁻¹ S] + (λ_W/2)‖W‖² with
        S = (1/N)(Y − W X)(Y − W X)ᵀ, for a single model; W is [K, d].
        """
        moments, size = self.data.moments, self.num_classes
        share = moments.counts.astype(weights.dtype) / self.num_samples
        with jax.default_matmul_precision("highest"):
            missed = jnp.eye(size, dtype=weights.dtype) - moments.means @ weights.T
            errors = weights @ moments.scatter @ weights.T + (missed.T * share) @ missed
            shrinking = jnp.eye(size, dtype=weights.dtype) + weights @ weights.T / self.lambda_h
            inside = jnp.trace(jnp.linalg.solve(shrinking, errors))
        return 0.5 * (inside + self.lambda_w * jnp.sum(weights**2))
