"""Identifiers of points, which depend on nothing but the names and values of a point."""

import hashlib
from collections.abc import Mapping

import numpy as np


def point_ids(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Stable 64-bit ids [n] of points, determined only by their names and values.

    They depend neither on the order of the axes or the chunking, nor on the other points of
    the grid; 0.0 and −0.0 count as equal, and so do 1 and 1.0.
    """
    if not columns:
        raise ValueError("a point must have at least one value")
    return mix(total_words(columns))


def total_words(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The sum [n] of one word for each value of a point, which :func:`mix` turns into its id.

    Columns [1] of values that all points share may be summed apart from the others.
    """
    total = np.zeros(1, np.uint64)
    for name, column in columns.items():
        if column.dtype.kind == "U":
            words, places = np.unique(column, return_inverse=True)
            bits = np.array([_text(word) for word in words], np.uint64)[places]
        else:
            bits = (column.astype(np.float64) + 0.0).view(np.uint64)
        total = total + mix(mix(bits) ^ np.uint64(_text(name)))
    return total


def mix(bits: np.ndarray) -> np.ndarray:
    """A bijection that scatters 64-bit integers (finaliser of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        bits = np.asarray(bits, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        # In place, because a long column does not fit in the cache twice.
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            bits ^= bits >> np.uint64(shift)
            bits *= np.uint64(factor)
        return bits


def _text(text: str) -> int:
    """64 bits of a string."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
