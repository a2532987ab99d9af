"""Classifiers and bias found from features and logits, by least squares in one pass."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from nc_jax.bridges.rows import on_host, unpacked
from nc_jax.bridges.stream import EMPTY

# Directions in which the standard deviation of the features is below this share of the largest
# are left out: logits in float32 do not determine W there.
LEAST = 1e-5
# Largest share of the standard deviation of the logits that a linear layer may leave unexplained.
RESIDUAL = 1e-2


def fit_head(
    function: Callable[[Any], Any],
    loader: Iterable[Any],
    unpack: Callable[[Any], tuple[Any, Any]],
) -> tuple[np.ndarray, np.ndarray]:
    """W [K, p] and b [K] with logits = W h + b for all features h of a loader.

    Among all W that explain the logits, it is the one with the smallest norm: the logits do
    not depend on directions in which the features do not vary (a dead unit, features collapsed
    onto their class means), and W is zero there. Its energy E_W is then a lower bound, and b
    may contain part of the common offset of the classifiers. Memory is O(p² + p K) in float64.

    Raises:
        ValueError: the logits are not a linear function of the features.
    """
    total, width = None, 0
    for number, batch in enumerate(loader):
        inputs, _ = unpacked(batch, unpack, f"batch {number}")
        features, logits = (on_host(part) for part in function(inputs))
        if features.shape[:-1] != logits.shape[:-1]:
            raise ValueError(
                f"batch {number}: features and logits must have the same samples, got shapes "
                f"{features.shape} and {logits.shape}"
            )
        rows = [part.reshape(-1, part.shape[-1]).astype(float) for part in (features, logits)]
        joint, width = np.concatenate(rows, axis=1), features.shape[-1]
        if not np.isfinite(joint).all():
            raise ValueError(f"batch {number}: features and logits must be finite, got NaN")
        if len(joint):
            total = _merged(total, _moments(joint)) if total else _moments(joint)
    if total is None:
        raise ValueError(EMPTY)
    return _solved(total[1], total[2], width)


def _moments(joint: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number, mean and scatter of rows."""
    mean = joint.mean(axis=0)
    centred = joint - mean
    return len(joint), mean, centred.T @ centred


def _merged(one: Any, other: Any) -> tuple[int, np.ndarray, np.ndarray]:
    """Moments of the union of two sets of rows (Chan, Golub, LeVeque 1983)."""
    count = one[0] + other[0]
    apart = other[1] - one[1]
    lever = one[0] * other[0] / count
    mean = one[1] + other[0] / count * apart
    return count, mean, one[2] + other[2] + lever * np.outer(apart, apart)


def _solved(mean: np.ndarray, scatter: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(scatter[:width, :width])
    kept = values > LEAST**2 * values[-1]
    directions = vectors[:, kept] / values[kept]
    solution = directions @ (vectors[:, kept].T @ scatter[:width, width:])
    total = np.trace(scatter[width:, width:])
    left = total - np.sum(solution * scatter[:width, width:])
    if not left <= RESIDUAL**2 * total:
        raise ValueError(
            "logits must be W h + b of the features h, but this leaves "
            f"{np.sqrt(max(left, 0) / max(total, 1e-300)):.2g} of their standard deviation: "
            "return the inputs of the last linear layer, or give its classifiers"
        )
    return solution.T, mean[width:] - mean[:width] @ solution
