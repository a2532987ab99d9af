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

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.geometry import ClassSizes, class_sizes
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import CrossEntropy, Loss


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
        loss = CrossEntropy() if loss is None else loss
        if not callable(loss) or not hasattr(loss, "shift_invariant"):
            raise TypeError(f"loss must be an nc_jax loss such as CrossEntropy(), got {loss!r}")
        raw = sizes.group_sizes if isinstance(sizes, ClassSizes) else sizes
        sizes = class_sizes(sizes)
        dtype = common_dtype(raw, weight_energy, feature_energy)
        energies = {}
        for name, value in (("weight_energy", weight_energy), ("feature_energy", feature_energy)):
            energies[name] = float_array(name, value, dtype)
            require_positive(name, energies[name], lanes=energies[name].ndim > 0)
        shapes = {
            "sizes": sizes.group_sizes.shape[:-1],
            **{name: value.shape for name, value in energies.items()},
        }
        try:
            jnp.broadcast_shapes(*shapes.values())
        except ValueError:
            raise ValueError(f"leading (batch) axes must broadcast, got {shapes}") from None
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
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model."""
        return jnp.broadcast_shapes(
            self.sizes.group_sizes.shape[:-1],
            self.weight_energy.shape,
            self.feature_energy.shape,
        )

    def objective(self, logits: Array) -> Array:
        """Σ_k (n_k/N) L(Z_k, k) of a single model, for logits [K, K]."""
        rows = jax.vmap(self.loss)(logits, jnp.arange(self.num_classes))
        return jnp.sum(self.class_weights * rows)

    @property
    def class_weights(self) -> Array:
        """π_k = n_k/N [..., K]; sums to 1."""
        sizes = self.sizes
        counts = jnp.asarray(sizes.counts, sizes.group_sizes.dtype)
        return (sizes.group_weights / counts)[..., jnp.asarray(sizes.membership)]
