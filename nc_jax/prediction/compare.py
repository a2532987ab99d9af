"""Comparison of two geometries of K classes: angles and lengths."""

from typing import NamedTuple

import numpy as np

from nc_jax.checks import require_array


class Agreement(NamedTuple):
    """Agreement of a predicted with a measured geometry.

    Attributes:
        rms: root mean square difference of the cosines over all pairs of classes.
        correlation: of the cosines over all pairs; NaN if either is constant.
    """

    rms: float
    correlation: float


def cosines_of(gram: np.ndarray) -> np.ndarray:
    """Cosines [K, K] of a Gram matrix; NaN in rows of vectors that are zero."""
    require_array("gram", gram, "[K, K]")
    lengths = np.sqrt(np.maximum(np.diag(gram), 0))
    lengths = np.where(lengths > 1e-6 * lengths.max(initial=0), lengths, np.nan)
    return np.clip(gram / np.outer(lengths, lengths), -1, 1)


def pair_mean(cosines: np.ndarray, members: np.ndarray) -> float:
    """Mean cosine over the pairs of some classes; NaN for fewer than two."""
    own = cosines[np.ix_(members, members)]
    off = ~np.eye(len(members), dtype=bool)
    return float(own[off].mean()) if len(members) > 1 else float("nan")


def agreement(predicted: np.ndarray, seen: np.ndarray) -> Agreement:
    """Agreement of two matrices of cosines [K, K], over the pairs that exist in both."""
    off = ~np.eye(len(seen), dtype=bool) & np.isfinite(predicted) & np.isfinite(seen)
    one, other = predicted[off], seen[off]
    if not len(one):
        return Agreement(float("nan"), float("nan"))
    rms = float(np.sqrt(np.mean((one - other) ** 2)))
    spread = min(np.ptp(one), np.ptp(other))
    related = np.corrcoef(one, other)[0, 1] if spread > 1e-6 else float("nan")
    return Agreement(rms, float(related))
