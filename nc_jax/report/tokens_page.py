"""The page of a head of many rows with token counts."""

import numpy as np
import pandas as pd

from nc_jax.diagnosis import (
    HeadArchive,
    HeadBins,
    HeadMeasured,
    HeadPredicted,
    by_part,
    head_findings,
    head_measures,
    head_verdict,
)
from nc_jax.report.head import TOKEN_COLUMNS, bins_table, tokens_table, with_nearest
from nc_jax.report.page import Chart, HeatMap, Page, Rows, Series, Words, heat_map

# Largest number of tokens in the table of the page.
MOST = 1000


def head_page(
    name: str, archive: HeadArchive, seen: HeadMeasured, model: HeadPredicted | None, by: str
) -> Page:
    """Makes the content of the page.

    Args:
        name: the name of the head, such as that of its file.
        archive: classifiers, counts and names.
        seen: what was measured of them.
        model: a prediction, or None.
        by: the name of its model.
    """
    words = Words(
        f"Diagnosis of the head {name}",
        head_verdict(archive, seen),
        by_part(head_findings(archive, seen, model, by)),
        [],
        head_measures(seen, model),
    )
    rows, width = archive.classifiers.shape
    source = f"{rows:,} rows of {width:,} dimensions; {archive.counts.sum():,.0f} tokens of text"
    tables = {"Rows by frequency": bins_table(seen.bins)}
    charts, heat = _charts(seen, model, by), _heat(seen.bins)
    rows_table = token_rows(archive, tokens_table(archive, seen))
    return Page(words, source, charts, heat, rows_table, tables)


def _charts(seen: HeadMeasured, model: HeadPredicted | None, by: str) -> list[Chart]:
    """Lengths and cosines over the bins of tokens that were seen."""
    bins = seen.bins
    known = bins.least > 0
    centres = np.sqrt(bins.least[known] * bins.most[known])

    def measured(values: np.ndarray) -> Series:
        points = np.stack([centres, values[known]], axis=1)
        return Series("mean of a bin of tokens", points, "both", 0)

    lengths, cosines = [measured(bins.lengths)], [measured(bins.cosines)]
    if model is not None:
        order = np.argsort(model.counts)
        drawn = model.lengths[order] / max(seen.longest, 1e-30)
        name = f"predicted by {by}"
        # A zero row cannot be drawn on a logarithmic axis.
        points = np.stack([model.counts[order], np.where(drawn > 0, drawn, np.nan)], axis=1)
        lengths.append(Series(name, points, "line", 1))
        paired = order[np.isfinite(model.cosines[order])]
        points = np.stack([model.counts[paired], model.cosines[paired]], axis=1)
        cosines.append(Series(name, points, "line", 1))
    across = "Times in the text (count)"
    return [
        Chart(
            "Are the rows of rare tokens shorter?",
            "Mean length of the rows, relative to the longest, against how often their tokens "
            "occur. A short row gives its token a low score in every context.",
            across,
            "Length relative to the longest row",
            lengths,
            [],
            log_y=True,
        ),
        Chart(
            "Do the rows of rare tokens point the same way?",
            "Mean cosine between the rows of tokens that occur about equally often. Near 1 the "
            "model cannot tell such tokens from one another.",
            across,
            "Mean cosine between rows",
            cosines,
            [],
        ),
        Chart(
            "How near is the nearest other row?",
            "Mean cosine of a row to the nearest other row of the whole head.",
            across,
            "Cosine to the nearest row",
            [measured(bins.nearest)],
            [],
        ),
    ]


def _heat(bins: HeadBins) -> HeatMap:
    names = [
        f"{least:,.0f}–{most:,.0f}" if most > least else f"{least:,.0f}"
        for least, most in zip(bins.least, bins.most, strict=True)
    ]
    return heat_map(
        "Which frequencies point the same way?",
        "Rows are grouped by how often their tokens occur in the text (the counts at the axes). "
        "Each cell is the mean cosine between the rows of two groups; on the diagonal, between "
        "the rows of one group.",
        names,
        [f"{number:,} token{'' if number == 1 else 's'}" for number in bins.tokens],
        bins.least,
        {"measured": bins.between},
    )


def token_rows(archive: HeadArchive, table: pd.DataFrame) -> Rows:
    """The sortable table: rows that merged or vanished first, then the rarest."""
    troubled = (table["state"] != "apart").to_numpy()
    order = np.argsort(~troubled, kind="stable")[:MOST]
    chosen = with_nearest(table.iloc[np.sort(order)], archive)
    text = "Click on the name of a column to sort by it."
    if len(table) > MOST:
        text += (
            f" The page contains {MOST:,} tokens: first those whose rows merged or vanished, "
            "then the rarest of the others; nc-jax diagnose writes all of them to a CSV file."
        )
    return Rows("Tokens", text, "tokens", TOKEN_COLUMNS, chosen, "state", len(table))
