"""The unconstrained feature model: free features under weight decay.

Minimise over classifiers w_k, features h_{k,i} and (optionally) a bias b

    (1/N) Σ_k Σ_i L(W h_{k,i} + b, k) + (λ_W/2)‖W‖² + (λ_H/2) Σ_{k,i} ‖h_{k,i}‖² (+ (λ_b/2)‖b‖²)

(Zhu et al., NeurIPS 2021; Hong and Ling, arXiv 2309.09725, who write λ‖·‖² for our
(λ/2)‖·‖²). For a loss convex in the logits and p ≥ K − 1 dimensions (p ≥ K for a loss that is not
shift-invariant) features of one class coincide, and the problem is the convex program

    minimise Σ_k π_k L(Z_k + b, k) + λ_Z ‖D^½ Z‖_* (+ (λ_b/2)‖b‖²),

λ_Z = √(λ_W λ_H), D = diag(n_k). Class sizes are absolute here: the penalty of a class is the
sum over its n_k features, whereas the Layer-Peeled Model averages over them. With
fewer dimensions the rank of Z is constrained and the convex optimum is a lower bound.

The output of a ReLU is nonnegative. With h ≥ 0 the nuclear norm is replaced by
the gauge Ω of the products of a nonnegative and a free vector, which is also convex:

    Ω(X) = min Σ_j ‖a_j‖ ‖b_j‖ over X = Σ_j a_j b_jᵀ, a_j ≥ 0;  ‖X‖_* ≤ Ω(X) ≤ Σ_k ‖X_k‖.

The upper bound is attained by an orthogonal frame of features, with one direction for each
class (Dang et al., arXiv 2401.02058, find it optimal for bias-free cross-entropy).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.batches import batch_shapes
from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.geometry import ClassSizes, require_broadcast
from nc_jax.immutable import derived, immutable, set_fields
from nc_jax.losses import (
    Loss,
    acts_on,
    class_numbers_of,
)
from nc_jax.surrogates.arguments import sizes_and_loss
from nc_jax.surrogates.grouped import group_loss
from nc_jax.surrogates.kinds import Decayed, SingleLayer
from nc_jax.surrogates.layers import (
    LayerShapes,
    sample_counts,
)


@immutable(static=("dimension", "samples", "nonnegative"))
class UnconstrainedFeatures(Decayed, SingleLayer):
    """An unconstrained feature model, or a batch of them.

    Attributes:
        sizes: absolute class sizes n_k; G groups over K classes.
        lambda_w: λ_W > 0 [...], weight decay of the classifiers.
        lambda_h: λ_H > 0 [...], weight decay of every sample's features.
        lambda_b: λ_b ≥ 0 [...], weight decay of the bias; None for no bias.
        loss: a loss of logits and label, or :class:`SupervisedContrastive`, for which
            there are no classifiers and no λ_W.
        dimension: p ≥ 1, static. Below :attr:`full_dimension`, which is K − 1 (K for a loss
            that is not shift-invariant), the rank of the logits is constrained, and the
            program is not convex.
        samples: s_k, the number of free features of each class, static.
        nonnegative: whether features are constrained to be nonnegative (ReLU), static.
    """

    sizes: ClassSizes
    lambda_w: Array
    lambda_h: Array
    lambda_b: Array | None
    loss: Loss
    dimension: int
    samples: tuple[int, ...]
    nonnegative: bool

    row_power = 0.5

    def __init__(
        self,
        sizes: Any,
        lambda_w: Any,
        lambda_h: Any,
        lambda_b: Any = None,
        loss: Loss | None = None,
        dimension: int | None = None,
        samples: Any = 1,
        nonnegative: bool = False,
        class_weights: Any = None,
    ):
        """Checks and converts; see the class for the arguments.

        Args:
            sizes: a :class:`ClassSizes` or an array [K]. Leading axes of sizes
                and penalties make a batch; they must broadcast.
            lambda_w: λ_W, a number or an array.
            lambda_h: λ_H, a number or an array.
            lambda_b: λ_b, a number or an array; 0 for an unregularised bias.
            loss: cross-entropy by default.
            dimension: p; K by default, 2K for nonnegative features.
            samples: a count of free features for every class, or K counts.
            nonnegative: whether features are constrained to be nonnegative.
            class_weights: ω > 0 [..., K] or :class:`nc_jax.ClassNumbers`, not normalised:
                the mean loss becomes Σ_k ω_k (n_k/N) L (:class:`nc_jax.ClassWeights`).

        Raises:
            TypeError, ValueError: naming the invalid argument.
        """
        raw = sizes.group_sizes if isinstance(sizes, ClassSizes) else sizes
        sizes, loss = sizes_and_loss(sizes, loss, class_weights)
        dtype = common_dtype(raw, lambda_w, lambda_h, lambda_b)
        numbers = {}
        for name, value in (("lambda_w", lambda_w), ("lambda_h", lambda_h)):
            numbers[name] = float_array(name, value, dtype)
            require_positive(name, numbers[name], lanes=numbers[name].ndim > 0)
        if lambda_b is not None:
            numbers["lambda_b"] = float_array("lambda_b", lambda_b, dtype)
            require_positive(
                "lambda_b", numbers["lambda_b"], lanes=numbers["lambda_b"].ndim > 0, or_zero=True
            )
        require_broadcast(sizes, numbers, batch_shapes(loss))
        if nonnegative and acts_on(loss) == "features":
            raise ValueError("nonnegative must be False for a loss of features")
        # Twice as many dimensions, so that classes can leave a direction they share.
        usual = sizes.num_classes * (2 if nonnegative else 1)
        dimension = usual if dimension is None else dimension
        dimension = require_count("dimension", dimension, 1)
        sizes = sizes.astype(dtype)
        numbers.setdefault("lambda_b", None)
        samples = sample_counts(samples, sizes.num_classes)
        numbers |= {"samples": samples, "nonnegative": bool(nonnegative)}
        set_fields(self, sizes=sizes, loss=loss, dimension=dimension, **numbers)

    @property
    def obstacle(self) -> str | None:
        """The setting for which no solver over group numbers exists, if it is used."""
        return "nonnegative" if self.nonnegative else None

    @property
    def row_scale(self) -> Array:
        """[..., G] 1/√n_k: the factor from rows of X = D^½ Z to rows of Z."""
        return 1 / jnp.sqrt(self.sizes.group_sizes)

    @property
    def penalty(self) -> Array:
        """λ_Z = √(λ_W λ_H), [...]."""
        return jnp.sqrt(self.lambda_w) * jnp.sqrt(self.lambda_h)

    @property
    def nuclear_radius(self) -> Array:
        """[...] bound on ‖D^½ Z‖_* at the optimum: the loss at zero logits over λ_Z."""
        return self._loss_at_zero / self.penalty

    # Compiled by itself so that a solver, which needs it several times, traces it once.
    @derived
    def _loss_at_zero(self) -> Array:
        """[...] Σ_k π_k L(0, k)."""
        if acts_on(self.loss) == "targets":
            return jnp.log(jnp.asarray(self.num_outputs, self.lambda_w.dtype))
        if not class_numbers_of(self.loss):
            # At zero logits all classes have the same loss.
            others = jnp.asarray([1, self.num_classes - 1], self.lambda_w.dtype)
            return self.loss(jnp.zeros(2, self.lambda_w.dtype), 0, others)
        sizes = self.sizes
        zero = jnp.zeros(1 + sizes.num_groups, self.lambda_w.dtype)
        losses = jax.vmap(lambda group: group_loss(self, group, zero))(jnp.arange(sizes.num_groups))
        return jnp.sum(sizes.group_weights * jnp.moveaxis(losses, 0, -1), axis=-1)

    @property
    def bias_penalty(self) -> Array | None:
        """λ_b [...], or None."""
        return self.lambda_b

    @property
    def classifier_scale(self) -> Array:
        """√(λ_H/λ_W) [...], which turns (ZᵀDZ)^½ into the classifiers' Gram."""
        return jnp.sqrt(self.lambda_h / self.lambda_w)

    def objective(self, logits: Array, bias: Array | None = None) -> Array:
        """The convex form of a single model, at logits W H [K, K] and a bias [K].

        For features of any sign; with nonnegative features the cost is at least this.

        Args:
            logits: [K, K], row k holds w_j·h_k, without the bias.
            bias: [K]; zero by default.
        """
        sizes = self.sizes
        scaled = jnp.sqrt(sizes.class_sizes)[:, None] * logits
        norm = jnp.sum(jnp.linalg.svd(scaled, compute_uv=False))
        cost = self.penalty * norm
        if bias is not None:
            logits = logits + bias
            if self.lambda_b is not None:
                cost = cost + 0.5 * self.lambda_b * jnp.sum(bias**2)
        losses = self.loss(logits, jnp.arange(self.num_classes))
        return jnp.sum(sizes.class_weights * losses) + cost

    def convex_form(self, sizes: ClassSizes) -> "UnconstrainedFeatures":
        """The model over groups of classes, in as many dimensions as it needs."""
        penalties = self.lambda_w, self.lambda_h, self.lambda_b
        return UnconstrainedFeatures(sizes, *penalties, self.loss, nonnegative=self.nonnegative)

    @property
    def shapes(self) -> LayerShapes:
        """Features [S, p] and, unless the loss acts on features, classifiers [K, p]; the bias."""
        weights = (self.num_outputs, self.dimension)
        return LayerShapes(
            (sum(self.samples), self.dimension),
            () if acts_on(self.loss) == "features" else (weights,),
            () if self.lambda_b is None else (self.num_outputs,),
        )
