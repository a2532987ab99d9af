"""Does neural collapse under square loss need weight decay, and which identities hold then?

Repeats the experiments of Rangamani, Banburski-Fahey (ICASSP 2022): deep homogeneous
networks, dense and convolutional ones without biases, are trained with the square loss
with and without weight decay λ, under three heads. 'bias-free' is the paper's own;
without a bias no stationary point has the paper's symmetry, and the best classifiers
are an orthogonal frame. 'bias' has an unregularised bias in the last layer, 'centred'
targets e_y − 1/C: with either the published identities hold. NC1–NC4 are measured
through training; at its end ε, the exact stationarity of the last layer, the identities
of symmetric quasi-interpolation (direction, norm, cosine), and Lemmas 1 and 2. Before
that, the same identities on small networks brought to a stationary point on orthogonal
inputs, where the theory is exact.

    python studies/weight_decay.py
    python studies/weight_decay.py --preset cpu --data-dir DATA
    python studies/weight_decay.py --data mnist --networks mlp --per-class 500

A study that was killed goes on from its newest checkpoints when it is started again.

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
    require_distinct,
    train_plans,
)
from nc_jax.losses import Loss
from nc_jax.networks import NETWORKS
from nc_jax.sweeps import use_every_core
from nc_jax.training.images import Images
from nc_jax.training.loop import Progress, Trainer

Head = Literal["bias-free", "bias", "centred"]
# The network's suffix and the loss of each head.
HEADS: dict[Head, tuple[str, Loss]] = {
    "bias-free": ("-bias-free", nc.MeanSquaredError()),
    "bias": ("-head-bias", nc.MeanSquaredError()),
    "centred": ("-bias-free", nc.CentredSquaredError()),
}
KEYS = ["data", "network", "head", "weight_decay", "seed"]
# Small networks on orthogonal inputs: classes, samples of each, layers and λ, steps.
CLASSES, EACH, WIDTH = 4, 3, 32
SMALL = ((2, 0.01), (3, 0.005))
STEPS, RATE = 60_000, 0.3
# What is drawn through training, and at its end.
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
    """What to train and where to look for data."""

    networks: tuple[str, ...] = ("mlp", "convnet")
    """Homogeneous networks, on all sets, or on one as in cifar10:convnet."""
    width: float = 0.25
    """Multiplies the networks' numbers of channels."""
    heads: tuple[Head, ...] = ("bias-free", "bias", "centred")
    """What the last layer is."""
    weight_decays: tuple[str, ...] = ("0", "0.001")
    """λ on every kernel, on all sets, or on one as in cifar10:0.001."""
    per_class: int | None = 50
    """Images of a class; none for as many as every class has."""
    epochs: int = 500
    """Of each run; the rate falls by ten after a third and two thirds."""
    learning_rate: float = 0.1
    """At the start."""
    batch: int = 50
    """Images of a step."""
    measures: int = 10
    """How often a run is measured, evenly through training; at its end always."""
    checkpoint: int = 100
    """Epochs between checkpoints."""
    out: Path = Path("results/weight_decay/digits")
    """Folder of the results."""


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
    """Raises ValueError naming the option that makes no sense."""
    check_options(config)
    require_distinct(config, "heads")
    kinds = [name.removesuffix("-bias-free") for name in NETWORKS if name.endswith("-bias-free")]
    for network in config.networks:
        if network.rpartition(":")[2] not in kinds:
            raise ValueError(f"--networks must be of {', '.join(kinds)}, got {network}")
    if config.per_class is not None and config.per_class < 1:
        raise ValueError(f"--per-class must be at least 1, got {config.per_class}")


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
    """The identities where they are exact: orthogonal inputs, stationary points."""
    rows = []
    for head, (depth, decay) in itertools.product(config.heads, SMALL):
        layer, _ = converged_network(np.eye(CLASSES * EACH), depth, decay, head)
        own = nc.metrics.quasi_interpolation(layer, decay, head == "centred")
        row = {"head": head, "layers": depth, "λ": decay}
        rows.append(row | {name: float(value) for name, value in own._asdict().items()})
    return pd.DataFrame(rows)


def plans_of(config: Config, data: str, network: str, labels: np.ndarray) -> list[Plan]:
    """All trainings of a network on a set of images: one plan a head."""
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
    """NC1–NC4 and the identities of the last layer, one row."""
    (row,) = measure_collapse(trainer, state, training, test)
    weights = state.fetch()
    _, features, labels = trainer.outputs(weights, trainer.images, training.subset)
    kernel, bias = trainer.classifier(weights)
    if not np.isfinite(features).all():
        return [row]
    # In float64: differences of nearly equal numbers are looked at.
    wide: Any = [None if x is None else jnp.asarray(x, float) for x in (features, kernel, bias)]
    layer = nc.metrics.NetworkLayer(wide[0], jnp.asarray(labels), wide[1], wide[2])
    centred = training.about["head"] == "centred"
    decay = training.run.recipe.weight_decay
    own = nc.metrics.quasi_interpolation(layer, decay, centred)
    row |= {name: float(value) for name, value in own._asdict().items()}
    kernels = [leaf for leaf in jax.tree.leaves(weights[0]) if leaf.ndim > 1]
    squares = np.array([float(np.sum(np.asarray(leaf, float) ** 2)) for leaf in kernels])
    # Homogeneous layers have equal norms at a stationary point with λ > 0.
    return [row | {"layer_norm_spread": float(np.std(squares) / np.mean(squares))}]


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """One row a network, head and weight decay."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "head", "weight_decay"], sort=False)
    for (data, network, head, decay), part in groups:
        mean = part.mean(numeric_only=True)
        shown = {"data": data, "network": network, "head": head, "λ": decay}
        shown |= {"train": f"{mean['train_accuracy_all']:.3f}"}
        shown |= {"test": f"{mean['test_accuracy_all']:.3f}"}
        shown |= {"NC1": f"{mean['nc1_quotient']:.2g}", "NC2": f"{mean['nc2_etf']:.2g}"}
        shown |= {"NC3": f"{mean['nc3_difference']:.2g}", "NC4": f"{mean['nc4']:.2g}"}
        shown |= {"cosine": f"{mean['cosine']:.3f}", "ε": f"{mean['epsilon']:.3g}"}
        shown |= {"asymmetry": f"{mean['asymmetry']:.2g}"}
        for name in ("stationarity", "direction", "norm"):
            shown[name] = f"{mean[name]:.2g}" if decay > 0 else "–"
        rows.append(shown)
    return pd.DataFrame(rows)


def lemmas(ends: pd.DataFrame) -> pd.DataFrame:
    """Lemma 1: a simplex without a bias costs at least 1/(2C); Lemma 2: λ leaves ε > 0."""
    rows = []
    groups: Any = ends.groupby(["data", "network"], sort=False)
    for (data, network), part in groups:
        free, decayed = part[part["head"] == "bias-free"], part[part["weight_decay"] > 0]
        classes = int(part["num_classes"].iloc[0])
        least = float(nc.theory.collapsed_loss(classes, (classes - 1) / classes))
        rows.append(
            {
                "data": data,
                "network": network,
                "loss of a simplex without bias, at least": f"{least:.3f}",
                "loss seen, bias-free": f"{free['loss'].min():.4f} to {free['loss'].max():.4f}",
                "ε with λ, smallest": f"{decayed['epsilon'].min():.4f}",
                "ε without λ, largest": f"{part[part['weight_decay'] == 0]['epsilon'].max():.4f}",
                "layers' norms with λ, spread": f"{decayed['layer_norm_spread'].max():.2g}",
                "without λ": f"{part[part['weight_decay'] == 0]['layer_norm_spread'].max():.2g}",
            }
        )
    return pd.DataFrame(rows)


def draw_training(through: pd.DataFrame) -> Figure:
    """NC measures through training: with weight decay solid, without dotted."""
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
    """At the end with weight decay: how far from each identity, by head."""
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
    """Trains, stores, and draws from what was stored."""
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
