"""Models whose numbers of classes are traced too: one compiled program for every K.

The solvers over group numbers use the number of classes in each group in arithmetic
only; nothing but the number of groups, and which of them have several classes, decides the shape
of their program. So a model is solved with its counts traced (``counted``), and another
number of classes compiles nothing. These models have no list of classes: read the group numbers
of their solutions, or put the model with its classes in their place
(``dataclasses.replace(solution, model=...)``).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import is_concrete, taken
from nc_jax.classes import ClassNumbers
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import Loss
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures


@immutable(static=("several",), axes={"counts": 1, "group_sizes": 1})
class CountedSizes:
    """G groups of equally large classes; takes the place of :class:`nc_jax.ClassSizes`.

    Attributes:
        counts: [G] how many classes each group holds; traced, integers of at least 1.
        group_sizes: [G] samples in each class of a group; traced, positive.
        several: indices of the groups that may hold several classes, static; all others hold one.
    """

    counts: Array
    group_sizes: Array
    several: tuple[int, ...]

    merged = False

    def __init__(self, counts: Any, group_sizes: Any, several: tuple[int, ...] | None = None):
        """Nothing is checked.

        Args:
            counts: [G].
            group_sizes: [G].
            several: all groups by default.
        """
        own = range(group_sizes.shape[-1]) if several is None else several
        set_fields(self, counts=counts, group_sizes=group_sizes, several=tuple(own))

    @property
    def num_groups(self) -> int:
        """G, static."""
        return self.group_sizes.shape[-1]

    @property
    def num_classes(self) -> Array:
        """K [...], traced, in the type of the sizes."""
        return jnp.sum(self.counts.astype(self.group_sizes.dtype), axis=-1)

    @property
    def representatives(self) -> Array:
        """[G] a class of each group, in the order of a loss that has one class for each."""
        return jnp.arange(self.num_groups)

    @property
    def group_weights(self) -> Array:
        """[..., G] share of all samples that a whole group holds; sums to 1."""
        relative = self.group_sizes / jnp.max(self.group_sizes, axis=-1, keepdims=True)
        totals = relative * self.counts.astype(relative.dtype)
        return totals / jnp.sum(totals, axis=-1, keepdims=True)


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
            loss: one that is convex in the logits, with numbers of one class of each group if
                its numbers depend on the class.
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
            loss: as in :class:`CountedLayerPeeled`.
            lambda_b: λ_b; None for no bias.
        """
        penalties = {"lambda_w": penalty, "lambda_h": penalty, "lambda_b": lambda_b}
        shape = {"dimension": 0, "samples": (), "nonnegative": False}
        set_fields(self, sizes=sizes, loss=loss, **penalties, **shape)

    @property
    def full_dimension(self) -> int:
        """K is not known when the program is compiled: features have room enough."""
        return self.dimension


_COUNTED = {LayerPeeled: CountedLayerPeeled, UnconstrainedFeatures: CountedUnconstrained}


def counted(model: Any) -> Any:
    """The same convex program with traced counts, or the model itself if there is none.

    There is one for the single-layer models of this package, unless their sizes are merged or
    their numbers are traced: then their program is a part of another one.

    Args:
        model: a model that is convex in the logits, or a batch with one leading axis of all arrays.
    """
    concrete = all(is_concrete(leaf) for leaf in jax.tree.leaves(model))
    if type(model) not in _COUNTED or not concrete or model.sizes.merged:
        return model
    sizes = model.sizes
    counts = np.broadcast_to(sizes.counts, sizes.group_sizes.shape)
    return _with_sizes(
        model, CountedSizes(counts, sizes.group_sizes, tuple(sizes.several.tolist()))
    )


def with_counts(model: LayerPeeled | UnconstrainedFeatures, counts: Array) -> Any:
    """The convex program of a model with other numbers of classes, which may be traced.

    Args:
        model: a single one, or a batch with one leading axis of all arrays.
        counts: [..., G] integers of at least 1, with the axes of the group sizes.
    """
    return _with_sizes(model, CountedSizes(counts, model.sizes.group_sizes))


def _with_sizes(model: Any, sizes: CountedSizes) -> Any:
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    loss = _of_groups(model.loss, model.sizes.representatives)
    fields |= {"sizes": sizes, "loss": loss, "dimension": 0, "samples": ()}
    made = object.__new__(_COUNTED[type(model)])
    set_fields(made, **fields)
    return made


def _of_groups(loss: Loss, representatives: np.ndarray) -> Loss:
    """The loss with the numbers of one class of each group only."""
    groups = tuple(range(len(representatives)))

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, ClassNumbers):
            return leaf
        chosen = np.asarray(leaf.membership)[representatives]
        return ClassNumbers(taken(leaf.group_values, chosen), groups)

    return jax.tree.map(own, loss, is_leaf=lambda leaf: isinstance(leaf, ClassNumbers))
