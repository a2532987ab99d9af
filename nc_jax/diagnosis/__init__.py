"""What the Layer-Peeled Model says of somebody's features and classifiers."""

from nc_jax.diagnosis.archive import FeatureArchive
from nc_jax.diagnosis.measured import Measured, measure_archive
from nc_jax.diagnosis.predicted import MERGED, Predicted, clusters, predict_collapse

__all__ = [
    "MERGED",
    "FeatureArchive",
    "Measured",
    "Predicted",
    "clusters",
    "measure_archive",
    "predict_collapse",
]
