"""Training speed in images per second, compared with PyTorch on the same machine, in one run.

Times forward pass, backward pass and update of VGG11 and ResNet18 at two widths on random
images of 32×32 in float32. The following alternate: an epoch of a single run; an epoch of one
run on each core at the same time, as in a study; and the same number of steps of PyTorch on
all cores, once in its default memory format and once in channels-last. Each has its own
process, so that their threads do not disturb each other. On an accelerator only a single run
is timed, in bfloat16, and the table also shows which share of the measured rate of bfloat16
matrix products it reaches.

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
from nc_jax.datasets import DATA_SETS, ImageData
from nc_jax.sweeps import use_every_core
from nc_jax.training import Recipe, Run, Trainer, on_device
from nc_jax.training.steps import sgd_step

CHANNELS = {"vgg11": 1, "resnet18": 3}
DATA = {1: "fashion_mnist", 3: "cifar10"}
OURS = "ours", "ours, one a core"
MANY = OURS[1]
PEERS = "torch", "torch, channels last"
LAST = PEERS[1]
# From this width on an epoch of few steps is long enough.
WIDE = 0.5


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    networks: tuple[str, ...] = ("vgg11", "resnet18")
    """Names of networks: vgg11, resnet18."""
    widths: tuple[float, ...] = (1.0, 0.25)
    """Factors on the numbers of channels."""
    batch: int = 128
    """Batch size: number of images in each step."""
    steps: tuple[int, int] = (4, 16)
    """Numbers of steps of a timed epoch, for wide and for narrow networks."""
    repeats: int = 5
    """Number of timed epochs, of which the median is reported."""
    out: Path = Path("results/benchmarks/training")
    """Folder in which the results are written."""


PRESETS = {
    "default": Config(),
    "quick": Config(networks=("vgg11",), widths=(1 / 16,), batch=32, steps=(1, 2), repeats=1),
}


class Timed(NamedTuple):
    """A call to be timed."""

    run: Callable[[], Any]
    images: int
    """Number of images that a call trains on."""
    first: float
    """Duration in seconds of its first call."""
    operations: float
    """Floating-point operations of a call."""


def our_epoch(config: Config, name: str, width: float, steps: int, every_core: bool) -> Timed:
    """An epoch of a single run, or of one run on each core."""
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
    # So many epochs that the loop does not end during the benchmark.
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
    """Floating-point operations of a step, as counted by XLA, which counts on CPUs only."""
    x = jax.ShapeDtypeStruct((batch, *trainer.images.pixels.shape[1:]), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    ones = jax.ShapeDtypeStruct((batch,), jnp.float32)
    weights = trainer.weights_of(trainer.start([Run(np.arange(1), trainer.recipe)]), 0)
    step = jax.jit(sgd_step(trainer.graph, trainer.recipe))
    arguments = weights, x, labels, ones, 0.1, 5e-4, ones, trainer.recipe.loss
    # Only the shapes, so that the weights' device does not matter.
    arguments = jax.eval_shape(lambda *own: own, *arguments)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        cost = step.lower(*arguments).cost_analysis()
    return float((cost or {}).get("flops", np.nan))


def torch_steps(config: Config, name: str, width: float, steps: int, last: bool) -> Timed:
    """The same number of steps of PyTorch, with images in channels-last format or not."""
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


# The call that a separate process keeps ready.
_ready: list[Timed] = []


def _prepare(make: Callable[..., Timed], arguments: tuple) -> tuple[int, float]:
    _ready.append(make(*arguments))
    return _ready[-1].images, _ready[-1].first


def _seconds() -> float:
    return seconds_of(_ready[-1].run)


def seconds_of(run: Callable[[], Any]) -> float:
    """Duration of one call in seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turns(
    sides: dict[str, tuple[Callable[..., Timed], tuple]], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Images per second of each call, from the median of its turns, and its first duration."""
    spawn, taken = multiprocessing.get_context("spawn"), {name: [] for name in sides}
    # On Ctrl-C a process ends at once and without messages.
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
    """Operations per second of a large bfloat16 matrix product."""
    size = 8192
    a = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    start = time.perf_counter()
    jax.block_until_ready([product(a) for _ in range(10)])
    return 20 * size**3 / (time.perf_counter() - start)


def beside_torch(config: Config, name: str, width: float) -> dict[str, Any]:
    """A row of the table for a CPU."""
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
    """A row of the table for an accelerator."""
    steps = config.steps[0] if width >= WIDE else config.steps[1]
    ours = our_epoch(config, name, width, steps, every_core=False)
    seconds = float(np.median([seconds_of(ours.run) for _ in range(config.repeats)]))
    row: dict[str, Any] = {"network": name, "width": width, "first epoch, s": ours.first}
    row["ours, images/s"] = ours.images / seconds
    row["share of the matrix rate"] = ours.operations / seconds / matrix_rate()
    return row


def main(config: Config) -> None:
    """Runs the benchmark, stores and prints the table."""
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
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
