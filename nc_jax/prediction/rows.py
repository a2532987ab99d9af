"""Heads of language models and their surrogates, compared token by token and in words."""

import math
from typing import Any

import numpy as np
import pandas as pd

# The columns that identify a run.
RUN_KEYS = ["optimiser", "head", "weight_decay", "seed"]
# Columns of the summary table. Errors are means of |predicted − measured|: of lengths relative
# to the mean length, of cosines over bins of frequency.
COLUMNS = {
    "norm_error": "relative error of lengths",
    "cosine_error": "mean error of cosines",
    "rare_norm_correlation": "rank correlation of rare lengths",
    "seen_rare_cosine": "cosine of rare rows, measured",
    "rare_cosine": "cosine of rare rows, predicted",
    "seen_rare_merged": "share of rare rows merged, measured",
    "rare_merged": "share of rare rows merged, predicted",
}


def compare_rows(ends: Any, predicted: Any, rare: np.ndarray) -> pd.DataFrame:
    """Errors of each surrogate on each run, over tokens and over bins of frequency.

    Args:
        ends: the last row of each run.
        predicted: one row for each run and surrogate.
        rare: [V] booleans.

    Returns:
        One row for each row of ``predicted``: rank correlations of the lengths of all and of
        rare tokens' rows; ``norm_error``, mean |predicted − measured| over the mean length;
        ``cosine_error``, mean |predicted − measured| over the bins in which both exist.
    """
    rows = []
    runs = {tuple(run[name] for name in RUN_KEYS): run for run in ends.to_dict("records")}
    for own in predicted.to_dict("records"):
        run: Any = runs[tuple(own[name] for name in RUN_KEYS)]
        seen, told = (np.asarray(it["norms"], float) for it in (run, own))
        apart = np.abs(np.subtract(own["bin_cosines"], run["bin_cosines"]))
        row = {name: own[name] for name in [*RUN_KEYS, "surrogate"]}
        row |= {"norm_correlation": rank_correlation(seen, told)}
        row |= {"rare_norm_correlation": rank_correlation(seen[rare], told[rare])}
        row |= {"norm_error": float(np.abs(told - seen).mean() / seen.mean())}
        row |= {"rare_norm_ratio": float(told[rare].mean() / seen[rare].mean())}
        row |= {"cosine_error": float(np.nanmean(apart)) if np.isfinite(apart).any() else np.nan}
        for name in ("rare_cosine", "rare_merged"):
            row |= {f"seen_{name}": run[name], name: own[name]}
        row |= {"rare_norm": float(told[rare].mean()), "seen_loss": run["train_loss"]}
        rows.append(row | {name: own[name] for name in ("loss", "gap", "residual")})
    return pd.DataFrame(rows)


def rank_correlation(one: Any, other: Any) -> float:
    """Spearman's rank correlation of two vectors [M]; NaN if either is constant."""
    ranks = [np.asarray(pd.Series(own).rank()) for own in (one, other)]
    varies = all(np.ptp(own) > 0 for own in ranks)
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if varies else math.nan


def summarise_rows(compared: Any) -> pd.DataFrame:
    """A summary for each kind of run and surrogate; means over seeds."""
    keys = ["optimiser", "head", "weight_decay", "surrogate"]
    mean = compared.groupby(keys, sort=False).mean(numeric_only=True).reset_index()
    shown = mean[keys].rename(columns={"weight_decay": "weight decay"})
    for name, title in COLUMNS.items():
        shown[title] = mean[name].map(_two_digits)
    return shown


def _two_digits(x: float) -> str:
    """Two digits, without a minus sign for zero."""
    return "none" if math.isnan(x) else f"{round(x, 2) + 0.0:.2f}"


def verdict_on_rows(compared: Any, ends: Any, entropy: float) -> str:
    """In words, what the surrogates explain of rare tokens and what not, from the numbers alone.

    Args:
        compared: the result of :func:`compare_rows`.
        ends: the last row of each run.
        entropy: the smallest loss that the last token of a context allows, in nats.

    Returns:
        A paragraph for each optimiser and head.
    """
    told = compared.assign(
        of_cosine=(compared["rare_cosine"] - compared["seen_rare_cosine"]).abs(),
        of_merged=(compared["rare_merged"] - compared["seen_rare_merged"]).abs(),
    )
    parts = []
    for (optimiser, head), runs in ends.groupby(["optimiser", "head"], sort=False):
        own = told[(told["optimiser"] == optimiser) & (told["head"] == head)]
        parts += [
            f"{optimiser}, {head} head. {_seen(runs)} {_explained(own)} {_rest(runs, entropy)}"
        ]
    return "\n\n".join(parts)


def _seen(runs: Any) -> str:
    """What happens to rare tokens in the runs."""
    each = [
        f"{own['rare_cosine'].mean():.2f} with {own['rare_merged'].mean():.0%} merged at weight "
        f"decay {decay:g}"
        for decay, own in runs.groupby("weight_decay")
    ]
    return (
        f"Measured: rows of rare tokens have mean cosine {', '.join(each)}. On held-out text "
        f"{runs['test_accuracy'].mean():.0%} of the next tokens are predicted correctly, and "
        f"{runs['test_rare_accuracy'].mean():.1%} of the rare ones."
    )


def _explained(told: Any) -> str:
    """Which surrogate has the smallest error of cosines, and the errors of all."""
    mean = told.groupby("surrogate").mean(numeric_only=True).sort_values("cosine_error")
    if not len(mean):
        return "No surrogate was requested."
    best = mean.iloc[0]
    others = [
        f"{name} {own['norm_error']:.0%} and {own['cosine_error']:.2f}"
        for name, own in mean.iloc[1:].iterrows()
    ]
    rank = best["rare_norm_correlation"]

    return (
        f"Explained: {mean.index[0]} has the smallest error of cosines. Its errors are "
        f"{best['norm_error']:.0%} for lengths, {best['cosine_error']:.2f} for cosines of rows of "
        f"equal frequency, {best['of_cosine']:.2f} for the cosine of rare rows, and "
        f"{best['of_merged']:.2f} for the merged share of rare rows. For rare tokens its rank "
        f"correlation with the measured lengths is {_two_digits(rank)}."
        + (f" Errors of the others (lengths, cosines): {'; '.join(others)}." if others else "")
    )


def _rest(runs: Any, entropy: float) -> str:
    """How far the runs are from the assumptions of the surrogates."""
    return (
        f"Not explained: |W|^2/(|gain|^2 + |offset|^2) is {runs['balance'].min():.2f} to "
        f"{runs['balance'].max():.2f}; it would be 1 for a converged untied head under SGD. The "
        f"training loss is {runs['train_loss'].min():.2f} to {runs['train_loss'].max():.2f}; the "
        f"last token of a context, which is all that soft targets use, allows {entropy:.2f}."
    )
