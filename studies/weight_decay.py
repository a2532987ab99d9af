"""Does neural collapse under square loss need weight decay, and which identities hold then?

Reproduces the experiments of Rangamani, Banburski-Fahey (ICASSP 2022): deep homogeneous
networks, dense and convolutional ones without biases, are trained with the square loss
with and without weight decay λ, with three kinds of head. 'bias-free' is the one of the
paper; without a bias no stationary point has the paper's symmetry, and the best classifiers
are an orthogonal frame. 'bias' has an unregularised bias in the last layer, and 'centred'
has the targets e_y − 1/C: with either of them the published identities hold. NC1–NC4 are
measured throughout training. At the end of training the following are measured: ε, the exact
stationarity of the last layer, the identities of symmetric quasi-interpolation (direction,
norm, cosine), and Lemmas 1 and 2. In addition, the same identities are checked on small
networks trained to a stationary point on orthogonal inputs, where the theory is exact.

    python studies/weight_decay.py
    python studies/weight_decay.py --preset cpu --data-dir DATA
    python studies/weight_decay.py --data mnist --networks mlp --per-class 500

If a study is interrupted, starting it again resumes from the newest checkpoints.

Time on two CPU cores: 70 s; with --preset cpu 13 minutes.
"""

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.campaigns import (
    Plan,
    Training,
    TrainingOptions,
    balanced_training,
    check_options,
    decays_of,
    digests_of,
    ends_of,
    load_splits,
    measure_collapse,
    pairs_of,
    recipe_of,
    train_plans,
)
from nc_jax.losses import Loss
from nc_jax.networks import NETWORKS
from nc_jax.sweeps import use_every_core
from nc_jax.training import Images, Progress, Trainer

Head = Literal["bias-free", "bias", "centred"]
# For each head the suffix of the network's name and the loss.
HEADS: dict[Head, tuple[str, Loss]] = {
    "bias-free": ("-bias-free", nc.MeanSquaredError()),
    "bias": ("-head-bias", nc.MeanSquaredError()),
    "centred": ("-bias-free", nc.CentredSquaredError()),
}
KEYS = ["data", "network", "head", "weight_decay", "seed"]
# Small networks on orthogonal inputs: classes, samples per class, layers, λ, and steps.
CLASSES, EACH, WIDTH = 4, 3, 32
SMALL = ((2, 0.01), (3, 0.005))
STEPS, RATE = 60_000, 0.3
# The measures drawn throughout training, and those drawn at its end.
THROUGH = {
    "nc1_quotient": "NC1: within / between",
    "nc2_etf": "NC2: means from an ETF",
    "nc3_difference": "NC3: classifiers from means",
    "simplex": "classifiers: |cos + 1/(C−1)|",
}
MEASURED = (*nc.metrics.QuasiInterpolation._fields, *THROUGH, "nc4", "layer_norm_spread")
IDENTITIES = {
    "stationarity": "stationarity",
    "direction": "direction",
    "norm": "|norm|",
    "simplex": "|cos + 1/(C−1)|",
    "orthogonality": "|cos|",
}


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    networks: tuple[str, ...] = ("mlp", "convnet")
    """Homogeneous networks, for all data sets, or for one as in cifar10:convnet."""
    width: float = 0.25
    """Factor on the number of channels of every network."""
    heads: tuple[Head, ...] = ("bias-free", "bias", "centred")
    """Kind of last layer."""
    weight_decays: tuple[str, ...] = ("0", "0.001")
    """λ on every kernel, for all data sets, or for one as in cifar10:0.001."""
    per_class: int | None = 50
    """Number of images per class; by default all that each class has."""
    epochs: int = 500
    """Epochs of each run; the rate drops tenfold after one third and after two thirds."""
    learning_rate: float = 0.1
    """Learning rate at the start of training."""
    batch: int = 50
    """Batch size: number of images in each step."""
    measures: int = 10
    """Number of measurements per run, evenly spaced through training; the last at its end."""
    checkpoint: int = 100
    """Number of epochs between checkpoints."""
    out: Path = Path("results/weight_decay/digits")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("mnist", "cifar10"),
        per_class=100,
        weight_decays=("0", "0.003"),
        seeds=(0, 1),
        epochs=200,
        checkpoint=50,
        out=Path("results/weight_decay/cpu"),
    ),
    "paper": Config(
        data=("mnist", "cifar10"),
        width=1.0,
        per_class=None,
        weight_decays=("0", "5e-4"),
        epochs=350,
        batch=128,
        test_size=10_000,
        checkpoint=10,
        out=Path("results/weight_decay/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    report.require_distinct(config, "heads")
    kinds = [name.removesuffix("-bias-free") for name in NETWORKS if name.endswith("-bias-free")]
    for network in config.networks:
        if network.rpartition(":")[2] not in kinds:
            raise ValueError(f"--networks must be of {', '.join(kinds)}, got {network}")
    report.require_numbers(config, "per_class", least=1)


def converged_network(
    inputs: Any, depth: int, weight_decay: float, head: Head, activation: Any = jax.nn.relu
) -> tuple[nc.metrics.NetworkLayer, list[Any]]:
    """A small homogeneous network at a stationary point: its last layer, and all kernels."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    rng, loss = np.random.default_rng(0), HEADS[head][1]
    sizes = [inputs.shape[1], *[WIDTH] * (depth - 1), CLASSES]
    pairs = zip(sizes, sizes[1:], strict=False)
    kernels = [jnp.asarray(rng.normal(size=(b, a)) / np.sqrt(a)) for a, b in pairs]

    def features(kernels: list[Any]) -> Any:
        x = jnp.asarray(inputs)
        for kernel in kernels[:-1]:
            x = activation(x @ kernel.T)
        return x

    def objective(parameters: Any) -> Any:
        kernels, bias = parameters
        outputs = features(kernels) @ kernels[-1].T + (bias if head == "bias" else 0)
        squares = sum(jnp.sum(kernel**2) for kernel in kernels)
        return jnp.mean(loss(outputs, labels)) + 0.5 * weight_decay * squares

    def step(_: Any, state: Any) -> Any:
        slopes = jax.grad(objective)(state[0])
        velocity = jax.tree.map(lambda v, g: 0.9 * v - RATE * g, state[1], slopes)
        return jax.tree.map(jnp.add, state[0], velocity), velocity

    @jax.jit
    def descend(start: Any) -> Any:
        still = jax.tree.map(jnp.zeros_like, start)
        return jax.lax.fori_loop(0, STEPS, step, (start, still))[0]

    kernels, bias = descend((kernels, jnp.zeros(CLASSES)))
    own = bias if head == "bias" else None
    layer = nc.metrics.NetworkLayer(features(kernels), jnp.asarray(labels), kernels[-1], own)
    return layer, kernels


def small_networks(config: Config) -> pd.DataFrame:
    """The identities where they are exact: at stationary points with orthogonal inputs."""
    rows = []
    for head, (depth, decay) in itertools.product(config.heads, SMALL):
        layer, _ = converged_network(np.eye(CLASSES * EACH), depth, decay, head)
        own = nc.metrics.quasi_interpolation(layer, decay, head == "centred")
        row = {"head": head, "layers": depth, "λ": decay}
        rows.append(row | {name: float(value) for name, value in own._asdict().items()})
    return pd.DataFrame(rows)


def plans_of(config: Config, data: str, network: str, labels: np.ndarray) -> list[Plan]:
    """All trainings of one network on one image data set: one plan for each head."""
    plans = []
    for head in config.heads:
        suffix, loss = HEADS[head]
        trainings = []
        for decay, seed in itertools.product(decays_of(config, data), config.seeds):
            recipe, about = recipe_of(config, decay, loss, "kernels"), {"head": head}
            training = balanced_training(
                (data, network), labels, config.per_class, recipe, seed, about
            )
            trainings.append(training)
        plans.append(Plan(data, network + suffix, trainings))
    return plans


def measure_identities(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row with NC1–NC4 and the identities of the last layer."""
    (row,) = measure_collapse(trainer, state, training, test)
    weights = state.fetch()
    _, features, labels = trainer.outputs(weights, trainer.images, training.subset)
    kernel, bias = trainer.classifier(weights)
    if not np.isfinite(features).all():
        return [row]
    # In float64, because differences of nearly equal numbers are evaluated.
    wide: Any = [None if x is None else jnp.asarray(x, float) for x in (features, kernel, bias)]
    layer = nc.metrics.NetworkLayer(wide[0], jnp.asarray(labels), wide[1], wide[2])
    centred = training.about["head"] == "centred"
    decay = training.run.recipe.weight_decay
    own = nc.metrics.quasi_interpolation(layer, decay, centred)
    row |= {name: float(value) for name, value in own._asdict().items()}
    kernels = [leaf for leaf in jax.tree.leaves(weights[0]) if leaf.ndim > 1]
    squares = np.array([float(np.sum(np.asarray(leaf, float) ** 2)) for leaf in kernels])
    # At a stationary point with λ > 0 homogeneous layers have equal norms.
    return [row | {"layer_norm_spread": float(np.std(squares) / np.mean(squares))}]


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """One row for each network, head and weight decay."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "head", "weight_decay"], sort=False)
    for (data, network, head, decay), part in groups:
        mean = part.mean(numeric_only=True)
        shown = {"data": data, "network": network, "head": head, "λ": decay}
        shown |= {"training accuracy": f"{mean['train_accuracy_all']:.3f}"}
        shown |= {"test accuracy": f"{mean['test_accuracy_all']:.3f}"}
        shown |= {"NC1": f"{mean['nc1_quotient']:.2g}", "NC2": f"{mean['nc2_etf']:.2g}"}
        shown |= {"NC3": f"{mean['nc3_difference']:.2g}", "NC4": f"{mean['nc4']:.2g}"}
        shown |= {"cosine": f"{mean['cosine']:.3f}", "ε": f"{mean['epsilon']:.3g}"}
        shown |= {"asymmetry": f"{mean['asymmetry']:.2g}"}
        for name in ("stationarity", "direction", "norm"):
            shown[name] = f"{mean[name]:.2g}" if decay > 0 else "–"
        rows.append(shown)
    return pd.DataFrame(rows)


def lemmas(ends: pd.DataFrame) -> pd.DataFrame:
    """Lemma 1: a simplex without bias has loss at least 1/(2C); Lemma 2: λ > 0 implies ε > 0."""
    rows = []
    groups: Any = ends.groupby(["data", "network"], sort=False)
    for (data, network), part in groups:
        free, decayed = part[part["head"] == "bias-free"], part[part["weight_decay"] > 0]
        plain = part[part["weight_decay"] == 0]
        classes = int(part["num_classes"].iloc[0])
        least = float(nc.theory.collapsed_loss(classes, (classes - 1) / classes))
        rows.append(
            {
                "data": data,
                "network": network,
                "lower bound on a simplex's loss without bias": f"{least:.3f}",
                "measured loss, bias-free": f"{free['loss'].min():.4f} to {free['loss'].max():.4f}",
                "smallest ε with λ": f"{decayed['epsilon'].min():.4f}",
                "largest ε without λ": f"{plain['epsilon'].max():.4f}",
                "spread of layer norms with λ": f"{decayed['layer_norm_spread'].max():.2g}",
                "spread of layer norms without λ": f"{plain['layer_norm_spread'].max():.2g}",
            }
        )
    return pd.DataFrame(rows)


def draw_training(through: pd.DataFrame) -> Figure:
    """NC measures through training: solid with weight decay, dotted without."""
    pairs: Any = list(through.groupby(["data", "network"], sort=False))
    figure, axes = report.new_figure(
        len(pairs), len(THROUGH), 2.5 * len(THROUGH), 2.0 * len(pairs) + 0.9, True, False
    )
    heads = list(dict.fromkeys(through["head"]))
    for row, ((data, network), own) in enumerate(pairs):
        for panel, (name, title) in zip(axes[row], THROUGH.items(), strict=True):
            for (head, decay), part in own.groupby(["head", "weight_decay"], sort=False):
                mean: Any = part.groupby("epoch")[name].mean()
                line = "-" if decay > 0 else ":"
                label = rf"{head}, $\lambda$ = {decay:g}"
                colour = report.PALETTE[heads.index(head)]
                panel.plot(mean.index, mean, line, color=colour, label=label)
            panel.set_yscale("log")
            report.plain_ticks(panel)
            if row == 0:
                panel.set_title(title)
            if row == len(pairs) - 1:
                panel.set_xlabel("epoch")
        axes[row, 0].set_ylabel(f"{network}, {data}")
    report.legend_outside(figure, axes[0, 0], columns=3)
    return figure


def draw_identities(ends: pd.DataFrame, small: pd.DataFrame) -> Figure:
    """Deviation from each identity at the end of training with weight decay, by head."""
    groups: Any = ends[ends["weight_decay"] > 0].groupby(["network", "data"], sort=False)
    pairs = [(("small", "orthogonal inputs"), small), *groups]
    figure, axes = report.new_figure(1, len(pairs), 2.4 * len(pairs) + 1.2, 3.4, True, False)
    for panel, ((network, data), own) in zip(axes[0], pairs, strict=True):
        for place, (head, part) in enumerate(own.groupby("head", sort=False)):
            values = part[list(IDENTITIES)].abs().to_numpy()
            spots = np.arange(len(IDENTITIES)) + 0.2 * (place - 1)
            x = np.tile(spots, len(part))
            colour = report.PALETTE[place]
            panel.plot(x, values.ravel(), "o", color=colour, markersize=5, label=head)
        panel.set_yscale("log")
        if network != "small":
            report.plain_ticks(panel)
        panel.set_xticks(range(len(IDENTITIES)), list(IDENTITIES.values()), rotation=40, ha="right")
        panel.set_title(f"{network}, {data}")
    axes[0, 0].set_ylabel("relative deviation")
    report.legend_outside(figure, axes[0, 0], columns=3)
    return figure


def main(config: Config) -> None:
    """Trains, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    splits = load_splits(config)
    small = small_networks(config)
    pairs = pairs_of(config)
    plans = [plan for pair in pairs for plan in plans_of(config, *pair, splits[pair[0]][0].labels)]
    through = train_plans(config, splits, plans, measure_identities, MEASURED)
    ends = ends_of(through, KEYS)
    summary, checked = summarise(ends), lemmas(ends)
    report.write_table(ends, config.out)
    report.write_table(through, config.out, "training")
    report.write_summary(summary, config.out)
    report.write_table(small, config.out, "small")
    report.write_summary(checked, config.out, "lemmas")
    stored = [report.read_table(config.out, name) for name in ("training", "table", "small")]
    report.save_figure(draw_training(stored[0]), config.out, "training")
    report.save_figure(draw_identities(stored[1], stored[2]), config.out, "identities")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, digests_of(splits))
    shown = small.drop(columns=["loss", "orthogonality"]).round(6)
    report.print_table(shown, "Small networks on orthogonal inputs, where the theory is exact")
    report.print_table(summary, "Neural collapse under square loss")
    report.print_table(checked, "Lemmas 1 and 2")
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
