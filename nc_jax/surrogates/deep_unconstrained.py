"""Unconstrained features with several layers on top, all with weight decay.

Minimise over weights W_1 … W_m, features h_{k,i} and (optionally) biases b_1 … b_m

    (1/N) Σ L(f(h_{k,i}), k) + (λ_W/2) Σ_l ‖W_l‖² + (λ_H/2) Σ ‖h_{k,i}‖² (+ (λ_b/2) Σ_l ‖b_l‖²),

f(h) = b_m + W_m s(b_{m−1} + W_{m−1} s(… W_1 h)) (Súkeník et al. 2023; Dang et al.,
arXiv 2301.00437, who write λ‖·‖² for our (λ/2)‖·‖²). One layer is
:class:`UnconstrainedFeatures`. The problem is not convex for m ≥ 2: a product of three or
more decayed factors has a strict local minimum at zero, so a class may stay unlearnt
although learning it is better. :func:`nc_jax.theory.deep_linear_optimum` gives the
optimum of linear layers under the squared error.
"""

from typing import Any

from jax import Array

from nc_jax.batches import batch_shapes
from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.geometry import ClassSizes, require_broadcast
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import Loss
from nc_jax.surrogates.arguments import require_labels, sizes_and_loss
from nc_jax.surrogates.deep import deep_shapes, layer_widths
from nc_jax.surrogates.kinds import Decayed
from nc_jax.surrogates.layers import (
    ACTIVATIONS,
    LayerShapes,
    sample_counts,
)
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures


@immutable(static=("widths", "activation", "samples", "nonnegative"))
class DeepUnconstrainedFeatures(Decayed):
    """A deep unconstrained feature model, or a batch of them.

    Attributes:
        sizes: absolute class sizes n_k; G groups over K classes.
        lambda_w: λ_W > 0 [...], weight decay of every layer's weights.
        lambda_h: λ_H > 0 [...], weight decay of every sample's features.
        lambda_b: λ_b ≥ 0 [...], weight decay of every layer's bias; None for no biases.
        loss: a loss of logits and label.
        widths: p, d_1 … d_{m−1}: the input widths of the m layers, static; they may be
            smaller than the number of classes.
        activation: 'relu' or 'identity' (a deep linear head), static.
        samples: s_k, the number of free features of each class, static.
        nonnegative: whether features are constrained to be nonnegative, static.
    """

    sizes: ClassSizes
    lambda_w: Array
    lambda_h: Array
    lambda_b: Array | None
    loss: Loss
    widths: tuple[int, ...]
    activation: str
    samples: tuple[int, ...]
    nonnegative: bool

    def __init__(
        self,
        sizes: Any,
        num_layers: int,
        lambda_w: Any,
        lambda_h: Any,
        lambda_b: Any = None,
        loss: Loss | None = None,
        activation: str = "relu",
        widths: Any = None,
        samples: Any = 1,
        nonnegative: bool = False,
    ):
        """Checks and converts; see the class for the arguments.

        Args:
            sizes: a :class:`ClassSizes` or an array [K]; leading axes make a batch.
            num_layers: m ≥ 1.
            lambda_w: λ_W, a number or an array.
            lambda_h: λ_H, a number or an array.
            lambda_b: λ_b, a number or an array; 0 for unregularised biases.
            loss: cross-entropy by default; losses of features are not accepted.
            activation: 'relu' or 'identity'.
            widths: p, or the m widths p, d_1 … d_{m−1}; 2K by default.
            samples: a count of free features for every class, or K counts.
            nonnegative: whether features are constrained to be nonnegative.

        Raises:
            TypeError, ValueError: naming the invalid argument.
        """
        layers = require_count("num_layers", num_layers, 1)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        raw = sizes.group_sizes if isinstance(sizes, ClassSizes) else sizes
        sizes, loss = sizes_and_loss(sizes, loss)
        require_labels(loss)
        dtype = common_dtype(raw, lambda_w, lambda_h, lambda_b)
        given = {"lambda_w": lambda_w, "lambda_h": lambda_h}
        given |= {} if lambda_b is None else {"lambda_b": lambda_b}
        numbers = {}
        for name, value in given.items():
            numbers[name] = float_array(name, value, dtype)
            zero, lanes = name == "lambda_b", numbers[name].ndim > 0
            require_positive(name, numbers[name], lanes=lanes, or_zero=zero)
        require_broadcast(sizes, numbers, batch_shapes(loss))
        numbers.setdefault("lambda_b", None)
        set_fields(
            self,
            sizes=sizes.astype(dtype),
            loss=loss,
            widths=layer_widths(widths, layers, sizes.num_classes),
            activation=activation,
            samples=sample_counts(samples, sizes.num_classes),
            nonnegative=bool(nonnegative),
            **numbers,
        )

    @property
    def num_layers(self) -> int:
        """The number of layers m."""
        return len(self.widths)

    def convex_form(self, sizes: ClassSizes) -> UnconstrainedFeatures | None:
        """The unconstrained feature model, if there is one layer."""
        if self.num_layers > 1:
            return None
        penalties = self.lambda_w, self.lambda_h, self.lambda_b
        return UnconstrainedFeatures(sizes, *penalties, self.loss, nonnegative=self.nonnegative)

    @property
    def shapes(self) -> LayerShapes:
        """Features [S, p], and weights and biases of the m layers."""
        biased = self.lambda_b is not None
        return deep_shapes(self.samples, self.widths, self.num_classes, biased)
