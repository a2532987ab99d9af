"""Measures of the classifiers of many classes against the frequency of the classes.

For thousands of tokens no K×K matrix is stored: mean cosines follow from sums of unit
rows, and nearest neighbours are found block by block.
"""

from typing import Any, NamedTuple

import numpy as np

# Number of rows whose distances to all others are in memory at a time.
BLOCK = 512


class BinnedRows(NamedTuple):
    """Rows of a head averaged in bins of frequency, the rarest first.

    Attributes:
        norms: [B] mean length of a bin's rows.
        cosines: [B] mean cosine over pairs of different rows of a bin; NaN if fewer than
            two of its rows are non-zero.
        merged: [B] share of rows that coincide with another row of any bin.
    """

    norms: np.ndarray
    cosines: np.ndarray
    merged: np.ndarray


def frequency_bins(counts: Any, num_bins: int) -> np.ndarray:
    """The bin [K] of each class; bins have equal ratios from the smallest to the largest count.

    Args:
        counts: [K] positive.
        num_bins: largest number of bins; empty ones are left out.

    Returns:
        Integers 0…B−1, the rarest classes in bin 0.

    Raises:
        ValueError: ``num_bins`` is below one, or counts are not positive.
    """
    counts = np.asarray(counts, float)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if counts.ndim != 1 or not len(counts) or not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError("counts must be a vector of positive numbers")
    edges = np.geomspace(counts.min(), counts.max(), num_bins + 1)[1:-1]
    found = np.searchsorted(edges, counts, side="right")
    return np.unique(found, return_inverse=True)[1]


def binned_rows(rows: np.ndarray, bins: np.ndarray, merged: np.ndarray) -> BinnedRows:
    """Lengths, cosines and merged rows by bin.

    Args:
        rows: [K, p].
        bins: [K] integers 0…B−1.
        merged: [K] booleans, see :func:`nearest_distances`.
    """
    norms = np.linalg.norm(rows, axis=1)
    units = rows / np.where(norms > 0, norms, 1)[:, None]
    size = np.bincount(bins)
    directed = np.bincount(bins, norms > 0)
    sums = np.zeros((len(size), rows.shape[1]))
    np.add.at(sums, bins, units)
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = directed * (directed - 1)
        cosines = (np.sum(sums**2, axis=1) - directed) / np.where(pairs > 0, pairs, np.nan)
    return BinnedRows(np.bincount(bins, norms) / size, cosines, np.bincount(bins, merged) / size)


def mean_cosine_of_rows(rows: np.ndarray) -> float:
    """Mean cosine over pairs of different rows [M, p]; NaN if fewer than two are non-zero."""
    place = np.zeros(len(rows), int)
    return float(binned_rows(rows, place, np.zeros(len(rows), bool)).cosines[0])


def nearest_distances(rows: np.ndarray) -> np.ndarray:
    """Distance [K] of each row [K, p] to the nearest other row, relative to the longest row.

    NaN if all rows are zero.
    """
    squares = np.sum(rows.astype(np.float64) ** 2, axis=1)
    nearest = np.empty(len(rows))
    for first in range(0, len(rows), BLOCK):
        own = slice(first, first + BLOCK)
        products = (rows[own] @ rows.T).astype(np.float64)
        distances = squares[own, None] + squares[None] - 2 * products
        place = np.arange(len(distances))
        distances[place, first + place] = np.inf
        # For rows that nearly coincide the difference above has lost its digits.
        other = np.argmin(distances, axis=1)
        difference = rows[own].astype(np.float64) - rows[other]
        nearest[own] = np.linalg.norm(difference, axis=1)
    longest = np.sqrt(squares.max())
    return nearest / (longest if longest > 0 else np.nan)


def participation(matrix: np.ndarray) -> float:
    """Effective rank (Σ s²)² / Σ s⁴ of a matrix [K, p] with singular values s; NaN for zero."""
    small = matrix.astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(small.T @ small)
    total = np.sum(eigenvalues**2)
    return float(np.sum(eigenvalues) ** 2 / total) if total > 0 else float("nan")
