"""Oversampling: accuracies and cosines of the small classes against the rate w_r."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure


def summarise_rates(ends: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set, network, K_A and weight decay: accuracies with the best w_r.

    Args:
        ends: the last rows of runs, with ``rate`` w_r and ``cure`` ('none', 'oversampling' or
            'class weights'), see :func:`nc_jax.campaigns.predict_rates`.
    """
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


def draw_model(curves: Any, least: pd.DataFrame, num_classes: int) -> Figure:
    """Minority cosine over w_r, and the smallest w_r over the budget."""
    energies = sorted(set(curves["feature_energy"]))
    figure, axes = new_figure(1, len(energies) + 1, 8.6, 3.1, False, False)
    for panel, energy in zip(axes[0], energies, strict=False):
        own = curves[curves["feature_energy"] == energy]
        for colour, (majority, part) in zip(PALETTE, own.groupby("majority"), strict=False):
            panel.plot(part["rate"], part["cosine"], color=colour, label=f"$K_A$ = {majority}")
            panel.axvline(part["least_rate"].iloc[0], color=colour, linestyle=":", linewidth=1)
        panel.axhline(-1 / (num_classes - 1), color="0.6", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_ylim(-0.2, 1.05)
        panel.set_title(f"$E_W$ = 1, $E_H$ = {energy:g}")
        panel.set_xlabel("oversampling rate $w_r$")
    axes[0, 0].set_ylabel("minority cosine\n(none where classifiers vanish)")
    last = axes[0, -1]
    for colour, (_, part) in zip(PALETTE, least.groupby("majority"), strict=False):
        last.plot(part["budget"], part["least_rate"], color=colour)
    last.set_yscale("log")
    last.set_xlabel(r"budget $\sqrt{E_W E_H}$")
    last.set_ylabel("smallest $w_r$ without collapse")
    legend_outside(figure, axes[0, 0], columns=4)
    return figure


def draw_networks(ends: pd.DataFrame) -> Figure:
    """Minority accuracy and cosine against w_r, with the model's cosine and smallest w_r."""
    groups: Any = list(ends.groupby(["data", "network", "weight_decay"], sort=False))
    majorities = sorted(set(ends["majority"]))
    width = 2.6 * len(majorities) + 0.8
    figure, axes = new_figure(
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
    legend_outside(figure, axes[1, 0], columns=3)
    return figure


def _draw_cures(accuracy: Any, cosine: Any, part: Any) -> None:
    """Draws the two panels of one K_A."""
    cures = {"oversampling": PALETTE[0], "class weights": PALETTE[1]}
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
