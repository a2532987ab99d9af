"""Losses as pure functions: of logits and label, of features, of soft targets."""

from nc_jax.losses.base import (
    Loss,
    acts_on,
    at_classes,
    class_numbers_of,
    require_classes,
    require_loss,
)
from nc_jax.losses.contrastive import SupervisedContrastive
from nc_jax.losses.imbalance import (
    ClassWeights,
    Focal,
    LabelMargins,
    LabelSmoothing,
    VectorScaling,
    class_temperatures,
    logit_adjustment,
    size_margins,
    size_weights,
    vector_scaling,
)
from nc_jax.losses.softmax import PowerSoftmax, SoftmaxBased
from nc_jax.losses.standard import CentredSquaredError, CrossEntropy, MeanSquaredError
from nc_jax.losses.targets import SoftTargets

__all__ = [
    "CentredSquaredError",
    "ClassWeights",
    "CrossEntropy",
    "Focal",
    "LabelMargins",
    "LabelSmoothing",
    "Loss",
    "MeanSquaredError",
    "PowerSoftmax",
    "SoftTargets",
    "SoftmaxBased",
    "SupervisedContrastive",
    "VectorScaling",
    "acts_on",
    "at_classes",
    "class_numbers_of",
    "class_temperatures",
    "logit_adjustment",
    "require_classes",
    "require_loss",
    "size_margins",
    "size_weights",
    "vector_scaling",
]
