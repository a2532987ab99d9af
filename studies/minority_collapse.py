"""Do the minority classes of real networks collapse where the Layer-Peeled Model predicts it?

Reproduces Figs. 2 and 4 and Table 1 of Fang, He, Long, Su (PNAS 2021). Networks are
trained on data in which K − K_A classes are small. At the end of training the cosine of the
minority classifiers and the budgets E_W and E_H are measured, the model is solved with
exactly these budgets, and both cosines are plotted against the ratio R. Where the minority
classifiers of the model vanish, the limit of their cosine, 1, is used. A third curve
is predicted from weight decay and class sizes alone (studies/prediction.py): networks that
have converged follow it; for the others it shows how far they are from convergence.

    python studies/minority_collapse.py
    python studies/minority_collapse.py --preset cpu --data-dir DATA
    python studies/minority_collapse.py --data mnist --networks small-resnet --epochs 60

The preset 'paper' needs a data-centre GPU. If a study is interrupted, starting it again
resumes from the newest checkpoints.

Time on two CPU cores: 3 minutes; with --preset cpu some hours.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from nc_jax.campaigns import (
    PUBLISHED,
    Plan,
    TrainingOptions,
    check_majority,
    check_options,
    decays_of,
    ends_of,
    majority_size_of,
    predict_minority,
    step_training,
    train_networks,
)
from nc_jax.datasets import ImageData
from nc_jax.report import Count, Several
from nc_jax.report.minority import draw_collapse, draw_overlay
from nc_jax.study import Results, Study

# From this cosine on two classifiers count as equal.
COLLAPSED = 0.95
KEYS = ["data", "network", "majority", "ratio", "weight_decay", "seed"]


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    majority: Several[int] = (3, 5, 7)
    """K_A: the first K_A labels are the large classes; each value gets its own panel."""
    majority_size: Count | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    ratios: Several[Count] = (1, 2, 5, 10, 20, 50, 100)
    """R, the imbalance ratio; a small class has n_A // R images."""
    out: Path = Path("results/minority_collapse/digits")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("fashion_mnist", "cifar10"),
        networks=("vgg11",),
        majority_size=200,
        ratios=(1, 2, 5, 10, 20, 50, 100, 200),
        weight_decays=("0.01", "fashion_mnist:0.02"),
        seeds=(0, 1),
        epochs=40,
        learning_rate=0.1,
        checkpoint=10,
        out=Path("results/minority_collapse/cpu"),
    ),
    "paper": Config(
        **PUBLISHED,
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        majority_size=None,
        ratios=(1, 10, 50, 100, 200, 500, 1000, 2000, 3000, 5000),
        weight_decays=("5e-4", "5e-3"),
        measures=10,
        out=Path("results/minority_collapse/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    check_majority(config, config.majority)


def plans_of(config: Config, data: str, network: str, images: ImageData) -> list[Plan]:
    """All trainings of one network on one image data set."""
    labels = images.labels
    size = majority_size_of(config.majority_size, "--ratios", max(config.ratios), data, labels)
    axes = (config.majority, config.ratios, decays_of(config, data), config.seeds)
    place = data, network
    trainings = [
        step_training(config, place, labels, size, chosen) for chosen in itertools.product(*axes)
    ]
    return [Plan(data, network, trainings)]


def predict(through: pd.DataFrame) -> pd.DataFrame:
    """The end of every run next to the Layer-Peeled Model with the run's sizes and budgets."""
    table = ends_of(through, KEYS)
    table["effective_ratio"] = table["majority_size"] / table["minority_size"]
    return predict_minority(table)


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set, network, K_A and weight decay."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "majority", "weight_decay"], sort=False)
    for (data, network, majority, decay), part in groups:
        by_ratio: Any = part.groupby("ratio").mean(numeric_only=True)
        first, last = by_ratio.iloc[0], by_ratio.iloc[-1]
        lost = by_ratio.index[by_ratio["minority_cosine"] > COLLAPSED]
        model = by_ratio.index[by_ratio["predicted_cosine"] > COLLAPSED]
        rows.append(
            {
                "data": data,
                "network": network,
                "K_A": majority,
                "weight decay": decay,
                "runs": len(part),
                "broke down": int((part["status"] != "trained").sum()),
                f"cosine at R = {by_ratio.index[0]}": f"{first['minority_cosine']:.3f}",
                f"cosine at R = {by_ratio.index[-1]}": f"{last['minority_cosine']:.3f}",
                f"cosine > {COLLAPSED} from R": f"{lost.min():g}" if len(lost) else "never",
                f"model > {COLLAPSED} from R": f"{model.min():g}" if len(model) else "never",
                "variation of minority norms": f"{last['minority_norm_variation']:.1e}",
                "minority accuracy": f"{first['test_accuracy_minority']:.2f} to "
                f"{last['test_accuracy_minority']:.2f}",
                "mean error of the model": f"{part['difference'].abs().mean():.3f}",
            }
        )
    return pd.DataFrame(rows)


def run(config: Config) -> Results:
    """Trains the networks and solves the model of each."""
    trained = train_networks(config, partial(plans_of, config))
    ends = predict(trained.rows)
    summary = summarise(ends)
    compared = ends["difference"].abs().dropna()
    mean = f"mean |model − measured| over {len(compared)} of {len(ends)} runs"
    return Results(
        {"table": ends, "training": trained.rows},
        {"table": summary},
        [("Cosines of minority classifiers", summary), f"{mean}: {compared.mean():.3f}"],
        f"{len(ends)} runs",
        trained.data,
    )


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Fig. 2 with the predictions, and Fig. 4."""
    return {"overlay": draw_overlay(tables["table"]), "collapse": draw_collapse(tables["table"])}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
