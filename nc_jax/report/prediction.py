"""Figures that compare predicted and trained last layers, from their table."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure

MARKERS = {"separated": "o", "collapsed": "s", "unlearnt": "X", "broken": "+"}
BRANCHES = {"scratch": "from scratch", "up": "R increasing", "down": "R decreasing"}
SHOWN = ("layer-peeled", "unconstrained", "matched", "matched-constant")
STYLES = (":", "-", "-", "--")


def draw_overlay(stored: pd.DataFrame) -> Figure:
    """Minority cosines against R: runs from scratch as points, surrogates as lines."""
    table: Any = stored[stored["branch"] == "scratch"]
    rows: Any = list(table.groupby(["data", "network", "majority"], sort=False))
    decays = sorted(table["weight_decay"].unique())
    width, height = 2.7 * len(decays) + 0.9, 2.2 * len(rows) + 1.0
    figure, axes = new_figure(len(rows), len(decays), width, height)
    names = [name for name in SHOWN if name in set(table["surrogate"])]
    for row, ((data, network, majority), own) in enumerate(rows):
        for column, decay in enumerate(decays):
            panel = axes[row, column]
            part = own[own["weight_decay"] == decay]
            for place, name in enumerate(names):
                line: Any = part[part["surrogate"] == name].groupby("ratio")["predicted_cosine"]
                line = line.mean().dropna()
                panel.plot(line.index, line, STYLES[place], color=PALETTE[place], label=name)
            runs = part[part["surrogate"] == part["surrogate"].iloc[0]] if len(part) else part
            for state, marker in MARKERS.items():
                for rest, fill in ((True, "black"), (False, "none")):
                    mine = runs[(runs["state"] == state) & (runs["converged"] == rest)]
                    panel.plot(
                        mine["ratio"],
                        mine["seen_cosine"],
                        marker,
                        color="black",
                        markerfacecolor=fill,
                        markersize=4,
                        label=f"run, {state}" if rest else None,
                    )
            _over_ratios(panel, own)
            panel.set_ylim(-0.4, 1.05)
            # Ticks are set now: wider labels set later would not fit into the figure.
            panel.set_yticks([0, 0.5, 1])
            if row == 0:
                panel.set_title(rf"$\lambda$ = {decay:g}")
            if row == len(rows) - 1:
                panel.set_xlabel("imbalance ratio $R$")
        label = f"{data}, {network}\n$K_A$ = {majority}, minority cosine"
        axes[row, 0].set_ylabel(label, fontsize="small")
    axes[0, 0].plot([], [], "o", color="black", markerfacecolor="none", markersize=4,
                    label="open: not converged")  # fmt: skip
    legend_outside(figure, axes[0, 0], columns=4)
    return figure


def _over_ratios(panel: Any, table: Any) -> None:
    """Sets up a logarithmic axis of R, also if nothing is drawn."""
    panel.set_xscale("log")
    panel.set_xlim(table["ratio"].min() / 1.3, table["ratio"].max() * 1.3)


def draw_league(stored: pd.DataFrame) -> Figure:
    """Predicted against measured minority cosine of converged runs, a panel per surrogate."""
    table: Any = stored[stored["converged"] & stored["predicted_cosine"].notna()]
    names = list(dict.fromkeys(table["surrogate"])) or ["none"]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(rows, columns, 2.3 * columns + 0.6, 2.5 * rows + 0.7)
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel, name in zip(axes.flat, names, strict=False):
        own = table[table["surrogate"] == name]
        panel.plot([-1, 1], [-1, 1], color="0.7", linewidth=1)
        for colour, state in zip(PALETTE, MARKERS, strict=False):
            part = own[own["state"] == state]
            panel.plot(
                part["seen_cosine"],
                part["predicted_cosine"],
                MARKERS[state],
                color=colour,
                markersize=4,
                alpha=0.7,
                label=state,
            )
        apart = own[own["state"] == "separated"]["difference"].abs()
        panel.set_title(f"{name}\n{apart.mean():.3f} off" if len(apart) else name)
        panel.set_xlim(-0.4, 1.05)
        panel.set_ylim(-0.4, 1.05)
    for panel in axes.flat[max(len(names) - columns, 0) : len(names)]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("measured cosine")
    for panel in axes[:, 0]:
        panel.set_ylabel("predicted cosine")
    legend_outside(figure, axes[0, 0], columns=4)
    return figure


def draw_loop(table: Any) -> Figure:
    """Cosine, loss and accuracy of the small classes against R: up, down and from scratch."""
    keys = ["data", "network", "majority", "weight_decay"]
    cases = list(table[table["branch"] != "scratch"].groupby(keys, sort=False).groups)
    measures = {
        "seen_cosine": "minority cosine",
        "train_loss": "training loss",
        "train_accuracy_minority": "minority accuracy (training)",
    }
    width, height = 2.6 * len(measures) + 0.9, 2.1 * len(cases) + 0.9
    figure, axes = new_figure(len(cases), len(measures), width, height, True, "col")
    for row, case in enumerate(cases):
        own = table[(table[keys] == list(case)).all(axis=1)]
        own = own[own["surrogate"] == own["surrogate"].iloc[0]]
        for panel, (name, title) in zip(axes[row], measures.items(), strict=True):
            for colour, (branch, text) in zip(PALETTE, BRANCHES.items(), strict=False):
                spread = own[own["branch"] == branch].groupby("ratio")[name]
                mean = spread.mean()
                panel.plot(mean.index, mean, "o-", color=colour, markersize=3, label=text)
                low, high = spread.min(), spread.max()
                panel.fill_between(mean.index, low, high, color=colour, alpha=0.15, linewidth=0)
            _over_ratios(panel, own)
            if name == "train_loss" and (own[name] > 0).any():
                panel.set_yscale("log")
            if row == 0:
                panel.set_title(title)
        data, network, majority, decay = case
        text = rf"$K_A$ = {majority}, $\lambda$ = {decay:g}"
        axes[row, 0].set_ylabel(f"{data}, {network}\n{text}", fontsize="small")
    for panel in axes[-1]:
        panel.set_xlabel("imbalance ratio $R$")
    legend_outside(figure, axes[0, 0], columns=3)
    return figure


def draw_map(table: Any, lines: Any) -> Figure:
    """States of runs from scratch over R and weight decay, with the lines of deep models."""
    runs = table[table["branch"] == "scratch"]
    runs = runs[runs["surrogate"] == runs["surrogate"].iloc[0]] if len(runs) else runs
    cases: Any = list(runs.groupby(["data", "network", "majority"], sort=False))
    columns = min(3, max(len(cases), 1))
    rows = -(-max(len(cases), 1) // columns)
    figure, axes = new_figure(rows, columns, 3.0 * columns + 0.9, 2.7 * rows + 1.1)
    for panel in axes.flat[len(cases) :]:
        panel.set_visible(False)
    low, high = runs["weight_decay"].min() / 2, runs["weight_decay"].max() * 2
    most = runs["ratio"].max() * 3
    for panel, ((data, network, majority), own) in zip(axes.flat, cases, strict=False):
        same = lines["num_classes"] == own["num_classes"].iloc[0]
        drawn: Any = lines[same & (lines["majority"] == majority)]
        drawn = drawn.groupby(["model", "layers", "line"])
        for (model, layers, line), part in drawn:
            part = part.dropna(subset=["ratio"])
            style = "-" if line == "existence" else ":"
            width = 2.0 if model == "relu" else 0.9
            label = f"M = {layers}, {model}, {line}"
            colour = PALETTE[(layers - 1) % len(PALETTE)]
            panel.plot(
                part["ratio"], part["weight_decay"], style, color=colour, linewidth=width,
                label=label,
            )  # fmt: skip
        # Runs at the same point of the map are drawn next to each other.
        for (_, _), spot in own.groupby(["ratio", "weight_decay"]):
            shift = np.linspace(-0.06, 0.06, len(spot)) if len(spot) > 1 else np.zeros(1)
            for move, run in zip(shift, spot.to_dict("records"), strict=True):
                panel.plot(
                    run["ratio"] * np.exp(move),
                    run["weight_decay"],
                    MARKERS[run["state"]],
                    color="black",
                    markerfacecolor="none" if run["state"] == "separated" else "black",
                    markersize=4,
                )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(0.8, most)
        panel.set_ylim(low, high)
        panel.set_title(f"{data}, {network}, $K_A$ = {majority}", fontsize="small")
    for state, marker in MARKERS.items():
        fill = "none" if state == "separated" else "black"
        axes.flat[0].plot([], [], marker, color="black", markerfacecolor=fill, label=state)
    for panel in axes[-1]:
        panel.set_xlabel("imbalance ratio $R$")
    for panel in axes[:, 0]:
        panel.set_ylabel(r"weight decay $\lambda$")
    legend_outside(figure, axes.flat[0], columns=3)
    return figure
