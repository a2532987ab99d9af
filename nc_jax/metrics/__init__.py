"""Neural collapse and minority collapse, measured: networks and surrogates alike."""

from nc_jax.metrics.minority import largest_distance, mean_cosine, norm_variation
from nc_jax.metrics.moments import ClassMoments, class_moments, stream_class_moments
from nc_jax.metrics.neural_collapse import (
    centred_means,
    class_distance_variance,
    duality_difference,
    duality_product,
    equiangularity,
    equinorm,
    etf_distance,
    global_mean,
    nearest_centre,
    nearest_centre_disagreement,
    separation,
    within_between_pinv,
    within_between_quotient,
)
from nc_jax.metrics.summary import (
    CollapseMetrics,
    LastLayer,
    MinorityMetrics,
    NetworkLayer,
    collapse_metrics,
    metrics_of_moments,
    minority_metrics,
)

__all__ = [
    "ClassMoments",
    "CollapseMetrics",
    "LastLayer",
    "MinorityMetrics",
    "NetworkLayer",
    "centred_means",
    "class_distance_variance",
    "class_moments",
    "collapse_metrics",
    "duality_difference",
    "duality_product",
    "equiangularity",
    "equinorm",
    "etf_distance",
    "global_mean",
    "largest_distance",
    "mean_cosine",
    "metrics_of_moments",
    "minority_metrics",
    "nearest_centre",
    "nearest_centre_disagreement",
    "norm_variation",
    "separation",
    "stream_class_moments",
    "within_between_pinv",
    "within_between_quotient",
]
