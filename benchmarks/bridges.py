"""What logging neural collapse costs an epoch of training, in PyTorch and in Flax.

Epochs with and without the logger in turns, on the same network, K = 10 classes and p = 512
features: a dense network of two hidden layers on images of CIFAR-10's size in both
frameworks, a ResNet18 on the same in PyTorch, and the dense network on the 8×8 digits in both,
where a step takes a few milliseconds, so that the logger leaves out batches; in PyTorch also with
every batch used. The large images are random numbers. Each training has a process of its own on
one core, and its processor time is taken, so that other work on the machine counts little. The
cost is the median over pairs of neighbouring epochs; the logger's first epoch, in which JAX
compiles its program if it has an accelerator, is told apart.

    python -m benchmarks.bridges
    python -m benchmarks.bridges --preset quick
"""

import copy
import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd
import torch
from flax import nnx

from benchmarks.torch_networks import torch_resnet
from nc_jax import report
from nc_jax.bridges import CollapseLogger, TorchWatch
from nc_jax.datasets import load_images

CLASSES = 10
DENSE, FLAX = "PyTorch, dense, 32×32×3 images", "Flax, dense, 32×32×3 images"
RESNET = "PyTorch, ResNet18, 32×32×3 images"
DIGITS, WHOLE = "PyTorch, dense, digits", "PyTorch, dense, digits, every batch"
FLAX_DIGITS = "Flax, dense, digits"
SMALL = DIGITS, WHOLE, FLAX_DIGITS
# An epoch of a network, with a logger or without.
Epoch = Callable[[CollapseLogger | None], None]


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    pairs: int = 40
    """Pairs of epochs, one of each with the logger."""
    width: int = 512
    """p, of the dense networks; the ResNet18 has 512."""
    batch: int = 128
    """Samples of a step."""
    images: int = 5120
    """Images of an epoch of the dense networks."""
    resnet_images: int = 256
    """Images of an epoch of the ResNet18; 0 leaves it out."""
    resnet_pairs: int = 4
    """Pairs of epochs of the ResNet18."""
    digits_pairs: int = 400
    """Pairs of epochs on the digits, which take a few hundredths of a second."""
    out: Path = Path("results/benchmarks/bridges")
    """Folder of the results."""


PRESETS = {"default": Config(), "quick": Config(2, 16, 128, 256, 0, digits_pairs=2)}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 64] and labels [N]."""
    data = load_images("digits")
    images = np.asarray(data.images, np.float32).reshape(len(data.labels), -1)
    return (images - images.mean()) / images.std(), np.asarray(data.labels, np.int64)


def parts(size: int, batch: int) -> list[slice]:
    """Full batches of an epoch."""
    return [slice(first, first + batch) for first in range(0, size - batch + 1, batch)]


def torch_epoch(module: Any, inputs: np.ndarray, labels: np.ndarray, batch: int) -> Epoch:
    """Momentum steps of a PyTorch network; a copy of it has the hooks and the logger."""
    x, y = torch.tensor(inputs), torch.tensor(labels)
    watched = copy.deepcopy(module)
    watch = TorchWatch(watched)

    def optimiser_of(module: Any) -> Any:
        return torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)

    optimisers = {module: optimiser_of(module), watched: optimiser_of(watched)}

    def epoch(logger: CollapseLogger | None) -> None:
        own = module if logger is None else watched
        optimiser = optimisers[own]
        for rows in parts(len(y), batch):
            inputs, labels = x[rows], y[rows]
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(own(inputs), labels)
            # As in the documentation: the features are still in the cache.
            if logger is not None:
                logger.update(watch.features, labels)
            loss.backward()
            optimiser.step()
        if logger is not None:
            logger.end_epoch(watch.classifiers)

    return epoch


def torch_dense(inputs: int, width: int) -> Any:
    """Two hidden layers."""
    nn = torch.nn
    body = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(width, CLASSES))


class FlaxDense(nnx.Module):
    """Two hidden layers."""

    def __init__(self, inputs: int, width: int):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(inputs, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.head = nnx.Linear(width, CLASSES, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        """The classifier's inputs [n, p]."""
        return nnx.relu(self.second(nnx.relu(self.first(x))))


def flax_epoch(network: FlaxDense, inputs: np.ndarray, labels: np.ndarray, batch: int) -> Epoch:
    """Momentum steps of a Flax network; features leave the compiled step only for a logger."""
    optimiser = nnx.Optimizer(network, optax.sgd(0.01, 0.9), wrt=nnx.Param)

    def loss(network: FlaxDense, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        features = network.features(x)
        losses = optax.softmax_cross_entropy_with_integer_labels(network.head(features), y)
        return losses.mean(), features

    @nnx.jit(static_argnames="logged")
    def step(network: Any, optimiser: Any, x: Any, y: Any, logged: bool) -> Any:
        (_, features), slopes = nnx.value_and_grad(loss, has_aux=True)(network, x, y)
        optimiser.update(network, slopes)
        return features if logged else None

    def epoch(logger: CollapseLogger | None) -> None:
        for own in parts(len(labels), batch):
            x, y = inputs[own], labels[own].astype(np.int32)
            features = step(network, optimiser, x, y, logged=logger is not None)
            if logger is not None:
                logger.update(features, y)
        if logger is not None:
            logger.end_epoch(np.asarray(network.head.kernel[...]).T)
        jax.block_until_ready(nnx.state(network))

    return epoch


def timed(work: Callable[[], None]) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(name: str, epoch: Epoch, pairs: int) -> dict[str, Any]:
    """Epochs with and without the logger in turns."""
    logger = CollapseLogger(CLASSES, every=1 if name == WHOLE else None)
    epoch(None)
    first = timed(lambda: epoch(logger))
    plain, logged = [], []
    for pair in range(pairs):
        turns = [(plain, None), (logged, logger)]
        for seconds, own in turns if pair % 2 else turns[::-1]:
            seconds.append(timed(lambda own=own: epoch(own)))
    shares = np.array(logged) / np.array(plain) - 1
    samples = np.array([row["samples"] for row in logger.rows])
    return {
        "training": name,
        "processor seconds without": float(np.median(plain)),
        "processor seconds with": float(np.median(logged)),
        "cost, share of the epoch": float(np.median(shares)),
        "of the fastest epochs": min(logged) / min(plain) - 1,
        "first epoch with, processor seconds": first,
        "share of the samples used": float(np.mean(samples[1:]) / samples[0]),
    }


def random_images(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 3, 32, 32] and labels [N]."""
    images = np.random.default_rng(0).standard_normal((size, 3, 32, 32), np.float32)
    return images, np.arange(size) % CLASSES


def build(name: str, config: Config) -> Epoch:
    """A training by its name."""
    torch.manual_seed(0)
    if name == RESNET:
        network = torch_resnet((2, 2, 2, 2), 3, 1.0)
        return torch_epoch(network, *random_images(config.resnet_images), config.batch)
    inputs, labels = digits() if name in SMALL else random_images(config.images)
    inputs = inputs.reshape(len(labels), -1)
    if name in (FLAX, FLAX_DIGITS):
        network = FlaxDense(inputs.shape[1], config.width)
        return flax_epoch(network, inputs, labels, config.batch)
    return torch_epoch(torch_dense(inputs.shape[1], config.width), inputs, labels, config.batch)


def on_one_core(name: str, config: Config) -> dict[str, Any]:
    """A training in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _pin) as pool:
        return pool.submit(measured, name, config).result()


def _pin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def measured(name: str, config: Config) -> dict[str, Any]:
    """A row of the table."""
    pairs = config.digits_pairs if name in SMALL else config.pairs
    pairs = config.resnet_pairs if name == RESNET else pairs
    return compare(name, build(name, config), pairs)


def main(config: Config) -> None:
    """Times everything, stores and prints the table."""
    begin = time.perf_counter()
    pairs = config.pairs, config.resnet_pairs, config.digits_pairs
    if min(pairs) < 1 or not 1 <= config.batch <= 1000:
        raise ValueError(
            "--pairs, --resnet-pairs, --digits-pairs must be at least 1 and --batch from 1 to 1000"
        )
    if min(config.images, config.resnet_images or config.batch) < config.batch:
        raise ValueError("--images and --resnet-images must be at least --batch")
    report.prepare_folder(config.out)
    names = [DENSE, FLAX, DIGITS, WHOLE, FLAX_DIGITS] + [RESNET] * bool(config.resnet_images)
    rows = report.map_with_bar(lambda name: on_one_core(name, config), names, "trainings")
    table = pd.DataFrame(rows)
    report.write_table(table, config.out)
    shown = table.map(lambda value: value if isinstance(value, str) else f"{value:.3g}")
    report.write_summary(shown, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - begin)
    report.print_table(shown, f"Logging neural collapse, p = {config.width}, K = {CLASSES}")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
