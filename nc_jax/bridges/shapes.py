"""Neural collapse of class means and classifiers on the host, for one row of a log.

The formulas are those of :mod:`nc_jax.metrics`, here in NumPy and float64 from the Gram
matrices: at the end of an epoch, a JAX program would take longer to start than to run.
"""

import math

import numpy as np

# Squared distances below this share of the largest squared length are rounding errors.
ROUNDING = 1e-14


def collapse_shapes(
    means: np.ndarray, variances: np.ndarray, classifiers: np.ndarray
) -> dict[str, float]:
    """NC1 to NC3 by the names of :class:`nc_jax.metrics.CollapseMetrics`, and the budgets.

    Args:
        means: M̄ [K, p], class means minus their mean; NaN for a class without samples.
        variances: [K] v_k = mean of ‖h − h_k‖² within a class.
        classifiers: W [K, p]; NaN if they are not known.

    Returns:
        Measures, with E_H as feature_energy and E_W as weight_energy; NaN where a number in
        them is NaN or a length is zero.
    """
    size, ideal = len(means), math.sqrt(len(means) - 1)
    joint = np.concatenate([means, classifiers])
    products = joint @ joint.T
    inner, own, product = products[:size, :size], products[size:, size:], products[size:, :size]
    # The mean classifier is subtracted from the rows and the columns of W Wᵀ.
    row_means = own.sum(axis=0) / size
    centred = own - (row_means - row_means.sum() / size)[:, None] - row_means
    squares = inner.diagonal()
    # Python's numbers take a fraction of the time of NumPy's.
    length, weights, within = (float(part.sum()) for part in (squares, own.diagonal(), variances))
    weight, aligned = float(centred.trace()), float(product.trace())
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.sqrt(squares)
        mean = float(norms.sum()) / size
        # Distances of unit vectors, here of matrices, by the cosines of the angles between
        # them. The rows of M̄ sum to zero and so do those of W − W̄, hence the products of these
        # matrices with the Gram matrix of a simplex ETF are their traces, divided by √(K − 1).
        cosines = {
            "nc2_etf": _quotient(length, _norm(inner) * ideal),
            "nc2_etf_classifiers": _quotient(weight, _norm(centred) * ideal),
            "nc3_product": _quotient(aligned, _norm(product) * ideal),
            "nc3_difference": _quotient(aligned, math.sqrt(length * weights)),
        }
        return {
            "nc1_quotient": within / length if length != 0 else math.inf,
            "nc1_cdnv": _distance_variance(inner, squares, variances),
            "nc2_equinorm": _quotient(_norm(norms - mean), mean * math.sqrt(size)),
            "nc2_equiangularity": _equiangularity(inner, norms),
            **{name: _distance(cosine) for name, cosine in cosines.items()},
            "feature_energy": (within + length) / size,
            "weight_energy": weights / size,
        }


def _quotient(value: float, by: float) -> float:
    return value / by if by != 0 else math.nan


def _distance(cosine: float) -> float:
    # In this order, the larger of NaN and zero is NaN.
    return math.sqrt(2 * max(1 - cosine, 0))


def _norm(matrix: np.ndarray) -> float:
    return math.sqrt(np.vdot(matrix, matrix))


def _equiangularity(inner: np.ndarray, norms: np.ndarray) -> float:
    size = len(inner)
    deviations = inner / (norms[:, None] * norms)
    deviations += 1 / (size - 1)
    return _mean_of_pairs(np.abs(deviations, deviations))


def _distance_variance(inner: np.ndarray, squares: np.ndarray, variances: np.ndarray) -> float:
    distances = squares[:, None] + squares - 2 * inner
    distances[distances <= ROUNDING * squares.max()] = 0
    return _mean_of_pairs((variances[:, None] + variances) / distances) / 2


def _mean_of_pairs(numbers: np.ndarray) -> float:
    """The mean of a matrix [K, K] without its diagonal, which is overwritten."""
    size = len(numbers)
    numbers.reshape(-1)[:: size + 1] = 0
    return float(numbers.sum()) / (size * (size - 1))
