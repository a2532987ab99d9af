"""Do the layers of residual networks collapse progressively, along a straight line?

Reproduces Figs. 2 and 3 and Table I of Wang, Gai, Zhang (2024). Residual networks are trained
on balanced data, and progressive feedforward collapse is measured at each block of the
last stage: PFC1 (within-class over between-class variance), PFC2 (distance of the class means
from a simplex ETF), PFC3 (nearest-class-centre accuracy). The measurements are compared with
the geodesic prediction, in which layers lie on the straight line between the first and the
last, and with the multilayer unconstrained feature model that starts from the first layer,
with its penalty λ_H on moving features fitted to PFC1 of the last layer. Also reported: how
straight the path is, its transport cost, and the ε-effective depth.

    python studies/feedforward_collapse.py
    python studies/feedforward_collapse.py --preset cpu --data-dir DATA
    python studies/feedforward_collapse.py --data mnist --networks dense-resnet --width 0.25

If a study is interrupted, starting it again resumes from the newest checkpoints.

Time on two CPU cores: 90 s; with --preset cpu 20 minutes.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
from matplotlib.figure import Figure

from nc_jax.campaigns import (
    LAYER_COLUMNS,
    PUBLISHED,
    Plan,
    TrainingOptions,
    balanced_training,
    check_options,
    decays_of,
    ends_of,
    measure_layers,
    recipe_of,
    train_networks,
)
from nc_jax.datasets import ImageData
from nc_jax.report import Bounds, Count, Positive, Several, TwoOrMore
from nc_jax.report.feedforward import draw_layers, draw_predictions, summarise_layers
from nc_jax.study import Results, Study

RUN = ["data", "network", "weight_decay", "seed"]


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    networks: Several[str] = ("dense-resnet", "resnet-5-4")
    """Residual networks, for all data sets, or for one as in cifar10:resnet-2-3-4."""
    per_class: TwoOrMore | None = 100
    """Number of images per class; by default all that each class has."""
    weight_decays: Several[str] = ("0.01",)
    """λ on every parameter, for all data sets, or for one as in cifar10:0.001."""
    epochs: Count = 80
    """Epochs of each run; the rate drops tenfold after one third and after two thirds."""
    learning_rate: Positive = 0.05
    """Learning rate at the start of training."""
    tolerance: Annotated[float, Bounds(least=0, most=1)] = 0.02
    """ε of the effective depth: tolerated error of the nearest-class-centre classifier."""
    measures: Count = 6
    """Number of measurements per run, evenly spaced through training; the last at its end."""
    out: Path = Path("results/feedforward_collapse/digits")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("mnist", "fashion_mnist", "cifar10"),
        networks=(
            "mnist:dense-resnet",
            "fashion_mnist:resnet-5-4",
            "cifar10:resnet-2-3-4",
        ),
        per_class=500,
        epochs=40,
        checkpoint=10,
        out=Path("results/feedforward_collapse/cpu"),
    ),
    "paper": Config(
        **PUBLISHED,
        data=("mnist", "fashion_mnist", "cifar10", "cifar100", "stl10"),
        networks=(
            "mnist:dense-resnet",
            "fashion_mnist:resnet-5-4",
            "cifar10:resnet-2-3-4",
            "cifar100:resnet-3-3-4-4",
            "stl10:resnet-5-5-5-5",
        ),
        per_class=None,
        weight_decays=("5e-4",),
        measures=10,
        out=Path("results/feedforward_collapse/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    for network in config.networks:
        if "resnet" not in network:
            raise ValueError(f"--networks must be residual ones, got {network}")


def plans_of(config: Config, data: str, network: str, images: ImageData) -> list[Plan]:
    """All trainings of one network on one image data set."""
    place, size = (data, network), config.per_class
    trainings = [
        balanced_training(place, images.labels, size, recipe_of(config, decay), seed, {})
        for decay, seed in itertools.product(decays_of(config, data), config.seeds)
    ]
    return [Plan(data, network, trainings)]


def run(config: Config) -> Results:
    """Trains the networks and measures each layer of their last stage."""
    trained = train_networks(config, partial(plans_of, config), measure_layers, LAYER_COLUMNS)
    last = ends_of(trained.rows, RUN)[[*RUN, "epoch"]]
    ends = trained.rows.merge(last, on=[*RUN, "epoch"])
    summary = summarise_layers(ends, RUN, config.tolerance)
    title = "Progressive feedforward collapse, first to last layer"
    return Results(
        {"table": ends, "training": trained.rows},
        {"table": summary},
        [(title, summary)],
        f"{len(summary)} runs",
        trained.data,
    )


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Layers through training (Fig. 2), and at its end beside the predictions (Fig. 3)."""
    # Runs that broke down have no values to draw.
    seen = tables["training"].dropna(subset="pfc1")
    whole = tables["table"].dropna(subset="model_pfc1")
    if not len(whole):
        return {}
    return {"layers": draw_layers(seen, RUN), "predictions": draw_predictions(whole, RUN)}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
