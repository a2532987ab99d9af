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
    size = len(means)
    inner, product, own = means @ means.T, classifiers @ means.T, classifiers @ classifiers.T
    # The mean classifier is subtracted from the rows and the columns of W Wᵀ.
    centred = own - own.mean(axis=0)
    centred -= centred.mean(axis=1)[:, None]
    squares, simplex = np.diag(inner), (np.eye(size) - 1 / size) / math.sqrt(size - 1)
    between, within, weights = squares.mean(), variances.mean(), np.trace(own) / size
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.sqrt(squares)
        angle = np.trace(product) / (size * np.sqrt(between * weights))
        found = {
            "nc1_quotient": within / between if between != 0 else np.inf,
            "nc1_cdnv": _distance_variance(inner, squares, variances),
            "nc2_etf": _distance(inner, simplex),
            "nc2_equinorm": norms.std() / norms.mean(),
            "nc2_equiangularity": _equiangularity(inner, norms),
            "nc2_etf_classifiers": _distance(centred, simplex),
            "nc3_product": _distance(product, simplex),
            # The distance of W/‖W‖ and M̄/‖M̄‖ by the cosine of the angle between them.
            "nc3_difference": np.sqrt(2 * np.maximum(0, 1 - angle)),
            "feature_energy": within + between,
            "weight_energy": weights,
        }
    return {name: float(value) for name, value in found.items()}


def _distance(matrix: np.ndarray, simplex: np.ndarray) -> float:
    """‖A/‖A‖ − S‖ of two matrices [K, K], the second of norm one."""
    return float(np.linalg.norm(matrix / np.linalg.norm(matrix) - simplex))


def _equiangularity(inner: np.ndarray, norms: np.ndarray) -> float:
    size = len(inner)
    deviations = np.abs(inner / np.outer(norms, norms) + 1 / (size - 1))
    np.fill_diagonal(deviations, 0)
    return deviations.sum() / (size * (size - 1))


def _distance_variance(inner: np.ndarray, squares: np.ndarray, variances: np.ndarray) -> float:
    size = len(inner)
    distances = squares[:, None] + squares - 2 * inner
    distances[distances <= ROUNDING * squares.max()] = 0
    ratios = (variances[:, None] + variances) / (2 * distances)
    np.fill_diagonal(ratios, 0)
    return ratios.sum() / (size * (size - 1))
