"""The Layer-Peeled Model (Fang, He, Long, Su, PNAS 2021, Eq. 7).

Minimise Σ_k (n_k/N) L(W h_k, k) over classifiers w_k and class means h_k with
(1/K) Σ ‖w_k‖² ≤ E_W and (1/K) Σ ‖h_k‖² ≤ E_H. For a loss convex in the logits
Z = H Wᵀ and p ≥ K this is the convex program

    minimise Σ_k (n_k/N) L(Z_k, k)  subject to  ‖Z‖_* ≤ K √(E_W E_H),

so that only the proportions of the classes and the budget E = √(E_W E_H)
matter for the logits. (Features of one class coincide at the optimum of a
convex loss, which is why class means suffice.)
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from nc_jax.checks import (
    common_dtype,
    float_array,
    is_positive,
    require_count,
    require_positive,
)
from nc_jax.geometry import ClassSizes, class_sizes, require_broadcast
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import CrossEntropy, Loss, require_loss


@immutable(static=("dimension",))
class LayerPeeled:
    """A Layer-Peeled Model, or a batch of them.

    Attributes:
        sizes: class sizes; G groups over K classes.
        weight_energy: E_W > 0 [...], mean squared norm of the classifiers.
        feature_energy: E_H > 0 [...], mean squared norm of the class means.
        loss: a loss of logits and label.
        dimension: p, static; at least K−1 (K for a loss that is not
            shift-invariant, whose logits may have rank K).
    """

    sizes: ClassSizes
    weight_energy: Array
    feature_energy: Array
    loss: Loss
    dimension: int

    def __init__(
        self,
        sizes: Any,
        weight_energy: Any = 1.0,
        feature_energy: Any = 1.0,
        loss: Loss | None = None,
        dimension: int | None = None,
    ):
        """Checks and converts; see the class for the arguments.

        Args:
            sizes: a :class:`ClassSizes` or an array [K]. Leading axes of sizes
                and energies make a batch; they must broadcast.
            weight_energy: E_W, a number or an array.
            feature_energy: E_H, a number or an array.
            loss: cross-entropy by default.
            dimension: p; K by default.

        Raises:
            TypeError, ValueError: naming the argument that is wrong.
        """
        loss = require_loss(CrossEntropy() if loss is None else loss)
        raw = sizes.group_sizes if isinstance(sizes, ClassSizes) else sizes
        sizes = class_sizes(sizes)
        dtype = common_dtype(raw, weight_energy, feature_energy)
        energies = {}
        for name, value in (("weight_energy", weight_energy), ("feature_energy", feature_energy)):
            energies[name] = float_array(name, value, dtype)
            require_positive(name, energies[name], lanes=energies[name].ndim > 0)
        require_broadcast(sizes, energies)
        num_classes = sizes.num_classes
        dimension = num_classes if dimension is None else dimension
        least = num_classes - 1 if loss.shift_invariant else num_classes
        dimension = require_count("dimension", dimension, least)
        sizes = ClassSizes(sizes.group_sizes.astype(dtype), sizes.membership)
        set_fields(self, sizes=sizes, loss=loss, dimension=dimension, **energies)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.sizes.num_classes

    @property
    def budget(self) -> Array:
        """E = √(E_W E_H), [...]."""
        return jnp.sqrt(self.weight_energy) * jnp.sqrt(self.feature_energy)

    @property
    def nuclear_radius(self) -> Array:
        """τ = K E, the bound on the nuclear norm of the logits, [...]."""
        return self.num_classes * self.budget

    @property
    def row_scale(self) -> Array:
        """[..., G] ones: the features of all classes weigh the same."""
        return jnp.ones_like(self.sizes.group_sizes)

    @property
    def penalty(self) -> Array:
        """Zero: the nuclear norm is constrained, not penalised."""
        return jnp.zeros_like(self.weight_energy)

    @property
    def bias_penalty(self) -> None:
        """None: the model has no bias."""
        return None

    @property
    def classifier_scale(self) -> Array:
        """√(E_W/E_H) [...], which turns (ZᵀZ)^½ into the classifiers' Gram."""
        return jnp.sqrt(self.weight_energy / self.feature_energy)

    @property
    def valid(self) -> Array:
        """[...] whether sizes and energies of a lane are positive and finite."""
        sizes = jnp.all(is_positive(self.sizes.group_sizes), axis=-1)
        return sizes & is_positive(self.weight_energy) & is_positive(self.feature_energy)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model."""
        return jnp.broadcast_shapes(
            self.sizes.group_sizes.shape[:-1],
            self.weight_energy.shape,
            self.feature_energy.shape,
        )

    def objective(self, logits: Array) -> Array:
        """Σ_k (n_k/N) L(Z_k, k) of a single model, for logits [K, K]."""
        losses = self.loss(logits, jnp.arange(self.num_classes))
        return jnp.sum(self.sizes.class_weights * losses)
