"""Does oversampling prevent Minority Collapse, and which oversampling rate is sufficient?

Reproduces Figs. 5 and 6, Table 2 and Proposition 1 of Fang, He, Long, Su (PNAS 2021). In the
Layer-Peeled Model, repeating each minority sample w_r times changes the ratio R to
R/w_r, so R/R0 is the smallest w_r that prevents collapse. The study computes certified
curves over w_r and over the budget, and the same curves with class weights in place of
oversampling by another solver. Then networks are trained at R = 1 and at R with each w_r.
Their minority accuracy and minority cosine are shown together with the smallest w_r that
the model requires at the budgets measured without oversampling.

    python studies/oversampling.py
    python studies/oversampling.py --preset cpu --data-dir DATA
    python studies/oversampling.py --data mnist --ratio 100 --rates 1 10 100

If a study is interrupted, starting it again resumes from the newest checkpoints.

Time on two CPU cores: 140 s; with --preset cpu 50 minutes.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.campaigns import (
    PUBLISHED,
    Plan,
    TrainingOptions,
    check_majority,
    check_options,
    decays_of,
    ends_of,
    majority_size_of,
    predict_rates,
    step_training,
    train_networks,
)
from nc_jax.datasets import ImageData, find_data_set, oversampled
from nc_jax.experiments import Experiment
from nc_jax.report import AboveOne, Count, Several, TwoOrMore
from nc_jax.report.oversampling import draw_model, draw_networks, summarise_rates
from nc_jax.study import Results, Study, swept, with_names
from nc_jax.sweeps import Block, Product, Values

# K of the curves of the model, and their budgets E_H at E_W = 1.
CLASSES = 10
ENERGIES = (5.0, 10.0)
POINTS = 241
KEYS = ["data", "network", "majority", "weight_decay", "seed", "ratio", "rate", "cure"]


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    majority: Several[int] = (3, 5, 7)
    """K_A: the first K_A labels are the large classes; each value gets its own panel."""
    majority_size: Count | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    ratio: TwoOrMore = 50
    """R, the imbalance ratio; a small class has n_A // R images."""
    rates: Several[int] = (1, 7, 50)
    """w_r, how often each image of a small class is shown in one epoch."""
    class_weights: bool = False
    """Also train with the loss of small classes times w_r; the model treats both alike."""
    model_ratio: AboveOne = 1000.0
    """R of the curves that are computed from the model alone."""
    measures: Count = 2
    """Number of measurements per run, evenly spaced through training; the last at its end."""
    out: Path = Path("results/oversampling/digits")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("fashion_mnist", "cifar10"),
        networks=("vgg11",),
        majority_size=2000,
        ratio=1000,
        rates=(1, 10, 100, 1000, 3000),
        weight_decays=("0.005",),
        epochs=16,
        learning_rate=0.1,
        batch=128,
        checkpoint=4,
        out=Path("results/oversampling/cpu"),
    ),
    "paper": Config(
        **PUBLISHED,
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        majority_size=None,
        ratio=1000,
        rates=(1, 10, 100, 1000),
        weight_decays=("5e-4",),
        measures=10,
        out=Path("results/oversampling/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    check_majority(config, config.majority, CLASSES)
    if min(config.rates) != 1:
        raise ValueError(
            f"--rates must be at least 1, and 1 among them, got {report.shown(config.rates)}"
        )


def model_curves(config: Config) -> pd.DataFrame:
    """The model over w_r: cosines, phases and certificates; R0 and the smallest w_r."""
    rates = np.geomspace(1, config.model_ratio, POINTS)
    energies = Values("feature_energy", np.array(ENERGIES))
    grid = Product(energies, Values("ratio", config.model_ratio / rates))
    outputs = ("minority_cosine", "majority_cosine", "phase", "gap")
    experiment = Experiment(fixed={"num_classes": CLASSES, "weight_energy": 1.0}, outputs=outputs)
    blocks = [Block({"majority": majority}, grid, POINTS) for majority in config.majority]
    table = with_names(swept(config, experiment, blocks, bar=False))
    parts = []
    groups: Any = table.groupby(["majority", "feature_energy"], sort=False)
    for (majority, energy), part in groups:
        threshold = float(nc.theory.collapse_ratio(majority, CLASSES - majority, energy**0.5))
        part.insert(2, "rate", rates)
        least = max(1.0, config.model_ratio / threshold)
        parts.append(part.drop(columns="ratio").assign(R0=threshold, least_rate=least))
    named = pd.concat(parts, ignore_index=True)
    return named.rename(columns={"minority_cosine": "cosine"})


def least_rates(config: Config) -> pd.DataFrame:
    """R/R0, the smallest w_r that prevents collapse, over the budget."""
    budgets = np.linspace(1.0, 4.0, POINTS)
    parts = []
    for majority in config.majority:
        threshold = nc.theory.collapse_ratio(majority, CLASSES - majority, budgets)
        rate = np.maximum(1, config.model_ratio / np.asarray(threshold))
        parts.append(pd.DataFrame({"majority": majority, "budget": budgets, "least_rate": rate}))
    return pd.concat(parts, ignore_index=True)


def by_class_weights(curves: pd.DataFrame, config: Config) -> float:
    """Largest difference of the cosines if class weights replace oversampling (other solver)."""
    worst = 0.0
    groups: Any = curves.groupby(["majority", "feature_energy"])
    for (majority, energy), part in groups:
        apart = part[part["phase"] == "separated"]
        if not len(apart):
            continue
        row = apart.iloc[len(apart) // 2]
        counts = np.ones(CLASSES)
        counts[:majority] = config.model_ratio
        weights = np.where(np.arange(CLASSES) < majority, 1, row["rate"])
        model = nc.LayerPeeled(counts * weights, 1.0, energy)
        solution = nc.solve(model, nc.FactoredQuasiNewton())
        own = nc.metrics.mean_cosine(solution.classifiers[majority:])
        worst = max(worst, abs(float(own) - row["cosine"]))
    return worst


def plans_of(config: Config, data: str, network: str, images: ImageData) -> list[Plan]:
    """All trainings of one network on one image data set."""
    labels = images.labels
    size = majority_size_of(config.majority_size, "--ratio", config.ratio, data, labels)
    trainings = []
    axes = (config.majority, decays_of(config, data), config.seeds)
    for majority, decay, seed in itertools.product(*axes):
        cures = ("oversampling", "class weights") if config.class_weights else ("oversampling",)
        rates = [rate for rate in config.rates if rate > 1]
        kinds = [(1, 1, "none"), (config.ratio, 1, "none")]
        kinds += [(config.ratio, rate, cure) for cure in cures for rate in rates]
        for ratio, rate, cure in kinds:
            chosen = majority, ratio, decay, seed
            plain = step_training(config, (data, network), labels, size, chosen)
            weighed = cure == "class weights"
            shown = oversampled(plain.subset, labels, plain.minority, 1 if weighed else rate)
            classes = np.arange(find_data_set(data).num_classes)
            weights = np.where(classes < majority, 1.0, rate) if weighed else None
            run = dataclasses.replace(plain.run, indices=shown, class_weights=weights)
            about = {**plain.about, "rate": rate, "cure": cure}
            trainings.append(dataclasses.replace(plain, about=about, run=run))
    return [Plan(data, network, trainings)]


def run(config: Config) -> Results:
    """Solves the model over the rates, and trains the networks."""
    curves, least = model_curves(config), least_rates(config)
    apart = by_class_weights(curves, config)
    trained = train_networks(config, partial(plans_of, config))
    ends = predict_rates(ends_of(trained.rows, KEYS))
    summary = summarise_rates(ends)
    own: Any = curves.drop_duplicates(["majority", "feature_energy"])
    own = own[["majority", "feature_energy", "R0", "least_rate"]]
    shown = [
        (f"Smallest w_r of the model at R = {config.model_ratio:g}", own),
        ("Test accuracy and minority cosine under oversampling", summary),
        f"{len(curves)} programs, largest gap {curves['gap'].max():.1e}",
        f"class weights instead of oversampling: cosines differ by at most {apart:.1e}",
    ]
    tables = {"table": ends, "training": trained.rows, "model": curves, "least": least}
    return Results(tables, {"table": summary}, shown, f"{len(ends)} runs", trained.data)


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """The model over the rates, and the networks beside it (Figs. 5 and 6)."""
    return {
        "model": draw_model(tables["model"], tables["least"], CLASSES),
        "networks": draw_networks(tables["table"]),
    }


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
