"""The page of a diagnosis of features and labels."""

import numpy as np
import pandas as pd

from nc_jax.diagnosis import (
    Diagnosis,
    Measured,
    Predicted,
    by_part,
    cure_advice,
    findings,
    measures,
    verdict,
)
from nc_jax.report.diagnosis import (
    class_columns,
    classes_table,
    cosine_panels,
    smallest_cosine,
)
from nc_jax.report.page import Chart, HeatMap, Mark, Page, Rows, Series, Words, heat_map

# Largest number of classes in the table of the page, the smallest ones; classes.csv has all.
MOST = 5000


def diagnosis_page(name: str, diagnosis: Diagnosis) -> Page:
    """Makes the content of the page.

    Args:
        name: the name of the features, such as that of their file.
        diagnosis: their diagnosis.
    """
    words = Words(
        f"Diagnosis of {name}",
        verdict(diagnosis),
        by_part(findings(diagnosis)),
        cure_advice(diagnosis),
        measures(diagnosis),
    )
    seen, model = diagnosis.seen, diagnosis.model
    source = (
        f"{seen.counts.sum():,} samples of {len(seen.counts):,} classes, features of "
        f"{diagnosis.seen.width:,} dimensions"
    )
    charts = [path_chart(seen, model)] if model is not None and len(model.path) else []
    rows = class_rows(classes_table(diagnosis))
    return Page(words, source, charts, _heat(diagnosis), rows, {})


def path_chart(seen: Measured, model: Predicted) -> Chart:
    """The cosine of the two smallest classes against the imbalance ratio."""
    here = np.array([[model.ratio, smallest_cosine(seen)]])
    marks = [Mark("your data", model.ratio, 1)]
    if np.isfinite(model.collapse_ratio):
        marks.append(
            Mark(f"R0 = {model.collapse_ratio:.4g}, where merging begins", model.collapse_ratio, 4)
        )
    return Chart(
        "When do the smallest classes merge?",
        "The curve shows the cosine between the two smallest classes in the model, as the "
        "imbalance grows from none to beyond your data; where it reaches 1 the two have merged. "
        "The dot is your network." + _without_cosine(model.path),
        "Imbalance ratio: largest over smallest class",
        "Cosine of the two smallest classes",
        [Series("model", model.path, "line", 0), Series("measured", here, "dots", 1)],
        marks,
    )


def _without_cosine(path: np.ndarray) -> str:
    """Why the curve of ratios and cosines [P, 2] has no cosine at some ratios."""
    missing = np.isnan(path[:, 1])
    if not missing.any():
        return ""
    first = int(np.argmax(missing))
    why = "the model gives at least one of the two a weight vector of zero, which has no direction"
    if missing[first:].all():
        return f" The curve ends at a ratio of {path[first, 0]:.4g}: from there on, {why}."
    return f" Where the curve is interrupted, {why}."


def _heat(diagnosis: Diagnosis) -> HeatMap:
    what = "weight vectors" if diagnosis.has_classifiers else "mean features"
    counts = diagnosis.seen.counts
    panels = cosine_panels(diagnosis)
    grey = ""
    if any(np.isnan(cosines).any() for cosines in panels.values()):
        grey = " Grey cells have no cosine, because one of the two vectors is zero."
    return heat_map(
        "Which classes point the same way?",
        f"Each cell is the cosine between the {what} of two classes: 1 for the same direction, "
        f"0 for a right angle. Classes that the network keeps equally far apart all have "
        f"−{1 / (len(counts) - 1):.2g}. Blocks near 1 away from the diagonal are merged classes."
        + grey,
        [str(name) for name in diagnosis.names],
        [f"{count:,} sample{'' if count == 1 else 's'}" for count in counts],
        counts,
        panels,
    )


def class_rows(table: pd.DataFrame) -> Rows:
    """The sortable table."""
    text = "Click on the name of a column to sort by it."
    if len(table) > MOST:
        text += (
            f" The page contains the {MOST:,} smallest classes; nc-jax diagnose writes all of "
            "them to classes.csv."
        )
    return Rows(
        "All classes", text, "classes", class_columns(table), table.head(MOST), "state", len(table)
    )
