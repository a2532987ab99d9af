"""The options that all studies with trained networks share."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from nc_jax.datasets import find_data_set
from nc_jax.losses import CrossEntropy, Loss
from nc_jax.networks import NETWORKS
from nc_jax.report.options import (
    Bounds,
    Count,
    NonNegative,
    Positive,
    Several,
    flag,
    require_numbers,
    shown,
)
from nc_jax.training import Recipe

# The training of the papers that the studies reproduce, for presets.
PUBLISHED: dict[str, Any] = {
    "width": 1.0,
    "epochs": 350,
    "learning_rate": 0.1,
    "batch": 128,
    "test_size": 10_000,
    "checkpoint": 10,
}


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Options of networks, training and data."""

    data: Several[str] = ("digits",)
    """Image data sets: digits, mnist, fashion_mnist, cifar10, cifar100 or stl10, or a .npz archive
    of train_images, train_labels, test_images and test_labels."""
    data_dir: Path | None = None
    """Folder of the data; without it $NC_JAX_DATA, a cache and a download are tried."""
    networks: Several[str] = ("small-resnet",)
    """Names in nc_jax.networks.NETWORKS, for all data sets, or for one as in cifar10:vgg13."""
    width: Positive = 0.125
    """Factor on the number of channels of every network."""
    weight_decays: Several[str] = ("0.02",)
    """λ, the weight decay, for all data sets, or for one as in cifar10:0.01."""
    seeds: Several[NonNegative[int]] = (0,)
    """Seeds of weights, sample order and choice of images; one run each."""
    epochs: Count = 40
    """Number of epochs of each run."""
    learning_rate: Positive = 0.2
    """Learning rate at the start of training."""
    momentum: Annotated[float, Bounds(least=0, below=1)] = 0.9
    """μ, the momentum of stochastic gradient descent; 0 for none."""
    lowered: tuple[float, ...] | None = None
    """Shares of the training after which the rate drops tenfold; default: 1/3 and 2/3."""
    batch: Count = 64
    """Batch size: number of images in each step."""
    even_batches: bool = False
    """Use batches of almost equal size instead of a smaller last batch."""
    test_size: Count = 2000
    """Largest number of held-out images on which accuracies are computed."""
    measures: Count = 4
    """Number of measurements per run, evenly spaced through training; the last at its end."""
    checkpoint: Count = 25
    """Number of epochs between checkpoints."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Floating-point precision of the networks' computations."""
    out: Path = Path("results")
    """Folder in which the results are written."""


@dataclasses.dataclass(frozen=True)
class ConvergingOptions(TrainingOptions):
    """Options of trainings on two class sizes that are compared with stationary points."""

    networks: Several[str] = ("mlp-norm",)
    """Names in nc_jax.networks.NETWORKS, for all data sets, or for one as in cifar10:vgg13."""
    lowered: tuple[float, ...] | None = (0.65, 0.9)
    """Shares of the training after which the rate drops tenfold; default: 1/3 and 2/3."""
    batch: Count = 1024
    """Batch size: images in each step; all images if there are fewer."""
    even_batches: bool = True
    """Use batches of almost equal size instead of a smaller last batch."""
    measures: Count = 1
    """Number of measurements per run; the last is always at its end."""
    decayed: Literal["effective", "all"] = "effective"
    """Parameters that weight decay acts on."""
    majority_size: Count | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    labels: Literal["random", "first"] = "random"
    """Whether the seed draws the large classes; if not, they are the first ones, as published."""


def check_options(options: TrainingOptions) -> None:
    """Checks the options before any data are read.

    Raises:
        ValueError: naming the option that is invalid.
    """
    for data in options.data:
        require_data_set(data)
    for name in ("networks", "weight_decays"):
        for choice in getattr(options, name):
            data = choice.rpartition(":")[0]
            if data and data not in options.data:
                raise ValueError(f"{flag(name)} {choice} is on a set that --data does not name")
        for data in options.data:
            if not chosen_for(data, getattr(options, name)):
                raise ValueError(f"{flag(name)} has nothing for {data}")
    for network in map(_bare, options.networks):
        if network not in NETWORKS:
            raise ValueError(f"--networks must be of {', '.join(NETWORKS)}, got {network}")
    if options.lowered:
        require_numbers(options, "lowered", above=0, below=1)
    try:
        decays = [float(_bare(decay)) for decay in options.weight_decays]
    except ValueError:
        decays = [math.nan]
    if not all(0 <= decay < math.inf for decay in decays):
        raise ValueError(
            f"--weight-decays must be zero or positive, got {shown(options.weight_decays)}"
        )


def require_data_set(data: str) -> None:
    """Checks --data.

    Raises:
        ValueError: there is no data set of this name, and no archive at this path.
    """
    try:
        find_data_set(data)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"--data: {error}") from error


def _bare(choice: str) -> str:
    """A choice without the name of the data set that it is for."""
    return choice.rpartition(":")[2]


def chosen_for(data: str, choices: tuple[str, ...]) -> list[str]:
    """The choices for all data sets or for this one."""
    return [_bare(choice) for choice in choices if choice.rpartition(":")[0] in ("", data)]


def pairs_of(options: TrainingOptions) -> list[tuple[str, str]]:
    """Every data set with every network that is to be trained on it."""
    return [
        (data, network) for data in options.data for network in chosen_for(data, options.networks)
    ]


def decays_of(options: TrainingOptions, data: str) -> list[float]:
    """The weight decays for one data set."""
    return [float(decay) for decay in chosen_for(data, options.weight_decays)]


def recipe_of(
    options: TrainingOptions,
    weight_decay: float,
    loss: Loss | None = None,
    decayed: Literal["all", "kernels", "effective"] = "all",
) -> Recipe:
    """The recipe of Fang et al. 2021 with the chosen number of epochs."""
    recipe = Recipe(
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=weight_decay,
        decayed=decayed,
        batch_size=options.batch,
        even_batches=options.even_batches,
        loss=CrossEntropy() if loss is None else loss,
        precision=options.precision,
    )
    recipe = recipe.shortened(options.epochs)
    if options.lowered is None:
        return recipe
    milestones = {max(1, round(share * options.epochs)) for share in options.lowered}
    milestones = tuple(sorted(epoch for epoch in milestones if epoch < options.epochs))
    return dataclasses.replace(recipe, milestones=milestones)
