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
    Training,
    TrainingOptions,
    balanced_training,
    check_options,
    decays_of,
    digests_of,
    ends_of,
    load_splits,
    measure_collapse,
    pairs_of,
    recipe_of,
    train_plans,
)
from nc_jax.diagnosis import fit_price, layer_path
from nc_jax.sweeps import use_every_core
from nc_jax.training import Images, Progress, Trainer

RUN = ["data", "network", "weight_decay", "seed"]
MEASURES = {"pfc1": "PFC1", "pfc2": "PFC2", "pfc3": "1 − PFC3"}
COLUMNS = [kind + name for kind in ("", "line_", "model_") for name in MEASURES]
# Samples per class on which layers are measured and from which the multilayer model is built.
MEASURED, MODELLED = 200, 400
# λ_W of the multilayer model if the network has no weight decay.
LEAST_DECAY = 1e-6


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    networks: tuple[str, ...] = ("dense-resnet", "resnet-5-4")
    """Residual networks, for all data sets, or for one as in cifar10:resnet-2-3-4."""
    per_class: int | None = 100
    """Number of images per class; by default all that each class has."""
    weight_decays: tuple[str, ...] = ("0.01",)
    """λ on every parameter, for all data sets, or for one as in cifar10:0.001."""
    epochs: int = 80
    """Epochs of each run; the rate drops tenfold after one third and after two thirds."""
    learning_rate: float = 0.05
    """Learning rate at the start of training."""
    tolerance: float = 0.02
    """ε of the effective depth: tolerated error of the nearest-class-centre classifier."""
    measures: int = 6
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
        data=("mnist", "fashion_mnist", "cifar10", "cifar100", "stl10"),
        networks=(
            "mnist:dense-resnet",
            "fashion_mnist:resnet-5-4",
            "cifar10:resnet-2-3-4",
            "cifar100:resnet-3-3-4-4",
            "stl10:resnet-5-5-5-5",
        ),
        width=1.0,
        per_class=None,
        weight_decays=("5e-4",),
        epochs=350,
        learning_rate=0.1,
        batch=128,
        test_size=10_000,
        measures=10,
        checkpoint=10,
        out=Path("results/feedforward_collapse/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    for network in config.networks:
        if "resnet" not in network:
            raise ValueError(f"--networks must be residual ones, got {network}")
    report.require_numbers(config, "per_class", least=2)
    report.require_numbers(config, "tolerance", least=0, most=1)


def plan_of(config: Config, data: str, network: str, labels: np.ndarray) -> Plan:
    """All trainings of one network on one image data set."""
    place, size = (data, network), config.per_class
    trainings = [
        balanced_training(place, labels, size, recipe_of(config, decay), seed, {})
        for decay, seed in itertools.product(decays_of(config, data), config.seeds)
    ]
    return Plan(data, network, trainings)


def measure_layers(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row for each layer of the last stage; the multilayer model only after training."""
    (row,) = measure_collapse(trainer, state, training, test)
    if not np.isfinite(state.loss):
        return [row]
    classes, size = trainer.num_classes, training.about["per_class"]
    subset = training.subset.reshape(classes, size)[:, :MEASURED]
    weights, names = state.fetch(), trainer.last_stage()
    _, layers, labels = trainer.layers(weights, trainer.images, subset.ravel(), names)
    ends = [np.linalg.norm(layers[0]), np.linalg.norm(layers[-1] - layers[0])]
    if not np.isfinite(ends).all() or min(ends) == 0:
        # Weight decay has driven this network to zero.
        return [row]
    path = layer_path(layers, labels, classes)
    row |= {"straightness": path.straightness, "transport": path.transport}
    row |= {"line_falls": bool(path.traces.decreasing)}
    row |= {"line_cross": float(path.traces.between_cross)}
    kinds = {"": path.seen, "line_": path.line}
    if state.epoch == training.run.recipe.epochs:
        few = np.arange(subset.size).reshape(subset.shape)[:, : max(MODELLED // classes, 2)].ravel()
        decay = max(training.run.recipe.weight_decay, LEAST_DECAY)
        first, last, own = layers[0][few], layers[-1][few], labels[few]
        fit = fit_price(first, last, own, classes, decay, np.minimum(path.positions, 1))
        row |= {"lambda_h": fit.lambda_h, "model_gap": fit.gap, "alignment": fit.alignment}
        kinds |= {"model_": fit.predicted}
    rows = []
    for place, name in enumerate(names):
        own = {"layer": place, "name": name, "position": float(path.positions[place])}
        for kind, metrics in kinds.items():
            own |= {kind + key: float(values[place]) for key, values in metrics._asdict().items()}
        rows.append(row | own)
    return rows


def summarise(config: Config, ends: pd.DataFrame) -> pd.DataFrame:
    """Table I: one row for each run: first and last layer, and the accuracy of predictions."""
    rows = []
    groups: Any = ends.groupby(RUN, sort=False)
    for (data, network, decay, seed), part in groups:
        row = {"data": data, "network": network, "λ": decay, "seed": seed}
        row |= {"status": part["status"].iloc[0]}
        if part["pfc1"].notna().all():
            one = part.iloc[-1]
            row |= {"test accuracy": f"{one['test_accuracy_all']:.3f}", "blocks": len(part) - 1}
            for name, title in MEASURES.items():
                shown = _shown(part, name)
                row[title] = f"{shown[0]:.3g} to {shown[-1]:.3g}"
            row |= {"non-increasing steps (PFC1, PFC2, 1 − PFC3)": _falls(part)}
            depth = int(nc.metrics.effective_depth(part["pfc3"].to_numpy(), config.tolerance))
            reached = depth if depth < len(part) else "none"
            row |= {f"effective depth, ε = {config.tolerance:g}": reached}
            row |= {"straightness": f"{one['straightness']:.3f}"}
            row |= {"transport cost": f"{one['transport']:.2f}"}
            row |= {"error factor of the line": _off(part, "line_")}
            row |= {"error factor of the MUFM": _off(part, "model_")}
            row |= {"λ_H": f"{one['lambda_h']:.2g}"}
        rows.append(row)
    return pd.DataFrame(rows)


def _shown(part: pd.DataFrame, name: str, kind: str = "") -> np.ndarray:
    """Values of one measure; PFC3 is shown as an error, 1 − PFC3."""
    values = part[kind + name].to_numpy(float)
    return 1 - values if name == "pfc3" else values


def _falls(part: pd.DataFrame) -> str:
    """Number of steps from block to block at which each measure did not increase."""
    steps = [np.diff(_shown(part, name)) for name in MEASURES]
    return ", ".join(f"{np.sum(step <= 0)}" for step in steps) + f" of {len(part) - 1}"


def _off(part: pd.DataFrame, kind: str) -> str:
    """Mean factor between predicted and measured PFC1 of the layers between the ends."""
    between = part.iloc[1:-1]
    seen, predicted = between["pfc1"].to_numpy(float), between[f"{kind}pfc1"].to_numpy(float)
    if not len(between) or not (seen > 0).all() or not (predicted > 0).all():
        return "–"
    return f"× {np.exp(np.mean(np.abs(np.log(predicted / seen)))):.2f}"


def draw_layers(through: pd.DataFrame) -> Figure:
    """PFC1–PFC3 of each block through training, from light to dark, one row for each run."""
    groups: Any = list(through.groupby(RUN, sort=False))
    figure, axes = report.new_figure(len(groups), 3, 8.2, 2.0 * len(groups) + 0.9, "row", False)
    for row, ((data, network, *_), own) in enumerate(groups):
        epochs = sorted(set(own["epoch"]))
        for panel, (name, title) in zip(axes[row], MEASURES.items(), strict=True):
            for place, epoch in enumerate(epochs):
                part = own[own["epoch"] == epoch]
                shade = str(0.85 * (1 - (place + 1) / len(epochs)))
                panel.plot(part["layer"], _shown(part, name), "o-", color=shade, markersize=2.5,
                           label=f"epoch {epoch}")  # fmt: skip
            panel.set_yscale("symlog" if name == "pfc3" else "log", **_fine(name))
            if row == 0:
                panel.set_title(title)
            panel.set_xlabel("block of the last stage")
            panel.xaxis.get_major_locator().set_params(integer=True)
        axes[row, 0].set_ylabel(f"{network}, {data}")
    report.legend_outside(figure, axes[0, 0], columns=6)
    return figure


def draw_predictions(ends: pd.DataFrame) -> Figure:
    """At the end of training: measured blocks, the straight line, the multilayer model."""
    groups: Any = list(ends.groupby(RUN, sort=False))
    figure, axes = report.new_figure(len(groups), 3, 8.2, 2.0 * len(groups) + 0.9, "row", False)
    kinds = {"": ("network", "o-"), "line_": ("geodesic", "--"), "model_": ("MUFM", ":")}
    for row, ((data, network, *_), own) in enumerate(groups):
        for panel, (name, title) in zip(axes[row], MEASURES.items(), strict=True):
            for colour, (kind, (label, line)) in zip(report.PALETTE, kinds.items(), strict=False):
                values = _shown(own, name, kind)
                panel.plot(own["position"], values, line, color=colour, markersize=3, label=label)
            panel.set_yscale("symlog" if name == "pfc3" else "log", **_fine(name))
            if row == 0:
                panel.set_title(title)
            panel.set_xlabel("position on the path")
        axes[row, 0].set_ylabel(f"{network}, {data}")
    report.legend_outside(figure, axes[0, 0], columns=3)
    return figure


def _fine(name: str) -> dict[str, float]:
    """Axis options under which an error of zero can be shown."""
    return {"linthresh": 1e-3} if name == "pfc3" else {}


def main(config: Config) -> None:
    """Trains, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    splits = load_splits(config)
    plans = [plan_of(config, *pair, splits[pair[0]][0].labels) for pair in pairs_of(config)]
    through = train_plans(config, splits, plans, measure_layers, COLUMNS)
    last = ends_of(through, RUN)[[*RUN, "epoch"]]
    ends = through.merge(last, on=[*RUN, "epoch"])
    summary = summarise(config, ends)
    report.write_table(ends, config.out)
    report.write_table(through, config.out, "training")
    report.write_summary(summary, config.out)
    stored = [report.read_table(config.out, name) for name in ("training", "table")]
    # Runs that broke down have no values to draw.
    seen, whole = stored[0].dropna(subset="pfc1"), stored[1].dropna(subset="model_pfc1")
    if len(whole):
        report.save_figure(draw_layers(seen), config.out, "layers")
        report.save_figure(draw_predictions(whole), config.out, "predictions")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, digests_of(splits))
    report.print_table(summary, "Progressive feedforward collapse, first to last layer")
    print(f"{len(summary)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
