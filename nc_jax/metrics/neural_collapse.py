"""NC1–NC4: how far features and classifiers are from neural collapse.

Definitions of Papyan, Han, Donoho (PNAS 2020); common variants have their own names.
M̄ [K, p] are the class means minus the global mean; the simplex target is
(I − 11ᵀ/K)/√(K−1), of Frobenius norm one.

In p < K − 1 dimensions there is no simplex ETF. NC1 and NC4 keep their meaning, and so do
equinorm and the 'difference' form of NC3; :func:`etf_distance` and the 'product' form of
NC3 are then at least √(2 − 2√(p/(K−1))), the distance of a tight frame, and
:func:`equiangularity` stays positive. In this case :func:`nc_jax.metrics.one_vs_rest_margins`
measures the geometry.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_array, require_kind
from nc_jax.geometry import cosines, gram
from nc_jax.metrics.moments import ClassMoments, fold_rows, row_batches


def global_mean(moments: ClassMoments, weighting: str = "class") -> Array:
    """h_G [p]: the mean of the class means, or of all samples ('sample')."""
    require_kind("moments", moments, ClassMoments, "ClassMoments, see class_moments")
    if weighting == "class":
        return jnp.mean(moments.means, axis=0)
    counts = moments.counts.astype(moments.means.dtype)
    return jnp.matmul(counts / jnp.sum(counts), moments.means, precision="highest")


def centred_means(moments: ClassMoments, weighting: str = "class") -> Array:
    """M̄ [K, p]: class means minus :func:`global_mean`."""
    centre = global_mean(moments, weighting)
    return moments.means - centre


def within_between_pinv(moments: ClassMoments, weighting: str = "class") -> Array:
    """NC1 'pinv': tr(Σ_W Σ_B^†)/K, the pseudo-inverse cut at rank K−1.

    Σ_B = (1/K) Σ_k (h_k − h_G)(·)ᵀ. K times this number is the data separation D of He and
    Su (PNAS 2023), see :func:`separation`. Infinite if fewer than two class
    means differ.
    """
    return separation(moments, weighting) / moments.num_classes


def separation(moments: ClassMoments, weighting: str = "class") -> Array:
    """D = tr(Σ_W Σ_B^†), the data separation of a layer (He and Su, PNAS 2023)."""
    means = centred_means(moments, weighting)
    size = moments.num_classes
    # Computed from the K×K Gram matrix of M̄, which avoids a p×p eigenvalue problem.
    values, vectors = jnp.linalg.eigh(gram(means) / size)
    floor = size * jnp.finfo(values.dtype).eps * jnp.max(values)
    kept = (values > floor) & (jnp.arange(size) > 0)
    kept = kept & (jnp.arange(size) >= size - min(size - 1, means.shape[1]))
    safe = jnp.where(kept, values, 1)
    directions = jnp.matmul(vectors.T, means, precision="highest") / jnp.sqrt(size * safe)[:, None]
    inside = jnp.matmul(directions, moments.scatter, precision="highest")
    along = jnp.sum(inside * directions, axis=-1)
    total = jnp.sum(jnp.where(kept, along / safe, 0))
    return jnp.where(jnp.any(kept), total, jnp.inf)


def within_between_quotient(moments: ClassMoments, weighting: str = "class") -> Array:
    """NC1 'quotient': tr Σ_W / tr Σ_B (the PFC1 of Wang, Gai, Zhang 2024)."""
    means = centred_means(moments, weighting)
    between = jnp.sum(means**2) / moments.num_classes
    within = jnp.maximum(jnp.trace(moments.scatter), 0)
    return jnp.where(between > 0, within / jnp.where(between > 0, between, 1), jnp.inf)


def class_distance_variance(moments: ClassMoments) -> Array:
    """NC1 'cdnv': mean over k ≠ k' of (v_k + v_k')/(2 ‖h_k − h_k'‖²)."""
    centred = centred_means(moments)
    size = moments.num_classes
    # Row by row in O(K p) memory: all differences of a thousand classes would be gigabytes.
    squares = jax.lax.map(lambda mean: jnp.sum((centred - mean) ** 2, axis=-1), centred)
    pair = ~np.eye(size, dtype=bool)
    sums = moments.variances[:, None] + moments.variances
    ratio = jnp.where(squares > 0, sums / (2 * jnp.where(squares > 0, squares, 1)), jnp.inf)
    return jnp.sum(jnp.where(pair, ratio, 0)) / (size * (size - 1))


def _simplex(size: int, dtype: Any) -> Array:
    return jnp.asarray((np.eye(size) - 1 / size) / np.sqrt(size - 1), dtype)


def _unit(matrix: Array) -> Array:
    """The matrix over its Frobenius norm; NaN for the zero matrix."""
    length = jnp.linalg.norm(matrix)
    return matrix / jnp.where(length > 0, length, jnp.nan)


def etf_distance(vectors: Array) -> Array:
    """NC2: ‖ M̄M̄ᵀ/‖M̄M̄ᵀ‖ − (I − 11ᵀ/K)/√(K−1) ‖ of K row vectors [K, p] (PFC2 of centred means)."""
    return jnp.linalg.norm(_unit(gram(vectors)) - _simplex(vectors.shape[0], vectors.dtype))


def equinorm(vectors: Array) -> Array:
    """NC2: standard deviation of the norms of K rows over their mean."""
    require_array("vectors", vectors, "[K, p]")
    norms = jnp.linalg.norm(vectors, axis=-1)
    mean = jnp.mean(norms)
    return jnp.std(norms) / jnp.where(mean > 0, mean, jnp.nan)


def equiangularity(vectors: Array) -> Array:
    """NC2: mean over pairs of |cos + 1/(K−1)| of K rows; NaN if a row is zero."""
    require_array("vectors", vectors, "[K, p]")
    size = vectors.shape[0]
    pair = ~np.eye(size, dtype=bool)
    deviation = jnp.abs(cosines(gram(vectors)) + 1 / (size - 1))
    return jnp.sum(jnp.where(pair, deviation, 0)) / (size * (size - 1))


def duality_product(classifiers: Array, means: Array) -> Array:
    """NC3 'product': ‖ W M̄ᵀ/‖W M̄ᵀ‖ − (I − 11ᵀ/K)/√(K−1) ‖ (Zhu et al. 2021); rows are classes."""
    product = jnp.matmul(classifiers, means.T, precision="highest")
    return jnp.linalg.norm(_unit(product) - _simplex(classifiers.shape[0], classifiers.dtype))


def duality_difference(classifiers: Array, means: Array) -> Array:
    """NC3 'difference': ‖ W/‖W‖ − M̄/‖M̄‖ ‖ (Papyan et al. 2020); rows are classes."""
    return jnp.linalg.norm(_unit(classifiers) - _unit(means))


def nearest_centre_disagreement(
    features: Any, means: Array, classifiers: Array, bias: Array | None = None
) -> Array:
    """NC4: share of samples [N, p] where argmax of the logits ≠ nearest class mean."""
    count = features.shape[0]
    batches = row_batches(features, np.zeros(count, np.int32))
    wrong = sum(_disagreements(rows, zero, means, classifiers, bias) for rows, zero in batches)
    return jnp.asarray(wrong).astype(means.dtype) / count


@jax.jit
def _disagreements(
    features: Array, labels: Array, means: Array, classifiers: Array, bias: Array | None
) -> Array:
    def add(total: Array, rows: Array, _: Array) -> Array:
        logits = jnp.matmul(rows, classifiers.T, precision="highest")
        if bias is not None:
            logits = logits + bias
        differ = jnp.argmax(logits, axis=-1) != nearest_centre(rows, means)
        return total + jnp.sum(differ, dtype=jnp.int32)

    return fold_rows(add, jnp.zeros((), jnp.int32), features, labels)


def nearest_centre(features: Array, means: Array) -> Array:
    """Index [N] of the class mean [K, p] nearest to each feature [N, p]."""
    # Relative to the centre of the means, so that a large common offset loses no digits.
    centre = jnp.mean(means, axis=0)
    moved = means - centre
    inner = jnp.matmul(features - centre, moved.T, precision="highest")
    return jnp.argmax(inner - 0.5 * jnp.sum(moved**2, axis=-1), axis=-1)
