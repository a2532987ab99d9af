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
    joint = np.concatenate([means, classifiers])
    products = joint @ joint.T
    inner, own, product = products[:size, :size], products[size:, size:], products[size:, :size]
    # The mean classifier is subtracted from the rows and the columns of W Wᵀ.
    centred = own - own.sum(axis=0) / size
    centred -= centred.sum(axis=1)[:, None] / size
    squares = inner.diagonal()
    between, within = squares.sum() / size, variances.sum() / size
    weights = own.trace() / size
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.sqrt(squares)
        angle = product.trace() / (size * np.sqrt(between * weights))
        etf, etf_classifiers, nc3_product = _distances(np.stack([inner, centred, product]))
        found = {
            "nc1_quotient": within / between if between != 0 else np.inf,
            "nc1_cdnv": _distance_variance(inner, squares, variances),
            "nc2_etf": etf,
            "nc2_equinorm": norms.std() / norms.mean(),
            "nc2_equiangularity": _equiangularity(inner, norms),
            "nc2_etf_classifiers": etf_classifiers,
            "nc3_product": nc3_product,
            # The distance of W/‖W‖ and M̄/‖M̄‖ by the cosine of the angle between them.
            "nc3_difference": np.sqrt(2 * np.maximum(0, 1 - angle)),
            "feature_energy": within + between,
            "weight_energy": weights,
        }
    return {name: float(value) for name, value in found.items()}


def _distances(matrices: np.ndarray) -> np.ndarray:
    """‖A/‖A‖ − S‖ of matrices [n, K, K], with S the Gram matrix of a simplex ETF and ‖S‖ = 1."""
    size = matrices.shape[-1]
    apart = matrices / _norms(matrices)[:, None, None]
    apart += 1 / (size * math.sqrt(size - 1))
    apart.reshape(len(apart), -1)[:, :: size + 1] -= 1 / math.sqrt(size - 1)
    return _norms(apart)


def _norms(matrices: np.ndarray) -> np.ndarray:
    flat = matrices.reshape(len(matrices), -1)
    return np.sqrt(np.einsum("ni,ni->n", flat, flat))


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
    return numbers.sum() / (size * (size - 1))
