"""Figure and tables of a diagnosis of features and labels."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_jax.report.columns import Column
from nc_jax.report.figures import PALETTE, legend_outside, new_figure

# Names on an axis of the figure at most, and letters of one.
TICKS, LETTERS = 10, 14

# Format and meaning of each column of the table of classes.
COLUMNS = {
    "class": ("text", "Name of the class, or its label where the file has no names."),
    "samples": ("count", "Samples of the class in the file."),
    "share right": ("fixed", "Share of these samples that the network classifies correctly."),
    "weight length": (
        "fixed",
        "Length of the weight vector of the class, relative to the longest.",
    ),
    "length": ("fixed", "Length of the mean feature of the class, relative to the longest."),
    "mean length": ("fixed", "Length of the mean feature of the class, relative to the longest."),
    "nearest class": ("text", "The other class whose vector points in the most similar direction."),
    "its cosine": (
        "fixed",
        "Cosine of the angle to it: 1 is the same direction, 0 is at right "
        "angles. Above 0.95 the two count as merged.",
    ),
    "state": (
        "text",
        "merged (cosine above 0.95), close (above 0.8), vanished (shorter than 1 % of "
        "the longest) or apart.",
    ),
    "predicted cosine": ("fixed", "Cosine of the same two classes in the Layer-Peeled Model."),
    "repeat": (
        "short",
        "How often to repeat the samples of the class so that the model just keeps "
        "all classes apart.",
    ),
    "class weight": ("short", "Factor of the losses of its samples in the cure by class weights."),
    "logit offset": (
        "short",
        "Number to add to its logit while training in the cure by logit adjustment.",
    ),
}


def classes_table(diagnosis: Any) -> pd.DataFrame:
    """Raw numbers, one row for each class, the smallest first.

    Args:
        diagnosis: as in :mod:`nc_jax.diagnosis.diagnosed`.
    """
    seen, model, nearest = diagnosis.seen, diagnosis.model, diagnosis.nearest
    rows = np.arange(len(nearest))
    names = diagnosis.names.tolist()
    own = "weight length" if diagnosis.has_classifiers else "length"
    table = {
        "class": names,
        "samples": seen.counts,
        "share right": seen.accuracy,
        own: seen.norms,
        "mean length": seen.mean_norms,
        "nearest class": [names[place] if place >= 0 else None for place in nearest],
        "its cosine": diagnosis.nearest_cosines,
        "state": diagnosis.states,
    }
    if not diagnosis.has_classifiers:
        del table["mean length"]
    if model is not None:
        predicted = np.where(nearest >= 0, model.cosines[rows, nearest], np.nan)
        table |= {"predicted cosine": predicted, "repeat": model.oversampling}
    for cure in diagnosis.cures:
        column = "class weight" if cure.cure == "class-weights" else "logit offset"
        table[column] = cure.parameters
    return pd.DataFrame(table).sort_values("samples", kind="stable")


def class_columns(table: pd.DataFrame) -> list[Column]:
    """What the columns of :func:`classes_table` hold."""
    return [Column(name, COLUMNS[name][1], COLUMNS[name][0]) for name in table.columns]


def draw_diagnosis(diagnosis: Any) -> Figure:
    """Cosines seen and predicted, classes by size, and the way to collapse."""
    seen, model = diagnosis.seen, diagnosis.model
    order = np.argsort(-seen.counts, kind="stable")
    shown = cosine_panels(diagnosis)
    width = len(shown) + (1 if model is not None else 0)
    figure, axes = new_figure(1, width, 3.2 * width + 0.8, 3.2, False, False)
    for axis, (title, cosines) in zip(axes[0], shown.items(), strict=False):
        picture = axis.imshow(cosines[np.ix_(order, order)], vmin=-1, vmax=1, cmap="PuOr_r")
        axis.set_title(f"cosines, {title}")
        _name_axes(axis, diagnosis.names[order])
        figure.colorbar(picture, ax=axis, shrink=0.8)
    if model is not None:
        _draw_path(axes[0, width - 1], seen, model)
        legend_outside(figure, axes[0, width - 1], columns=3)
    return figure


def cosine_panels(diagnosis: Any) -> dict[str, np.ndarray]:
    """Matrices of cosines [K, K] by what they are."""
    panels = {"measured": diagnosis.seen.cosines}
    if diagnosis.model is not None:
        panels["Layer-Peeled Model"] = diagnosis.model.cosines
    if diagnosis.settled is not None:
        panels["weight decay alone"] = diagnosis.settled.cosines
    return panels


def _name_axes(axis: Axes, names: np.ndarray) -> None:
    ticks = np.unique(np.linspace(0, len(names) - 1, min(len(names), TICKS)).astype(int))
    # Not as mathematics, which dollar signs would begin.
    labels = [str(name)[:LETTERS].replace("$", r"\$") for name in names[ticks]]
    long = max(map(len, labels)) > 3
    axis.set_xticks(ticks, labels, rotation=90 if long else 0)
    axis.set_yticks(ticks, labels)
    axis.set_xlabel("class, from the largest")
    axis.set_ylabel("class, from the largest")


def _draw_path(axis: Axes, seen: Any, model: Any) -> None:
    if len(model.path):
        axis.plot(model.path[:, 0], model.path[:, 1], color=PALETTE[0], label="model")
    axis.plot(model.ratio, smallest_cosine(seen), "o", color=PALETTE[1], label="measured")
    axis.axvline(model.ratio, color=PALETTE[1], linewidth=1)
    if np.isfinite(model.collapse_ratio):
        axis.axvline(model.collapse_ratio, color="0.5", linestyle=":", label="$R_0$")
    axis.set_xscale("log")
    axis.set_ylim(-1.05, 1.05)
    axis.set_xlabel("largest over smallest class")
    axis.set_ylabel("cosine of the two smallest")


def smallest_cosine(seen: Any) -> float:
    """The measured cosine of the two smallest classes."""
    first, second = np.argsort(seen.counts, kind="stable")[:2]
    return float(seen.cosines[first, second])
