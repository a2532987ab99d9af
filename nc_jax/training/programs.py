"""The compiled programs of training: fresh weights, an epoch of stacked runs, and outputs.

None depends on a trainer or holds its images: trainers of equal networks and shapes share them,
and a trainer is freed after use.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from nc_jax.networks import build_network
from nc_jax.training.images import Images
from nc_jax.training.recipe import Recipe
from nc_jax.training.steps import Weights, sgd_step
from nc_jax.xla import fast_options


class Structure(NamedTuple):
    """A network without its weights.

    Attributes:
        name: a name in :data:`nc_jax.networks.NETWORKS`.
        shape: [height, width, channels] of the images.
        num_classes: K.
        width: factor on the numbers of channels.
    """

    name: str
    shape: tuple[int, ...]
    num_classes: int
    width: float

    def build(self, key: Array) -> Any:
        """The network with random weights."""
        return build_network(self.name, self.shape, self.num_classes, key, self.width)


class Epoch(NamedTuple):
    """What is fixed when an epoch is compiled, besides the shapes of its arrays.

    Attributes:
        graph: the network's structure (``nnx.split``).
        recipe: :attr:`.Recipe.compiled`.
        size: number of images in a batch.
        mesh: the devices, along the axis 'runs'.
        each: number of runs on every device.
    """

    graph: Any
    recipe: Recipe
    size: int
    mesh: Mesh
    each: int


def fresh_weights(structure: Structure, seed: Array) -> tuple[Any, Any]:
    """Random parameters and initial running statistics."""
    network = structure.build(jax.random.fold_in(jax.random.key(0), seed))
    _, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
    return params, stats


@cache
def weights_program() -> Callable[[Structure, Array], tuple[Any, Any]]:
    """:func:`fresh_weights` compiled in less time, as it runs only once for each run."""
    options = fast_options(optimised=True)
    return jax.jit(fresh_weights, static_argnums=0, compiler_options=options)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def train_epoch(
    epoch: Epoch, weights: Weights, images: Images, fixed: Any, varying: Any
) -> tuple[Weights, Array]:
    """One epoch of stacked runs.

    Args:
        epoch: static.
        weights: with a leading axis of runs, like all following arguments; consumed.
        images: shared by all runs, without that axis.
        fixed: indices [M] padded to whole batches, seed, factors [K] of the loss, and the loss.
        varying: number of images in the list, zero for a run that has ended; the epoch; and
            learning rate and weight decay [2].

    Returns:
        The new weights and the mean losses.
    """

    def alone(weights: Weights, images: Images, fixed: Any, varying: Any) -> Any:
        own = jax.tree.map(lambda leaf: leaf[0], (weights, fixed, varying))
        done = _one_run(epoch, own[0], images, *own[1:])
        return jax.tree.map(lambda leaf: leaf[None], done)

    run: Callable[..., Any] = partial(_one_run, epoch)
    # Even for a single run, vmap would turn convolutions into grouped ones.
    stacked = alone if epoch.each == 1 else jax.vmap(run, in_axes=(0, None, 0, 0))
    if epoch.mesh.size > 1:
        specs = (P("runs"), P(), P("runs"), P("runs"))
        stacked = jax.shard_map(
            stacked, mesh=epoch.mesh, in_specs=specs, out_specs=P("runs"), check_vma=False
        )
    return stacked(weights, images, fixed, varying)


def _one_run(
    epoch: Epoch, weights: Weights, images: Images, fixed: Any, varying: Any
) -> tuple[Weights, Array]:
    step, size = sgd_step(epoch.graph, epoch.recipe), epoch.size
    (indices, seed, emphasis, loss_of), (count, turn, numbers) = fixed, varying
    length = len(indices)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), turn)
    places = jnp.arange(length, dtype=jnp.int32)
    scores = jax.random.uniform(key, (length,), jnp.float32)
    # Padding at the end of the list stays at the end.
    order = indices[jnp.argsort(jnp.where(places < count, scores, 2.0))]
    steps = -(-count // size)

    def body(number: Array, carry: tuple[Weights, Array]) -> tuple[Weights, Array]:
        weights, total = carry
        first, last = number * size, jnp.minimum((number + 1) * size, count)
        if epoch.recipe.even_batches:
            least, larger = count // steps, count % steps
            first = number * least + jnp.minimum(number, larger)
            last = first + least + (number < larger).astype(jnp.int32)
        # An even batch can reach beyond the end, where slicing would shift it.
        taken = jnp.minimum(first + jnp.arange(size, dtype=jnp.int32), length - 1)
        own = order[taken]
        inside = (first + jnp.arange(size, dtype=jnp.int32) < last).astype(jnp.float32)
        x, labels = images.batch(own)
        shares = inside / jnp.sum(inside)
        factors = emphasis[labels]
        *weights, loss = step(weights, x, labels, shares, numbers[0], numbers[1], factors, loss_of)
        return tuple(weights), total + loss * jnp.sum(inside)

    start = (weights, jnp.zeros((), jnp.float32))
    weights, total = jax.lax.fori_loop(0, steps, body, start)
    return weights, total / count.astype(jnp.float32)


@partial(jax.jit, static_argnums=(0, 1, 2))
def layer_outputs(
    graph: Any,
    precision: str,
    names: tuple[str, ...],
    weights: tuple[Any, Any],
    images: Images,
    indices: Array,
) -> tuple[Array, list[Array], Array]:
    """Logits [M, K], features [M, p_l] of the named layers, and labels [M], in float32.

    Args:
        graph: the network's structure.
        precision: of the computations.
        names: layers.
        weights: parameters and running statistics.
        images: the images that the indices refer to.
        indices: [M].
    """
    x, labels = images.batch(indices)
    network = nnx.merge(graph, *weights)
    logits, features = network(x.astype(precision))
    chosen = [features[name].astype(jnp.float32).reshape(len(indices), -1) for name in names]
    return logits.astype(jnp.float32), chosen, labels
