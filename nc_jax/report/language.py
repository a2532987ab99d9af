"""Figures of language models' heads, from the tables of the study."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure, plain_ticks

RUN = ["optimiser", "head", "weight_decay"]
# Colour, line and label of each surrogate.
SURROGATES = {
    "hard-budgets": (PALETTE[1], "--", "hard targets, measured budgets"),
    "hard-decay": (PALETTE[1], "-", "hard targets, weight decay alone"),
    "soft-budgets": (PALETTE[0], "--", "soft targets, measured budgets"),
    "soft-decay": (PALETTE[0], "-", "soft targets, weight decay alone"),
    "soft-norm": (PALETTE[2], "-", "soft targets and layer normalisation, weight decay alone"),
}
ROWS = {
    "bin_norms": "length of\na token's row",
    "bin_cosines": "mean cosine of rows\nof equal frequency",
    "bin_merged": "share of rows merged\nwith another",
}
COURSES = {
    "rare_cosine": "mean cosine of\nrare tokens' rows",
    "rare_norm": "length of rare\ntokens' rows",
    "rare_merged": "share of rare\ntokens merged",
    "train_rare_loss": "loss where next\ntoken is rare (nats)",
}


def draw_rows(ends: Any, predicted: Any, frequency: Any) -> Figure:
    """Rows by frequency: one panel row for each measure, one column for each kind of run.

    Args:
        ends: the last row of each trained run, with lists by bin.
        predicted: one row for each run and surrogate, with the same lists.
        frequency: [B] mean count of the tokens in a bin.
    """
    kinds = list(ends.groupby(RUN, sort=False))
    figure, axes = new_figure(
        len(ROWS), len(kinds), max(4.5, 1.9 * len(kinds) + 0.6), 1.75 * len(ROWS) + 1.2, True, "row"
    )
    for column, (kind, own) in enumerate(kinds):
        beside = predicted[(predicted[RUN] == list(kind)).all(axis=1)]
        for row, name in enumerate(ROWS):
            panel = axes[row, column]
            for surrogate, (colour, line, label) in SURROGATES.items():
                values = _mean(beside[beside["surrogate"] == surrogate], name)
                if values is not None:
                    panel.plot(frequency, values, line, color=colour, label=label)
            panel.plot(frequency, _mean(own, name), "o", color="0.1", ms=4, label="language model")
            panel.set_xscale("log")
        axes[0, column].set_title(_title(kind))
        axes[0, column].set_yscale("log")
        axes[-1, column].set_xlabel("occurrences in the text")
    seen = np.concatenate([np.stack(list(ends["bin_norms"])).ravel()])
    axes[0, 0].set_ylim(seen.min() / 4, seen.max() * 2.5)
    plain_ticks(axes[0, 0])
    for row, label in enumerate(ROWS.values()):
        axes[row, 0].set_ylabel(label, fontsize="small")
    _legend(figure, axes, 3)
    return figure


def draw_courses(through: Any, predicted: Any) -> Figure:
    """Rare tokens through training: one row for each measure, by optimiser and head."""
    kinds = list(through.groupby(["optimiser", "head"], sort=False))
    figure, axes = new_figure(
        len(COURSES), len(kinds), max(4.5, 2.4 * len(kinds) + 0.6), 1.6 * len(COURSES) + 1.0, True,
        "row",
    )  # fmt: skip
    decays = sorted(through["weight_decay"].unique())
    for column, ((optimiser, head), own) in enumerate(kinds):
        for decay, part in own.groupby("weight_decay"):
            colour = PALETTE[decays.index(decay) % len(PALETTE)]
            mean = part.groupby("step")[list(COURSES)].mean()
            for row, name in enumerate(COURSES):
                label = rf"$\lambda$ = {decay:g}"
                axes[row, column].plot(
                    mean.index + 1, mean[name], "o-", color=colour, ms=3, label=label
                )
            told = predicted[
                (predicted["optimiser"] == optimiser)
                & (predicted["head"] == head)
                & (predicted["weight_decay"] == decay)
                & (predicted["surrogate"] == "soft-norm")
            ]
            for row, name in enumerate(("rare_cosine", "rare_norm", "rare_merged")):
                if len(told):
                    axes[row, column].plot(
                        1.6 * (mean.index.max() + 1), told[name].mean(), "*", color=colour, ms=8
                    )
        axes[0, column].set_title(f"{optimiser}, {head} head")
        axes[0, column].set_xscale("log")
        axes[-1, column].set_xlabel("step + 1")
    axes[0, 0].plot(
        [], [], "*", color="0.4", label="soft targets and layer normalisation, weight decay alone"
    )
    for row, label in enumerate(COURSES.values()):
        axes[row, 0].set_ylabel(label, fontsize="small")
    _legend(figure, axes, 6)
    return figure


def _title(kind: Any) -> str:
    optimiser, head, decay = kind
    return f"{optimiser}, {head}\n" + rf"$\lambda$ = {decay:g}"


def _mean(table: Any, name: str) -> Any:
    """Mean of a list column over seeds; None if there are no rows."""
    values = [np.asarray(own, float) for own in table[name]]
    return np.mean(values, axis=0) if values else None


def _legend(figure: Figure, axes: Any, columns: int) -> None:
    """One legend with the labels of all panels of the first row."""
    shown = {}
    for panel in axes[0]:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    own = axes[0, 0].get_legend_handles_labels()[1]
    for label, handle in shown.items():
        if label not in own:
            axes[0, 0].plot(
                [], [], handle.get_linestyle(), marker=handle.get_marker(),
                color=handle.get_color(), ms=handle.get_markersize(), label=label,
            )  # fmt: skip
    legend_outside(figure, axes[0, 0], columns=columns)
