"""The m-Layer-Peeled Model (Fang, He, Long, Su, PNAS 2021, §6).

Minimise (1/N) Σ_k Σ_i L(f(h_{k,i}), k), f(h) = b_m + W_m s(b_{m−1} + W_{m−1} s(… W_1 h)), over
features with (1/K) Σ (1/n_k) Σ ‖h‖² ≤ E_H and weights with (1/K) Σ_l ‖W_l‖² ≤ E_W
together, or (1/K) ‖W_l‖² ≤ E_l each. Biases, if there are any, are not constrained. One
layer without bias is the Layer-Peeled Model. The problem is not convex for m ≥ 2.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.batches import batch_shapes
from nc_jax.checks import common_dtype, float_array, is_positive, require_count, require_positive
from nc_jax.geometry import ClassSizes, require_broadcast
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import Loss
from nc_jax.surrogates.arguments import require_labels, sizes_and_loss
from nc_jax.surrogates.constraints import EnergyBalls
from nc_jax.surrogates.kinds import ClassModel
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.layers import (
    ACTIVATIONS,
    LayerShapes,
    TopLayers,
    mean_loss,
    sample_counts,
)


@immutable(
    static=("widths", "activation", "biased", "joint", "samples"), axes={"weight_energies": 1}
)
class DeepLayerPeeled(ClassModel):
    """An m-Layer-Peeled Model, or a batch of them.

    Attributes:
        sizes: class sizes; G groups over K classes.
        weight_energies: [..., 1] E_W of all weights together, or [..., m] E_l of each layer.
        feature_energy: E_H > 0 [...].
        loss: a loss of logits and label.
        widths: p, d_1 … d_{m−1}: the input widths of the m layers, static; they may be
            smaller than the number of classes.
        activation: 'relu' or 'identity' (a deep linear head), static.
        biased: whether layers have unconstrained biases, static.
        joint: whether all weights share one budget, static.
        samples: s_k, the number of free features of each class, static.
    """

    sizes: ClassSizes
    weight_energies: Array
    feature_energy: Array
    loss: Loss
    widths: tuple[int, ...]
    activation: str
    biased: bool
    joint: bool
    samples: tuple[int, ...]

    def __init__(
        self,
        sizes: Any,
        num_layers: int,
        weight_energy: Any = 1.0,
        feature_energy: Any = 1.0,
        loss: Loss | None = None,
        activation: str = "relu",
        widths: Any = None,
        layer_energies: Any = None,
        biased: bool = False,
        samples: Any = 1,
    ):
        """Checks and converts; see the class for the arguments.

        Args:
            sizes: a :class:`ClassSizes` or an array [K]; leading axes make a batch.
            num_layers: m ≥ 1.
            weight_energy: E_W [...], the bound for all weights together.
            feature_energy: E_H [...].
            loss: cross-entropy by default; losses of features are not accepted.
            activation: 'relu' or 'identity'.
            widths: p, or the m widths p, d_1 … d_{m−1}; 2K by default.
            layer_energies: [..., m] budgets of the individual layers, instead of
                ``weight_energy``.
            biased: whether every layer has an unconstrained bias.
            samples: a count of free features for every class, or K counts.

        Raises:
            TypeError, ValueError: naming the invalid argument.
        """
        layers = require_count("num_layers", num_layers, 1)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        raw = sizes.group_sizes if isinstance(sizes, ClassSizes) else sizes
        sizes, loss = sizes_and_loss(sizes, loss)
        require_labels(loss)
        dtype = common_dtype(raw, weight_energy, feature_energy, layer_energies)
        joint = layer_energies is None
        name = "weight_energy" if joint else "layer_energies"
        energies = float_array(name, weight_energy if joint else layer_energies, dtype)
        if joint:
            energies = energies[..., None]
        elif energies.ndim == 0 or energies.shape[-1] != layers:
            raise ValueError(
                f"layer_energies must have shape [..., {layers}], got shape {energies.shape}"
            )
        require_positive(name, energies, lanes=energies.ndim > 1)
        feature_energy = float_array("feature_energy", feature_energy, dtype)
        require_positive("feature_energy", feature_energy, lanes=feature_energy.ndim > 0)
        batches = {name: energies[..., 0], "feature_energy": feature_energy}
        require_broadcast(sizes, batches, batch_shapes(loss))
        set_fields(
            self,
            sizes=sizes.astype(dtype),
            weight_energies=energies,
            feature_energy=feature_energy,
            loss=loss,
            widths=layer_widths(widths, layers, sizes.num_classes),
            activation=activation,
            biased=bool(biased),
            joint=joint,
            samples=sample_counts(samples, sizes.num_classes),
        )

    @property
    def num_layers(self) -> int:
        """The number of layers m."""
        return len(self.widths)

    @property
    def valid(self) -> Array:
        """[...] whether sizes and energies of a lane are positive and finite."""
        sizes = jnp.all(is_positive(self.sizes.group_sizes), axis=-1)
        energies = jnp.all(is_positive(self.weight_energies), axis=-1)
        return sizes & energies & is_positive(self.feature_energy)

    def convex_form(self, sizes: ClassSizes) -> LayerPeeled | None:
        """The Layer-Peeled Model, if there is one layer without a bias."""
        if self.num_layers > 1 or self.biased:
            return None
        return LayerPeeled(sizes, self.weight_energies[0], self.feature_energy, self.loss)

    @property
    def shapes(self) -> LayerShapes:
        """Features [S, p], and weights and biases of the m layers."""
        return deep_shapes(self.samples, self.widths, self.num_classes, self.biased)

    @property
    def constraint(self) -> EnergyBalls:
        """All budgets of a single model, as radii."""
        return EnergyBalls(
            jnp.sqrt(self.num_classes * self.feature_energy),
            jnp.sqrt(self.num_classes * self.weight_energies),
            self.joint,
            jnp.ones_like(self.feature_energy),
        )

    def cost(self, layers: TopLayers) -> Array:
        """(1/N) Σ L over all samples; the constraints hold by construction."""
        return mean_loss(self, layers)


def layer_widths(widths: Any, layers: int, num_classes: int) -> tuple[int, ...]:
    """The input width of each of the m layers."""
    if widths is None:
        widths = 2 * num_classes
    if isinstance(widths, int | np.integer):
        widths = (widths,) * layers
    if len(widths) != layers:
        raise ValueError(f"widths must be a number or {layers} numbers, got {widths}")
    return tuple(require_count("widths", width, 1) for width in widths)


def deep_shapes(
    samples: tuple[int, ...], widths: tuple[int, ...], num_classes: int, biased: bool
) -> LayerShapes:
    """Features [S, p], weights W_l [d_l, d_{l−1}] with d_m = K, and biases [d_l], if any."""
    outputs = (*widths[1:], num_classes)
    weights = tuple(zip(outputs, widths, strict=True))
    return LayerShapes((sum(samples), widths[0]), weights, outputs if biased else ())
