"""Cosines of many classes as heat maps with few cells, small enough for a page."""

import base64

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from nc_jax.report.page.content import HeatMap

# Largest number of cells in each direction; more rows are averaged.
CELLS = 250
# With more rows there is no order by similarity, which needs K² numbers.
SIMILAR = 4000


def heat_map(
    title: str,
    text: str,
    rows: list[str],
    notes: list[str],
    sizes: np.ndarray,
    panels: dict[str, np.ndarray],
) -> HeatMap:
    """Matrices of cosines, by size and by similarity.

    Args:
        title: heading.
        text: sentences below it.
        rows: [K] names of the rows.
        notes: [K] a short note on each row, shown beside its name.
        sizes: [K] sizes, for the order.
        panels: matrices [K, K] by title, NaN if a cosine does not exist; the first one
            determines which rows are similar.
    """
    orders = {"the largest first": np.argsort(-sizes, kind="stable")}
    if 2 < len(rows) <= SIMILAR:
        orders["similar ones together"] = by_similarity(next(iter(panels.values())))
    starts = cell_starts(len(rows))
    if len(starts) < len(rows):
        text += (
            f" {len(rows):,} rows are too many to draw one by one: a cell shows the mean cosine "
            f"of rows that are neighbours in the order, {len(rows) / len(starts):.1f} in each "
            "direction, "
            "so single merged pairs are not visible. The table lists the nearest class of each."
        )
    drawn = [
        {
            "title": name,
            "matrices": [
                encoded(averaged(matrix[np.ix_(order, order)], starts)) for order in orders.values()
            ],
        }
        for name, matrix in panels.items()
    ]
    ways = [
        {"label": label, "rows": order.tolist(), "starts": starts.tolist()}
        for label, order in orders.items()
    ]
    return HeatMap(title, text, rows, notes, ways, drawn)


def cell_starts(size: int) -> np.ndarray:
    """Where each of at most CELLS cells of nearly equal width begins."""
    return np.linspace(0, size, min(size, CELLS), endpoint=False).astype(int)


def by_similarity(cosines: np.ndarray) -> np.ndarray:
    """An order [K] in which similar rows are neighbours: average linkage of 1 − cosine."""
    distances = 1 - np.nan_to_num(cosines, nan=0.0).astype(np.float64)
    np.fill_diagonal(distances, 0)
    distances = np.maximum((distances + distances.T) / 2, 0)
    return leaves_list(linkage(squareform(distances, checks=False), "average"))


def averaged(cosines: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean cosines between cells [B, B], without those of a row with itself; NaN if none."""
    if len(starts) == len(cosines):
        return cosines
    known = np.isfinite(cosines)
    np.fill_diagonal(known, False)
    sums, number = (
        np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1)
        for values in (np.where(known, cosines, 0.0), known.astype(float))
    )
    return sums / np.where(number > 0, number, np.nan)


def encoded(matrix: np.ndarray) -> str:
    """The upper triangle in thousandths, int16 little-endian in base64; −32768 for NaN."""
    upper = matrix[np.triu_indices(len(matrix))]
    whole = np.where(np.isfinite(upper), np.round(1000 * np.nan_to_num(upper)), -32768)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")
