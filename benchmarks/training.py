"""Images a second of training, beside PyTorch on the same machine, in one run.

Forward, backward and update of VGG11 and ResNet18 at two widths on random images of
32×32, float32, in turns: an epoch of one run alone, of a run on each core at once, as a
study trains them, then as many steps of PyTorch, once in its default memory format and
once in its channels-last one, on all cores. Each has a process of its own, so that no
one's threads stand in another's way. On an accelerator our run alone is timed, its
computations are bfloat16, and the share of the measured rate of bfloat16 matrix products
stands beside.

    python -m benchmarks.training
    python -m benchmarks.training --preset quick
"""

import dataclasses
import importlib.util
import itertools
import multiprocessing
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from nc_jax import report
from nc_jax.sweeps import use_every_core
from nc_jax.training import DATA_SETS, ImageData, Recipe
from nc_jax.training.images import on_device
from nc_jax.training.loop import Run, Trainer
from nc_jax.training.steps import sgd_step

CHANNELS = {"vgg11": 1, "resnet18": 3}
DATA = {1: "fashion_mnist", 3: "cifar10"}
OURS = "ours", "ours, one a core"
MANY = OURS[1]
PEERS = "torch", "torch, channels last"
LAST = PEERS[1]
# Widths from which on an epoch of few steps is long enough.
WIDE = 0.5


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    networks: tuple[str, ...] = ("vgg11", "resnet18")
    """Of vgg11 and resnet18."""
    widths: tuple[float, ...] = (1.0, 0.25)
    """Multipliers of the numbers of channels."""
    batch: int = 128
    """Images of a step."""
    steps: tuple[int, int] = (4, 16)
    """Steps of a timed epoch, of wide and of narrow networks."""
    repeats: int = 5
    """Timed epochs; the median counts."""
    out: Path = Path("results/benchmarks/training")
    """Folder of the results."""


PRESETS = {
    "default": Config(),
    "quick": Config(networks=("vgg11",), widths=(1 / 16,), batch=32, steps=(1, 2), repeats=1),
}


class Timed(NamedTuple):
    """Something to time."""

    run: Callable[[], Any]
    images: int
    """That a call trains on."""
    first: float
    """Seconds of its first call."""
    operations: float
    """Of a call, in floating point."""


def our_epoch(config: Config, name: str, width: float, steps: int, every_core: bool) -> Timed:
    """An epoch of a run alone, or of one on each core."""
    if every_core:
        use_every_core()
    together = len(jax.local_devices()) if every_core else 1
    channels = CHANNELS[name]
    count = steps * config.batch
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, channels), dtype=np.uint8)
    images = on_device(
        ImageData(pixels, rng.integers(0, 10, count).astype(np.int32)), DATA_SETS[DATA[channels]]
    )
    precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    # So many epochs that the loop never ends by itself.
    recipe = Recipe(batch_size=config.batch, epochs=10**6, precision=precision)
    trainer = Trainer(name, images, 10, recipe, count, width, together)
    runs = [Run(np.arange(count), recipe, seed) for seed in range(together)]
    epochs = trainer.epochs(runs, trainer.start(runs))
    start = time.perf_counter()
    next(epochs)
    first = time.perf_counter() - start
    work = together * steps * operations(trainer, config.batch)
    return Timed(lambda: next(epochs), together * count, first, work)


def operations(trainer: Trainer, batch: int) -> float:
    """Floating-point operations of a step as XLA counts them."""
    x = jax.ShapeDtypeStruct((batch, *trainer.images.pixels.shape[1:]), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    ones = jax.ShapeDtypeStruct((batch,), jnp.float32)
    weights = trainer.weights_of(trainer.start([Run(np.arange(1), trainer.recipe)]), 0)
    step = jax.jit(sgd_step(trainer.graph, trainer.recipe))
    cost = step.lower(
        weights, x, labels, ones, 0.1, 5e-4, ones, trainer.recipe.loss
    ).cost_analysis()
    return float((cost or {}).get("flops", np.nan))


def torch_steps(config: Config, name: str, width: float, steps: int, last: bool) -> Timed:
    """As many steps of PyTorch, its images channels-last or not."""
    import torch

    from benchmarks.torch_networks import torch_resnet, torch_vgg

    layout = torch.channels_last if last else torch.contiguous_format
    channels = CHANNELS[name]
    wide = torch_vgg(11, channels, width) if name == "vgg11" else None
    network: Any = wide or torch_resnet((2, 2, 2, 2), channels, width)
    network = network.to(memory_format=layout)
    x = torch.randn(config.batch, channels, 32, 32).to(memory_format=layout)
    labels = torch.arange(config.batch) % 10
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def run() -> None:
        for _ in range(steps):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x), labels).backward()
            optimiser.step()

    start = time.perf_counter()
    run()
    return Timed(run, steps * config.batch, time.perf_counter() - start, np.nan)


# What a process of its own has ready.
_ready: list[Timed] = []


def _prepare(make: Callable[..., Timed], arguments: tuple) -> tuple[int, float]:
    _ready.append(make(*arguments))
    return _ready[-1].images, _ready[-1].first


def _seconds() -> float:
    return seconds_of(_ready[-1].run)


def seconds_of(run: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turns(
    sides: dict[str, tuple[Callable[..., Timed], tuple]], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Images a second of each, by the median of its turns, and its first call's seconds."""
    spawn, taken = multiprocessing.get_context("spawn"), {name: [] for name in sides}
    # On Ctrl-C a process dies at once and tells nothing.
    end_on_interrupt = signal.signal, (signal.SIGINT, signal.SIG_DFL)
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(1, spawn, *end_on_interrupt))
            for name in sides
        }
        told = {name: pools[name].submit(_prepare, *side).result() for name, side in sides.items()}
        for _ in range(repeats):
            for name, pool in pools.items():
                taken[name].append(pool.submit(_seconds).result())
    speeds = {name: images / np.median(taken[name]) for name, (images, _) in told.items()}
    return speeds, {name: first for name, (_, first) in told.items()}


def matrix_rate() -> float:
    """Operations a second of a large bfloat16 matrix product."""
    size = 8192
    a = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    start = time.perf_counter()
    jax.block_until_ready([product(a) for _ in range(10)])
    return 20 * size**3 / (time.perf_counter() - start)


def beside_torch(config: Config, name: str, width: float) -> dict[str, Any]:
    """A row of a CPU."""
    given = config, name, width, config.steps[0] if width >= WIDE else config.steps[1]
    sides = {own: (our_epoch, (*given, own == MANY)) for own in OURS}
    if importlib.util.find_spec("torch"):
        sides |= {peer: (torch_steps, (*given, peer == LAST)) for peer in PEERS}
    speeds, first = in_turns(sides, config.repeats)
    row: dict[str, Any] = {"network": name, "width": width, "first epoch, s": first[OURS[0]]}
    row |= {f"{side}, images/s": speed for side, speed in speeds.items()}
    pairs = itertools.product(PEERS, OURS) if PEERS[0] in speeds else []
    return row | {f"{own} over {peer}": speeds[own] / speeds[peer] for peer, own in pairs}


def beside_products(config: Config, name: str, width: float) -> dict[str, Any]:
    """A row of an accelerator."""
    steps = config.steps[0] if width >= WIDE else config.steps[1]
    ours = our_epoch(config, name, width, steps, every_core=False)
    seconds = float(np.median([seconds_of(ours.run) for _ in range(config.repeats)]))
    row: dict[str, Any] = {"network": name, "width": width, "first epoch, s": ours.first}
    row["ours, images/s"] = ours.images / seconds
    row["share of the matrix rate"] = ours.operations / seconds / matrix_rate()
    return row


def main(config: Config) -> None:
    """Times everything, stores and prints the table."""
    begin = time.perf_counter()
    if not set(config.networks) <= set(CHANNELS) or min(config.widths, default=0) <= 0:
        raise ValueError(f"--networks must be of {', '.join(CHANNELS)}, --widths positive")
    if min(config.batch, config.repeats, *config.steps) < 1:
        raise ValueError("--batch, --steps and --repeats must be positive")
    report.prepare_folder(config.out)
    row = beside_torch if jax.default_backend() == "cpu" else beside_products
    pairs = list(itertools.product(config.networks, config.widths))
    rows = report.map_with_bar(lambda pair: row(config, *pair), pairs, "networks")
    table = pd.DataFrame(rows)
    report.write_table(table, config.out)
    shown = table.copy()
    for name in shown.columns[1:]:
        shown[name] = [f"{value:.3g}" for value in table[name]]
    report.write_summary(shown, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - begin)
    report.print_table(shown, f"Training, batches of {config.batch}")
    if "ours over torch" not in table and jax.default_backend() == "cpu":
        print("PyTorch is not installed (extra peers): nothing to compare with.")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
