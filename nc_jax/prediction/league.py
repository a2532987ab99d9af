"""The predictions of every surrogate for every run, next to the measurements.

The surrogates are: the Layer-Peeled Model at budgets measured on the run itself; and,
from class sizes and weight decay alone, unconstrained features (with and without decay
of the bias), the model matched to the network (nonnegative features after a ReLU;
several layers if the network has no normalisation), and a deep one. Two of them are also
used with one constant that is measured on the balanced runs of the same network, data and
weight decay.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nc_jax.geometry import ClassSizes, two_groups
from nc_jax.networks import NETWORKS, Head
from nc_jax.prediction.compare import agreement, cosines_of, pair_mean
from nc_jax.prediction.surrogate import Penalties, model_of, penalties_of
from nc_jax.solvers import FactoredMultiStart, FactoredSolution, phase, solve_batch
from nc_jax.surrogates import DeepUnconstrainedFeatures, LayerPeeled, UnconstrainedFeatures

# Number of weight matrices of the deep model for a network whose head has a single one.
DEEP_LAYERS = 2


class Entry(NamedTuple):
    """A surrogate in the comparison.

    Attributes:
        make: from (head, sizes, penalties, runs) to a batch of models, or None if the
            network has no such surrogate.
        fitted: what is measured on runs before it predicts.
        solver: None for the default solver of the model.
    """

    make: Callable[[Head, ClassSizes, Penalties, pd.DataFrame], Any]
    fitted: str
    solver: Any = None


def _layer_peeled(head: Head, sizes: ClassSizes, penalties: Penalties, runs: pd.DataFrame) -> Any:
    weight_energy, feature_energy = runs[["weight_energy", "feature_energy"]].to_numpy(float).T
    return LayerPeeled(sizes, weight_energy, feature_energy)


def _unconstrained(head: Head, sizes: ClassSizes, penalties: Penalties, runs: pd.DataFrame) -> Any:
    return UnconstrainedFeatures(sizes, *penalties) if head.branches else None


def _free_bias(head: Head, sizes: ClassSizes, penalties: Penalties, runs: pd.DataFrame) -> Any:
    if not head.branches or not head.bias:
        return None
    zero = np.zeros_like(penalties.lambda_w)
    return UnconstrainedFeatures(sizes, penalties.lambda_w, penalties.lambda_h, zero)


def _matched(head: Head, sizes: ClassSizes, penalties: Penalties, runs: pd.DataFrame) -> Any:
    return model_of(head, sizes, penalties)


def _deep(head: Head, sizes: ClassSizes, penalties: Penalties, runs: pd.DataFrame) -> Any:
    layers = max(head.layers, DEEP_LAYERS)
    return DeepUnconstrainedFeatures(sizes, layers, *penalties, nonnegative=head.rectified)


LEAGUE: dict[str, Entry] = {
    "layer-peeled": Entry(_layer_peeled, "budgets of the run"),
    "unconstrained": Entry(_unconstrained, "nothing"),
    "unconstrained-free-bias": Entry(_free_bias, "nothing"),
    "matched": Entry(_matched, "nothing"),
    # Slow where it fails, at the unlearnt state: fewer restarts, with fewer steps each.
    "deep": Entry(_deep, "nothing", FactoredMultiStart(restarts=4, max_iterations=1500)),
    "unconstrained-constant": Entry(_unconstrained, "a constant"),
    "matched-constant": Entry(_matched, "a constant"),
}
NEEDED = ("minority_cosine", "weight_energy", "feature_energy", "balance")
MATRICES = ("classifier_gram", "mean_gram")


def predict_runs(runs: pd.DataFrame, surrogates: Sequence[str] = tuple(LEAGUE)) -> pd.DataFrame:
    """One row for each run and surrogate.

    Args:
        runs: one row for each run with two class sizes: ``data``, ``network``, ``majority``
            K_A, ``num_classes`` K, ``majority_size`` and ``minority_size`` (as counted in an
            epoch), ``weight_decay``, ``seed``, ``input_energy`` and the numbers of
            :func:`nc_jax.prediction.measure_last_layer`, NaN if a run has none;
            ``converged`` and ``state``.
        surrogates: names in :data:`LEAGUE`.

    Returns:
        The runs' columns without the matrices, and ``surrogate``, ``fitted``,
        ``constant`` (NaN if none is used), ``seen_cosine`` (measured) and ``predicted_cosine``
        (means over pairs of small classes' classifiers; for vanishing classifiers of the
        model the limit 1), ``difference``, ``predicted_phase``, ``gap`` (infinite without a
        certificate), ``residual`` (NaN for solvers without one), agreement of all
        cosines ``classifier_rms``, ``classifier_correlation``, ``mean_rms``,
        ``mean_correlation``, the mean lengths ``seen_large_norm``, ``seen_small_norm``,
        ``predicted_large_norm``, ``predicted_small_norm``, ``predicted_loss``.

    Raises:
        ValueError: an unknown surrogate.
    """
    for name in surrogates:
        if name not in LEAGUE:
            raise ValueError(f"surrogates must be of {', '.join(LEAGUE)}, got {name!r}")
    runs = runs.reset_index(drop=True)
    for name in (*NEEDED, *MATRICES):
        runs[name] = runs[name] if name in runs else np.nan
    runs["seen_cosine"] = runs["minority_cosine"]
    constants = _constants(runs)
    measured = runs.drop(columns=list(MATRICES))
    parts = []
    for name in surrogates:
        entry = LEAGUE[name]
        own = measured.assign(surrogate=name, fitted=entry.fitted, constant=np.nan)
        if entry.fitted == "a constant":
            own["constant"] = constants
        for _, part in runs.groupby(["network", "majority", "num_classes"], sort=False):
            found = _predict(entry, part, own.loc[part.index, "constant"])
            for column, values in found.items():
                own.loc[part.index, column] = values
        parts.append(own)
    table = pd.concat(parts, ignore_index=True)
    table["difference"] = table["predicted_cosine"] - table["seen_cosine"]
    return table


def _constants(runs: pd.DataFrame) -> pd.Series:
    """κ = c N‖W‖²/Σ‖h‖², mean over converged balanced runs; NaN if there are none."""
    keys = ["data", "network", "weight_decay"]
    balanced = runs[(runs["majority_size"] == runs["minority_size"]) & runs["converged"]]
    mean: Any = balanced.groupby(keys)["balance"].mean()
    found = [mean.get(tuple(row), np.nan) for row in runs[keys].itertuples(index=False)]
    branches = [NETWORKS[name].head.branches for name in runs["network"]]
    return pd.Series(np.asarray(found, float) * np.asarray(branches, float), runs.index)


def _predict(entry: Entry, runs: pd.DataFrame, constant: pd.Series) -> dict[str, Any]:
    """The prediction columns for the runs of one network and one K_A."""
    head, first = NETWORKS[runs["network"].iloc[0]].head, runs.iloc[0]
    majority, size = int(first["majority"]), int(first["num_classes"])
    large, small = (runs[name].to_numpy(float) for name in ("majority_size", "minority_size"))
    samples = majority * large + (size - majority) * small
    scale = constant.to_numpy(float) if entry.fitted == "a constant" else np.ones(len(runs))
    usable = np.isfinite(scale) & (runs["weight_decay"].to_numpy(float) > 0)
    if entry.fitted == "budgets of the run":
        usable &= (runs[["weight_energy", "feature_energy"]].to_numpy(float) > 0).all(axis=1)
    runs = runs.loc[usable]
    large, small, samples, scale = (x[usable] for x in (large, small, samples, scale))
    if not len(runs):
        return {}
    given = runs[["input_energy", "weight_decay", "weight_energy", "feature_energy"]].to_numpy(
        float
    )
    if entry.fitted != "budgets of the run":
        given[:, 2:] = 0
    # Runs that differ only in the seed have the same model.
    asked = np.nan_to_num(np.column_stack([given, large, small, scale]))
    _, first_of, lane_of = np.unique(asked, axis=0, return_index=True, return_inverse=True)
    energy, decay = given[first_of, 0], given[first_of, 1]
    if head.branches:
        energy = None
    penalties = penalties_of(head, decay, samples[first_of], scale[first_of], energy)
    ratio, small = (large / small)[first_of], small[first_of]
    sizes = two_groups(majority, size - majority, ratio, small)
    models = entry.make(head, sizes, penalties, runs.iloc[first_of])
    if models is None:
        return {}
    found = _geometry(solve_batch(models, entry.solver), lane_of.ravel(), runs, majority)
    columns: dict[str, Any] = {}
    for name, values in found.items():
        column = np.full(len(usable), None if name == "predicted_phase" else np.nan, object)
        column[usable] = values
        columns[name] = column if name == "predicted_phase" else column.astype(float)
    return columns


def _geometry(
    solution: Any, lane_of: np.ndarray, runs: pd.DataFrame, majority: int
) -> dict[str, np.ndarray]:
    """The geometry of a batch of solutions, and its agreement with the run of each lane."""
    weights, means = (np.asarray(x, float) for x in (solution.classifiers, solution.features))
    phases = np.atleast_1d(np.asarray(phase(solution)))
    losses = _losses(solution)
    if isinstance(solution, FactoredSolution) and len(solution.layers.weights) > 1:
        means = np.asarray(solution.hidden_features()[-1], float)
    rows, count = [], weights.shape[1]
    small = np.arange(majority, count)
    for place, run in zip(lane_of, runs.to_dict("records"), strict=True):
        grams = {
            "classifier": weights[place] @ weights[place].T,
            "mean": _centred_gram(means[place]),
        }
        angles = {name: cosines_of(gram) for name, gram in grams.items()}
        lengths = np.sqrt(np.diag(grams["classifier"]))
        gone = phases[place] == "vanished"
        row = {
            "predicted_cosine": 1.0 if gone else pair_mean(angles["classifier"], small),
            "predicted_phase": phases[place],
            "predicted_large_norm": lengths[:majority].mean(),
            "predicted_small_norm": lengths[majority:].mean(),
            "predicted_loss": losses[place],
        }
        for name in ("classifier", "mean"):
            seen = run[f"{name}_gram"]
            if not isinstance(seen, list | np.ndarray):
                continue
            seen = np.asarray(seen, float).reshape(count, count)
            row[f"{name}_rms"], row[f"{name}_correlation"] = agreement(
                angles[name], cosines_of(seen)
            )
            if name == "classifier":
                own = np.sqrt(np.maximum(np.diag(seen), 0))
                row["seen_large_norm"] = own[:majority].mean()
                row["seen_small_norm"] = own[majority:].mean()
        rows.append(row)
    # In the order of the rows: that of a set would differ from process to process.
    names = dict.fromkeys(name for row in rows for name in row)
    table = {name: [row.get(name, np.nan) for row in rows] for name in names}
    table["gap"] = np.asarray(solution.gap, float)[lane_of].tolist()
    residual = getattr(solution, "residual", np.full(solution.gap.shape, np.nan))
    table["residual"] = np.asarray(residual, float)[lane_of].tolist()
    return {name: np.asarray(values, object) for name, values in table.items()}


def _losses(solution: Any) -> np.ndarray:
    """Mean loss over the samples of a batch of solutions, without penalties."""
    model = solution.model
    logits = np.asarray(solution.logits, float)
    losses = np.asarray(model.loss(logits, np.arange(logits.shape[-1])), float)
    return np.sum(np.asarray(model.sizes.class_weights, float) * losses, axis=-1)


def _centred_gram(means: np.ndarray) -> np.ndarray:
    centred = means - means.mean(axis=0)
    return centred @ centred.T
