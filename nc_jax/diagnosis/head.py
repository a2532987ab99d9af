"""Measures of a head of many thousands of rows, from token counts and without features.

The lengths and cosines of the rows are related to the frequencies of their tokens. No K×K
matrix is formed: 50,000 rows of 768 dimensions need much less than 4 GB.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nc_jax.checks import require_members
from nc_jax.diagnosis.arrays import ArrayFile
from nc_jax.diagnosis.names import OPTION, checked_names
from nc_jax.diagnosis.predicted import MERGED
from nc_jax.metrics.similar import similar_rows, unit_rows
from nc_jax.metrics.tokens import binned_rows, frequency_bins

# Largest number of bins of counts, with equal ratios; tokens that never occur have one more.
BINS = 16
# A row counts as vanished if it is shorter than this share of the longest row.
VANISHED = 0.01


def is_head(path: Path) -> bool:
    """Whether an archive has counts but no features.

    Raises:
        OSError, ValueError: naming the file and what is wrong with it.
    """
    arrays = ArrayFile(path).arrays
    return "counts" in arrays and "features" not in arrays


class HeadArchive(ArrayFile):
    """Classifiers [K, p] and token counts [K].

    Attributes:
        classifiers: [K, p] float32, minus their mean if ``centered``.
        offset: [p] the mean of the rows in the file.
        centered: whether it was subtracted.
        counts: [K] how often each token occurs in the text; zero if it never occurs.
        names: [K] names of the tokens; their numbers if the file has no names.
    """

    def __init__(self, path: Path, centered: bool = False, class_names: list[str] | None = None):
        """Reads the file.

        Args:
            path: path of a file written by ``numpy.savez`` with ``classifiers`` (also ``weight``),
                ``counts`` and perhaps ``names``. A ``bias`` is checked and not used.
            centered: whether to subtract the mean row, which a softmax does not see.
            class_names: [K] names to use instead of those of the file.

        Raises:
            OSError, ValueError: naming the file, the array and what is wrong with it.
        """
        super().__init__(path)
        name = "classifiers" if "classifiers" in self.arrays else "weight"
        if name not in self.arrays:
            self.require("classifiers")
        self.require("counts")
        rows = self.whole(name)
        if rows.dtype.kind not in "fiu" or rows.ndim != 2 or len(rows) < 2 or 0 in rows.shape:
            raise ValueError(
                f"{name} must be numbers [K, p] of at least two classes, "
                f"got {rows.dtype} of shape {rows.shape}"
            )
        rows = self.finite(name, rows)
        self.offset, self.centered = rows.mean(axis=0, dtype=np.float64), centered
        self.classifiers = rows - self.offset.astype(np.float32) if centered else rows
        self.counts = self._read_counts()
        self.names = self._read_names(class_names)
        if "bias" in self.arrays:
            self.finite("bias", self._vector("bias", "fiu"))

    def _read_counts(self) -> np.ndarray:
        counts = self._vector("counts", "iuf").astype(np.float64)
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError("counts must be zero or positive and finite")
        if np.count_nonzero(counts) < 2:
            raise ValueError("counts must be positive for at least two classes")
        return counts

    def _read_names(self, given: list[str] | None) -> np.ndarray:
        if given is not None:
            return checked_names(given, len(self.classifiers), OPTION)
        if "names" not in self.arrays:
            return np.arange(len(self.classifiers))
        return self.texts("names", self._vector("names", "USiu"))

    def _vector(self, name: str, kinds: str) -> np.ndarray:
        """An array with one entry for each row."""
        values = self.whole(name)
        if values.shape != (len(self.classifiers),) or values.dtype.kind not in kinds:
            what = "texts or integers" if "U" in kinds else "numbers"
            raise ValueError(
                f"{name} must be {len(self.classifiers)} {what}, one for each row of the "
                f"classifiers, got {values.dtype} of shape {values.shape}"
            )
        return values


class HeadBins(NamedTuple):
    """Rows in bins of frequency, the rarest tokens first.

    Attributes:
        tokens: [B] number of tokens.
        least: [B] the smallest count; zero in the bin of tokens that never occur.
        most: [B] the largest count.
        lengths: [B] mean length, relative to the longest row.
        cosines: [B] mean cosine over pairs of rows of a bin; NaN if there is no pair.
        to_mean: [B] mean cosine to the mean row of the file.
        nearest: [B] mean cosine of a row to the nearest other row of the whole head.
        merged: [B] share of rows that are merged with others.
        vanished: [B] share of rows that have vanished.
        between: [B, B] mean cosine between the rows of two bins; NaN if there is no pair.
    """

    tokens: np.ndarray
    least: np.ndarray
    most: np.ndarray
    lengths: np.ndarray
    cosines: np.ndarray
    to_mean: np.ndarray
    nearest: np.ndarray
    merged: np.ndarray
    vanished: np.ndarray
    between: np.ndarray


class HeadMeasured(NamedTuple):
    """The measures of a head.

    Attributes:
        lengths: [K] relative to the longest row.
        longest: the length of the longest row.
        weight_energy: E_W = (1/K) Σ‖w_k‖², over all rows.
        seen_energy: the same over the rows of tokens that occur.
        offset_share: ‖mean row‖² as a share of E_W, before the mean is subtracted.
        bins: see :class:`HeadBins`.
        nearest: [K] cosine to the nearest other row; NaN for a zero row.
        clusters: groups of rows connected by cosines above MERGED, the largest first.
        vanished: rows shorter than VANISHED times the longest.
    """

    lengths: np.ndarray
    longest: float
    weight_energy: float
    seen_energy: float
    offset_share: float
    bins: HeadBins
    nearest: np.ndarray
    clusters: list[np.ndarray]
    vanished: np.ndarray


def measure_head(
    archive: HeadArchive, watch: Callable[[int], None] = lambda rows: None
) -> HeadMeasured:
    """Measures lengths, cosines and clusters of a head, in O(K p) memory and O(K² p) time.

    Args:
        archive: classifiers and counts.
        watch: called with the number of rows of each finished block, K in total.

    Raises:
        TypeError: not a head.
    """
    require_members("archive", archive, ("classifiers", "counts", "offset"), "a HeadArchive")
    rows, counts = archive.classifiers, archive.counts
    squares = np.einsum("kp,kp->k", rows, rows, dtype=np.float64)
    lengths = np.sqrt(squares)
    longest = float(lengths.max())
    relative = lengths / max(longest, np.finfo(float).tiny)
    vanished = relative < VANISHED
    similar = similar_rows(rows, MERGED, watch)
    merged = np.zeros(len(rows), bool)
    for cluster in similar.clusters:
        merged[cluster] = True
    energy, offset = float(squares.mean()), float(np.sum(archive.offset**2))
    whole = energy + offset if archive.centered else energy
    return HeadMeasured(
        relative,
        longest,
        energy,
        float(squares[counts > 0].mean()),
        offset / whole if whole > 0 else 0.0,
        _bins(archive, relative, similar.nearest, merged, vanished),
        similar.nearest,
        similar.clusters,
        np.flatnonzero(vanished),
    )


def _bins(
    archive: HeadArchive,
    relative: np.ndarray,
    nearest: np.ndarray,
    merged: np.ndarray,
    vanished: np.ndarray,
) -> HeadBins:
    counts, seen = archive.counts, archive.counts > 0
    place = np.zeros(len(counts), int)
    place[seen] = frequency_bins(counts[seen], BINS) + (not seen.all())
    units = unit_rows(archive.classifiers)
    binned = binned_rows(units, place, merged)
    tokens = np.bincount(place)
    least, most = np.full(len(tokens), np.inf), np.zeros(len(tokens))
    np.minimum.at(least, place, counts)
    np.maximum.at(most, place, counts)
    length = np.linalg.norm(archive.offset)
    towards = archive.offset / length if length > 0 else archive.offset * np.nan
    angles = np.where(units.any(axis=1), units @ towards.astype(np.float32), np.nan)
    return HeadBins(
        tokens,
        least,
        most,
        np.bincount(place, relative) / tokens,
        binned.cosines,
        _means(place, angles),
        _means(place, nearest),
        binned.merged,
        np.bincount(place, vanished) / tokens,
        _between(place, units, binned.cosines),
    )


def _between(place: np.ndarray, units: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Mean cosines [B, B] between the rows of two bins, from the sums of their unit rows."""
    sums = np.zeros((len(within), units.shape[1]))
    np.add.at(sums, place, units)
    directed = np.bincount(place, units.any(axis=1))
    means = sums / np.where(directed > 0, directed, np.nan)[:, None]
    cosines = means @ means.T
    np.fill_diagonal(cosines, within)
    return cosines


def _means(place: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means [B] of the numbers in each bin without NaN; NaN if a bin has none."""
    known = np.isfinite(values)
    number = np.bincount(place, known)
    total = np.bincount(place, np.where(known, values, 0))
    return total / np.where(number > 0, number, np.nan)
