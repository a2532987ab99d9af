"""Ends of trainings compared with two models: at measured budgets, and from weight decay alone."""

from typing import Any

import numpy as np
import pandas as pd

from nc_jax.geometry import two_groups
from nc_jax.metrics.minority import mean_cosine
from nc_jax.networks import NETWORKS
from nc_jax.prediction import has_converged, model_of, penalties_of, state_of
from nc_jax.solvers import phase, solve_batch
from nc_jax.solvers.solution import certified
from nc_jax.surrogates import LayerPeeled
from nc_jax.theory import collapse_ratio

MEASURED = ("minority_cosine", "minority_norm_variation", "weight_energy", "feature_energy")


def ends_of(through: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The last row of every run."""
    return through.groupby(keys, sort=False).tail(1).reset_index(drop=True)


def with_states(ends: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Adds the state of every run and whether it has converged.

    Args:
        ends: the last row of every run, see :func:`nc_jax.campaigns.measure_rows`.
        columns: columns that the table has even if every run broke down.

    Returns:
        The table with ``state`` and ``converged``, see :func:`nc_jax.prediction.state_of` and
        :func:`nc_jax.prediction.has_converged`.
    """
    table = ends.copy()
    for name in ("stationarity", "minority_cosine", "least_minority_accuracy", *columns):
        table[name] = table[name] if name in table else np.nan
    rows = table.to_dict("records")
    return table.assign(
        state=[state_of(row) for row in rows], converged=[has_converged(row) for row in rows]
    )


def predict_minority(ends: pd.DataFrame) -> pd.DataFrame:
    """Adds the predictions of the models for runs with two class sizes.

    Args:
        ends: one row for each run, with ``majority`` K_A, ``num_classes`` K,
            ``effective_ratio`` R as it enters the loss, and ``status``; with ``network``,
            ``weight_decay`` and ``majority_size`` for the second model; and, if they
            were measured, with ``weight_energy``, ``feature_energy``, ``budget`` and
            ``minority_cosine``.

    Returns:
        The table with ``predicted_cosine`` of the Layer-Peeled Model at the run's own
        budgets (its limit 1 if minority classifiers vanish), ``predicted_phase``
        ('none' for a run that broke down), ``predicted_R0``, ``difference``, predicted
        minus measured; and ``settled_cosine`` of the surrogate of the network at this weight
        decay, which uses no measurement (NaN for a network without normalisation).
    """
    table = ends.copy()
    for name in (*MEASURED, "budget", "predicted_cosine", "predicted_R0"):
        table[name] = table[name] if name in table else np.nan
    table["predicted_phase"] = "none"
    whole = (table["status"] == "trained") & (table["budget"] > 0)
    groups: Any = table[whole].groupby(["majority", "num_classes"])
    for (majority, classes), part in groups:
        rows, minority = part.index, int(classes) - int(majority)
        sizes = two_groups(int(majority), minority, part["effective_ratio"].to_numpy(float))
        weight, feature = (part[f"{name}_energy"].to_numpy() for name in ("weight", "feature"))
        solution = certified(solve_batch(LayerPeeled(sizes, weight, feature)))
        threshold = collapse_ratio(int(majority), minority, part["budget"].to_numpy())
        phases = np.asarray(phase(solution))
        cosine = np.where(phases == "vanished", 1, np.asarray(solution.within_cosines)[:, 1])
        table.loc[rows, "predicted_cosine"] = cosine
        table.loc[rows, "predicted_phase"] = phases
        table.loc[rows, "predicted_R0"] = np.asarray(threshold)
    table["difference"] = table["predicted_cosine"] - table["minority_cosine"]
    table["settled_cosine"] = _settled(table)
    return table


def predict_rates(ends: pd.DataFrame) -> pd.DataFrame:
    """Adds the predictions of the models for runs in which small classes are oversampled.

    Args:
        ends: as for :func:`predict_minority`, with ``ratio``, ``rate`` w_r, by which the samples
            of small classes are repeated or weighted, ``minority_size``, ``data`` and ``seed``.

    Returns:
        The table of :func:`predict_minority` with ``effective_ratio`` R/w_r, and
        ``recommended_rate``: the smallest w_r that prevents collapse in the Layer-Peeled Model at
        the budgets of the same run with w_r = 1.
    """
    table = ends.copy()
    table["effective_ratio"] = table["majority_size"] / table["minority_size"] / table["rate"]
    table = predict_minority(table)
    plain: Any = table[(table["rate"] == 1) & (table["ratio"] > 1)]
    least = np.maximum(1, plain["effective_ratio"] / plain["predicted_R0"])
    own = ["data", "network", "majority", "weight_decay", "seed"]
    return table.merge(plain[own].assign(recommended_rate=least), on=own, how="left")


def _settled(ends: pd.DataFrame) -> pd.Series:
    """The cosines that the surrogates of the networks predict."""
    cosine = pd.Series(np.nan, ends.index)
    if not {"network", "weight_decay", "majority_size"} <= set(ends):
        return cosine
    known = ends["network"].isin(NETWORKS) & (ends["weight_decay"] > 0)
    groups: Any = ends[known].groupby(["network", "majority", "num_classes"])
    for (network, majority, classes), part in groups:
        head, minority = NETWORKS[network].head, int(classes) - int(majority)
        if not head.branches:
            continue
        own = part[["majority_size", "effective_ratio", "weight_decay"]].to_numpy(float)
        asked, lane_of = np.unique(own, axis=0, return_inverse=True)
        large, ratio, decay = asked.T
        small = large / ratio
        penalties = penalties_of(head, decay, majority * large + minority * small)
        sizes = two_groups(int(majority), minority, ratio, small)
        found = solve_batch(model_of(head, sizes, penalties))
        angles = mean_cosine(found.classifiers[:, int(majority) :])
        angles = np.where(np.asarray(phase(found)) == "vanished", 1, np.asarray(angles))
        cosine.loc[part.index] = angles[lane_of.ravel()]
    return cosine
