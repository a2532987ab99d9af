"""Which rows of a large head point the same way, without a K×K matrix.

Cosines are looked at a block of pairs at a time. What is kept is the largest of each row
and the name of the cluster it is in so far: pairs that are in one cluster already add
nothing, so tens of thousands of rows that all coincide cost no more memory than none.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Rows of a block; their cosines with those of another are in memory at a time.
BLOCK = 2048


class SimilarRows(NamedTuple):
    """The directions of rows.

    Attributes:
        nearest: [K] cosine to the nearest other row in direction; NaN of a row of zero,
            which has no direction, and where no other row has one.
        clusters: rows that are joined by cosines above a least, directly or through others:
            arrays of two and more, the largest first.
    """

    nearest: np.ndarray
    clusters: list[np.ndarray]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows [K, p] of length one, float32; those of zero stay."""
    largest = float(np.abs(rows).max(initial=0))
    scaled = (rows / (largest if largest > 0 else 1)).astype(np.float32, copy=False)
    lengths = np.sqrt(np.einsum("kp,kp->k", scaled, scaled, dtype=np.float64))
    scaled /= np.where(lengths > 0, lengths, 1)[:, None].astype(np.float32)
    return scaled


def similar_rows(
    rows: np.ndarray, least: float, watch: Callable[[int], None] = lambda rows: None
) -> SimilarRows:
    """Nearest cosines and clusters, in O(K p + K + block²) memory and O(K² p) work.

    Args:
        rows: [K, p]; compared in float32.
        least: cosine above which two rows are in one cluster.
        watch: called with the number of rows of each block that has met all others.
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
    """Names [K] of clusters once the close pairs of two blocks are joined."""
    left, right = names[own], names[other]
    pairs = np.nonzero(close & (left[:, None] != right[None]))
    if not len(pairs[0]):
        return names
    edges = left[pairs[0]], right[pairs[1]]
    graph = coo_matrix((np.ones(len(edges[0]), np.int8), edges), shape=(len(names),) * 2)
    return connected_components(graph, directed=False)[1][names]


def _clusters(names: np.ndarray) -> list[np.ndarray]:
    """The members of each name that has several, the most first."""
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.diff(names[order])) + 1
    groups = [group for group in np.split(order, starts) if len(group) > 1]
    return sorted(groups, key=len, reverse=True)


def nearest_rows(rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The row [M] nearest in direction to each of a few rows, other than itself.

    −1 where the row or all others are zero.
    """
    units = unit_rows(rows)
    empty = np.logical_not(units.any(axis=1))
    found = np.full(len(which), -1)
    # A block of few rows against all: it holds as many cosines as one of similar_rows.
    step = max(1, BLOCK * BLOCK // len(rows))
    for first in range(0, len(which), step):
        own = which[first : first + step]
        cosines = units[own] @ units.T
        cosines[:, empty] = -np.inf
        cosines[np.arange(len(own)), own] = -np.inf
        known = np.isfinite(cosines.max(axis=1)) & ~empty[own]
        found[first : first + step] = np.where(known, cosines.argmax(axis=1), -1)
    return found
