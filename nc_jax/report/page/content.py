"""The content of a page, as data."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nc_jax.report.columns import Column


class Series(NamedTuple):
    """Points of a chart.

    Attributes:
        name: for the legend.
        points: [P, 2]; a NaN breaks a line.
        style: 'line', 'dots' or 'both'.
        color: index of the page's colours, 0…4.
    """

    name: str
    points: np.ndarray
    style: str
    color: int


class Mark(NamedTuple):
    """A vertical line of a chart."""

    name: str
    x: float
    color: int


class Chart(NamedTuple):
    """Curves over a logarithmic horizontal axis.

    Attributes:
        title: heading.
        text: one or two sentences below the heading.
        x_label, y_label: titles of the axes.
        series: curves and dots.
        marks: vertical lines.
        log_y: whether the vertical axis is logarithmic; otherwise it holds cosines, −1 to 1.
    """

    title: str
    text: str
    x_label: str
    y_label: str
    series: list[Series]
    marks: list[Mark]
    log_y: bool = False


class HeatMap(NamedTuple):
    """Matrices of cosines over the same rows, in one or several orders.

    Attributes:
        title: heading.
        text: sentences below the heading.
        rows: [K] names of the rows.
        notes: [K] a short note on each row, shown beside its name.
        orders: each with a label, the rows in order, and where each cell begins there.
        panels: each with a title and, for each order, its matrix as text: the upper
            triangle in thousandths, see :func:`nc_jax.report.page.heat.encoded`.
    """

    title: str
    text: str
    rows: list[str]
    notes: list[str]
    orders: list[dict[str, Any]]
    panels: list[dict[str, Any]]


class Rows(NamedTuple):
    """The sortable table.

    Attributes:
        title: heading.
        text: sentences below the heading.
        unit: what the rows are, in the plural.
        columns: one for each column of the frame.
        frame: raw numbers.
        states: name of the column by which the reader can filter.
        total: number of all rows; the frame may contain only some of them.
    """

    title: str
    text: str
    unit: str
    columns: list[Column]
    frame: pd.DataFrame
    states: str
    total: int


class Words(NamedTuple):
    """The sentences of a report.

    Attributes:
        title: heading.
        verdict: level and text.
        parts: headings with their findings, each of a level and a text.
        advice: cures, ready to use.
        measures: name, value, ideal and meaning of each number.
    """

    title: str
    verdict: Any
    parts: dict[str, list[Any]]
    advice: list[Any]
    measures: list[Any]


class Page(NamedTuple):
    """A page.

    Attributes:
        words: its sentences.
        source: a line below the heading.
        charts: curves.
        heat: cosines.
        rows: the sortable table.
        tables: further small tables by title.
    """

    words: Words
    source: str
    charts: list[Chart]
    heat: HeatMap
    rows: Rows
    tables: dict[str, pd.DataFrame]
