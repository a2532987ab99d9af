"""The files of a diagnosis: report in Markdown, figure, HTML page, and all rows as CSV."""

from pathlib import Path
from typing import Any

import pandas as pd

from nc_jax.files import write_atomically
from nc_jax.report.columns import formatted
from nc_jax.report.diagnosis import class_columns, classes_table, draw_diagnosis
from nc_jax.report.figures import save_figure
from nc_jax.report.head import TOKEN_COLUMNS, bins_table, draw_head, tokens_table, with_nearest
from nc_jax.report.page import Page, Words, write_page
from nc_jax.report.page.writing import number
from nc_jax.report.tables import write_report

# Number of rows in the table of classes or tokens of the Markdown report, smallest first.
SHOWN = 20


def write_diagnosis(folder: Path, diagnosis: Any, page: Page) -> dict[str, pd.DataFrame]:
    """Writes the report on features and labels.

    Args:
        folder: the folder in which it is written.
        diagnosis: as in :mod:`nc_jax.diagnosis.diagnosed`.
        page: of :func:`nc_jax.report.diagnosis_page`.

    Returns:
        The tables of the Markdown report by title.

    Raises:
        OSError: the folder cannot be written.
    """
    table = classes_table(diagnosis)
    smallest = formatted(table.head(SHOWN), class_columns(table))
    tables = {
        f"The smallest classes, at most {SHOWN}": smallest,
        "Measures": measures_table(page.words.measures),
    }
    save_figure(draw_diagnosis(diagnosis), folder, "diagnosis")
    write_page(folder / "report.html", page)
    _write_texts(folder, page.words, "Cosines", tables, table)
    return tables


def write_head_diagnosis(
    folder: Path, archive: Any, seen: Any, model: Any, by: str, page: Page
) -> dict[str, pd.DataFrame]:
    """Writes the report on a head.

    Args:
        folder: the folder in which it is written.
        archive: has classifiers, counts and names.
        seen: what was measured, as in :mod:`nc_jax.diagnosis.head`.
        model: a prediction, or None.
        by: the name of the prediction.
        page: of :func:`nc_jax.report.head_page`.

    Returns:
        The tables of the Markdown report by title.

    Raises:
        OSError: the folder cannot be written.
    """
    table = tokens_table(archive, seen)
    # Tokens that never occur are at the end of the table.
    known = min(SHOWN, int((archive.counts > 0).sum()))
    rarest = with_nearest(table.head(known), archive)
    tables = {
        "Rows by frequency": bins_table(seen.bins),
        f"The rarest tokens that were seen, at most {SHOWN}": formatted(rarest, TOKEN_COLUMNS),
        "Measures": measures_table(page.words.measures),
    }
    save_figure(draw_head(archive.counts, seen, model, by), folder, "diagnosis")
    write_page(folder / "report.html", page)
    _write_texts(folder, page.words, "Lengths and cosines against counts", tables, table)
    return tables


def _write_texts(
    folder: Path,
    words: Words,
    picture: str,
    tables: dict[str, pd.DataFrame],
    rows: pd.DataFrame,
) -> None:
    """``report.md``, and all rows in ``classes.csv``."""
    lines = {heading: [one.text for one in found] for heading, found in words.parts.items()}
    if words.advice:
        lines["How to use a cure"] = [
            f"{advice.title}, {advice.strength}. {advice.text} {_numbers(advice)}"
            for advice in words.advice
        ]
    write_report(folder, words.title, words.verdict.text, lines, picture, tables)
    csv = rows.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_atomically(folder / "classes.csv", lambda file: file.write_text(csv, encoding="utf-8"))


def _numbers(advice: Any) -> str:
    if len(advice.values) > SHOWN:
        return f"The {advice.vector} of all classes are in classes.csv and on the page."
    vector = ", ".join(f"{value:.4g}" for value in advice.values)
    return f"The {advice.vector}, in the order of the labels: [{vector}]"


def measures_table(measures: list[Any]) -> pd.DataFrame:
    """Measures, formatted for reading."""
    return pd.DataFrame(
        {
            "measure": [measure.name for measure in measures],
            "value": [number(measure.value) for measure in measures],
            "in full collapse": [measure.ideal or "–" for measure in measures],
            "what it says": [measure.meaning for measure in measures],
        }
    )
