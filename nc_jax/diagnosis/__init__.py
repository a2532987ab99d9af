"""Diagnosis of a network's last layer: measures, predictions of the models, and cures."""

from nc_jax.diagnosis.advice import cure_advice
from nc_jax.diagnosis.archive import FeatureArchive
from nc_jax.diagnosis.arrays import ArrayFile
from nc_jax.diagnosis.diagnosed import Diagnosis, diagnose
from nc_jax.diagnosis.feedforward import LayerPath, PriceFit, fit_price, layer_path
from nc_jax.diagnosis.findings import Advice, Finding, Verdict, by_part
from nc_jax.diagnosis.head import (
    VANISHED,
    HeadArchive,
    HeadBins,
    HeadMeasured,
    is_head,
    measure_head,
)
from nc_jax.diagnosis.head_findings import head_findings, head_verdict
from nc_jax.diagnosis.head_predicted import (
    HeadPredicted,
    predict_head,
    predict_head_at_budgets,
    predict_head_at_decay,
)
from nc_jax.diagnosis.measured import PASSES, FeatureSource, Measured, measure_archive
from nc_jax.diagnosis.measures import Measure, head_measures, measures
from nc_jax.diagnosis.names import read_class_names
from nc_jax.diagnosis.predicted import MERGED, Predicted, clusters, predict_collapse
from nc_jax.diagnosis.recommended import Recommended, recommend_cures
from nc_jax.diagnosis.settled import Settled, predict_settled
from nc_jax.diagnosis.summary import findings, verdict
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
    "PASSES",
    "PROFILES",
    "VANISHED",
    "Advice",
    "ArrayFile",
    "Diagnosis",
    "FeatureArchive",
    "FeatureSource",
    "Finding",
    "HeadArchive",
    "HeadBins",
    "HeadMeasured",
    "HeadPredicted",
    "LayerPath",
    "Measure",
    "Measured",
    "Predicted",
    "PriceFit",
    "Profile",
    "Recommended",
    "Settled",
    "Verdict",
    "budget_rows",
    "by_part",
    "clusters",
    "cure_advice",
    "diagnose",
    "findings",
    "fit_price",
    "head_findings",
    "head_measures",
    "head_verdict",
    "is_head",
    "layer_path",
    "measure_archive",
    "measure_head",
    "measures",
    "own_directions",
    "predict_collapse",
    "predict_head",
    "predict_head_at_budgets",
    "predict_head_at_decay",
    "predict_settled",
    "read_class_names",
    "recommend_cures",
    "verdict",
    "vocabulary_rows",
    "zipf_counts",
]
