"""Figures and tables of vocabularies and long-tailed classes: which classes stay separate."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure


def _shown(number: float) -> str:
    """A budget; a dash if there is none."""
    return "–" if not np.isfinite(number) else f"{number:.2g}"


def budget_at(curve: Any, rank: float) -> float:
    """The budget E at which the rank reaches a number, interpolated in a sweep; NaN if never.

    The interpolation is linear in log E and log rank.
    """
    curve = curve.sort_values("E")
    ranks = np.maximum(curve["rank"].to_numpy(float), 0.5)
    logs = np.log(curve["E"].to_numpy(float))
    over = np.flatnonzero(ranks >= rank)
    if not len(over) or over[0] == 0:
        return np.nan
    low, high = over[0] - 1, over[0]
    share = np.log(rank / ranks[low]) / np.log(ranks[high] / ranks[low])
    return float(np.exp(logs[low] + share * (logs[high] - logs[low])))


def _all_kept(curve: Any) -> float:
    """The smallest E of a sweep from which on all classes have their own direction; or NaN."""
    lost = curve.loc[curve["own"] < curve["classes"], "E"]
    rest = curve.loc[curve["E"] > (lost.max() if len(lost) else 0), "E"]
    return float(rest.min()) if len(rest) else np.nan


def _growth(curve: Any) -> float:
    """Exponent of E in the growth of the rank, over ranks from ten to half the classes."""
    part = curve[(curve["rank"] >= 10) & (curve["rank"] <= 0.5 * curve["classes"])]
    if len(part) < 2:
        return np.nan
    return float(np.polyfit(np.log(part["E"]), np.log(part["rank"]), 1)[0])


def _largest_gap(curve: Any) -> str:
    """The largest gap relative to the objective, where the objective is not negligible."""
    part = curve[curve["objective"] > 0.05]
    return f"{100 * (part['gap'] / part['objective']).max():.1f}" if len(part) else "–"


def summarise_vocabularies(table: Any, contours: Sequence[int]) -> pd.DataFrame:
    """For each exponent: up to which budget p dimensions are enough for the optimum."""
    rows, lost = [], table[~table["solved"]].groupby("exponent").size()
    table = table[table["solved"]]
    for exponent, own in table.groupby("exponent"):
        row = {
            "Zipf exponent": exponent,
            "largest count": f"{own['largest'].iloc[0]:,.0f}",
            "smallest count": f"{own['smallest'].iloc[0]:,.0f}",
            "groups": own["groups"].iloc[0],
        }
        for width in contours:
            row[f"largest E for which p = {width:,} is enough"] = _shown(budget_at(own, width))
        row["unsolved budgets, left out"] = int(lost.get(exponent, 0))
        row["all tokens separate from E"] = _shown(_all_kept(own))
        row["exponent of E in the number of directions"] = _shown(_growth(own))
        row["largest gap, % of the loss"] = _largest_gap(own)
        rows.append(row)
    return pd.DataFrame(rows)


def summarise_profiles(table: Any) -> pd.DataFrame:
    """For each profile: collapsed classes at several budgets, and where none is collapsed."""
    rows = []
    for name, own in table.groupby("profile", sort=False):
        row = {
            "profile": name,
            "classes": own["classes"].iloc[0],
            "largest count": f"{own['largest'].iloc[0]:,.0f}",
            "smallest count": f"{own['smallest'].iloc[0]:,.0f}",
            "mean count": f"{own['samples'].iloc[0] / own['classes'].iloc[0]:.0f}",
        }
        for wanted in (0.1, 1.0, 3.0, 10.0):
            away = (np.log(own["E"]) - np.log(wanted)).abs()
            count = f"{own.loc[away.idxmin(), 'collapsed']:,.0f}" if away.min() < 0.1 else "–"
            row[f"collapsed classes at E ≈ {wanted:g}"] = count
        row["all classes separate from E"] = _shown(_all_kept(own))
        row["largest gap, % of the loss"] = _largest_gap(own)
        rows.append(row)
    return pd.DataFrame(rows)


def draw_vocabularies(table: Any, contours: Sequence[int]) -> Figure:
    """Rank over budget and exponent, with lines of sufficient p; and tokens kept over budget."""
    figure, axes = new_figure(1, 2, 9.6, 3.9, False, False)
    left, right = axes[0]
    # A budget at which the solver reached its step limit is left blank.
    table = table[table["solved"]]
    grid = table.pivot(index="exponent", columns="E", values="rank")
    tokens = int(table["classes"].iloc[0])
    logs, exponents = np.log(grid.columns.to_numpy(float)), grid.index.to_numpy(float)
    image = left.pcolormesh(
        np.exp(_edges(logs)), _edges(exponents), grid.clip(lower=1), norm=LogNorm(1, tokens),
        cmap="viridis", rasterized=True,
    )  # fmt: skip
    for colour, width in zip(("w", "#FFD0E8", "#E69F00", "#D55E00"), contours, strict=False):
        budgets = np.array([budget_at(own, width) for _, own in table.groupby("exponent")])
        left.plot(budgets, exponents, "o-", color=colour, markersize=3, linewidth=1.6)
        there = budgets[np.isfinite(budgets)]
        if len(there):
            left.annotate(
                f"{width:,}", (there[-1], 1), (0, 3), xycoords=left.get_xaxis_transform(),
                ha="center", textcoords="offset points", fontsize=8, annotation_clip=False,
            )  # fmt: skip
    left.set_xscale("log")
    left.set_xlabel("budget $E$")
    left.set_ylabel("Zipf exponent $s$")
    left.set_title("left of a line, this many dimensions $p$ are enough", pad=14)
    figure.colorbar(image, ax=left, label="directions of the convex optimum", pad=0.02)
    for colour, (exponent, own) in zip(PALETTE, _some(table), strict=False):
        right.plot(
            own["E"], np.maximum(own["own"], 0.5), ".-", color=colour,
            label=f"$s$ = {exponent:g}",
        )  # fmt: skip
    right.axhline(tokens, color="0.6", linewidth=0.8, linestyle=":")
    right.set(xscale="log", yscale="log", xlabel="budget $E$")
    right.set_ylim(0.8, 2 * tokens)
    right.set_ylabel("tokens with their own direction")
    right.set_title(f"of {tokens:,} tokens (dotted)", pad=14)
    legend_outside(figure, right, columns=7)
    return figure


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells, half way between neighbouring centres."""
    middles = 0.5 * (centres[1:] + centres[:-1])
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def _some(table: Any) -> list[Any]:
    """At most as many exponents as there are colours."""
    groups = list(table.groupby("exponent"))
    places = np.unique(np.linspace(0, len(groups) - 1, min(len(groups), len(PALETTE))).astype(int))
    return [groups[place] for place in places]


def draw_profiles(table: Any) -> Figure:
    """Shares of separate classes, and the smallest classes' cosine and length, over the budget."""
    figure, axes = new_figure(1, 3, 9.6, 3.3, True, False)
    first, second, third = axes[0]
    for colour, (name, own) in zip(PALETTE, table.groupby("profile", sort=False), strict=False):
        total = own["classes"].iloc[0]
        ends = f"{own['largest'].iloc[0]:,.0f} to {own['smallest'].iloc[0]:,.0f}"
        label = f"{name}: $K$ = {total:,}, {ends}"
        first.plot(own["E"], own["own"] / total, ".-", color=colour, label=label)
        # Two classifiers of almost zero length have no meaningful angle.
        clear = own["smallest_length"] > 1e-4
        second.plot(own["E"], own["smallest_cosine"].where(clear), ".-", color=colour)
        third.plot(own["E"], own["smallest_length"], ".-", color=colour)
    first.set_ylabel("share of classes with\ntheir own direction")
    second.set_ylabel("cosine of two classifiers\nof the smallest size")
    third.set_ylabel("classifier length, smallest\nover largest class")
    for panel in axes[0]:
        panel.set(xscale="log", xlabel="budget $E$")
    legend_outside(figure, first, columns=2)
    return figure
