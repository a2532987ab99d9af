"""Runs and surrogates in tables for readers: the error of each surrogate, and states by place."""

from typing import Any

import pandas as pd

from nc_jax.prediction.rest import STATES


def league_of(table: pd.DataFrame, mild: int) -> pd.DataFrame:
    """Error of each surrogate on the runs that converged with separated classes.

    Args:
        table: see :func:`nc_jax.prediction.predict_runs`.
        mild: R up to which imbalance counts as mild.
    """
    rows = []
    groups: Any = table.groupby(["data", "network", "surrogate"], sort=False)
    for (data, network, surrogate), own in groups:
        kept = own[own["converged"] & (own["state"] == "separated")]
        told = kept.dropna(subset=["predicted_cosine"])
        if not len(own.dropna(subset=["predicted_cosine"])):
            continue
        few = told[told["ratio"] <= mild]
        losses = told["predicted_loss"] / told["train_loss"]
        lengths = (told["predicted_small_norm"] / told["seen_small_norm"] - 1).abs()
        rows.append(
            {
                "data": data,
                "network": network,
                "surrogate": surrogate,
                "fitted": own["fitted"].iloc[0],
                "runs": len(told),
                "mean error of the small-class cosine": told["difference"].abs().mean(),
                f"mean error at R ≤ {mild}": few["difference"].abs().mean(),
                "largest error": told["difference"].abs().max(),
                "RMS error of classifier cosines": told["classifier_rms"].mean(),
                "RMS error of class-mean cosines": told["mean_rms"].mean(),
                "relative error of small-class lengths": lengths.mean(),
                "median predicted / measured loss": losses.median(),
            }
        )
    shown = pd.DataFrame(rows)
    numbers = shown.select_dtypes("number").columns.drop("runs", errors="ignore")
    return shown.assign(**{name: shown[name].map("{:.3f}".format) for name in numbers})


def states_of(ends: pd.DataFrame) -> pd.DataFrame:
    """Number of runs in each state, and how many of them have converged."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "branch", "weight_decay", "majority", "ratio"])
    for (data, network, branch, decay, majority, ratio), own in groups:
        counts = own["state"].value_counts()
        row = {"data": data, "network": network, "branch": branch, "weight decay": decay}
        row |= {"K_A": majority, "R": ratio, "runs": len(own)}
        row |= {name: int(counts.get(name, 0)) for name in STATES}
        row |= {"converged": int(own["converged"].sum())}
        row |= {"minority cosine": f"{own['minority_cosine'].mean():.3f}"}
        row |= {"minority accuracy": f"{own['train_accuracy_minority'].mean():.2f}"}
        rows.append(row)
    return pd.DataFrame(rows)
