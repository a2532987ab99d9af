"""Heads of language models and their surrogates, compared token by token and in words."""

import math
from typing import Any

import numpy as np
import pandas as pd

# What tells runs apart.
RUN_KEYS = ["optimiser", "head", "weight_decay", "seed"]
# Columns of a reader's table. Errors are means of |predicted − seen|: of lengths over the mean
# length, of cosines over bins of frequency.
COLUMNS = {
    "norm_error": "error of lengths",
    "cosine_error": "error of cosines",
    "rare_norm_correlation": "rank correlation, rare lengths",
    "seen_rare_cosine": "cosine of rare, seen",
    "rare_cosine": "cosine of rare, predicted",
    "seen_rare_merged": "rare merged, seen",
    "rare_merged": "rare merged, predicted",
}


def compare_rows(ends: Any, predicted: Any, rare: np.ndarray) -> pd.DataFrame:
    """How far each surrogate is from each run, over tokens and over bins of frequency.

    Args:
        ends: the last row of each run.
        predicted: a row for each run and surrogate.
        rare: [V] booleans.

    Returns:
        One row for each of ``predicted``: rank correlations of the lengths of all and of
        rare tokens' rows; ``norm_error``, mean |predicted − seen| over the mean length;
        ``cosine_error``, mean |predicted − seen| over the bins where both exist.
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
    """Spearman's, of two vectors [M]; NaN where either is constant."""
    ranks = [np.asarray(pd.Series(own).rank()) for own in (one, other)]
    varies = all(np.ptp(own) > 0 for own in ranks)
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if varies else math.nan


def summarise_rows(compared: Any) -> pd.DataFrame:
    """What a reader wants of each run and surrogate; means over seeds."""
    keys = ["optimiser", "head", "weight_decay", "surrogate"]
    mean = compared.groupby(keys, sort=False).mean(numeric_only=True).reset_index()
    shown = mean[keys].rename(columns={"weight_decay": "weight decay"})
    for name, title in COLUMNS.items():
        shown[title] = mean[name].map(_two_digits)
    return shown


def _two_digits(x: float) -> str:
    """Two digits, and no minus before a zero."""
    return "none" if math.isnan(x) else f"{round(x, 2) + 0.0:.2f}"


def verdict_on_rows(compared: Any, ends: Any, entropy: float) -> str:
    """What the surrogates explain of rare tokens and what not, from the numbers alone.

    Args:
        compared: of :func:`compare_rows`.
        ends: the last row of each run.
        entropy: the least loss that the last token of a context allows, in nats.

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
    """What happens to rare tokens."""
    each = [
        f"{own['rare_cosine'].mean():.2f} with {own['rare_merged'].mean():.0%} merged at weight "
        f"decay {decay:g}"
        for decay, own in runs.groupby("weight_decay")
    ]
    return (
        f"Seen: rows of rare tokens have mean cosine {', '.join(each)}; of held-out places "
        f"{runs['test_accuracy'].mean():.0%} are predicted right, and "
        f"{runs['test_rare_accuracy'].mean():.1%} of those where the next token is rare."
    )


def _explained(told: Any) -> str:
    """Which surrogate is nearest in cosines, in what, and how far the others are."""
    mean = told.groupby("surrogate").mean(numeric_only=True).sort_values("cosine_error")
    if not len(mean):
        return "No surrogate was asked for."
    best = mean.iloc[0]
    others = [
        f"{name} {own['norm_error']:.0%} and {own['cosine_error']:.2f}"
        for name, own in mean.iloc[1:].iterrows()
    ]
    rank = best["rare_norm_correlation"]

    return (
        f"Explained: {mean.index[0]} comes nearest in cosines; it is off by "
        f"{best['norm_error']:.0%} in lengths, {best['cosine_error']:.2f} in cosines of rows of "
        f"equal frequency, {best['of_cosine']:.2f} in the cosine of rare rows, and "
        f"{best['of_merged']:.2f} in their merged share; among rare tokens its rank correlation "
        f"with the lengths seen is {_two_digits(rank)}."
        + (f" Others, lengths and cosines: {'; '.join(others)}." if others else "")
    )


def _rest(runs: Any, entropy: float) -> str:
    """How far the runs are from what a surrogate assumes."""
    return (
        f"Not explained: |W|^2/(|gain|^2 + |offset|^2) is {runs['balance'].min():.2f} to "
        f"{runs['balance'].max():.2f}, where an untied head under SGD has 1 at rest; the training "
        f"loss is {runs['train_loss'].min():.2f} to {runs['train_loss'].max():.2f}, where the last "
        f"token of a context, all that soft targets know, allows {entropy:.2f}."
    )
