"""Progressive feedforward collapse of trained networks: a table, and figures over the layers."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.metrics import effective_depth
from nc_jax.report.figures import PALETTE, legend_outside, new_figure

MEASURES = {"pfc1": "PFC1", "pfc2": "PFC2", "pfc3": "1 − PFC3"}


def summarise_layers(ends: pd.DataFrame, runs: list[str], tolerance: float) -> pd.DataFrame:
    """One row for each run: first and last layer, and the accuracy of predictions.

    Args:
        ends: the rows of all layers at the end of training, see
            :func:`nc_jax.campaigns.measure_layers`.
        runs: the columns that tell the runs apart: data, network, weight decay and seed.
        tolerance: ε of the effective depth.
    """
    rows = []
    groups: Any = ends.groupby(runs, sort=False)
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
            depth = int(effective_depth(part["pfc3"].to_numpy(), tolerance))
            reached = depth if depth < len(part) else "none"
            row |= {f"effective depth, ε = {tolerance:g}": reached}
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


def draw_layers(through: pd.DataFrame, runs: list[str]) -> Figure:
    """PFC1–PFC3 of each block through training, from light to dark, one row for each run."""
    groups: Any = list(through.groupby(runs, sort=False))
    figure, axes = new_figure(len(groups), 3, 8.2, 2.0 * len(groups) + 0.9, "row", False)
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
    legend_outside(figure, axes[0, 0], columns=6)
    return figure


def draw_predictions(ends: pd.DataFrame, runs: list[str]) -> Figure:
    """At the end of training: measured blocks, the straight line, the multilayer model."""
    groups: Any = list(ends.groupby(runs, sort=False))
    figure, axes = new_figure(len(groups), 3, 8.2, 2.0 * len(groups) + 0.9, "row", False)
    kinds = {"": ("network", "o-"), "line_": ("geodesic", "--"), "model_": ("MUFM", ":")}
    for row, ((data, network, *_), own) in enumerate(groups):
        for panel, (name, title) in zip(axes[row], MEASURES.items(), strict=True):
            for colour, (kind, (label, line)) in zip(PALETTE, kinds.items(), strict=False):
                values = _shown(own, name, kind)
                panel.plot(own["position"], values, line, color=colour, markersize=3, label=label)
            panel.set_yscale("symlog" if name == "pfc3" else "log", **_fine(name))
            if row == 0:
                panel.set_title(title)
            panel.set_xlabel("position on the path")
        axes[row, 0].set_ylabel(f"{network}, {data}")
    legend_outside(figure, axes[0, 0], columns=3)
    return figure


def _fine(name: str) -> dict[str, float]:
    """Axis options under which an error of zero can be shown."""
    return {"linthresh": 1e-3} if name == "pfc3" else {}
