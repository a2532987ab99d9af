"""Columns of a table with what they hold and how their numbers are written."""

import math
from typing import Any, NamedTuple

import pandas as pd


class Column(NamedTuple):
    """A column of raw numbers or texts.

    Attributes:
        name: as it stands in the data frame.
        text: one line that says what it holds.
        digits: format of its numbers: 'text', 'count', 'fixed' (3 decimals) or 'short'
            (4 digits).
    """

    name: str
    text: str
    digits: str


def formatted(frame: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """The frame as texts; nothing where a number is NaN."""
    return pd.DataFrame(
        {column.name: [_cell(v, column.digits) for v in frame[column.name]] for column in columns}
    )


def _cell(value: Any, digits: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if digits == "text":
        return str(value)
    return (
        f"{value:,.0f}" if digits == "count" else f"{value:{'.3f' if digits == 'fixed' else '.4g'}}"
    )
