"""The whole diagnosis of one last layer: measured, predicted, recommended."""

from typing import NamedTuple

import jax

from nc_jax.diagnosis.measured import FeatureSource, Measured, measure_archive
from nc_jax.diagnosis.predicted import Predicted, predict_collapse
from nc_jax.diagnosis.recommended import Recommended, recommend_cures
from nc_jax.diagnosis.settled import Settled, predict_settled


class Diagnosis(NamedTuple):
    """What is seen, what the models say of it, and what to do.

    Attributes:
        measured: the numbers of the features and classifiers.
        predicted: by the Layer-Peeled Model at the measured budgets; None where the
            classifiers are not known.
        settled: by class sizes and weight decay alone; None without a weight decay.
        recommended: cures for the imbalance, the best first; empty where all classes are
            equally large or nothing was predicted.
    """

    measured: Measured
    predicted: Predicted | None
    settled: Settled | None
    recommended: list[Recommended]


def diagnose(
    source: FeatureSource, weight_decay: float | None = None, branches: int = 1
) -> Diagnosis:
    """Measures in three passes over the samples, then asks the models, in float64.

    Args:
        source: features, labels, and perhaps classifiers.
        weight_decay: λ > 0 of the training, on all parameters; None leaves out what is
            predicted by it alone.
        branches: c ≥ 1, normalised outputs whose sum the features are.

    Raises:
        ValueError: naming the argument, or what is wrong with the features.
    """
    seen = measure_archive(source)
    budgets = seen.weight_energy, seen.feature_energy
    predicted, settled, recommended = None, None, []
    with jax.enable_x64(True):
        if weight_decay is not None:
            biased = source.classifiers is None or source.bias is not None
            settled = predict_settled(seen.counts, weight_decay, seen.least >= 0, branches, biased)
        if source.classifiers is not None and min(budgets) > 0:
            predicted = predict_collapse(seen.counts, *budgets)
        if predicted is not None and predicted.ratio > 1:
            recommended = recommend_cures(seen.counts, *budgets, weight_decay, branches)
    return Diagnosis(seen, predicted, settled, recommended)
