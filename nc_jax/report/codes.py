"""Figures and tables for more classes than dimensions: codes, and which classes merge."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from nc_jax.report.figures import PALETTE, legend_outside, new_figure

# Smaller distances, relative to the longest classifier, are drawn as this one.
CLOSEST = 1e-3


def shown(numbers: Any, digits: int) -> list[str]:
    """Numbers with the given digits after the point; a dash for a missing number."""
    return ["–" if np.isnan(number) else f"{number:.{digits}f}" for number in numbers]


def summarise_codes(codes: pd.DataFrame) -> pd.DataFrame:
    """A row for each K and p, formatted for a reader."""
    return pd.DataFrame(
        {
            "p": codes["p"],
            "K": codes["K"],
            "largest cosine, model": shown(codes["model_cosine"], 6),
            "largest cosine, limit": shown(codes["code_cosine"], 8),
            "largest cosine, best known": shown(codes["known_cosine"], 6),
            "best known code": codes["known_name"] + np.where(codes["proved"], " (proved)", ""),
            "limit − best known": [
                "–" if np.isnan(excess) else f"{excess:.0e}"
                for excess in codes["code_cosine"] - codes["known_cosine"]
            ],
            "lower bound on the cosine": shown(codes["bound"], 4),
            "smallest margin, model": shown(codes["model_margin"], 4),
            "smallest margin, limit": shown(codes["code_margin"], 4),
            "restarts at the best": [
                f"{a}/{b}"
                for a, b in zip(codes["code_restarts_at_best"], codes["code_restarts"], strict=True)
            ],
        }
    )


def summarise_merging(merging: pd.DataFrame) -> pd.DataFrame:
    """For each kind of sizes and p: the budget from which on each class stays separate."""
    rows = []
    for _, own in merging.groupby(["sizes", "p"], sort=False):
        kind, dimension = own["sizes"].iloc[0], own["p"].iloc[0]
        row: dict[str, Any] = {"sizes": kind, "p": dimension}
        certified = own.loc[own["gap"] <= 1e-7, "E"]
        row["certified up to E"] = f"{certified.max():.3g}" if len(certified) else "none"
        row["largest rank"] = own["rank"].max()
        for place, curve in own.groupby("class"):
            close = curve.loc[curve["distance"] < 0.1, "E"]
            apart = curve.loc[curve["E"] > (close.max() if len(close) else 0), "E"]
            row[f"class {place}"] = (
                f"{apart.min():.2g}" if len(apart) else f"> {curve['E'].max():g}"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def draw_codes(codes: Any, budget: float) -> Figure:
    """Largest cosines and margins against K/p: model, limit, best known, bound; by p."""
    dimensions = list(codes["p"].unique())
    width = 1.2 + 2.6 * len(dimensions)
    figure, axes = new_figure(2, len(dimensions), max(width, 5.0), 5.0, "col", "row")
    for column, dimension in enumerate(dimensions):
        own = codes[codes["p"] == dimension]
        over = own["K"] / own["p"]
        top, bottom = axes[:, column]
        top.plot(over, own["bound"], ":", color="0.5", label="Levenshtein's lower bound")
        for panel, name in ((top, "cosine"), (bottom, "margin")):
            panel.plot(
                over, own[f"model_{name}"], "o", color=PALETTE[0], markerfacecolor="none",
                markersize=7, label=f"Layer-Peeled Model, $E$ = {budget:g}",
            )  # fmt: skip
            panel.plot(
                over, own[f"code_{name}"], ".-", color=PALETTE[1], label="limit of large budgets"
            )
        top.plot(over, own["known_cosine"], "x", color=PALETTE[6], label="best code known")
        top.set_title(f"$p$ = {dimension}")
        bottom.set_xlabel("classes over dimensions, $K/p$")
    axes[0, 0].set_ylabel("largest cosine of\ntwo classifiers")
    axes[1, 0].set_ylabel("smallest one-vs-rest margin\n(in root mean square lengths)")
    legend_outside(figure, axes[0, 0], columns=2)
    return figure


def draw_merging(merging: Any) -> Figure:
    """Distance of each classifier from the nearest other one, over the budget; and the rank."""
    kinds, widths = list(merging["sizes"].unique()), list(merging["p"].unique())
    wide = 1.9 * len(widths) + 3.2
    figure, axes = new_figure(
        len(kinds), len(widths) + 1, wide, 2.3 * len(kinds) + 0.6, "col", "col"
    )
    image: Any = None
    for row, kind in enumerate(kinds):
        for column, width in enumerate(widths):
            own = merging[(merging["sizes"] == kind) & (merging["p"] == width)]
            grid = own.pivot(index="class", columns="E", values="distance")
            panel = axes[row, column]
            image = panel.pcolormesh(
                grid.columns, grid.index + 1, np.maximum(grid, CLOSEST),
                norm=LogNorm(CLOSEST, 2), cmap="viridis", shading="nearest", rasterized=True,
            )  # fmt: skip
            _budget_axis(panel)
            panel.set_title(f"$p$ = {width}" if not row else "")
            panel.set_ylabel("" if column else f"{kind}\nclass, largest first")
            if row == len(kinds) - 1:
                panel.set_xlabel("budget $E$")
        _ranks(axes[row, -1], merging[merging["sizes"] == kind], widths)
    axes[-1, -1].set_xlabel("budget $E$")
    figure.colorbar(
        image, ax=list(axes[:, :-1].ravel()), location="bottom", shrink=0.5, aspect=40,
        label="distance to the nearest other classifier, relative to the longest classifier",
    )  # fmt: skip
    legend_outside(figure, axes[0, -1], columns=len(widths) + 1)
    return figure


def _budget_axis(panel: Any) -> None:
    """A logarithmic axis with a few plain numbers; more would overlap in small panels."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())


def _ranks(panel: Any, own: Any, widths: list[int]) -> None:
    """Rank of the classifiers over the budget; filled where the optimum is certified."""
    for colour, width in zip(PALETTE, widths, strict=False):
        curve = own[own["p"] == width].drop_duplicates("E")
        panel.plot(
            curve["E"], curve["rank"], "o-", color=colour, markersize=4, markerfacecolor="none",
            label=f"$p$ = {width}",
        )  # fmt: skip
        proved = curve[curve["gap"] <= 1e-7]
        panel.plot(proved["E"], proved["rank"], "o", color=colour, markersize=4)
    panel.plot([], [], "o", color="0.3", markersize=4, label="filled: certified optimum")
    _budget_axis(panel)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_ylabel("rank of the classifiers")
