"""Whole epochs of a run on the device, its measures through training, and its checkpoints.

An epoch is one compiled loop over batches: the list of a run's images is put in an
order that follows from its seed and the epoch, and nothing comes back before the end.
Its length is traced, so that runs of other subsets share the program.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from nc_jax.networks import NETWORKS, build_network
from nc_jax.training.checkpoints import load_checkpoint, save_checkpoint
from nc_jax.training.data import DataSet, ImageData
from nc_jax.training.recipe import Recipe
from nc_jax.training.steps import Weights, sgd_step

# Images that go through a network together outside training.
TOGETHER = 500


class Images(NamedTuple):
    """A split on the device.

    Attributes:
        pixels: [N, h, w, c] unsigned bytes.
        labels: [N].
        mean: of the training pixels, by channel, as shares of 255.
        deviation: likewise.
    """

    pixels: Array
    labels: Array
    mean: Array
    deviation: Array

    def batch(self, indices: Array) -> tuple[Array, Array]:
        """Normalised images [B, h, w, c] and their labels."""
        pixels = self.pixels[indices].astype(jnp.float32) / 255
        return (pixels - self.mean) / self.deviation, self.labels[indices]


def on_device(data: ImageData, known: DataSet) -> Images:
    """Puts a split on the device."""
    mean, deviation = (np.asarray(x, np.float32) for x in (known.mean, known.deviation))
    arrays = (data.images, data.labels, mean, deviation)
    return Images(*(jnp.asarray(array) for array in arrays))


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        indices: [M] of the images of an epoch, repeated where they are oversampled.
        recipe: how.
        seed: of the weights and of the orders.
        class_weights: [K] factors of the loss, or None for ones.
    """

    indices: np.ndarray
    recipe: Recipe
    seed: int = 0
    class_weights: np.ndarray | None = None


class Progress(NamedTuple):
    """After an epoch.

    Attributes:
        epoch: epochs done.
        loss: mean over the epoch's images; not finite where the run broke down.
        weights: the network's.
    """

    epoch: int
    loss: float
    weights: Weights


class Trainer:
    """A network, its training images, and the compiled epoch that runs share."""

    def __init__(
        self,
        network: str,
        images: Images,
        num_classes: int,
        recipe: Recipe,
        longest: int,
        width: float = 1.0,
    ):
        """Nothing is compiled before the first epoch.

        Args:
            network: one of :data:`nc_jax.networks.NETWORKS`.
            images: that indices refer to.
            num_classes: K.
            recipe: of all runs, up to its learning rate, weight decay and milestones.
            longest: images of an epoch at most, M.
            width: of the network.

        Raises:
            ValueError: naming the argument.
        """
        self.images, self.num_classes, self.recipe = images, num_classes, recipe
        self.features = NETWORKS[network].features if network in NETWORKS else ""
        shape = tuple(images.pixels.shape[1:])
        self._build = partial(build_network, network, shape, num_classes, width=width)
        abstract = nnx.eval_shape(lambda: self._build(key=jax.random.key(0)))
        self.graph, *_ = nnx.split(abstract, nnx.Param, nnx.BatchStat)
        batch = recipe.batch_size
        self.length = -(-longest // batch) * batch
        self._epoch = jax.jit(self._make_epoch(), donate_argnums=0)

    def start(self, seed: int) -> Weights:
        """Fresh weights."""

        @jax.jit
        def make(seed: Array) -> tuple[Any, Any]:
            network = self._build(key=jax.random.fold_in(jax.random.key(0), seed))
            _, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
            return params, stats

        params, stats = make(jnp.asarray(seed, jnp.uint32))
        return params, stats, jax.tree.map(jnp.zeros_like, params)

    def epochs(self, run: Run, weights: Weights, first: int = 0) -> Iterator[Progress]:
        """One epoch after another, up to the recipe's last or a loss that is not finite.

        Args:
            run: whose recipe's learning rate, weight decay and milestones count.
            weights: used up.
            first: epochs that were done before.

        Raises:
            ValueError: more images than the longest epoch was to have, or none.
        """
        count = len(run.indices)
        if not 1 <= count <= self.length:
            raise ValueError(f"indices must be 1 to {self.length} images, got {count}")
        order = np.zeros(self.length, np.int32)
        order[:count] = run.indices
        ones = np.ones(self.num_classes) if run.class_weights is None else run.class_weights
        emphasis = jnp.asarray(ones, jnp.float32)
        key = jax.random.fold_in(jax.random.key(1), run.seed)
        for epoch in range(first, run.recipe.epochs):
            numbers = jnp.asarray([run.recipe.rate_at(epoch), run.recipe.weight_decay], jnp.float32)
            own = jax.random.fold_in(key, epoch)
            weights, loss = self._epoch(weights, self.images, order, count, own, numbers, emphasis)
            yield Progress(epoch + 1, float(loss), weights)
            if not math.isfinite(float(loss)):
                return

    def _make_epoch(self) -> Callable[..., tuple[Weights, Array]]:
        step, size = sgd_step(self.graph, self.recipe), self.recipe.batch_size

        def epoch(
            weights: Weights,
            images: Images,
            indices: Array,
            count: Array,
            key: Array,
            numbers: Array,
            emphasis: Array,
        ) -> tuple[Weights, Array]:
            places = jnp.arange(self.length)
            scores = jax.random.uniform(key, (self.length,), jnp.float32)
            # What only fills the list up goes to its end.
            order = indices[jnp.argsort(jnp.where(places < count, scores, 2.0))]

            def body(number: Array, carry: tuple[Weights, Array]) -> tuple[Weights, Array]:
                weights, total = carry
                own = jax.lax.dynamic_slice(order, (number * size,), (size,))
                inside = (number * size + jnp.arange(size) < count).astype(jnp.float32)
                x, labels = images.batch(own)
                shares = inside / jnp.sum(inside)
                *weights, loss = step(
                    weights, x, labels, shares, numbers[0], numbers[1], emphasis[labels]
                )
                return tuple(weights), total + loss * jnp.sum(inside)

            steps = (count + size - 1) // size
            start = (weights, jnp.zeros((), jnp.float32))
            weights, total = jax.lax.fori_loop(0, steps, body, start)
            return weights, total / count

        return epoch

    def outputs(
        self, weights: Weights, images: Images, indices: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits [M, K], last features [M, p] and labels [M], by the running statistics."""
        indices = np.asarray(indices, np.int32)
        parts = []
        for first in range(0, len(indices), TOGETHER):
            own = indices[first : first + TOGETHER]
            # The last part is filled up, so that all share a program.
            filled = np.resize(own, min(TOGETHER, max(len(indices), 1)))
            outputs = self._forward(weights[:2], images, filled)
            parts.append([np.asarray(array)[: len(own)] for array in outputs])
        logits, features, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        return logits, features, labels

    @partial(jax.jit, static_argnums=0)
    def _forward(
        self, weights: tuple[Any, Any], images: Images, indices: Array
    ) -> tuple[Array, Array, Array]:
        x, labels = images.batch(indices)
        network = nnx.merge(self.graph, *weights)
        logits, features = network(x.astype(self.recipe.precision))
        last = features[self.features]
        return logits.astype(jnp.float32), last.astype(jnp.float32), labels

    def classifier(self, weights: Weights) -> tuple[Array, Array | None]:
        """W [K, p] and b [K] of the last layer."""
        head = nnx.merge(self.graph, *weights[:2]).classifier
        return head.kernel[...].T, None if head.bias is None else head.bias[...]


def train(
    trainer: Trainer,
    run: Run,
    folder: Path | None = None,
    every: int = 10,
    watch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Trains a run, from its newest checkpoint where there is one.

    The outcome is the same to the last bit whenever and however often it was stopped.

    Args:
        trainer: what it shares with others.
        run: what to train.
        folder: of its checkpoints; none by default.
        every: epochs between checkpoints.
        watch: called after each epoch.

    Raises:
        OSError: a checkpoint cannot be written; those before are whole.
    """
    like = jax.eval_shape(lambda: trainer.start(run.seed))
    saved = load_checkpoint(folder, like) if folder is not None else None
    if saved is None:
        done, weights = 0, trainer.start(run.seed)
    else:
        done, weights = saved.epoch, jax.tree.map(jnp.asarray, saved.tree)
    progress = Progress(done, math.nan, weights)
    for progress in trainer.epochs(run, weights, done):
        if watch is not None:
            watch(progress)
        last = progress.epoch == run.recipe.epochs
        if folder is not None and (last or progress.epoch % every == 0):
            save_checkpoint(folder, progress.epoch, progress.weights)
    return progress
