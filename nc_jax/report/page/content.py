"""What a page shows, as data."""

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
        color: which of the page's colours, 0…4.
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
        text: one or two sentences below it.
        x_label, y_label: what the axes hold.
        series: curves and dots.
        marks: vertical lines.
        log_y: a logarithmic vertical axis in place of cosines from −1 to 1.
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
        text: sentences below it.
        rows: [K] what a row is called.
        notes: [K] what is said of it beside its name.
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
        text: sentences below it.
        unit: what a row is, in the plural.
        columns: one for each column of the frame.
        frame: raw numbers.
        states: column whose values the reader can choose from.
        total: rows there are in all, of which the frame may hold a part.
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
