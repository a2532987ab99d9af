"""Models whose numbers of classes are traced too: one compiled program for every K.

The solvers over group numbers use the number of classes in each group in arithmetic
only; nothing but the number of groups decides the shape of their program. Where K and
K_A change from one solve to the next, as under a slider, these models spare a
compilation of seconds. They have no list of classes: read the group numbers of their
solutions, or put the model with its classes in their place
(``dataclasses.replace(solution, model=...)``).
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import Loss
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures


@immutable(axes={"counts": 1, "group_sizes": 1})
class CountedSizes:
    """G groups of equally large classes; takes the place of :class:`nc_jax.ClassSizes`.

    Attributes:
        counts: [G] how many classes each group holds; traced, integers of at least 1.
        group_sizes: [G] samples in each class of a group; traced, positive.
    """

    counts: Array
    group_sizes: Array

    merged = False

    def __init__(self, counts: Any, group_sizes: Any):
        set_fields(self, counts=counts, group_sizes=group_sizes)

    @property
    def num_groups(self) -> int:
        """G, static."""
        return self.group_sizes.shape[-1]

    @property
    def num_classes(self) -> Array:
        """K, traced, in the type of the sizes."""
        return jnp.sum(self.counts.astype(self.group_sizes.dtype))

    @property
    def representatives(self) -> Array:
        """[G] a class of each group; no loss of these models depends on which."""
        return jnp.arange(self.num_groups)

    @property
    def group_weights(self) -> Array:
        """[G] share of all samples that a whole group holds; sums to 1."""
        relative = self.group_sizes / jnp.max(self.group_sizes)
        totals = relative * self.counts.astype(relative.dtype)
        return totals / jnp.sum(totals)


@immutable(static=("dimension", "samples"))
class CountedLayerPeeled(LayerPeeled):
    """One :class:`nc_jax.LayerPeeled` model of given counts; vmap it for many.

    Its numbers are not checked one by one: a bad one makes the status of its lane.
    """

    def __init__(self, sizes: CountedSizes, energy: Any, loss: Loss):
        """A model of equal energies.

        Args:
            sizes: of a single model.
            energy: E_W = E_H = E, a traced number.
            loss: one that is convex in the logits and has no numbers of single classes.
        """
        energies = {"weight_energy": energy, "feature_energy": energy}
        set_fields(
            self, sizes=sizes, loss=loss, dimension=0, samples=(), feature_power=None, **energies
        )

    @property
    def full_dimension(self) -> int:
        """K is not known when the program is compiled: features have room enough."""
        return self.dimension

    @property
    def nuclear_radius(self) -> Array:
        """τ = K E."""
        return self.sizes.num_classes * self.budget


@immutable(static=("dimension", "samples", "nonnegative"))
class CountedUnconstrained(UnconstrainedFeatures):
    """One :class:`nc_jax.UnconstrainedFeatures` model of given counts; vmap it for many.

    Its numbers are not checked one by one: a bad one makes the status of its lane.
    """

    def __init__(self, sizes: CountedSizes, penalty: Any, loss: Loss, lambda_b: Any = None):
        """A model of equal weight decays.

        Args:
            sizes: of a single model.
            penalty: λ_W = λ_H = λ, a traced number.
            loss: one that is convex in the logits and has no numbers of single classes.
            lambda_b: λ_b; None for no bias.
        """
        penalties = {"lambda_w": penalty, "lambda_h": penalty, "lambda_b": lambda_b}
        shape = {"dimension": 0, "samples": (), "nonnegative": False}
        set_fields(self, sizes=sizes, loss=loss, **penalties, **shape)

    @property
    def full_dimension(self) -> int:
        """K is not known when the program is compiled: features have room enough."""
        return self.dimension
