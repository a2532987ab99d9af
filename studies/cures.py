"""Which cure for imbalance restores the geometry, how strong must it be, and is it useful?

Model: the Layer-Peeled Model is solved with every cure over a range of strengths, each
point certified: minority cosine, lengths of the classifiers, margins, and the distance
of the classifiers from a simplex ETF. For each cure the study reports the smallest strength
at which no classes are merged (if there is one) and the strength closest to the simplex ETF.

Networks: networks are trained with each cure over a range of strengths. One of the strengths
is chosen by the designer before training, from class sizes and weight decay alone: the one
at which unconstrained features with the network's own penalties come closest to a
simplex ETF. Reported are balanced and minority test accuracy, cosines, and states.

    python studies/cures.py
    python studies/cures.py --cures class-weights:0.5,1,2 logit-adjustment:1,2 --ratios 20 --seeds 3
    python studies/cures.py --preset cpu --data-dir DATA

Time on two CPU cores: 3 to 9 minutes; with --preset cpu 90 minutes. An interrupted study
resumes when it is started again. The preset 'paper' is for a GPU.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import design, report
from nc_jax.campaigns import (
    PLACE,
    PUBLISHED,
    ConvergingOptions,
    Training,
    check_majority,
    check_options,
    converging_training,
    cured_plans,
    decays_of,
    design_cures,
    digests_of,
    ends_of,
    load_splits,
    majority_size_of,
    measure_rows,
    pairs_of,
    strengths_of,
    train_plans,
    with_states,
)
from nc_jax.networks import NETWORKS
from nc_jax.prediction import MATRICES
from nc_jax.report import AboveOne, Count, Positive, Several
from nc_jax.report.cures import (
    draw_accuracy,
    draw_geometry,
    draw_model,
    readable_design,
    summarise_cures,
)
from nc_jax.study import Results, Study

KEYS = ["data", "network", "majority", "ratio", "weight_decay", "seed", "cure", "strength"]
# K of the curves of the model, and the number of points on a curve.
CLASSES = 10
POINTS = 37
TARGET = "simplex-etf"


@dataclasses.dataclass(frozen=True)
class Config(ConvergingOptions):
    """Options of this study: cures, networks, training and data."""

    cures: Several[str] = (
        "class-weights:0.5,1",
        "oversampling:0.5,1",
        "logit-adjustment:1,3",
        "vector-scaling:0.5,1.5",
        "margins:1,3",
        "label-smoothing:0.1,0.3",
        "focal:1,3",
    )
    """Cures, each with the strengths for the networks; the designer's strength is added."""
    weight_decays: Several[str] = ("0.01",)
    """λ, the weight decay, for all data sets, or for one as in cifar10:0.01."""
    epochs: Count = 500
    """Number of epochs of each run."""
    majority: int = 5
    """K_A, the number of large classes."""
    ratios: Several[Count] = (20,)
    """R of the networks' data; a small class has n_A // R images."""
    model_ratios: Several[AboveOne] = (10.0, 100.0, 1000.0)
    """R of the curves that are computed from the model alone."""
    model_energy: Positive = 8.0
    """E_H of the curves that are computed from the model alone, at E_W = 1."""
    out: Path = Path("results/cures/digits")
    """Folder in which the results are written."""


FULL = (
    "class-weights:0.5,1,1.5,2",
    "oversampling:0.5,0.75,1",
    "logit-adjustment:0.5,1,1.5,2,3",
    "vector-scaling:0.5,1,1.5,2",
    "margins:1,3,10",
    "label-smoothing:0.1,0.3,0.6",
    "focal:0.5,1,2,4",
)
PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("fashion_mnist", "cifar10"),
        cures=FULL,
        weight_decays=("0.005", "0.02"),
        seeds=(0, 1),
        ratios=(10, 100),
        out=Path("results/cures/cpu"),
    ),
    "paper": Config(
        **PUBLISHED,
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        cures=FULL,
        majority_size=None,
        weight_decays=("5e-4",),
        seeds=(0, 1, 2),
        lowered=None,
        decayed="all",
        ratios=(10, 100),
        out=Path("results/cures/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    strengths_of(config.cures)
    check_majority(config, (config.majority,), CLASSES)
    for data, network in pairs_of(config):
        if not NETWORKS[network].head.branches or NETWORKS[network].head.layers > 1:
            raise ValueError(f"--networks must be batch-normalised with one last layer: {network}")
        if min(decays_of(config, data)) <= 0:
            raise ValueError("--weight-decays must be positive: without decay nothing is designed")


def model_side(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The Layer-Peeled Model at all strengths, and the choices of the designer."""
    minority = CLASSES - config.majority

    def one(case: tuple[str, float]) -> tuple[pd.DataFrame, dict[str, Any]]:
        cure, ratio = case
        sizes = nc.two_groups(config.majority, minority, ratio)
        model = nc.LayerPeeled(sizes, 1.0, config.model_energy)
        strengths = np.linspace(0, design.CURES[cure][1], POINTS)
        curve = design.curve_of(model, cure, strengths, config.majority, TARGET)
        return pd.DataFrame(curve).assign(ratio=ratio), {"R": ratio} | design.row_of(model, cure)

    cases = list(itertools.product(design.CURES, config.model_ratios))
    curves, rows = zip(*report.map_with_bar(one, cases, "cures of the model"), strict=True)
    designed = pd.DataFrame(rows).sort_values("R", kind="stable", ignore_index=True)
    return pd.concat(curves, ignore_index=True), designed


def plain_trainings(config: Config, data: str, network: str, labels: np.ndarray) -> list[Training]:
    """One training for every R, λ and seed, without a cure."""
    size = majority_size_of(config.majority_size, "--ratios", max(config.ratios), data, labels)
    axes = (config.ratios, decays_of(config, data), config.seeds)
    made = []
    for ratio, decay, seed in itertools.product(*axes):
        chosen = config.majority, ratio, decay, seed
        plain = converging_training(config, (data, network), labels, size, chosen)
        about = {**plain.about, "cure": "none", "strength": 0.0}
        made.append(dataclasses.replace(plain, about=about))
    return made


def run(config: Config) -> Results:
    """Solves the model with every cure, designs, trains."""
    curves, designed = model_side(config)
    splits = load_splits(config)
    labels = {data: split[0].labels for data, split in splits.items()}
    plain = [plain_trainings(config, *pair, labels[pair[0]]) for pair in pairs_of(config)]
    grids = strengths_of(config.cures)
    trainings = [training for own in plain for training in own]
    designs = design_cures(trainings, grids, config.majority, TARGET)
    plans = [plan for own in plain for plan in cured_plans(own, labels, grids, designs)]
    trained = ends_of(train_plans(config, splits, plans, measure_rows, MATRICES), KEYS)
    ends = with_states(trained, "balance").merge(
        designs, on=[*PLACE, "cure", "strength"], how="left"
    )
    summary, readable = summarise_cures(ends), readable_design(designed)
    shown: list[Any] = [(f"The model at E_W = 1, E_H = {config.model_energy:g}", readable)]
    shown += [
        f"no strength of {row['cure']} separates the small classes at R = {row['R']:g}"
        for _, row in designed[designed["least"].isna()].iterrows()
    ]
    shown.append(("Test accuracy, averaged over classes with equal weight", summary))
    shown.append(f"{len(curves)} programs, largest gap {curves['gap'].max():.1e}")
    tables = {"table": ends, "model": curves, "designed": designed, "designs": designs}
    said = {"table": summary, "model": readable}
    return Results(tables, said, shown, f"{len(ends)} runs", digests_of(splits))


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """The model over strengths, and the networks' accuracies and cosines."""
    return {
        "model": draw_model(tables["model"], tables["designed"]),
        "accuracy": draw_accuracy(tables["table"]),
        "geometry": draw_geometry(tables["table"], tables["designs"]),
    }


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
