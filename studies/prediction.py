"""Can the last layers of a trained network be predicted before training?

Networks are trained on data in which K − K_A classes are small, until the last layer
has converged. Each run is compared with surrogates: the Layer-Peeled Model at the budgets
measured in the run (as in Fang, He, Long, Su, PNAS 2021), and models that know only the
class sizes and the weight decay: unconstrained features, the model matched to the
network (nonnegative features behind a ReLU), and a deep one. Not only the cosine of the
small classes is compared but all angles, lengths and the loss. A second set of runs increases
and then decreases R, each run starting where the last one ended: where both directions differ,
the end state depends on the path, and no global optimum can predict it.

    python studies/prediction.py
    python studies/prediction.py --majority 4 --ratios 1 3 8 15 --weight-decays 0.01 --seeds 5 6
    python studies/prediction.py --preset cpu --data-dir DATA

The seed decides which labels are large. By default weight decay does not act on the layers
that a batch normalisation follows: there it only changes the size of the steps, not the
stationary points (--decayed all decays all parameters).

Time on two CPU cores: 150 s; with --preset cpu some hours. An interrupted study resumes when it
is started again. The preset 'paper' is for a GPU.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax import report
from nc_jax.campaigns import (
    PUBLISHED,
    ConvergingOptions,
    Plan,
    Training,
    check_majority,
    check_options,
    converging_training,
    decays_of,
    ends_of,
    majority_size_of,
    mean_energy,
    measure_rows,
    train_networks,
    with_states,
)
from nc_jax.datasets import ImageData, find_data_set
from nc_jax.prediction import (
    LEAGUE,
    MATRICES,
    closed_lines,
    followed_lines,
    foretold,
    league_of,
    predict_runs,
    states_of,
)
from nc_jax.report import Count, Distinct, NonNegative, Positive, Several
from nc_jax.report.prediction import draw_league, draw_loop, draw_map, draw_overlay
from nc_jax.study import Results, Study

KEYS = ["data", "network", "majority", "weight_decay", "seed", "branch", "ratio"]
# Numbers of layers of the deep models whose lines are drawn.
LAYERS = (1, 2, 3)
# Imbalance counts as mild up to this R.
MILD = 20


@dataclasses.dataclass(frozen=True)
class Config(ConvergingOptions):
    """Options of this study: networks, training and data."""

    weight_decays: Several[str] = ("0.005", "0.02")
    """λ, the weight decay, for all data sets, or for one as in cifar10:0.01."""
    seeds: Several[NonNegative[int]] = (0, 1)
    """Seeds of weights, sample order, choice of images and large classes; one run each."""
    epochs: Count = 600
    """Number of epochs of each run."""
    learning_rate: Positive = 0.2
    """Learning rate at the start of training."""
    majority: Several[int] = (5,)
    """K_A, the number of large classes; each value gets its own panel."""
    ratios: Several[Count] = (1, 5, 10, 20, 50)
    """R of the runs trained from scratch; a small class has n_A // R images."""
    loop: tuple[int, ...] = (1, 10, 50, 100)
    """Increasing R of the runs that go up and down again; fewer than two values: no such runs."""
    loop_decays: tuple[float, ...] = (0.02,)
    """λ of the runs with --loop; a subset of --weight-decays."""
    surrogates: Annotated[tuple[str, ...], Distinct(tuple(LEAGUE))] = tuple(LEAGUE)
    """Surrogates to compare the runs with."""
    lines: bool = False
    """Also follow the branches of the deep models under cross-entropy (some minutes)."""
    out: Path = Path("results/prediction/digits")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("fashion_mnist", "cifar10"),
        majority=(3, 5, 7),
        weight_decays=("0.005", "0.01", "0.02"),
        seeds=(0, 1, 2),
        ratios=(1, 5, 10, 20, 50, 100),
        loop_decays=(0.01, 0.02),
        lines=True,
        out=Path("results/prediction/cpu"),
    ),
    "paper": Config(
        **PUBLISHED,
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        majority=(3, 5, 7),
        majority_size=None,
        weight_decays=("5e-4", "5e-3"),
        seeds=(0, 1, 2),
        lowered=None,
        decayed="all",
        ratios=(1, 10, 50, 100, 200, 500, 1000),
        loop=(),
        out=Path("results/prediction/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    check_majority(config, config.majority)
    if list(config.loop) != sorted(set(config.loop)) or min(config.loop, default=1) < 1:
        raise ValueError(f"--loop must be rising ratios from 1 on, got {report.shown(config.loop)}")
    if config.loop_decays:
        report.require_numbers(config, "loop_decays", above=0)
    for data in config.data:
        if min(decays_of(config, data)) <= 0:
            raise ValueError("--weight-decays must be positive: without decay nothing is predicted")


def plans_of(config: Config, data: str, network: str, images: ImageData) -> list[Plan]:
    """The runs from scratch and the runs of the loop."""
    most = max(config.ratios + config.loop)
    size = majority_size_of(config.majority_size, "--ratios and --loop", most, data, images.labels)
    place, decays = (data, network), decays_of(config, data)

    def made(majority: int, ratio: int, decay: float, seed: int, branch: str) -> Training:
        chosen = majority, ratio, decay, seed
        training = converging_training(config, place, images.labels, size, chosen)
        energy = mean_energy(images, data, training.subset)
        about = dict(training.about, branch=branch, input_energy=energy)
        return dataclasses.replace(training, about=about)

    axes = (config.majority, config.ratios, decays, config.seeds)
    trainings = [made(*chosen, "scratch") for chosen in itertools.product(*axes)]
    chains = []
    if len(config.loop) > 1:
        around = [decay for decay in decays if decay in config.loop_decays]
        for majority, decay, seed in itertools.product(config.majority, around, config.seeds):
            for branch, path in (("up", config.loop), ("down", config.loop[::-1])):
                chains.append([made(majority, ratio, decay, seed, branch) for ratio in path])
    return [Plan(data, network, trainings, chains)]


def lines_of_models(config: Config) -> pd.DataFrame:
    """Lines of deep linear heads and, if asked for, of deep models with ReLU."""
    classes = sorted({find_data_set(data).num_classes for data in config.data})
    cases = list(itertools.product(LAYERS, config.majority, classes))
    tables = [closed_lines(*case, np.geomspace(1e-4, 0.2, 100)) for case in cases]
    if config.lines:
        asked = [decay for data in config.data for decay in decays_of(config, data)]
        decays = np.geomspace(min(asked) / 2, max(asked) * 2, 6)
        size, ratios = config.majority_size or 1000, np.geomspace(1, 1000, 19)
        tables += report.map_with_bar(
            lambda case: followed_lines(*case, decays, ratios, size), cases, "deep models"
        )
    return pd.concat(tables, ignore_index=True)


def run(config: Config) -> Results:
    """Trains, and compares every run with the surrogates."""
    trained = train_networks(config, partial(plans_of, config), measure_rows, MATRICES)
    ends = with_states(ends_of(trained.rows, KEYS), "train_accuracy_majority")
    table = predict_runs(ends, config.surrogates)
    lines = lines_of_models(config)
    league, states, told = league_of(table, MILD), states_of(ends), foretold(ends, lines)
    scratch = ends[(ends["branch"] == "scratch") & (ends["ratio"] <= MILD)]
    count = f"{scratch['converged'].sum()} of {len(scratch)}"
    shown = [
        ("Runs by state", states),
        ("States of runs from scratch, predicted by the lines of deep models", told),
        ("Surrogates compared with converged separated runs", league),
        f"{count} runs from scratch at R ≤ {MILD} converged",
    ]
    tables = {"table": table, "runs": ends, "lines": lines}
    summaries = {"table": league, "states": states, "lines": told}
    return Results(tables, summaries, shown, f"{len(ends)} runs", trained.data)


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Runs beside surrogates, their errors, the states with the lines, and the loop."""
    table = tables["table"]
    figures = {
        "overlay": draw_overlay(table),
        "league": draw_league(table),
        "map": draw_map(table, tables["lines"]),
    }
    loop = {} if set(table["branch"]) == {"scratch"} else {"loop": draw_loop(table)}
    return figures | loop


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
