"""The Layer-Peeled Model (Fang, He, Long, Su, PNAS 2021, Eq. 7).

Minimise Σ_k (n_k/N) L(W h_k, k) over classifiers w_k and class means h_k with
(1/K) Σ ‖w_k‖² ≤ E_W and (1/K) Σ ‖h_k‖² ≤ E_H. For a loss convex in the logits
Z = H Wᵀ and p ≥ K − 1 dimensions (p ≥ K for a loss that is not shift-invariant) this is
the convex program

    minimise Σ_k (n_k/N) L(Z_k, k)  subject to  ‖Z‖_* ≤ K √(E_W E_H),

so that only the proportions of the classes and the budget E = √(E_W E_H)
matter for the logits. (Features of one class coincide at the optimum of a
convex loss, so class means are sufficient.) The factored form allows any loss, several
free features per class, an ℓ_q norm in the constraint on the features, and any number of
dimensions. With fewer dimensions than the convex program needs, the rank of Z is
constrained, and the optimum of the convex program is a lower bound.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from nc_jax.batches import batch_shapes
from nc_jax.checks import (
    common_dtype,
    float_array,
    is_positive,
    require_count,
    require_positive,
)
from nc_jax.geometry import ClassSizes, require_broadcast
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import Loss, acts_on
from nc_jax.surrogates.arguments import sizes_and_loss
from nc_jax.surrogates.constraints import EnergyBalls
from nc_jax.surrogates.kinds import SingleLayer
from nc_jax.surrogates.layers import (
    LayerShapes,
    TopLayers,
    mean_loss,
    sample_counts,
)


@immutable(static=("dimension", "samples"))
class LayerPeeled(SingleLayer):
    """A Layer-Peeled Model, or a batch of them.

    Attributes:
        sizes: class sizes; G groups over K classes.
        weight_energy: E_W > 0 [...], mean squared norm of the classifiers.
        feature_energy: E_H > 0 [...], mean squared norm of the class means.
        loss: a loss of logits and label, or :class:`SupervisedContrastive`.
        dimension: p ≥ 1, static. Below :attr:`full_dimension`, which is K − 1 (K for a loss
            that is not shift-invariant), the rank of the logits is constrained, and the
            program is not convex.
        samples: s_k, the number of free features of each class, static.
        feature_power: q > 1 [...], if the constraint on the features is
            (1/K) Σ (1/n_k) Σ ‖h‖_q^q ≤ E_H (Proposition 2); None for q = 2.
    """

    sizes: ClassSizes
    weight_energy: Array
    feature_energy: Array
    loss: Loss
    dimension: int
    samples: tuple[int, ...]
    feature_power: Array | None

    row_power = 0.0

    def __init__(
        self,
        sizes: Any,
        weight_energy: Any = 1.0,
        feature_energy: Any = 1.0,
        loss: Loss | None = None,
        dimension: int | None = None,
        samples: Any = 1,
        feature_power: Any = None,
        class_weights: Any = None,
    ):
        """Checks and converts; see the class for the arguments.

        Args:
            sizes: a :class:`ClassSizes` or an array [K]. Leading axes of sizes
                and energies make a batch; they must broadcast.
            weight_energy: E_W, a number or an array.
            feature_energy: E_H, a number or an array.
            loss: cross-entropy by default.
            dimension: p; K by default.
            samples: a count of free features for every class, or K counts.
            feature_power: exponent q > 1 of the norm of the features; Euclidean by default.
            class_weights: ω > 0 [..., K] or :class:`nc_jax.ClassNumbers`, not normalised:
                the objective becomes Σ_k ω_k (n_k/N) L (:class:`nc_jax.ClassWeights`).

        Raises:
            TypeError, ValueError: naming the invalid argument.
        """
        raw = sizes.group_sizes if isinstance(sizes, ClassSizes) else sizes
        sizes, loss = sizes_and_loss(sizes, loss, class_weights)
        dtype = common_dtype(raw, weight_energy, feature_energy, feature_power)
        energies = {}
        for name, value in (("weight_energy", weight_energy), ("feature_energy", feature_energy)):
            energies[name] = float_array(name, value, dtype)
            require_positive(name, energies[name], lanes=energies[name].ndim > 0)
        if feature_power is not None:
            energies["feature_power"] = float_array("feature_power", feature_power, dtype)
            above = energies["feature_power"] - 1
            require_positive("feature_power - 1", above, lanes=above.ndim > 0)
        require_broadcast(sizes, energies, batch_shapes(loss))
        energies.setdefault("feature_power", None)
        num_classes = sizes.num_classes
        dimension = num_classes if dimension is None else dimension
        dimension = require_count("dimension", dimension, 1)
        sizes = sizes.astype(dtype)
        samples = sample_counts(samples, num_classes)
        set_fields(self, sizes=sizes, loss=loss, dimension=dimension, samples=samples, **energies)

    @property
    def budget(self) -> Array:
        """E = √(E_W E_H), [...]."""
        return jnp.sqrt(self.weight_energy) * jnp.sqrt(self.feature_energy)

    @property
    def nuclear_radius(self) -> Array:
        """τ = K E, the bound on the nuclear norm of the logits, [...]."""
        return math.sqrt(self.num_classes * self.num_outputs) * self.budget

    @property
    def obstacle(self) -> str | None:
        """The setting for which the model has no convex form, if it is used."""
        return None if self.feature_power is None else "feature_power"

    @property
    def row_scale(self) -> Array:
        """[..., G] ones: the features of all classes have the same weight."""
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
        valid = sizes & is_positive(self.weight_energy) & is_positive(self.feature_energy)
        return valid if self.feature_power is None else valid & is_positive(self.feature_power - 1)

    def objective(self, logits: Array) -> Array:
        """Σ_k (n_k/N) L(Z_k, k) of a single model, for logits [K, K]."""
        losses = self.loss(logits, jnp.arange(self.num_classes))
        return jnp.sum(self.sizes.class_weights * losses)

    def convex_form(self, sizes: ClassSizes) -> "LayerPeeled | None":
        """The model over groups of classes, in as many dimensions as it needs."""
        if self.feature_power is not None:
            return None
        return LayerPeeled(sizes, self.weight_energy, self.feature_energy, self.loss)

    @property
    def shapes(self) -> LayerShapes:
        """Features [S, p] and, unless the loss acts on features, classifiers [K, p]."""
        weights = (self.num_outputs, self.dimension)
        features = (sum(self.samples), self.dimension)
        return LayerShapes(features, () if acts_on(self.loss) == "features" else (weights,))

    @property
    def constraint(self) -> EnergyBalls:
        """Both budgets of a single model, as radii."""
        power, size = self.feature_power, self.num_classes * self.feature_energy
        loss: Any = self.loss
        features = acts_on(loss) == "features"
        return EnergyBalls(
            jnp.sqrt(size) if power is None else size ** (1 / power),
            jnp.sqrt(self.num_outputs * self.weight_energy)[None],
            joint=True,
            reach=self.feature_energy / loss.temperature if features else self.budget,
            feature_power=power,
        )

    def cost(self, layers: TopLayers) -> Array:
        """(1/N) Σ L over all samples; the constraints hold by construction."""
        return mean_loss(self, layers)
