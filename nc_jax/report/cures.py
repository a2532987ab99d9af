"""Cures for imbalance: tables for readers, and figures over their strengths."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure

# The name of each cure and the symbol of its strength, for the axes.
STRENGTHS = {
    "class-weights": r"class weights $n_k^{-s}$, $s$",
    "oversampling": r"oversampling, $s$",
    "logit-adjustment": r"logit adjustment, $\tau$",
    "vector-scaling": r"vector scaling, $s$",
    "temperatures": r"temperatures, $\gamma$",
    "margins": r"margins, $m$",
    "label-smoothing": r"label smoothing, $\epsilon$",
    "focal": r"focal, $\gamma$",
}
# Reader's names of the columns of the designer's table.
HEADS = {
    "least": "smallest strength that separates all classes",
    "best": "strength closest to a simplex ETF",
    "distance": "distance from a simplex ETF without cure",
    "at best": "distance at the closest strength",
    "large loss": "loss of a large class without cure",
    "at least": "loss of a large class at the smallest strength",
    "large margin": "margin of a large class without cure",
    "with it": "margin of a large class at the smallest strength",
    "gap": "largest duality gap",
}
MODEL_ROWS = {
    "minority_cosine": "minority cosine",
    "norm_ratio": "length of small\nover large classifiers",
    "minority_margin": "margin of small classes",
    "majority_margin": "margin of large classes",
    "distance": "distance from\nsimplex ETF",
}


def draw_model(curves: Any, designed: Any) -> Figure:
    """The model over strengths: one row for each quantity, one column for each cure."""
    cures = [cure for cure in STRENGTHS if cure in set(curves["cure"])]
    height = 1.55 * len(MODEL_ROWS) + 0.8
    figure, axes = new_figure(len(MODEL_ROWS), len(cures), 1.75 * len(cures), height, "col", "row")
    ratios = sorted(curves["ratio"].unique())
    for column, cure in enumerate(cures):
        for colour, ratio in zip(PALETTE, ratios, strict=False):
            own = curves[(curves["cure"] == cure) & (curves["ratio"] == ratio)]
            chosen = designed[(designed["cure"] == cure) & (designed["R"] == ratio)]
            for row, name in enumerate(MODEL_ROWS):
                panel = axes[row, column]
                panel.plot(own["strength"], own[name], color=colour, label=f"$R$ = {ratio:g}")
                _mark(panel, own, name, chosen["best"], "*", colour)
                _mark(panel, own, name, chosen["least"][chosen["least"] > 0], "o", colour)
        axes[-1, column].set_xlabel(STRENGTHS[cure], fontsize="small")
    for row, label in enumerate(MODEL_ROWS.values()):
        axes[row, 0].set_ylabel(label, fontsize="small")
    for marker, label in (("*", "closest to simplex ETF"), ("o", "smallest that separates")):
        axes[0, 0].plot([], [], marker, color="0.4", label=label)
    legend_outside(figure, axes[0, 0], columns=5)
    return figure


def _mark(panel: Any, own: Any, name: str, at: Any, marker: str, colour: str) -> None:
    """Marks the designer's strength on a curve, if the curve has a value there."""
    known = own.dropna(subset=[name])
    inside = at[at.between(known["strength"].min(), known["strength"].max())]
    heights = np.interp(inside, known["strength"], known[name]) if len(inside) else []
    panel.plot(inside, heights, marker, color=colour, markersize=6)


def _groups(table: Any) -> tuple[list[Any], list[str]]:
    """The rows of the figure, and the cures of its columns."""
    groups = list(table.groupby(["data", "network", "ratio"], sort=False))
    return groups, [cure for cure in STRENGTHS if cure in set(table["cure"])]


def draw_accuracy(table: Any) -> Figure:
    """Balanced and minority test accuracy over strengths; the designer's strength is marked."""
    groups, cures = _groups(table)
    height = 1.9 * len(groups) + 1.0
    figure, axes = new_figure(len(groups), len(cures), 1.75 * len(cures), height, "col", "row")
    decays = sorted(table["weight_decay"].unique())
    for row, ((data, network, ratio), own) in enumerate(groups):
        for column, cure in enumerate(cures):
            panel = axes[row, column]
            for colour, decay in zip(PALETTE, decays, strict=False):
                mean = _mean(own[own["weight_decay"] == decay], cure)
                for name, style, said in (
                    ("test_accuracy_all", "o-", "balanced"),
                    ("test_accuracy_minority", "o:", "minority"),
                ):
                    label = rf"{said} accuracy, $\lambda$ = {decay:g}"
                    panel.plot(
                        mean.index, mean[name], style, color=colour, markersize=3, label=label
                    )
                chosen = mean[mean.index == mean["designed"]]
                panel.plot(
                    chosen.index, chosen["test_accuracy_all"], "*", color=colour, markersize=11,
                    label="strength chosen before training",
                )  # fmt: skip
            if row == len(groups) - 1:
                panel.set_xlabel(STRENGTHS[cure], fontsize="small")
        axes[row, 0].set_ylabel(
            f"{data}, {network}\n$R$ = {ratio}, test accuracy", fontsize="small"
        )
    legend_outside(figure, axes[0, 0], columns=3)
    return figure


def draw_geometry(table: Any, designs: Any) -> Figure:
    """Minority cosines over strengths: networks as points, their surrogate as a line."""
    groups, cures = _groups(table)
    height = 1.9 * len(groups) + 1.0
    figure, axes = new_figure(len(groups), len(cures), 1.75 * len(cures), height, "col", "row")
    decays = sorted(table["weight_decay"].unique())
    for row, ((data, network, ratio), own) in enumerate(groups):
        for column, cure in enumerate(cures):
            panel = axes[row, column]
            for colour, decay in zip(PALETTE, decays, strict=False):
                part = own[own["weight_decay"] == decay]
                runs = part[part["cure"].isin(["none", cure])]
                for rest, fill in ((True, colour), (False, "none")):
                    mine = runs[runs["converged"] == rest]
                    panel.plot(
                        mine["strength"], mine["minority_cosine"], "o", color=colour,
                        markerfacecolor=fill, markersize=4,
                        label=rf"runs, $\lambda$ = {decay:g}" if rest else "open: not converged",
                    )  # fmt: skip
                line = designs[
                    (designs["data"] == data) & (designs["network"] == network)
                    & (designs["ratio"] == ratio) & (designs["weight_decay"] == decay)
                    & (designs["cure"] == cure)
                ]  # fmt: skip
                label = rf"unconstrained features, $\lambda$ = {decay:g}"
                panel.plot(line["strength"], line["predicted_cosine"], color=colour, label=label)
            panel.set_ylim(-0.4, 1.05)
            if row == len(groups) - 1:
                panel.set_xlabel(STRENGTHS[cure], fontsize="small")
        label = f"{data}, {network}\n$R$ = {ratio}, minority cosine"
        axes[row, 0].set_ylabel(label, fontsize="small")
    legend_outside(figure, axes[0, 0], columns=3)
    return figure


def _mean(part: Any, cure: str) -> pd.DataFrame:
    """Mean over seeds, by strength; strength zero is the run without a cure."""
    own = part[part["cure"].isin(["none", cure])]
    return own.groupby("strength").mean(numeric_only=True)


def summarise_cures(ends: pd.DataFrame) -> pd.DataFrame:
    """One row for each cure and place: the best strength of the grid and the designer's."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "ratio", "weight_decay", "cure"], sort=False)
    for (data, network, ratio, decay, cure), own in groups:
        mean: Any = own.groupby("strength").mean(numeric_only=True)
        accuracy = mean["test_accuracy_all"].dropna()
        if not len(accuracy):
            continue
        best = accuracy.idxmax()
        row = {"data": data, "network": network, "R": ratio, "weight decay": decay, "cure": cure}
        row |= {"best strength": best, "balanced accuracy": f"{accuracy[best]:.3f}"}
        row |= {"minority accuracy": f"{mean['test_accuracy_minority'][best]:.3f}"}
        row |= {"minority cosine": f"{mean['minority_cosine'][best]:.2f}"}
        designed = own["designed"].dropna()
        if len(designed) and designed.iloc[0] in accuracy:
            chosen = designed.iloc[0]
            row |= {"designed strength": f"{chosen:g}"}
            row |= {"its balanced accuracy": f"{accuracy[chosen]:.3f}"}
            row |= {"its minority accuracy": f"{mean['test_accuracy_minority'][chosen]:.3f}"}
            row |= {"its minority cosine": f"{mean['minority_cosine'][chosen]:.2f}"}
            below = 100 * (accuracy[best] - accuracy[chosen])
            row |= {"percentage points below the best": f"{below:.1f}"}
        row |= {"runs with separated classes": f"{(own['state'] == 'separated').sum()}/{len(own)}"}
        rows.append(row | {"converged runs": f"{own['converged'].sum()}/{len(own)}"})
    return pd.DataFrame(rows).fillna("none")


def readable_design(designed: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`nc_jax.design.row_of` for readers."""
    shown = designed.rename(columns=HEADS)
    numbers = shown.columns.drop(["R", "cure"])
    shown[numbers] = shown[numbers].map(lambda x: "none" if np.isnan(x) else f"{x:.3g}")
    return shown
