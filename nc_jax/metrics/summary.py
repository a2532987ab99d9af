"""All measures of a network's last layer, or of a surrogate's solution, in one row."""

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import float_array, is_concrete, require_members
from nc_jax.metrics import neural_collapse as nc
from nc_jax.metrics.minority import largest_distance, mean_cosine, norm_variation
from nc_jax.metrics.moments import ClassMoments, checked, class_moments, row_batches


class LastLayer(Protocol):
    """The common interface of a network and a surrogate's solution; rows: samples, classes."""

    @property
    def sample_features(self) -> Array:
        """The inputs [N, p] of the classifier."""
        ...

    @property
    def labels(self) -> Any:
        """Integers [N], 0…K−1."""
        ...

    @property
    def classifiers(self) -> Array:
        """W [K, p]."""
        ...

    @property
    def bias(self) -> Array | None:
        """The bias of the last layer [K]; None if it has no bias."""
        ...


class NetworkLayer(NamedTuple):
    """A trained network's features, labels and classifiers as a :class:`LastLayer`."""

    sample_features: Array
    labels: Array
    classifiers: Array
    bias: Array | None = None


class CollapseMetrics(NamedTuple):
    """Measures [] by the names that they have in tables.

    For the conventions see the functions of :mod:`nc_jax.metrics`.
    """

    nc1_pinv: Array
    nc1_quotient: Array
    nc1_cdnv: Array
    separation: Array
    nc2_etf: Array
    nc2_equinorm: Array
    nc2_equiangularity: Array
    nc2_etf_classifiers: Array
    nc3_product: Array
    nc3_difference: Array
    nc4: Array


class MinorityMetrics(NamedTuple):
    """Measures [] of the classifiers of a subset of classes."""

    cosine: Array
    norm_variation: Array
    distance: Array


def collapse_metrics(layer: LastLayer, weighting: str = "class") -> CollapseMetrics:
    """NC1–NC4 and the data separation of one last layer.

    Args:
        layer: a :class:`NetworkLayer`, or a solution of a single model.
        weighting: 'class' or 'sample' means and covariances, see
            :func:`nc_jax.metrics.class_moments`.

    Raises:
        TypeError, ValueError: naming the problem with features, labels or classifiers.
    """
    expected = "a NetworkLayer or a solution with features and classifiers"
    require_members("layer", layer, NetworkLayer._fields, expected)
    classifiers = jnp.asarray(layer.classifiers)
    if classifiers.ndim != 2:
        raise ValueError(f"classifiers must be [K, p], got shape {classifiers.shape}")
    features, labels = checked(layer.sample_features, layer.labels, classifiers.shape[0])
    if features.shape[1] != classifiers.shape[1]:
        raise ValueError(
            f"classifiers must have the width {features.shape[1]} of the features, "
            f"got shape {classifiers.shape}"
        )
    for name, value in (("features", features), ("classifiers", classifiers)):
        if is_concrete(value) and not _finite(value):
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    moments = class_moments(features, labels, classifiers.shape[0], weighting)
    return metrics_of_moments(moments, classifiers, weighting)._replace(
        nc4=nc.nearest_centre_disagreement(features, moments.means, classifiers, layer.bias)
    )


def _finite(value: Any) -> bool:
    return all(bool(jnp.all(jnp.isfinite(rows))) for rows, _ in row_batches(value, value))


@partial(jax.jit, static_argnames="weighting")
def metrics_of_moments(
    moments: ClassMoments, classifiers: Array, weighting: str = "class"
) -> CollapseMetrics:
    """The same from streamed moments; NC4 is NaN, because it needs the samples."""
    means = nc.centred_means(moments, weighting)
    separation = nc.separation(moments, weighting)
    return CollapseMetrics(
        nc1_pinv=separation / moments.num_classes,
        nc1_quotient=nc.within_between_quotient(moments, weighting),
        nc1_cdnv=nc.class_distance_variance(moments),
        separation=separation,
        nc2_etf=nc.etf_distance(means),
        nc2_equinorm=nc.equinorm(means),
        nc2_equiangularity=nc.equiangularity(means),
        nc2_etf_classifiers=nc.etf_distance(classifiers - jnp.mean(classifiers, axis=0)),
        nc3_product=nc.duality_product(classifiers, means),
        nc3_difference=nc.duality_difference(classifiers, means),
        nc4=jnp.full((), jnp.nan, means.dtype),
    )


def minority_metrics(classifiers: Array, members: Any) -> MinorityMetrics:
    """Minority collapse of the classes ``members`` among all classifiers [..., K, p].

    Raises:
        TypeError: ``classifiers`` is no array, for instance a solution.
        ValueError: an index out of range, or no index.
    """
    classifiers, chosen = float_array("classifiers", classifiers), np.asarray(members)
    size = classifiers.shape[-2] if classifiers.ndim >= 2 else 0
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= size:
        raise ValueError(f"members must be indices of the {size} classes, got {members}")
    own = classifiers[..., chosen, :]
    return MinorityMetrics(
        mean_cosine(own), norm_variation(own), largest_distance(classifiers, chosen)
    )
