"""Figures of Minority Collapse: cosines of the small classes' classifiers against the ratio R."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure


def draw_overlay(ends: pd.DataFrame) -> Figure:
    """Minority cosines against R (Fig. 2 of the paper).

    Solid: networks; dotted: the Layer-Peeled Model with the networks' measured budgets;
    dashed: the surrogate that knows only class sizes and weight decay.
    """
    pairs: Any = list(ends.groupby(["data", "network"], sort=False))
    majorities, decays = (sorted(set(ends[name])) for name in ("majority", "weight_decay"))
    size = len(majorities)
    figure, axes = new_figure(len(pairs), size, 2.6 * size + 0.6, 2.3 * len(pairs) + 0.8)
    for row, ((data, network), own) in enumerate(pairs):
        for column, majority in enumerate(majorities):
            panel = axes[row, column]
            for decay, part in own[own["majority"] == majority].groupby("weight_decay"):
                colour = PALETTE[decays.index(decay) % len(PALETTE)]
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
    legend_outside(figure, max(axes.flat, key=lambda panel: len(panel.lines)), columns=4)
    return figure


def draw_collapse(ends: pd.DataFrame) -> Figure:
    """Minority cosines of each network against R, one curve for each K_A (Fig. 4)."""
    pairs: Any = list(ends.groupby(["data", "network"], sort=False))
    figure, axes = new_figure(1, len(pairs), 2.8 * len(pairs) + 0.8, 3.0)
    for panel, ((data, network), own) in zip(axes[0], pairs, strict=True):
        for colour, (majority, part) in zip(
            PALETTE,
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
    legend_outside(figure, axes[0, 0], columns=4)
    return figure


def _over_ratios(panel: Axes, ends: pd.DataFrame) -> None:
    """Sets up the axes of a panel of cosine against R, also if no run has a cosine."""
    panel.set_xscale("log")
    ratios = ends["ratio"].to_numpy()
    panel.set_xlim(ratios.min() / 1.3, ratios.max() * 1.3)
    panel.set_ylim(-0.4, 1.05)
