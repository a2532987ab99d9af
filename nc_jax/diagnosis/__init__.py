"""What the models say of somebody's features and classifiers."""

from nc_jax.diagnosis.archive import FeatureArchive
from nc_jax.diagnosis.feedforward import LayerPath, PriceFit, fit_price, layer_path
from nc_jax.diagnosis.measured import Measured, measure_archive
from nc_jax.diagnosis.predicted import MERGED, Predicted, clusters, predict_collapse
from nc_jax.diagnosis.recommended import Recommended, recommend_cures
from nc_jax.diagnosis.settled import Settled, predict_settled

__all__ = [
    "MERGED",
    "FeatureArchive",
    "LayerPath",
    "Measured",
    "Predicted",
    "PriceFit",
    "Recommended",
    "Settled",
    "clusters",
    "fit_price",
    "layer_path",
    "measure_archive",
    "predict_collapse",
    "predict_settled",
    "recommend_cures",
]
