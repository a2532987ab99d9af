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
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
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
from nc_jax.datasets import find_data_set, oversampled
from nc_jax.solvers.solution import certified
from nc_jax.sweeps import use_every_core

# K of the curves of the model, and their budgets E_H at E_W = 1.
CLASSES = 10
ENERGIES = (5.0, 10.0)
POINTS = 241
KEYS = ["data", "network", "majority", "weight_decay", "seed", "ratio", "rate", "cure"]


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    majority: tuple[int, ...] = (3, 5, 7)
    """K_A: the first K_A labels are the large classes; each value gets its own panel."""
    majority_size: int | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    ratio: int = 50
    """R, the imbalance ratio; a small class has n_A // R images."""
    rates: tuple[int, ...] = (1, 7, 50)
    """w_r, how often each image of a small class is shown in one epoch."""
    class_weights: bool = False
    """Also train with the loss of small classes times w_r; the model treats both alike."""
    model_ratio: float = 1000.0
    """R of the curves that are computed from the model alone."""
    measures: int = 2
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
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        width=1.0,
        majority_size=None,
        ratio=1000,
        rates=(1, 10, 100, 1000),
        weight_decays=("5e-4",),
        epochs=350,
        learning_rate=0.1,
        batch=128,
        test_size=10_000,
        measures=10,
        checkpoint=10,
        out=Path("results/oversampling/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    report.require_distinct(config, "majority", "rates")
    report.require_numbers(config, "majority_size", least=1)
    report.require_numbers(config, "ratio", least=2)
    report.require_numbers(config, "model_ratio", above=1)
    check_majority(config, config.majority, CLASSES)
    if min(config.rates) != 1:
        raise ValueError(
            f"--rates must be at least 1, and 1 among them, got {report.shown(config.rates)}"
        )


def model_curves(config: Config) -> pd.DataFrame:
    """The model over w_r: cosines, phases and certificates; R0 and the smallest w_r."""
    rates = np.geomspace(1, config.model_ratio, POINTS)
    parts = []
    for majority, energy in itertools.product(config.majority, ENERGIES):
        minority = CLASSES - majority
        sizes = nc.two_groups(majority, minority, config.model_ratio / rates)
        models = nc.LayerPeeled(sizes, 1.0, np.full(POINTS, energy))
        solution = certified(nc.solve_batch(models))
        threshold = float(nc.theory.collapse_ratio(majority, minority, energy**0.5))
        columns = {"majority": majority, "feature_energy": energy, "rate": rates}
        columns |= {"cosine": np.asarray(solution.within_cosines)[:, 1]}
        columns |= {"majority_cosine": np.asarray(solution.within_cosines)[:, 0]}
        columns |= {"phase": nc.phase(solution), "gap": np.asarray(solution.gap), "R0": threshold}
        columns |= {"least_rate": max(1.0, config.model_ratio / threshold)}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


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


def plan_of(config: Config, data: str, network: str, labels: np.ndarray) -> Plan:
    """All trainings of one network on one image data set."""
    size = majority_size_of(config.majority_size, "--ratio", config.ratio, data, labels)
    trainings = []
    axes = (config.majority, decays_of(config, data), config.seeds)
    for majority, decay, seed in itertools.product(*axes):
        kinds = [(1, 1, "none"), (config.ratio, 1, "none")]
        kinds += [(config.ratio, rate, "oversampling") for rate in config.rates if rate > 1]
        if config.class_weights:
            kinds += [(config.ratio, rate, "class weights") for rate in config.rates if rate > 1]
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
    return Plan(data, network, trainings)


def predict(through: pd.DataFrame) -> pd.DataFrame:
    """The end of every run next to the model, and the smallest w_r at budgets without a cure."""
    table = ends_of(through, KEYS)
    table["effective_ratio"] = table["majority_size"] / table["minority_size"] / table["rate"]
    table = predict_minority(table)
    plain: Any = table[(table["rate"] == 1) & (table["ratio"] > 1)]
    least = np.maximum(1, plain["effective_ratio"] / plain["predicted_R0"])
    own = ["data", "network", "majority", "weight_decay", "seed"]
    least = plain[own].assign(recommended_rate=least)
    return table.merge(least, on=own, how="left")


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """Table 2: one row for each data set, network, K_A and weight decay."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "majority", "weight_decay"], sort=False)
    for (data, network, majority, decay), part in groups:
        cured: Any = part[part["cure"] != "class weights"]
        mean: Any = cured.groupby(["ratio", "rate"]).mean(numeric_only=True)
        small = mean["test_accuracy_minority"]
        ratio = part["ratio"].max()
        over: Any = small.loc[ratio].dropna()
        best = over.idxmax() if len(over) else np.nan
        weighed: Any = part[part["cure"] == "class weights"]
        weighed = weighed.groupby("rate")["test_accuracy_minority"]
        row = {"data": data, "network": network, "K_A": majority, "weight decay": decay}
        everyone, cosine = mean["test_accuracy_all"], mean["minority_cosine"]
        row |= {"minority accuracy, R = 1": _share(small, (1, 1))}
        row |= {f"minority accuracy, R = {ratio}": _share(small, (ratio, 1))}
        row |= {"minority accuracy, best w_r": _share(small, (ratio, best))}
        row |= {"best w_r": f"{best:g}", "accuracy, R = 1": _share(everyone, (1, 1))}
        row |= {f"accuracy, R = {ratio}": _share(everyone, (ratio, 1))}
        row |= {"accuracy, best w_r": _share(everyone, (ratio, best))}
        row |= {"training accuracy, best w_r": _share(mean["train_accuracy_all"], (ratio, best))}
        row |= {"minority cosine, w_r = 1": _share(cosine, (ratio, 1))}
        row |= {"minority cosine, best w_r": _share(cosine, (ratio, best))}
        row |= {"model's smallest w_r": f"{part['recommended_rate'].mean():.3g}"}
        if len(weighed):
            row |= {"minority accuracy, class weights": f"{weighed.mean().max():.3f}"}
        rows.append(row)
    return pd.DataFrame(rows)


def _share(values: Any, place: tuple[float, float]) -> str:
    return f"{values.loc[place]:.3f}" if place in values.index else "none"


def draw_model(curves: Any, least: pd.DataFrame) -> Figure:
    """Minority cosine over w_r, and the smallest w_r over the budget."""
    energies = sorted(set(curves["feature_energy"]))
    figure, axes = report.new_figure(1, len(energies) + 1, 8.6, 3.1, False, False)
    for panel, energy in zip(axes[0], energies, strict=False):
        own = curves[curves["feature_energy"] == energy]
        for colour, (majority, part) in zip(report.PALETTE, own.groupby("majority"), strict=False):
            panel.plot(part["rate"], part["cosine"], color=colour, label=f"$K_A$ = {majority}")
            panel.axvline(part["least_rate"].iloc[0], color=colour, linestyle=":", linewidth=1)
        panel.axhline(-1 / (CLASSES - 1), color="0.6", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_ylim(-0.2, 1.05)
        panel.set_title(f"$E_W$ = 1, $E_H$ = {energy:g}")
        panel.set_xlabel("oversampling rate $w_r$")
    axes[0, 0].set_ylabel("minority cosine\n(none where classifiers vanish)")
    last = axes[0, -1]
    for colour, (_, part) in zip(report.PALETTE, least.groupby("majority"), strict=False):
        last.plot(part["budget"], part["least_rate"], color=colour)
    last.set_yscale("log")
    last.set_xlabel(r"budget $\sqrt{E_W E_H}$")
    last.set_ylabel("smallest $w_r$ without collapse")
    report.legend_outside(figure, axes[0, 0], columns=4)
    return figure


def draw_networks(ends: pd.DataFrame) -> Figure:
    """Minority accuracy and cosine against w_r, with the model's cosine and smallest w_r."""
    groups: Any = list(ends.groupby(["data", "network", "weight_decay"], sort=False))
    majorities = sorted(set(ends["majority"]))
    width = 2.6 * len(majorities) + 0.8
    figure, axes = report.new_figure(
        2 * len(groups), len(majorities), width, 3.9 * len(groups) + 0.4, True, "row"
    )
    for row, ((data, network, _), own) in enumerate(groups):
        for column, majority in enumerate(majorities):
            accuracy, cosine = axes[2 * row, column], axes[2 * row + 1, column]
            part = own[own["majority"] == majority]
            _draw_cures(accuracy, cosine, part)
            accuracy.set_ylim(-0.03, 1.03)
            cosine.set_ylim(-0.4, 1.05)
            if row == 0:
                accuracy.set_title(f"$K_A$ = {majority}")
        axes[2 * row, 0].set_ylabel(f"{network}, {data}\nminority test accuracy")
        axes[2 * row + 1, 0].set_ylabel("minority cosine")
    for panel in axes[-1]:
        panel.set_xlabel("rate $w_r$")
    report.legend_outside(figure, axes[1, 0], columns=3)
    return figure


def _draw_cures(accuracy: Any, cosine: Any, part: Any) -> None:
    """Draws the two panels of one K_A."""
    cures = {"oversampling": report.PALETTE[0], "class weights": report.PALETTE[1]}
    plain = part[part["cure"] == "none"]
    for cure, colour in cures.items():
        if not (part["cure"] == cure).any():
            continue
        own = pd.concat([plain[plain["ratio"] > 1], part[part["cure"] == cure]])
        mean: Any = own.groupby("rate").mean(numeric_only=True)
        accuracy.plot(mean.index, mean["test_accuracy_minority"], "o-", color=colour, label=cure)
        cosine.plot(mean.index, mean["minority_cosine"], "o-", color=colour, label=cure)
        label = f"model, {cure}"
        cosine.plot(mean.index, mean["predicted_cosine"], ":", color=colour, label=label)
    balanced = plain[plain["ratio"] == 1].mean(numeric_only=True)
    for panel, name in ((accuracy, "test_accuracy_minority"), (cosine, "minority_cosine")):
        panel.axhline(balanced[name], color="0.5", linewidth=1, label="$R$ = 1")
        panel.axvline(
            part["recommended_rate"].mean(), color="k", linestyle="--", linewidth=1,
            label="model's smallest $w_r$",
        )  # fmt: skip
        panel.set_xscale("log")


def main(config: Config) -> None:
    """Solves, trains, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    curves, least = model_curves(config), least_rates(config)
    apart = by_class_weights(curves, config)
    splits = load_splits(config)
    plans = [plan_of(config, *pair, splits[pair[0]][0].labels) for pair in pairs_of(config)]
    through = train_plans(config, splits, plans)
    ends = predict(through)
    summary = summarise(ends)
    tables = {"table": ends, "training": through, "model": curves, "least": least}
    for name, table in tables.items():
        report.write_table(table, config.out, name)
    report.write_summary(summary, config.out)
    stored = {name: report.read_table(config.out, name) for name in tables}
    report.save_figure(draw_model(stored["model"], stored["least"]), config.out, "model")
    report.save_figure(draw_networks(stored["table"]), config.out, "networks")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, digests_of(splits))
    shown: Any = curves.drop_duplicates(["majority", "feature_energy"])
    shown = shown[["majority", "feature_energy", "R0", "least_rate"]]
    report.print_table(shown, f"Smallest w_r of the model at R = {config.model_ratio:g}")
    report.print_table(summary, "Test accuracy and minority cosine under oversampling")
    print(f"{len(curves)} programs, largest gap {curves['gap'].max():.1e}")
    print(f"class weights instead of oversampling: cosines differ by at most {apart:.1e}")
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
