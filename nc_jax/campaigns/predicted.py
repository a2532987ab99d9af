"""Ends of trainings beside the Layer-Peeled Model at their own sizes and budgets."""

from typing import Any

import numpy as np
import pandas as pd

from nc_jax.geometry import two_groups
from nc_jax.solvers import phase, solve_batch
from nc_jax.surrogates import LayerPeeled
from nc_jax.theory import collapse_ratio

MEASURED = ("minority_cosine", "minority_norm_variation", "weight_energy", "feature_energy")


def ends_of(through: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The last row of every run."""
    return through.groupby(keys, sort=False).tail(1).reset_index(drop=True)


def predict_minority(ends: pd.DataFrame) -> pd.DataFrame:
    """The model at the sizes and budgets of runs on two groups of classes.

    Args:
        ends: one row a run, with ``majority`` K_A, ``num_classes`` K,
            ``effective_ratio`` R as the loss counts it, ``status``, and as far as they
            were measured ``weight_energy``, ``feature_energy``, ``budget`` and
            ``minority_cosine``.

    Returns:
        The table with ``predicted_cosine`` (its limit 1 where minority classifiers
        vanish), ``predicted_phase`` ('none' for a run that broke down), ``predicted_R0``
        and ``difference``, predicted less seen.
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
        solution = solve_batch(LayerPeeled(sizes, weight, feature))
        threshold = collapse_ratio(int(majority), minority, part["budget"].to_numpy())
        phases = np.asarray(phase(solution))
        cosine = np.where(phases == "vanished", 1, np.asarray(solution.within_cosines)[:, 1])
        table.loc[rows, "predicted_cosine"] = cosine
        table.loc[rows, "predicted_phase"] = phases
        table.loc[rows, "predicted_R0"] = np.asarray(threshold)
    table["difference"] = table["predicted_cosine"] - table["minority_cosine"]
    return table
