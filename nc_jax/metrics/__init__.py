"""Measures of neural collapse and minority collapse, for networks and surrogates alike."""

from nc_jax.metrics.accumulation import accumulate_moments, merge_moments
from nc_jax.metrics.feedforward import (
    FeedforwardMetrics,
    decreases,
    effective_depth,
    feedforward_metrics,
    layer_positions,
    moment_metrics,
    nearest_centre_accuracy,
)
from nc_jax.metrics.geodesic import Geodesic, geodesic, geodesic_metrics
from nc_jax.metrics.lines import decreases_from, measure_line, random_last_layer
from nc_jax.metrics.margins import one_vs_rest_margins
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
from nc_jax.metrics.quasi_interpolation import QuasiInterpolation, quasi_interpolation
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
    "FeedforwardMetrics",
    "Geodesic",
    "LastLayer",
    "MinorityMetrics",
    "NetworkLayer",
    "QuasiInterpolation",
    "accumulate_moments",
    "centred_means",
    "class_distance_variance",
    "class_moments",
    "collapse_metrics",
    "decreases",
    "decreases_from",
    "duality_difference",
    "duality_product",
    "effective_depth",
    "equiangularity",
    "equinorm",
    "etf_distance",
    "feedforward_metrics",
    "geodesic",
    "geodesic_metrics",
    "global_mean",
    "largest_distance",
    "layer_positions",
    "mean_cosine",
    "measure_line",
    "merge_moments",
    "metrics_of_moments",
    "minority_metrics",
    "moment_metrics",
    "nearest_centre",
    "nearest_centre_accuracy",
    "nearest_centre_disagreement",
    "norm_variation",
    "one_vs_rest_margins",
    "quasi_interpolation",
    "random_last_layer",
    "separation",
    "stream_class_moments",
    "within_between_pinv",
    "within_between_quotient",
]
