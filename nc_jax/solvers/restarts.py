"""All restarts of all models of a batch with common data, in one queue."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.losses import own_axes
from nc_jax.solvers.quasi_newton import Minima, Settings, minimise_lanes

# Fields that all models of a batch share.
SHARED = ("data", "layer_scales")


class Lanes(NamedTuple):
    """A batch of models, split into its lanes.

    Attributes:
        numbers: the leaves that differ, each [L].
        rebuild: from one lane's numbers to its model; the data are not copied.
        shape: the batch axes, with product L.
    """

    numbers: list[Array]
    rebuild: Callable[[list[Array]], Any]
    shape: tuple[int, ...]


def lanes_of(model: Any) -> Lanes:
    """Lanes of a model, in the order of its flattened batch axes."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(model)
    own = [path[0].name not in SHARED for path, _ in leaves]
    shape = model.batch_shape

    def flat(path: tuple[Any, ...], leaf: Array) -> Array:
        trailing = leaf.shape[leaf.ndim - own_axes(path) :]
        return jnp.broadcast_to(leaf, shape + trailing).reshape((-1, *trailing))

    numbers = [flat(*leaf) for leaf, differs in zip(leaves, own, strict=True) if differs]

    def rebuild(lane: list[Array]) -> Any:
        given = iter(lane)
        values = [
            next(given) if differs else leaf for (_, leaf), differs in zip(leaves, own, strict=True)
        ]
        return jax.tree_util.tree_unflatten(structure, values)

    return Lanes(numbers, rebuild, shape)


def minimise_restarts(
    lanes: Lanes,
    objective: Callable[[Any, Array], Array],
    start: Callable[[Any, Array], Array],
    key: Array,
    restarts: int,
    settings: Settings,
) -> Minima:
    """Minimises every lane from ``restarts`` starts; leaves have leading axes [L, restarts].

    Args:
        lanes: the models.
        objective: of a single model and a point [d].
        start: a point [d] of a single model and a key.
        key: one key, split over lanes and restarts, or one for each lane [L].
        restarts: number of starts of each lane.
        settings: see :class:`Settings`.
    """
    count = lanes.numbers[0].shape[0]
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim:
        keys = jax.vmap(lambda own: jax.random.split(own, restarts))(key).reshape(-1)
    else:
        keys = jax.random.split(key, count * restarts)
    repeated = [jnp.repeat(leaf, restarts, axis=0) for leaf in lanes.numbers]
    minima = minimise_lanes(
        lambda numbers, point: objective(lanes.rebuild(numbers), point),
        lambda numbers, key: start(lanes.rebuild(numbers), key),
        repeated,
        keys,
        settings,
    )
    return jax.tree.map(lambda leaf: leaf.reshape(count, restarts, *leaf.shape[1:]), minima)


def best_of(restarts: Minima) -> Minima:
    """The restart of one lane with the lowest value; NaN is never the lowest."""
    values = jnp.where(jnp.isfinite(restarts.value), restarts.value, jnp.inf)
    return jax.tree.map(lambda leaf: leaf[jnp.argmin(values)], restarts)
