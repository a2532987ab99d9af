"""Figures of phase transitions: cosines against the ratio R, and phases over R and the budget E."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure

# By phase, in the order of their codes.
COLOURS = {
    "separated": "#DCEBF7",
    "collapsed": "#56B4E9",
    "vanished": "#004D80",
    "unresolved": "#999999",
}
RATIO = "imbalance ratio $R = n_A/n_B$"


def draw_cosines(
    curves: Any,
    num_classes: int,
    exact: Mapping[tuple[int, float], tuple[float, float]] | None = None,
) -> Figure:
    """Cosines against R, one panel for each K_A and one colour for each E_H.

    Args:
        curves: rows with ``majority``, ``feature_energy``, ``ratio``, ``minority_cosine`` and
            ``majority_cosine``.
        num_classes: K.
        exact: for each K_A and E_H the exact R0, drawn as a dashed line, and R1, from which on a
            band shows that the minority classifiers vanish and have no cosine.
    """
    energies, majorities = (curves[name].unique() for name in ("feature_energy", "majority"))
    ends = curves["ratio"].min(), curves["ratio"].max()
    figure, axes = new_figure(2, len(majorities), 2.6 * len(majorities) + 0.6, 4.6)
    for pair, majority in zip(axes.T, majorities, strict=True):
        for place, (energy, colour) in enumerate(
            zip(energies, itertools.cycle(PALETTE), strict=False)
        ):
            own = curves[(curves["majority"] == majority) & (curves["feature_energy"] == energy)]
            for panel, measure in zip(pair, ("minority_cosine", "majority_cosine"), strict=True):
                label = f"$E_H$ = {energy:g}"
                panel.plot(own["ratio"], own[measure], color=colour, label=label)
            if exact is not None:
                _mark_exact(pair, exact[majority, energy], ends, place, colour)
        pair[0].set_title(f"$K_A$ = {majority} of {num_classes} classes are large")
        pair[1].set_xlabel(RATIO)
    for panel in axes.flat:
        level = -1 / (num_classes - 1)
        panel.axhline(level, color="0.55", linewidth=0.9, linestyle=":", label="ETF, −1/(K−1)")
        panel.set_xscale("log")
        panel.set_xlim(ends)
        panel.set_ylim(-0.55, 1.05 + 0.1 * len(energies))
    axes[0, 0].set_ylabel("cosine of minority\nclassifiers")
    axes[1, 0].set_ylabel("cosine of majority\nclassifiers")
    if exact is not None:
        named = {"color": "0.3", "linewidth": 0.9, "linestyle": "--", "label": "$R_0$, collapse"}
        axes[0, 0].plot([], [], **named)
        axes[0, 0].plot([], [], color="0.3", linewidth=5, alpha=0.25, label="vanished: no cosine")
    legend_outside(figure, axes[0, 0], columns=5)
    return figure


def _mark_exact(
    pair: Any, exact: tuple[float, float], ends: tuple[float, float], place: int, colour: str
) -> None:
    """R0 as a dashed line, and a band from R1 on."""
    (collapse, vanish), (low, high) = exact, ends
    if low < collapse < high:
        for panel in pair:
            panel.axvline(collapse, color=colour, linewidth=0.9, linestyle="--")
    if vanish < high:
        # Each curve gets its own height, so that two bands can be told apart.
        height = 1.08 + 0.09 * place
        band = {"color": colour, "linewidth": 5, "alpha": 0.35, "solid_capstyle": "butt"}
        pair[0].plot([max(low, vanish), high], [height, height], **band)


def draw_phases(
    maps: Any, num_classes: int, exact: Mapping[int, pd.DataFrame] | None = None
) -> Figure:
    """Phases over R and E, one panel for each K_A.

    Args:
        maps: rows with ``majority``, ``ratio``, ``budget`` and ``phase``; all budgets with all
            ratios.
        num_classes: K.
        exact: for each K_A rows with ``budget``, ``R0`` and ``R1``, drawn on top.
    """
    majorities = maps["majority"].unique()
    figure, axes = new_figure(1, len(majorities), 2.6 * len(majorities) + 0.6, 3.2)
    for panel, majority in zip(axes[0], majorities, strict=True):
        _draw_map(panel, maps[maps["majority"] == majority])
        if exact is not None:
            own = exact[majority]
            for name, line, label in (("R0", "-", "$R_0$, exact"), ("R1", "--", "$R_1$, exact")):
                ratios = np.where(np.isfinite(own[name]), own[name], np.nan)
                panel.plot(ratios, own["budget"], color="#D55E00", linestyle=line, label=label)
        panel.set_xscale("log")
        panel.set_xlim(maps["ratio"].min(), maps["ratio"].max())
        panel.set_ylim(maps["budget"].min(), maps["budget"].max())
        panel.set_xlabel(RATIO)
        panel.set_title(f"$K_A$ = {majority} of {num_classes} classes are large")
    axes[0, 0].set_ylabel(r"budget $E = \sqrt{E_W E_H}$")
    for phase in [name for name in COLOURS if name in set(maps["phase"])]:
        look = {"facecolor": COLOURS[phase], "edgecolor": "0.6", "linewidth": 0.5}
        axes[0, 0].fill([], [], **look, label=phase)
    legend_outside(figure, axes[0, 0], columns=6)
    return figure


def _draw_map(panel: Axes, rows: pd.DataFrame) -> None:
    names = list(COLOURS)
    grid = rows.assign(code=[names.index(phase) for phase in rows["phase"]])
    codes = grid.pivot_table(index="budget", columns="ratio", values="code", aggfunc="first")
    panel.pcolormesh(
        codes.columns, codes.index, codes.to_numpy(), cmap=ListedColormap(list(COLOURS.values())),
        vmin=-0.5, vmax=len(COLOURS) - 0.5, shading="nearest", rasterized=True,
    )  # fmt: skip
