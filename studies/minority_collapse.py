"""Do the minority classes of real networks collapse where the Layer-Peeled Model says?

Repeats Figs. 2 and 4 and Table 1 of Fang, He, Long, Su (PNAS 2021): networks are
trained on data of which K − K_A classes are small; at the end the cosine of the
minority classifiers and the budgets E_W, E_H are measured, the model is solved at
exactly those, and both cosines are laid over each other against the ratio R. Where the
model's minority classifiers vanish, their cosine is taken as its limit, 1.

    python studies/minority_collapse.py
    python studies/minority_collapse.py --preset cpu --data-dir DATA
    python studies/minority_collapse.py --data mnist --networks small-resnet --epochs 60

The preset 'cpu' takes some hours on two cores, 'paper' is for a data-centre GPU. A study
that was killed goes on from its newest checkpoints when it is started again.
"""

import dataclasses
import itertools
import math
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.campaigns import Campaign, Training, train_all
from nc_jax.networks import NETWORKS
from nc_jax.sweeps import use_every_core
from nc_jax.training import (
    DATA_SETS,
    ImageData,
    Recipe,
    choose_subset,
    digest_of,
    load_images,
    resized,
    step_sizes,
)
from nc_jax.training.images import on_device
from nc_jax.training.loop import Run, Trainer

Data = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "stl10"]
RUNS = "runs"
# A cosine from which on classifiers count as one.
COLLAPSED = 0.95


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train and where to look for data."""

    data: tuple[Data, ...] = ("digits",)
    """The sets of images; the first K_A labels are the large classes."""
    data_dir: Path | None = None
    """Folder of the data; then $NC_JAX_DATA, a cache and the network are tried."""
    networks: tuple[str, ...] = ("small-resnet",)
    """Of nc_jax.networks.NETWORKS, on all sets, or on one as in cifar10:vgg13."""
    width: float = 0.125
    """Multiplies the networks' numbers of channels."""
    majority: tuple[int, ...] = (3, 5, 7)
    """K_A, how many classes are large; one panel each."""
    majority_size: int | None = 100
    """n_A, images of a large class; none for as many as every class has."""
    ratios: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    """R; a small class has n_A // R images."""
    weight_decays: tuple[str, ...] = ("0.02",)
    """λ on every parameter, on all sets, or on one as in cifar10:0.01; one colour each."""
    seeds: tuple[int, ...] = (0,)
    """Of weights, orders and the choice of images; one run each."""
    epochs: int = 60
    """Of each run; the rate falls by ten after a third and two thirds."""
    learning_rate: float = 0.2
    """At the start."""
    batch: int = 64
    """Images of a step."""
    test_size: int = 2000
    """Images held out, at most, that accuracies are taken over."""
    measures: int = 4
    """How often a run is measured, evenly through training; at its end always."""
    checkpoint: int = 25
    """Epochs between checkpoints."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the networks' computations."""
    out: Path = Path("results/minority_collapse/digits")
    """Folder of the results."""


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
    """Raises ValueError naming the option that makes no sense."""
    for name in ("data", "networks", "majority", "ratios", "weight_decays", "seeds"):
        values = getattr(config, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"--{name.replace('_', '-')} must be distinct values, got {values}")
    for option in ("networks", "weight_decays"):
        for choice in getattr(config, option):
            data = choice.rpartition(":")[0]
            if data and data not in config.data:
                shown = option.replace("_", "-")
                raise ValueError(f"--{shown} {choice} is on a set that --data does not name")
    for network in map(_bare, config.networks):
        if network not in NETWORKS:
            raise ValueError(f"--networks must be of {', '.join(NETWORKS)}, got {network}")
    for data in config.data:
        for option in ("networks", "weight_decays"):
            if not chosen_for(data, getattr(config, option)):
                raise ValueError(f"--{option.replace('_', '-')} has nothing for {data}")
    classes = min(DATA_SETS[data].num_classes for data in config.data)
    if not all(1 <= k <= classes - 2 for k in config.majority):
        raise ValueError(f"--majority must be from 1 to {classes - 2}, got {config.majority}")
    for name in ("measures", "checkpoint", "epochs", "batch", "test_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
    for name in ("width", "learning_rate"):
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be positive and finite")
    try:
        decays = [float(_bare(decay)) for decay in config.weight_decays]
    except ValueError:
        decays = [math.nan]
    if not all(0 <= decay < math.inf for decay in decays):
        raise ValueError(f"--weight-decays must be zero or positive, got {config.weight_decays}")
    if min(config.seeds) < 0 or min(config.ratios) < 1:
        raise ValueError("--seeds must be zero or positive, --ratios at least 1")


def _bare(choice: str) -> str:
    """A choice without the set of images that it is for."""
    return choice.rpartition(":")[2]


def chosen_for(data: Data, choices: tuple[str, ...]) -> list[str]:
    """The choices for all sets of images, or for this one."""
    return [_bare(choice) for choice in choices if choice.rpartition(":")[0] in ("", data)]


def pairs_of(config: Config) -> list[tuple[Data, str]]:
    """Every set of images with every network that is to be trained on it."""
    return [
        (data, network) for data in config.data for network in chosen_for(data, config.networks)
    ]


def majority_size(config: Config, data: Data, labels: np.ndarray) -> int:
    """n_A on a set of images."""
    fewest = int(np.bincount(labels, minlength=DATA_SETS[data].num_classes).min())
    size = fewest if config.majority_size is None else config.majority_size
    if not 1 <= size <= fewest:
        raise ValueError(f"--majority-size must be from 1 to {fewest} on {data}, got {size}")
    if max(config.ratios) > size:
        raise ValueError(f"--ratios must be at most n_A = {size} on {data}, got {config.ratios}")
    return size


def trainings_of(config: Config, data: Data, network: str, labels: np.ndarray) -> list[Training]:
    """All trainings of a network on a set of images."""
    classes, size = DATA_SETS[data].num_classes, majority_size(config, data, labels)
    trainings = []
    decays = [float(decay) for decay in chosen_for(data, config.weight_decays)]
    axes = (config.majority, config.ratios, decays, config.seeds)
    for majority, ratio, decay, seed in itertools.product(*axes):
        sizes = step_sizes(classes, majority, size, ratio)
        subset = choose_subset(labels, sizes, seed)
        about = {"data": data, "network": network, "majority": majority, "ratio": ratio}
        about |= {"weight_decay": decay, "seed": seed, "minority_size": int(sizes[-1])}
        about |= {"majority_size": size, "num_classes": classes}
        run = Run(subset, recipe_of(config, decay), seed)
        trainings.append(Training(about, run, subset, tuple(range(majority, classes))))
    return trainings


def recipe_of(config: Config, weight_decay: float) -> Recipe:
    """The paper's, over as many epochs as asked for."""
    recipe = Recipe(
        learning_rate=config.learning_rate,
        weight_decay=weight_decay,
        batch_size=config.batch,
        precision=config.precision,
    )
    return recipe.shortened(config.epochs)


def train_networks(config: Config) -> pd.DataFrame:
    """Measures through all trainings."""
    splits = {
        data: [load_images(data, split, config.data_dir) for split in ("train", "test")]
        for data in config.data
    }
    pairs = pairs_of(config)
    plans = [trainings_of(config, *pair, splits[pair[0]][0].labels) for pair in pairs]
    images = sum(len(t.run.indices) for plan in plans for t in plan) * config.epochs
    when = {math.ceil(config.epochs * (i + 1) / config.measures) for i in range(config.measures)}
    tables = []
    with report.points_bar(images, "images", "runs broke down") as watch:
        for (data, network), plan in zip(pairs, plans, strict=True):
            trained, held = splits[data]
            chosen = np.random.default_rng(0).permutation(len(held.labels))[: config.test_size]
            held = ImageData(held.images[chosen], held.labels[chosen])
            side = NETWORKS[network].side or trained.images.shape[1]
            known = DATA_SETS[data]
            pixels, test = (on_device(resized(split, side), known) for split in (trained, held))
            longest = max(len(training.run.indices) for training in plan)

            def make(together: int, network=network, pixels=pixels, plan=plan, longest=longest):
                classes, recipe = plan[0].about["num_classes"], plan[0].run.recipe
                return Trainer(network, pixels, classes, recipe, longest, config.width, together)

            about = {"data": data, "network": network, "width": config.width}
            about |= {"test_size": config.test_size}
            campaign = Campaign(
                about, make, config.out / RUNS, test, frozenset(when), config.checkpoint
            )
            tables.append(train_all(campaign, plan, watch))
    return pd.concat(tables, ignore_index=True)


def predict(through: pd.DataFrame) -> pd.DataFrame:
    """The end of every run beside the Layer-Peeled Model at its own sizes and budgets."""
    keys = ["data", "network", "majority", "ratio", "weight_decay", "seed"]
    table = through.groupby(keys, sort=False).tail(1).reset_index(drop=True)
    table["true_ratio"] = table["majority_size"] / table["minority_size"]
    names = ["minority_cosine", "minority_norm_variation", "weight_energy", "feature_energy"]
    names += ["budget", "predicted_cosine", "predicted_R0"]
    for name in names:
        table[name] = table[name] if name in table else np.nan
    table["predicted_phase"] = "none"
    whole = (table["status"] == "trained") & (table["budget"] > 0)
    groups: Any = table[whole].groupby(["majority", "num_classes"])
    for (majority, classes), part in groups:
        rows, minority = part.index, int(classes) - int(majority)
        sizes = nc.two_groups(int(majority), minority, part["true_ratio"].to_numpy())
        weight, feature = (part[f"{name}_energy"].to_numpy() for name in ("weight", "feature"))
        solution = nc.solve_batch(nc.LayerPeeled(sizes, weight, feature))
        threshold = nc.theory.collapse_ratio(int(majority), minority, part["budget"].to_numpy())
        phase = np.asarray(nc.phase(solution))
        cosine = np.where(phase == "vanished", 1, np.asarray(solution.within_cosines)[:, 1])
        table.loc[rows, "predicted_cosine"] = cosine
        table.loc[rows, "predicted_phase"] = phase
        table.loc[rows, "predicted_R0"] = np.asarray(threshold)
    table["difference"] = table["predicted_cosine"] - table["minority_cosine"]
    return table


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """One row a set of images, network, K_A and weight decay."""
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
                f"at R = {by_ratio.index[-1]}": f"{last['minority_cosine']:.3f}",
                f"> {COLLAPSED} from R": f"{lost.min():g}" if len(lost) else "never",
                "model's": f"{model.min():g}" if len(model) else "never",
                "norm variation": f"{last['minority_norm_variation']:.1e}",
                "minority accuracy": f"{first['test_accuracy_minority']:.2f} to "
                f"{last['test_accuracy_minority']:.2f}",
                "|model − seen|": f"{part['difference'].abs().mean():.3f}",
            }
        )
    return pd.DataFrame(rows)


def _over_ratios(panel: Axes, ends: pd.DataFrame) -> None:
    """Axes of a cosine against R, also where no run has a cosine."""
    panel.set_xscale("log")
    ratios = ends["ratio"].to_numpy()
    panel.set_xlim(ratios.min() / 1.3, ratios.max() * 1.3)
    panel.set_ylim(-0.4, 1.05)


def draw_overlay(ends: pd.DataFrame) -> Figure:
    """Minority cosines against R: networks solid, the model dotted (Fig. 2 of the paper)."""
    pairs: Any = list(ends.groupby(["data", "network"], sort=False))
    majorities, decays = (sorted(set(ends[name])) for name in ("majority", "weight_decay"))
    size = len(majorities)
    figure, axes = report.new_figure(len(pairs), size, 2.6 * size + 0.6, 2.3 * len(pairs) + 0.8)
    for row, ((data, network), own) in enumerate(pairs):
        for column, majority in enumerate(majorities):
            panel = axes[row, column]
            for decay, part in own[own["majority"] == majority].groupby("weight_decay"):
                colour = report.PALETTE[decays.index(decay) % len(report.PALETTE)]
                mean: Any = part.groupby("ratio")[["minority_cosine", "predicted_cosine"]].mean()
                label = rf"$\lambda$ = {decay:g}"
                panel.plot(part["ratio"], part["minority_cosine"], ".", color=colour, markersize=4)
                seen, model = mean["minority_cosine"], mean["predicted_cosine"]
                panel.plot(mean.index, seen, color=colour, label=f"{label}, network")
                panel.plot(mean.index, model, ":", color=colour, label=f"{label}, model")
            _over_ratios(panel, ends)
            if row == 0:
                panel.set_title(f"$K_A$ = {majority}")
            if row == len(pairs) - 1:
                panel.set_xlabel("imbalance ratio $R$")
        axes[row, 0].set_ylabel(f"{network}, {data}\nminority cosine")
    report.legend_outside(figure, max(axes.flat, key=lambda panel: len(panel.lines)), columns=4)
    return figure


def draw_collapse(ends: pd.DataFrame) -> Figure:
    """Minority cosines of each network against R, by K_A (Fig. 4 of the paper)."""
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
    """Trains, solves, stores, and draws from what was stored."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    through = train_networks(config)
    ends = predict(through)
    summary = summarise(ends)
    report.write_table(ends, config.out)
    report.write_table(through, config.out, "training")
    report.write_summary(summary, config.out)
    stored = report.read_table(config.out)
    report.save_figure(draw_overlay(stored), config.out, "overlay")
    report.save_figure(draw_collapse(stored), config.out, "collapse")
    wall_time = time.perf_counter() - start
    digests = {data: digest_of(load_images(data, "train", config.data_dir)) for data in config.data}
    report.write_provenance(config.out, config, wall_time, digests)
    report.print_table(summary, "Cosines of minority classifiers")
    compared = ends["difference"].abs().dropna()
    print(f"mean |model − seen| over {len(compared)} of {len(ends)} runs: {compared.mean():.3f}")
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
