"""Figure and tables of a head with many rows, against the frequency of its tokens."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.metrics.similar import nearest_rows
from nc_jax.report.columns import Column
from nc_jax.report.figures import PALETTE, legend_outside, new_figure, plain_ticks

# Share of the longest row below which points are drawn at the panel's lower edge.
SHORTEST = 1e-3
# Columns of the table of tokens, with the nearest token of each.
TOKEN_COLUMNS = [
    Column("token", "The token in quotes, or its number if the file has no names.", "text"),
    Column("count", "How often it occurs in the text.", "count"),
    Column("length", "Length of its row, relative to the longest.", "fixed"),
    Column("nearest token", "The token whose row points in the most similar direction.", "text"),
    Column(
        "nearest cosine",
        "Cosine to that row: 1 is the same direction. Above 0.95 the two count as merged.",
        "fixed",
    ),
    Column("state", "merged, vanished (shorter than 1 % of the longest) or apart.", "text"),
    Column("cluster", "Number of the cluster of merged rows, the largest first.", "text"),
]


def draw_head(counts: np.ndarray, seen: Any, model: Any = None, by: str = "") -> Figure:
    """Lengths and cosines against counts: dots for tokens, lines for bins and predictions.

    Args:
        counts: [K]; tokens that never occur are drawn to the left of the others.
        seen: lengths [K], nearest [K] and bins as in :mod:`nc_jax.diagnosis.head`.
        model: predicted counts, lengths and cosines [G] of groups, with lengths in the units
            of ``seen.longest``; None if there is no prediction.
        by: the name of the model.
    """
    figure, axes = new_figure(1, 3, 10.5, 3.5, True, False)
    known = counts > 0
    unseen = counts[known].min() / 4
    across = np.where(known, counts, unseen)
    bins = seen.bins
    centres = np.where(bins.least > 0, np.sqrt(np.maximum(bins.least, 1e-300) * bins.most), unseen)
    size = 2 if len(counts) > 5000 else 4
    values = (np.maximum(seen.lengths, SHORTEST), None, seen.nearest)
    lines = (bins.lengths, bins.cosines, bins.nearest)
    titles = ("length", "cosine within a bin of counts", "cosine to the nearest row")
    for place, (dots, line) in enumerate(zip(values, lines, strict=True)):
        panel = axes[0, place]
        if dots is not None:
            panel.plot(
                across, dots, ".", color="0.5", ms=size, alpha=0.4, mew=0, rasterized=True, zorder=1
            )
        # The bin of tokens that never occur is not a point of the curve.
        first = int(bins.least[0] == 0)
        drawn = first + np.flatnonzero(np.isfinite(line[first:]))
        panel.plot(centres[drawn], line[drawn], "o-", color=PALETTE[0], ms=4)
        if first:
            panel.plot(centres[:1], line[:1], "s", color=PALETTE[4], ms=5)
            panel.axvline(unseen * 2, color="0.8", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_title(titles[place])
        panel.set_xlabel("times in the text (count)")
    axes[0, 0].set_yscale("log")
    short = f"\n({SHORTEST:g}: or less)" if seen.lengths.min() < SHORTEST else ""
    axes[0, 0].set_ylabel(f"length over the longest row{short}")
    axes[0, 1].set_ylabel("mean cosine of pairs")
    axes[0, 2].set_ylabel("cosine")
    plain_ticks(axes[0, 0])
    for panel in axes[0, 1:]:
        panel.set_ylim(-1.05, 1.05)
        panel.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    if model is not None:
        order = np.argsort(model.counts)
        lengths = np.maximum(model.lengths / max(seen.longest, 1e-30), SHORTEST)
        axes[0, 0].plot(model.counts[order], lengths[order], color=PALETTE[1], zorder=3)
        # Single tokens have no cosine; a gap there would hide isolated groups.
        known = order[np.isfinite(model.cosines[order])]
        axes[0, 1].plot(model.counts[known], model.cosines[known], color=PALETTE[1], zorder=3)
    name = by.replace("E_W", "$E_W$").replace("E_H", "$E_H$").removeprefix("the ")
    _keys(axes[0, 0], bins.least[0] == 0, name if model is not None else "")
    legend_outside(figure, axes[0, 0], columns=4)
    return figure


def _keys(panel: Any, unseen: bool, by: str) -> None:
    """Legend entries; the dots of tokens are larger here than in the panels."""
    panel.plot([], [], ".", color="0.5", ms=7, label="a token")
    panel.plot([], [], "o-", color=PALETTE[0], ms=4, label="mean of a bin of counts")
    if unseen:
        panel.plot([], [], "s", color=PALETTE[4], ms=5, label="mean of tokens never seen")
    if by:
        panel.plot([], [], color=PALETTE[1], label=by)


def bins_table(bins: Any) -> pd.DataFrame:
    """The bins of tokens by frequency, the rarest first, formatted for reading.

    Args:
        bins: as in :mod:`nc_jax.diagnosis.head`.
    """
    table = {
        "counts from": [f"{count:,.0f}" for count in bins.least],
        "counts to": [f"{count:,.0f}" for count in bins.most],
        "tokens": [f"{number:,}" for number in bins.tokens],
        "mean length over longest": _digits(bins.lengths),
        "mean cosine within the bin": _digits(bins.cosines),
        "mean cosine to the mean row": _digits(bins.to_mean),
        "mean cosine to the nearest row": _digits(bins.nearest),
        "share merged": _digits(bins.merged),
        "share vanished": _digits(bins.vanished),
    }
    return pd.DataFrame(table)


def tokens_table(archive: Any, seen: Any) -> pd.DataFrame:
    """Raw numbers, one row per token, the rarest first; tokens that never occur come last.

    Args:
        archive: has classifiers, counts and names.
        seen: what was measured, as in :mod:`nc_jax.diagnosis.head`.
    """
    size = len(archive.counts)
    states, cluster = np.full(size, "apart", "<U8"), np.zeros(size, int)
    for number, rows in enumerate(seen.clusters, start=1):
        states[rows], cluster[rows] = "merged", number
    states[seen.vanished] = "vanished"
    table = pd.DataFrame(
        {
            "token": _names(archive, np.arange(size)),
            "count": archive.counts,
            "length": seen.lengths,
            "nearest cosine": seen.nearest,
            "state": states,
            "cluster": np.where(cluster > 0, cluster.astype(str), ""),
        }
    )
    order = np.lexsort((archive.counts, archive.counts == 0))
    return table.iloc[order]


def with_nearest(table: pd.DataFrame, archive: Any) -> pd.DataFrame:
    """Rows of :func:`tokens_table` with the name of the token nearest to each."""
    found = nearest_rows(archive.classifiers, table.index.to_numpy())
    names = np.where(found < 0, "none", _names(archive, found))
    columns = [column.name for column in TOKEN_COLUMNS]
    return table.assign(**{"nearest token": names}).reindex(columns=columns)


def _names(archive: Any, rows: np.ndarray) -> np.ndarray:
    """Names in quotes, so that spaces and line breaks in tokens are visible."""
    return np.array(
        [str(name) if name.dtype.kind in "iu" else repr(str(name)) for name in archive.names[rows]]
    )


def _digits(values: np.ndarray) -> list[str]:
    return [f"{value:.3f}" if np.isfinite(value) else "" for value in values]
