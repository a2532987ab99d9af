"""Which axes of an array make a batch, and which belong to a single model.

Every immutable class declares how many trailing axes its own arrays have
(:func:`nc_jax.immutable.immutable`). All other axes lead and make a batch: a ratio [8], or class
sizes [8, G], are eight models. Fields declared as shared have no batch axes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Leaf(NamedTuple):
    """An array of a model.

    Attributes:
        value: the array itself.
        own: number of its trailing axes that belong to a single model.
        shared: whether all models of a batch have it in common.
    """

    value: Array
    own: int
    shared: bool

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () if it is shared."""
        return () if self.shared else self.value.shape[: self.value.ndim - self.own]


def leaves_of(model: Any) -> list[Leaf]:
    """The arrays of a model in the order of :func:`jax.tree.leaves`."""
    return [_leaf(model, path, value) for path, value in jax.tree_util.tree_leaves_with_path(model)]


def _leaf(model: Any, path: tuple[Any, ...], value: Array) -> Leaf:
    holder, own, shared = model, 0, False
    for key in path:
        name = getattr(key, "name", None)
        if name is None:
            holder = holder[getattr(key, "idx", getattr(key, "key", None))]
            continue
        own = getattr(type(holder), "own_axes", {}).get(name, 0)
        shared = shared or name in getattr(type(holder), "shared_fields", ())
        holder = getattr(holder, name)
    return Leaf(value, own, shared)


def batch_shapes(model: Any) -> list[tuple[int, ...]]:
    """The leading axes of every array that is not shared."""
    return [leaf.batch_shape for leaf in leaves_of(model) if not leaf.shared]


def batch_shape(model: Any) -> tuple[int, ...]:
    """The common leading axes of a model; () for a single one."""
    return jnp.broadcast_shapes(*batch_shapes(model))


@jax.jit
def lane(batch: Any, place: Any) -> Any:
    """One of a batch: every array [L, ...] at a place, by one program."""
    return jax.tree.map(lambda leaf: leaf[place], batch)


class Lanes(NamedTuple):
    """A batch of models, split into its lanes.

    Attributes:
        numbers: the arrays that differ, each [L, ...].
        rebuild: from one lane's numbers, or from all of them, to the model or the batch of
            models; what is shared is not copied.
        shape: the batch axes, with product L.
    """

    numbers: list[Array]
    rebuild: Callable[[list[Array]], Any]
    shape: tuple[int, ...]


def lanes_of(model: Any) -> Lanes:
    """Lanes of a model, in the order of its flattened batch axes."""
    leaves, structure = leaves_of(model), jax.tree.structure(model)
    shape = batch_shape(model)

    def flat(leaf: Leaf) -> Array:
        own = leaf.value.shape[leaf.value.ndim - leaf.own :]
        size = math.prod(shape)
        return jnp.broadcast_to(leaf.value, shape + own).reshape((size, *own))

    numbers = [flat(leaf) for leaf in leaves if not leaf.shared]

    def rebuild(given: list[Array]) -> Any:
        values = iter(given)
        filled = [leaf.value if leaf.shared else next(values) for leaf in leaves]
        return jax.tree.unflatten(structure, filled)

    return Lanes(numbers, rebuild, shape)
