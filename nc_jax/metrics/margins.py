"""The one-vs-rest margin: distance of each classifier from the hull of all others."""

from typing import Any

import numpy as np


def one_vs_rest_margins(classifiers: Any) -> np.ndarray:
    """Distance [K] of each w_k from the convex hull of all others.

    In units of the root mean square length of the rows; for unit rows it is dist(w_k,
    {w_j}_{j≠k}) of Jiang et al. 2023 (arXiv 2310.05351), and a softmax code maximises the
    smallest of the K margins. The margin equals the
    maximum over ‖h‖ ≤ 1 of the minimum over j ≠ k of h·(w_k − w_j), so it is at least one minus
    the largest cosine of w_k with another unit row. It is K/(K−1) for a simplex ETF. Computed
    exactly by an active-set method on the host, so it cannot be traced.

    Args:
        classifiers: [K, p], K ≥ 2.

    Raises:
        TypeError, ValueError: not a finite, non-zero matrix of at least two rows.
    """
    try:
        rows = np.asarray(classifiers, np.float64)
    except (TypeError, ValueError):
        kind = type(classifiers).__name__
        raise TypeError(f"classifiers must be numbers [K, p], got {kind}") from None
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"classifiers must be [K, p] with K ≥ 2, got shape {rows.shape}")
    size = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    if not np.isfinite(size) or size == 0:
        raise ValueError("classifiers must be finite and not all zero")
    rows = rows / size
    return np.array([_distance(row, np.delete(rows, k, axis=0)) for k, row in enumerate(rows)])


def _distance(point: np.ndarray, others: np.ndarray) -> float:
    """Distance of a point from the hull of the rows, by least squares over λ ≥ 0.

    The λ ≥ 0 that minimises ‖Σ λ_j (w_j − w)‖² + (Σ λ_j − 1)² is, up to its sum, the
    vector of weights of the nearest point.
    """
    system = np.vstack([(others - point).T, np.ones(len(others))])
    target = np.zeros(len(system))
    target[-1] = 1
    # Imported here, because importing it takes longer than all metrics together.
    from scipy.optimize import lsq_linear

    # Not scipy's nnls (1.17), which stops too early if many points are equally near.
    weights = lsq_linear(system, target, (0, np.inf), method="bvls", tol=1e-14).x
    return float(np.linalg.norm((others - point).T @ weights) / np.sum(weights))
