"""Figures of straight lines from the data to a last layer, on which collapse is measured."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure


def draw_geodesics(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Shares against cost; measured and predicted PFC1; PFC2; where PFC2 starts to decrease."""
    figure, axes = new_figure(1, 4, 13, 3.4, share_x=False, share_y=False)
    _draw_shares(axes[0, 0], table)
    for color, (_, part) in zip(PALETTE, curves.groupby("line", sort=False), strict=False):
        thin = part.iloc[:: max(len(part) // 20, 1)]
        start = part["pfc1"].iloc[0]
        label = f"cosine of the class means {part['means_alignment'].iloc[0]:+.2f}"
        axes[0, 1].plot(part["t"], part["predicted"] / start, color=color, label=label)
        axes[0, 1].plot(thin["t"], thin["pfc1"] / start, ".", color=color, markersize=4)
        if part["peak"].iloc[0] > 0:
            axes[0, 1].axvline(part["peak"].iloc[0], color=color, linestyle=":", linewidth=0.8)
        axes[0, 2].plot(part["t"], part["pfc2"], color=color)
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylim(bottom=1e-3)
    axes[0, 1].set_title("PFC1(t)/PFC1(0); dots: measured")
    axes[0, 2].set_title("PFC2(t), distance to the ETF")
    for panel in (axes[0, 1], axes[0, 2]):
        panel.set_xlabel("position t on the line (1: last layer)")
    panel = axes[0, 3]
    panel.plot(
        table["means_alignment"],
        table["pfc2_falls_from"],
        ".",
        markersize=2,
        color=PALETTE[5],
        rasterized=True,
    )
    panel.set_xlabel("cosine of the class means of X and H")
    panel.set_title("t* from which PFC2 decreases (Theorem 2)")
    legend_outside(figure, axes[0, 1], columns=3)
    return figure


def _draw_shares(panel: Axes, table: pd.DataFrame) -> None:
    """The share of lines on which PFC1 decreases against transport cost, by the sign of C."""
    edges = np.linspace(0, 2, 21)
    bins = np.clip(np.digitize(np.asarray(table["relative_cost"]), edges) - 1, 0, 19)
    middles = (edges[1:] + edges[:-1]) / 2
    kinds = {
        "all lines": (np.ones(len(table), bool), "-o", PALETTE[6]),
        "C ≥ 0": (np.asarray(table["C"] >= 0), "^", PALETTE[0]),
        "C < 0": (np.asarray(table["C"] < 0), "v", PALETTE[1]),
    }
    falling = np.asarray(table["pfc1_falling"], float)
    for name, (chosen, style, color) in kinds.items():
        number = np.bincount(bins[chosen], minlength=20)
        falls = np.bincount(bins[chosen], falling[chosen], minlength=20)
        seen = number > 0
        share = falls[seen] / number[seen]
        panel.plot(middles[seen], share, style, color=color, label=name, markersize=4)
    panel.set_xlabel(r"transport cost $\|H-X\|^2/(\|H\|^2+\|X\|^2)$")
    panel.set_title("share of lines on which PFC1 decreases")
    panel.set_ylim(-0.05, 1.05)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
