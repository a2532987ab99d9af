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
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_jax import report
from nc_jax.campaigns import (
    Plan,
    TrainingOptions,
    check_majority,
    check_options,
    decays_of,
    digests_of,
    ends_of,
    load_splits,
    majority_size_of,
    pairs_of,
    predict_minority,
    step_training,
    train_plans,
)
from nc_jax.sweeps import use_every_core

# From this cosine on two classifiers count as equal.
COLLAPSED = 0.95
KEYS = ["data", "network", "majority", "ratio", "weight_decay", "seed"]


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    majority: tuple[int, ...] = (3, 5, 7)
    """K_A: the first K_A labels are the large classes; each value gets its own panel."""
    majority_size: int | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    ratios: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
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
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        width=1.0,
        majority_size=None,
        ratios=(1, 10, 50, 100, 200, 500, 1000, 2000, 3000, 5000),
        weight_decays=("5e-4", "5e-3"),
        epochs=350,
        learning_rate=0.1,
        batch=128,
        test_size=10_000,
        measures=10,
        checkpoint=10,
        out=Path("results/minority_collapse/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    report.require_distinct(config, "majority", "ratios")
    report.require_numbers(config, "ratios", "majority_size", least=1)
    check_majority(config, config.majority)


def plan_of(config: Config, data: str, network: str, labels: np.ndarray) -> Plan:
    """All trainings of one network on one image data set."""
    size = majority_size_of(config.majority_size, "--ratios", max(config.ratios), data, labels)
    axes = (config.majority, config.ratios, decays_of(config, data), config.seeds)
    place = data, network
    trainings = [
        step_training(config, place, labels, size, chosen) for chosen in itertools.product(*axes)
    ]
    return Plan(data, network, trainings)


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


def _over_ratios(panel: Axes, ends: pd.DataFrame) -> None:
    """Sets up the axes of a panel of cosine against R, also if no run has a cosine."""
    panel.set_xscale("log")
    ratios = ends["ratio"].to_numpy()
    panel.set_xlim(ratios.min() / 1.3, ratios.max() * 1.3)
    panel.set_ylim(-0.4, 1.05)


def draw_overlay(ends: pd.DataFrame) -> Figure:
    """Minority cosines against R (Fig. 2 of the paper).

    Solid: networks; dotted: the Layer-Peeled Model with the networks' measured budgets;
    dashed: the surrogate that knows only class sizes and weight decay.
    """
    pairs: Any = list(ends.groupby(["data", "network"], sort=False))
    majorities, decays = (sorted(set(ends[name])) for name in ("majority", "weight_decay"))
    size = len(majorities)
    figure, axes = report.new_figure(len(pairs), size, 2.6 * size + 0.6, 2.3 * len(pairs) + 0.8)
    for row, ((data, network), own) in enumerate(pairs):
        for column, majority in enumerate(majorities):
            panel = axes[row, column]
            for decay, part in own[own["majority"] == majority].groupby("weight_decay"):
                colour = report.PALETTE[decays.index(decay) % len(report.PALETTE)]
                cosines = ["minority_cosine", "predicted_cosine", "settled_cosine"]
                mean: Any = part.groupby("ratio")[cosines].mean()
                label = rf"$\lambda$ = {decay:g}"
                panel.plot(part["ratio"], part["minority_cosine"], ".", color=colour, markersize=4)
                seen, model = mean["minority_cosine"], mean["predicted_cosine"]
                panel.plot(mean.index, seen, color=colour, label=f"{label}, network")
                panel.plot(mean.index, model, ":", color=colour, label=f"{label}, model")
                settled = mean["settled_cosine"].dropna()
                text = f"{label}, predicted from weight decay"
                panel.plot(settled.index, settled, "--", color=colour, linewidth=1, label=text)
            _over_ratios(panel, ends)
            if row == 0:
                panel.set_title(f"$K_A$ = {majority}")
            if row == len(pairs) - 1:
                panel.set_xlabel("imbalance ratio $R$")
        axes[row, 0].set_ylabel(f"{network}, {data}\nminority cosine")
    report.legend_outside(figure, max(axes.flat, key=lambda panel: len(panel.lines)), columns=4)
    return figure


def draw_collapse(ends: pd.DataFrame) -> Figure:
    """Minority cosines of each network against R, one curve for each K_A (Fig. 4)."""
    pairs: Any = list(ends.groupby(["data", "network"], sort=False))
    figure, axes = report.new_figure(1, len(pairs), 2.8 * len(pairs) + 0.8, 3.0)
    for panel, ((data, network), own) in zip(axes[0], pairs, strict=True):
        for colour, (majority, part) in zip(
            report.PALETTE,
            own[own["weight_decay"] == own["weight_decay"].max()].groupby("majority"),
            strict=False,
        ):
            spread: Any = part.groupby("ratio")["minority_cosine"].agg(["mean", "min", "max"])
            panel.plot(
                spread.index, spread["mean"], "o-", color=colour, label=f"$K_A$ = {majority}"
            )
            panel.fill_between(
                spread.index, spread["min"], spread["max"], color=colour, alpha=0.2, linewidth=0
            )
        _over_ratios(panel, ends)
        panel.set_title(rf"{network}, {data}, $\lambda$ = {own['weight_decay'].max():g}")
        panel.set_xlabel("imbalance ratio $R$")
    axes[0, 0].set_ylabel("minority cosine")
    report.legend_outside(figure, axes[0, 0], columns=4)
    return figure


def main(config: Config) -> None:
    """Trains, solves, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    splits = load_splits(config)
    plans = [plan_of(config, *pair, splits[pair[0]][0].labels) for pair in pairs_of(config)]
    through = train_plans(config, splits, plans)
    ends = predict(through)
    summary = summarise(ends)
    report.write_table(ends, config.out)
    report.write_table(through, config.out, "training")
    report.write_summary(summary, config.out)
    stored = report.read_table(config.out)
    report.save_figure(draw_overlay(stored), config.out, "overlay")
    report.save_figure(draw_collapse(stored), config.out, "collapse")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, digests_of(splits))
    report.print_table(summary, "Cosines of minority classifiers")
    compared = ends["difference"].abs().dropna()
    print(
        f"mean |model − measured| over {len(compared)} of {len(ends)} runs: {compared.mean():.3f}"
    )
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
