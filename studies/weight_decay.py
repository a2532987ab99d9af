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
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax.campaigns import (
    IDENTITY_COLUMNS,
    PUBLISHED,
    Plan,
    TrainingOptions,
    balanced_training,
    check_options,
    decays_of,
    ends_of,
    measure_identities,
    recipe_of,
    train_networks,
)
from nc_jax.datasets import ImageData
from nc_jax.networks import NETWORKS
from nc_jax.report import Count, Positive, Several
from nc_jax.report.identities import draw_identities, draw_training, summarise_heads
from nc_jax.study import Results, Study
from nc_jax.training.whole_batch import train_dense

Head = Literal["bias-free", "bias", "centred"]
# For each head the suffix of the network's name and the loss.
HEADS: dict[Head, tuple[str, nc.Loss]] = {
    "bias-free": ("-bias-free", nc.MeanSquaredError()),
    "bias": ("-head-bias", nc.MeanSquaredError()),
    "centred": ("-bias-free", nc.CentredSquaredError()),
}
KEYS = ["data", "network", "head", "weight_decay", "seed"]
# Small networks on orthogonal inputs: classes, samples per class, layers and λ.
CLASSES, EACH = 4, 3
SMALL = ((2, 0.01), (3, 0.005))


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    networks: Several[str] = ("mlp", "convnet")
    """Homogeneous networks, for all data sets, or for one as in cifar10:convnet."""
    width: Positive = 0.25
    """Factor on the number of channels of every network."""
    heads: Several[Head] = ("bias-free", "bias", "centred")
    """Kind of last layer."""
    weight_decays: Several[str] = ("0", "0.001")
    """λ on every kernel, for all data sets, or for one as in cifar10:0.001."""
    per_class: Count | None = 50
    """Number of images per class; by default all that each class has."""
    epochs: Count = 500
    """Epochs of each run; the rate drops tenfold after one third and after two thirds."""
    learning_rate: Positive = 0.1
    """Learning rate at the start of training."""
    batch: Count = 50
    """Batch size: number of images in each step."""
    measures: Count = 10
    """Number of measurements per run, evenly spaced through training; the last at its end."""
    checkpoint: Count = 100
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
        **PUBLISHED,
        data=("mnist", "cifar10"),
        per_class=None,
        weight_decays=("0", "5e-4"),
        out=Path("results/weight_decay/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    kinds = [name.removesuffix("-bias-free") for name in NETWORKS if name.endswith("-bias-free")]
    for network in config.networks:
        if network.rpartition(":")[2] not in kinds:
            raise ValueError(f"--networks must be of {', '.join(kinds)}, got {network}")


def small_network(
    inputs: Any, depth: int, weight_decay: float, head: Head, activation: Any = jax.nn.relu
) -> tuple[nc.metrics.NetworkLayer, list[Any]]:
    """The last layer and all kernels of a small network at a stationary point."""
    labels, loss = np.repeat(np.arange(CLASSES), EACH), HEADS[head][1]
    biased = head == "bias"
    return train_dense(inputs, labels, loss, weight_decay, depth, biased, activation)


def small_networks(config: Config) -> pd.DataFrame:
    """The identities where they are exact: at stationary points with orthogonal inputs."""
    rows = []
    for head, (depth, decay) in itertools.product(config.heads, SMALL):
        layer, _ = small_network(np.eye(CLASSES * EACH), depth, decay, head)
        own = nc.metrics.quasi_interpolation(layer, decay, head == "centred")
        row = {"head": head, "layers": depth, "λ": decay}
        rows.append(row | {name: float(value) for name, value in own._asdict().items()})
    return pd.DataFrame(rows)


def plans_of(config: Config, data: str, network: str, images: ImageData) -> list[Plan]:
    """All trainings of one network on one image data set: one plan for each head."""
    plans = []
    for head in config.heads:
        suffix, loss = HEADS[head]
        trainings = []
        for decay, seed in itertools.product(decays_of(config, data), config.seeds):
            recipe, about = recipe_of(config, decay, loss, "kernels"), {"head": head}
            size = images.labels, config.per_class
            trainings.append(balanced_training((data, network), *size, recipe, seed, about))
        plans.append(Plan(data, network + suffix, trainings))
    return plans


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


def run(config: Config) -> Results:
    """Trains the small networks and the networks of the options."""
    small = small_networks(config)
    trained = train_networks(
        config, partial(plans_of, config), measure_identities, IDENTITY_COLUMNS
    )
    ends = ends_of(trained.rows, KEYS)
    summary, checked = summarise_heads(ends), lemmas(ends)
    own = small.drop(columns=["loss", "orthogonality"]).round(6)
    return Results(
        {"table": ends, "training": trained.rows, "small": small},
        {"table": summary, "lemmas": checked},
        [
            ("Small networks on orthogonal inputs, where the theory is exact", own),
            ("Neural collapse under square loss", summary),
            ("Lemmas 1 and 2", checked),
        ],
        f"{len(ends)} runs",
        trained.data,
    )


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Measures through training, and deviations from the identities at its end."""
    return {
        "training": draw_training(tables["training"]),
        "identities": draw_identities(tables["table"], tables["small"]),
    }


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
