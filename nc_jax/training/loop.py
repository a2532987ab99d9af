"""Complete epochs of one or more runs on the devices, and their checkpoints.

An epoch is one compiled loop over batches: the list of a run's images is put in an
order that follows from its seed and the epoch, and nothing is copied to the host before its
end. The number of images is traced, so that runs on other subsets share the program. Runs that
are trained together have their weights in one stack, distributed over the devices; runs on the
same device are vmapped. All runs share the images. The programs are those of
:mod:`nc_jax.training.programs`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from nc_jax.losses import Loss, at_classes
from nc_jax.networks import NETWORKS
from nc_jax.training.checkpoints import load_checkpoint, save_checkpoint
from nc_jax.training.images import Images
from nc_jax.training.programs import (
    Epoch,
    Structure,
    fresh_weights,
    layer_outputs,
    train_epoch,
    weights_program,
)
from nc_jax.training.recipe import Recipe
from nc_jax.training.steps import Weights

# Number of images evaluated at a time outside of training.
TOGETHER = 500


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        indices: [M] of the images of an epoch, repeated if they are oversampled.
        recipe: how the network is trained.
        seed: seed of the weights and of the orders of images.
        class_weights: [K] factors of the loss, or None for ones.
    """

    indices: np.ndarray
    recipe: Recipe
    seed: int = 0
    class_weights: np.ndarray | None = None


class Stack(NamedTuple):
    """The state of runs that are trained together.

    Attributes:
        weights: weights of all runs, with a leading axis [G] of runs.
        ended: [G] the epoch in which a run broke down; 0 if it did not.
        losses: [G] mean loss of each run's last epoch.
    """

    weights: Weights
    ended: np.ndarray
    losses: np.ndarray


class Progress(NamedTuple):
    """The state of a run after an epoch.

    Attributes:
        place: position of the run among those trained together.
        epoch: number of completed epochs.
        loss: mean over the epoch's images; not finite if the run broke down.
        fetch: returns the network's weights; valid until the next epoch starts.
    """

    place: int
    epoch: int
    loss: float
    fetch: Callable[[], Weights]


class Trainer:
    """A network, its training images, and what runs that are trained together share."""

    def __init__(
        self,
        network: str,
        images: Images,
        num_classes: int,
        recipe: Recipe,
        longest: int,
        width: float = 1.0,
        together: int = 1,
    ):
        """Nothing is compiled until the first epoch is trained.

        Args:
            network: a name in :data:`nc_jax.networks.NETWORKS`.
            images: the images that indices refer to.
            num_classes: K.
            recipe: the recipe of all runs, which may differ in learning rate, weight decay,
                milestones and the numbers in the loss.
            longest: M, the largest number of images in an epoch.
            width: width factor of the network.
            together: G, the number of runs trained at the same time: at most the number of
                devices, or a multiple of it.

        Raises:
            ValueError: naming the invalid argument.
        """
        count = min(together, len(jax.local_devices()))
        if count < 1 or together % count:
            raise ValueError(f"together must be a multiple of {count} devices, got {together}")
        self.images, self.num_classes, self.recipe = images, num_classes, recipe
        self.features = NETWORKS[network].features if network in NETWORKS else ""
        shape = tuple(images.pixels.shape[1:])
        self.structure = Structure(network, shape, num_classes, width)
        abstract = nnx.eval_shape(self.structure.build, jax.random.key(0))
        self.graph, *_ = nnx.split(abstract, nnx.Param, nnx.BatchStat)
        # The batch size is at most the number of images.
        size = min(recipe.batch_size, longest)
        self.length = -(-longest // size) * size
        self.together = together
        mesh = Mesh(np.array(jax.local_devices()[:count]), ("runs",))
        self._spread, copied = NamedSharding(mesh, P("runs")), NamedSharding(mesh, P())
        self._images = jax.device_put(images, copied) if count > 1 else images
        self._epoch = Epoch(self.graph, recipe.compiled, size, mesh, together // count)

    def start(self, runs: Sequence[Run]) -> Stack:
        """Fresh weights of at most ``together`` runs."""
        seeds = [jnp.asarray(seed, jnp.uint32) for seed in self._filled([r.seed for r in runs])]
        made = (weights_program()(self.structure, seed) for seed in seeds)
        params, stats = zip(*made, strict=True)
        params, stats = (jax.tree.map(lambda *own: jnp.stack(own), *all) for all in (params, stats))
        weights = self._on_devices((params, stats, jax.tree.map(jnp.zeros_like, params)))
        return Stack(weights, *self._nothing())

    def shapes(self) -> Stack:
        """The shapes and dtypes of a stack's arrays."""
        params, stats = jax.eval_shape(partial(fresh_weights, self.structure), jnp.uint32(0))
        weights = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.together, *leaf.shape), leaf.dtype),
            (params, stats, params),
        )
        return Stack(weights, *self._nothing())

    def continued(self, weights: Sequence[Weights]) -> Stack:
        """A stack that starts from given weights [at most ``together``], with zero velocity."""
        moved = [(params, stats, jax.tree.map(jnp.zeros_like, v)) for params, stats, v in weights]
        stacked = jax.tree.map(lambda *own: jnp.stack(own), *self._filled(moved))
        return Stack(self._on_devices(stacked), *self._nothing())

    def restored(self, saved: Stack) -> Stack:
        """A stack from saved arrays."""
        return saved._replace(weights=self._on_devices(saved.weights))

    def weights_of(self, stack: Stack, place: int) -> Weights:
        """The weights of a single run, on the first device."""
        return jax.tree.map(lambda leaf: jnp.asarray(np.array(np.asarray(leaf)[place])), stack[0])

    def epochs(
        self, runs: Sequence[Run], stack: Stack, first: int = 0
    ) -> Iterator[tuple[int, Stack]]:
        """Trains epoch after epoch, up to the recipes' last one or until every run broke down.

        Args:
            runs: at most ``together`` runs with the same number of epochs; their learning rate,
                weight decay, milestones and numbers of the loss are used.
            stack: consumed; it must not be used afterwards.
            first: number of epochs that were completed before.

        Yields:
            The number of completed epochs and the stack.

        Raises:
            ValueError: more images than ``longest``, or none; runs with
                different numbers of epochs or another kind of loss, or too many runs.
        """
        lengths = {run.recipe.epochs for run in runs}
        if not 1 <= len(runs) <= self.together or len(lengths) > 1:
            raise ValueError(f"runs must be 1 to {self.together} of the same epochs")
        order = np.zeros((self.together, self.length), np.int32)
        counts = np.zeros(self.together, np.int32)
        emphasis = np.ones((self.together, self.num_classes), np.float32)
        for place, run in enumerate(runs):
            counts[place] = len(run.indices)
            if not 1 <= counts[place] <= self.length:
                raise ValueError(f"indices must be 1 to {self.length}, got {counts[place]}")
            order[place, : counts[place]] = run.indices
            emphasis[place] = 1 if run.class_weights is None else run.class_weights
        seeds = np.array(self._filled([run.seed for run in runs]), np.uint32)
        decays = self._filled([run.recipe.weight_decay for run in runs])
        each = self._filled([self._loss_of(run.recipe) for run in runs])
        loss_of = jax.tree.map(lambda *own: np.stack(own).astype(np.float32), *each)
        fixed = self._on_devices((order, seeds, emphasis, loss_of))
        for epoch in range(first, lengths.pop()):
            rates = self._filled([run.recipe.rate_at(epoch) for run in runs])
            numbers = np.array([rates, decays], np.float32).T
            alive = np.where(stack.ended > 0, 0, counts)
            turns = np.full(self.together, epoch, np.uint32)
            varying = self._on_devices((alive, turns, numbers))
            weights, losses = train_epoch(self._epoch, stack.weights, self._images, fixed, varying)
            losses = np.where(alive > 0, np.asarray(losses), stack.losses)
            broken = np.where(np.isfinite(losses), 0, epoch + 1).astype(np.int32)
            stack = Stack(weights, np.where(stack.ended > 0, stack.ended, broken), losses)
            yield epoch + 1, stack
            if (stack.ended[: len(runs)] > 0).all():
                return

    def _nothing(self) -> tuple[np.ndarray, np.ndarray]:
        """Initial values: no run has broken down, no loss is known."""
        return np.zeros(self.together, np.int32), np.full(self.together, np.nan, np.float32)

    def _filled(self, values: list[Any]) -> list[Any]:
        """The values for all ``together`` runs, with the last value repeated."""
        return [*values, *[values[-1]] * (self.together - len(values))]

    def _loss_of(self, recipe: Recipe) -> Loss:
        """The loss with a number for each class, so that runs with any equal classes stack."""
        loss, kind = (
            at_classes(own.loss, np.arange(self.num_classes)) for own in (recipe, self.recipe)
        )
        if jax.tree.structure(loss) != jax.tree.structure(kind):
            raise ValueError(f"runs must have a loss like {kind}, got {loss}")
        return loss

    def _on_devices(self, tree: Any) -> Any:
        if self._spread.num_devices == 1:
            return jax.tree.map(jnp.asarray, tree)
        return jax.device_put(tree, self._spread)

    def outputs(
        self, weights: Weights, images: Images, indices: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits [M, K], last features [M, p] and labels [M], with the running statistics."""
        logits, last, labels = self.layers(weights, images, indices, (self.features,))
        return logits, last[0], labels

    def layers(
        self, weights: Weights, images: Images, indices: Any, names: tuple[str, ...]
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """The same, with the features [M, p_l] of any layers by name."""
        indices = np.asarray(indices, np.int32)
        parts = []
        for first in range(0, len(indices), TOGETHER):
            own = indices[first : first + TOGETHER]
            # The last part is padded, so that all parts share a program.
            filled = np.resize(own, TOGETHER)
            made = layer_outputs(
                self.graph, self.recipe.precision, names, weights[:2], images, filled
            )
            outputs = jax.tree.leaves(made)
            parts.append([np.asarray(array)[: len(own)] for array in outputs])
        logits, *features, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        return logits, features, labels

    def last_stage(self) -> tuple[str, ...]:
        """Names of the layers, in order, whose output has the shape of the last block.

        Pooled features for the classifier are not included.
        """
        shapes = {}

        def look() -> Array:
            # Stored here, because the output of a transformation is sorted by name.
            network = self.structure.build(jax.random.key(0))
            logits, features = network(jnp.zeros((1, *self.images.pixels.shape[1:])))
            shapes.update({name: leaf.shape for name, leaf in features.items()})
            return logits

        jax.eval_shape(look)
        shapes.pop("pooled", None)
        return tuple(name for name in shapes if shapes[name] == [*shapes.values()][-1])

    def classifier(self, weights: Weights) -> tuple[Array, Array | None]:
        """W [K, p] and b [K] of the last layer."""
        head = nnx.merge(self.graph, *weights[:2]).classifier
        return head.kernel[...].T, None if head.bias is None else head.bias[...]


def train(
    trainer: Trainer,
    runs: Sequence[Run],
    folder: Path | None = None,
    every: int = 10,
    watch: Callable[[Progress], None] | None = None,
    weights: Sequence[Weights] | None = None,
) -> list[Progress]:
    """Trains runs together, starting from their newest checkpoint if there is one.

    The result is bitwise the same however often the training was interrupted.
    If a run breaks down, only that run stops.

    Args:
        trainer: the network and images that the runs share.
        runs: the runs to train, at most ``trainer.together``.
        folder: folder of their checkpoints; by default there are none.
        every: number of epochs between checkpoints.
        watch: called after each epoch for every run that had not broken down before.
        weights: initial weights of every run, for instance from another run; the velocity is
            set to zero. By default new random weights.

    Returns:
        The end of every run; for a run that broke down, the epoch in which it did.

    Raises:
        OSError: a checkpoint cannot be written; earlier checkpoints are intact.
    """
    saved = load_checkpoint(folder, trainer.shapes()) if folder is not None else None
    done = 0 if saved is None else saved.epoch
    stack = trainer.start(runs) if saved is None else trainer.restored(saved.tree)
    if saved is None and weights is not None:
        stack = trainer.continued(weights)
    for epoch, after in trainer.epochs(runs, stack, done):
        done, stack = epoch, after
        for state in _states(trainer, len(runs), done, stack):
            if watch is not None and state.epoch == done:
                watch(state)
        last = done == runs[0].recipe.epochs
        if folder is not None and (last or done % every == 0):
            save_checkpoint(folder, done, stack)
    return _states(trainer, len(runs), done, stack)


def _states(trainer: Trainer, count: int, done: int, stack: Stack) -> list[Progress]:
    return [
        Progress(
            place,
            int(stack.ended[place]) or done,
            float(stack.losses[place]),
            partial(trainer.weights_of, stack, place),
        )
        for place in range(count)
    ]
