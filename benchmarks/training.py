"""Images a second of training, beside PyTorch on the same machine, in one run.

Forward, backward and update of VGG11 and ResNet18 at two widths on random images of
32×32, float32, in turns: an epoch of one run alone, of as many runs at once as there are
devices (cores of a CPU), as a study trains them, then as many steps of PyTorch, once in
its default memory format and once in its channels-last one. PyTorch has all cores for
one network. On an accelerator PyTorch is left out, the computations are bfloat16, and
the share of the measured rate of bfloat16 matrix products stands beside.

    python -m benchmarks.training
    python -m benchmarks.training --preset quick
"""

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
MANY = "ours, one a device"
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


def our_epoch(
    config: Config, name: str, width: float, steps: int, together: int = 1
) -> tuple[Any, float, float]:
    """A timed epoch of runs, the seconds that its first call took, and a run's operations."""
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
    return lambda: next(epochs), first, operations(trainer, config.batch)


def operations(trainer: Trainer, batch: int) -> float:
    """Floating-point operations of a step as XLA counts them."""
    x = jax.ShapeDtypeStruct((batch, *trainer.images.pixels.shape[1:]), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    ones = jax.ShapeDtypeStruct((batch,), jnp.float32)
    weights = trainer.weights_of(trainer.start([Run(np.arange(1), trainer.recipe)]), 0)
    step = jax.jit(sgd_step(trainer.graph, trainer.recipe))
    cost = step.lower(weights, x, labels, ones, 0.1, 5e-4, ones).cost_analysis()
    return float((cost or {}).get("flops", np.nan))


def torch_steps(config: Config, name: str, width: float, steps: int, last: bool) -> Callable:
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

    run()
    return run


def seconds_of(runs: dict[str, Callable], repeats: int) -> dict[str, float]:
    """The median of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in taken.items()}


def matrix_rate() -> float:
    """Operations a second of a large bfloat16 matrix product."""
    size = 8192
    a = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    start = time.perf_counter()
    jax.block_until_ready([product(a) for _ in range(10)])
    return 20 * size**3 / (time.perf_counter() - start)


def time_network(config: Config, name: str, width: float) -> dict[str, Any]:
    """One row."""
    steps = config.steps[0] if width >= WIDE else config.steps[1]
    ours, first, work = our_epoch(config, name, width, steps)
    runs, devices = {"ours": ours}, len(jax.local_devices())
    if devices > 1:
        runs[MANY], *_ = our_epoch(config, name, width, steps, devices)
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and importlib.util.find_spec("torch"):
        runs["torch"] = torch_steps(config, name, width, steps, last=False)
        runs["torch, channels last"] = torch_steps(config, name, width, steps, last=True)
    taken = seconds_of(runs, config.repeats)
    images = steps * config.batch
    speed = {
        run: images * (devices if run == MANY else 1) / seconds for run, seconds in taken.items()
    }
    row: dict[str, Any] = {"network": name, "width": width, "first epoch, s": first}
    row |= {f"{run}, images/s": value for run, value in speed.items()}
    row |= {
        f"{own} over {peer}": speed[own] / speed[peer]
        for peer in speed
        if "torch" in peer
        for own in speed
        if "ours" in own
    }
    if not on_cpu:
        row["share of the matrix rate"] = work * steps / taken["ours"] / matrix_rate()
    return row


def main(config: Config) -> None:
    """Times everything, stores and prints the table."""
    begin = time.perf_counter()
    if not set(config.networks) <= set(CHANNELS) or min(config.widths, default=0) <= 0:
        raise ValueError(f"--networks must be of {', '.join(CHANNELS)}, --widths positive")
    if min(config.batch, config.repeats, *config.steps) < 1:
        raise ValueError("--batch, --steps and --repeats must be positive")
    report.prepare_folder(config.out)
    use_every_core()
    rows = [time_network(config, name, w) for name in config.networks for w in config.widths]
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
