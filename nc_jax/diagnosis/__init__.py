"""What the models say of somebody's features and classifiers."""

from nc_jax.diagnosis.archive import FeatureArchive
from nc_jax.diagnosis.feedforward import LayerPath, PriceFit, fit_price, layer_path
from nc_jax.diagnosis.measured import Measured, measure_archive
from nc_jax.diagnosis.predicted import MERGED, Predicted, clusters, predict_collapse
from nc_jax.diagnosis.recommended import Recommended, recommend_cures
from nc_jax.diagnosis.settled import Settled, predict_settled
from nc_jax.diagnosis.vocabulary import (
    PROFILES,
    Profile,
    budget_rows,
    own_directions,
    vocabulary_rows,
    zipf_counts,
)

__all__ = [
    "MERGED",
    "PROFILES",
    "FeatureArchive",
    "LayerPath",
    "Measured",
    "Predicted",
    "PriceFit",
    "Profile",
    "Recommended",
    "Settled",
    "budget_rows",
    "clusters",
    "fit_price",
    "layer_path",
    "measure_archive",
    "own_directions",
    "predict_collapse",
    "predict_settled",
    "recommend_cures",
    "vocabulary_rows",
    "zipf_counts",
]
