"""The whole diagnosis of features and labels: measures, the state of each class, predictions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from nc_jax.diagnosis.head import VANISHED
from nc_jax.diagnosis.measured import FeatureSource, Measured, measure_archive
from nc_jax.diagnosis.predicted import MERGED, Predicted, clusters, predict_collapse
from nc_jax.diagnosis.recommended import Recommended, recommend_cures
from nc_jax.diagnosis.settled import Settled, predict_settled
from nc_jax.solvers.programs import one_thread

# A class is close to merging if its cosine to the nearest class is above this.
NEAR = 0.8


class Diagnosis(NamedTuple):
    """The diagnosis of a last layer.

    Attributes:
        names: [K] names of the classes.
        has_classifiers: whether cosines and norms are those of the classifiers; otherwise
            they are those of the centred class means.
        seen: what was measured.
        nearest: [K] the other class with the largest cosine; −1 for a zero classifier.
        nearest_cosines: [K] this cosine; NaN if there is none.
        states: [K] 'merged', 'vanished', 'close' or 'apart'.
        merged: groups of classes that have merged.
        model: the Layer-Peeled Model's prediction; None if the budgets are not known.
        settled: the prediction from the weight decay; None if no weight decay was given.
        cures: cures against the imbalance, the recommended one first; empty if the classes
            are balanced.
    """

    names: np.ndarray
    has_classifiers: bool
    seen: Measured
    nearest: np.ndarray
    nearest_cosines: np.ndarray
    states: np.ndarray
    merged: list[list[int]]
    model: Predicted | None
    settled: Settled | None
    cures: list[Recommended]

    def in_state(self, state: str) -> list[int]:
        """The classes in a state, the smallest first."""
        order = np.argsort(self.seen.counts, kind="stable")
        return order[self.states[order] == state].tolist()

    @property
    def residual(self) -> float:
        """Mean |measured − predicted cosine| over pairs of classes; NaN without a prediction."""
        if self.model is None:
            return float("nan")
        off = ~np.eye(len(self.names), dtype=bool)
        difference = np.abs(self.model.cosines - self.seen.cosines)[off]
        known = difference[np.isfinite(difference)]
        return float(known.mean()) if len(known) else float("nan")


def diagnose(
    source: FeatureSource,
    weight_energy: float | None = None,
    weight_decay: float | None = None,
    branches: int = 1,
    watch: Callable[[int], None] = lambda rows: None,
) -> Diagnosis:
    """Measures in two passes over the samples, then predicts and recommends in float64.

    Args:
        source: features and labels, and the classifiers if they are known.
        weight_energy: E_W > 0, for a source without classifiers; nothing is predicted for
            such a source if it is None.
        weight_decay: λ > 0 of the training; adds the prediction of the model with this weight
            decay, and the cures are then those of this model.
        branches: c ≥ 1, the number of normalised outputs that are added to give the features.
        watch: called with the rows of each batch; there are two passes.

    Raises:
        TypeError: not a source of features.
        ValueError: features that are not finite, or a damaged file; a number that is not
            positive.
    """
    seen = measure_archive(source, watch)
    has_classifiers = source.classifiers is not None
    energy = seen.weight_energy if has_classifiers else weight_energy
    model, settled, cures = None, None, []
    with jax.enable_x64(True), one_thread():
        if energy is not None and energy > 0 and seen.feature_energy > 0:
            model = predict_collapse(seen.counts, energy, seen.feature_energy)
            if model.ratio > 1:
                budgets = energy, seen.feature_energy
                cures = recommend_cures(seen.counts, *budgets, weight_decay, branches)
        if weight_decay is not None:
            biased = not has_classifiers or source.bias is not None
            settled = predict_settled(seen.counts, weight_decay, seen.least >= 0, branches, biased)
    nearest, cosines = _nearest(seen.cosines)
    merged = clusters(seen.cosines, MERGED)
    states = _states(seen, cosines, merged)
    predictions = (model, settled, cures)
    return Diagnosis(
        source.names,
        has_classifiers,
        seen,
        nearest,
        cosines,
        states,
        merged,
        *predictions,
    )


def _nearest(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other class [K] and its cosine; −1 and NaN for a zero row."""
    others = np.nan_to_num(cosines, nan=-np.inf)
    np.fill_diagonal(others, -np.inf)
    best = others.max(axis=1)
    known = np.isfinite(best)
    return np.where(known, others.argmax(axis=1), -1), np.where(known, best, np.nan)


def _states(seen: Measured, cosines: np.ndarray, merged: list[list[int]]) -> np.ndarray:
    states = np.where(np.nan_to_num(cosines, nan=-1) > NEAR, "close", "apart").astype("<U8")
    for group in merged:
        states[group] = "merged"
    states[seen.norms < VANISHED] = "vanished"
    return states
