"""Finds the rows of a large head that point in the same direction, without a K×K matrix.

Cosines are computed for one block of pairs at a time. Only the largest cosine of each row
and the name of its current cluster are stored. Pairs that are already in the same cluster add
nothing, so tens of thousands of coinciding rows need no more memory than distinct ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Number of rows of a block; the cosines between two blocks are in memory at a time.
BLOCK = 2048


class SimilarRows(NamedTuple):
    """The similar directions among rows.

    Attributes:
        nearest: [K] largest cosine with another row; NaN for a zero row,
            which has no direction, and if no other row has one.
        clusters: rows joined by cosines above ``least``, directly or through other rows:
            arrays of at least two rows, the largest first.
    """

    nearest: np.ndarray
    clusters: list[np.ndarray]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows [K, p] scaled to length one, float32; zero rows stay zero."""
    largest = float(np.abs(rows).max(initial=0))
    scaled = (rows / (largest if largest > 0 else 1)).astype(np.float32, copy=False)
    lengths = np.sqrt(np.einsum("kp,kp->k", scaled, scaled, dtype=np.float64))
    scaled /= np.where(lengths > 0, lengths, 1)[:, None].astype(np.float32)
    return scaled


def similar_rows(
    rows: np.ndarray, least: float, watch: Callable[[int], None] = lambda rows: None
) -> SimilarRows:
    """Largest cosines and clusters, in O(K p + K + block²) memory and O(K² p) work.

    Args:
        rows: [K, p]; compared in float32.
        least: cosine above which two rows are in the same cluster.
        watch: called with the number of rows of each block that has been compared with all.
    """
    units = unit_rows(rows)
    directed = np.flatnonzero(units.any(axis=1))
    if len(directed) < len(units):
        units = units[directed]
    count = len(units)
    watch(len(rows) - count)
    best, names = np.full(count, -np.inf, np.float32), np.arange(count)
    for first in range(0, count, BLOCK):
        own = slice(first, min(first + BLOCK, count))
        for second in range(first, count, BLOCK):
            other = slice(second, min(second + BLOCK, count))
            cosines = units[own] @ units[other].T
            if first == second:
                np.fill_diagonal(cosines, -np.inf)
            highest = cosines.max(axis=1)
            np.maximum(best[own], highest, out=best[own])
            np.maximum(best[other], cosines.max(axis=0), out=best[other])
            if highest.max() > least:
                names = _joined(names, own, other, cosines > least)
        watch(own.stop - own.start)
    nearest = np.full(len(rows), np.nan)
    nearest[directed] = np.where(np.isfinite(best), np.clip(best, -1, 1), np.nan)
    return SimilarRows(nearest, [directed[cluster] for cluster in _clusters(names)])


def _joined(names: np.ndarray, own: slice, other: slice, close: np.ndarray) -> np.ndarray:
    """Names [K] of clusters after joining the close pairs of two blocks."""
    left, right = names[own], names[other]
    pairs = np.nonzero(close & (left[:, None] != right[None]))
    if not len(pairs[0]):
        return names
    edges = left[pairs[0]], right[pairs[1]]
    graph = coo_matrix((np.ones(len(edges[0]), np.int8), edges), shape=(len(names),) * 2)
    return connected_components(graph, directed=False)[1][names]


def _clusters(names: np.ndarray) -> list[np.ndarray]:
    """The members of each name with at least two of them, the largest cluster first."""
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.diff(names[order])) + 1
    groups = [group for group in np.split(order, starts) if len(group) > 1]
    return sorted(groups, key=len, reverse=True)


def nearest_rows(rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    """For some rows, the index [M] of the other row that is nearest in direction.

    −1 if the row or all other rows are zero.
    """
    units = unit_rows(rows)
    cosines = units[which] @ units.T
    cosines[:, ~units.any(axis=1)] = -np.inf
    cosines[np.arange(len(which)), which] = -np.inf
    found = cosines.argmax(axis=1)
    known = np.isfinite(cosines.max(axis=1)) & units[which].any(axis=1)
    return np.where(known, found, -1)
