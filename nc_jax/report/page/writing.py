"""Renders the data of a page as one HTML file that contains its styles and scripts."""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from nc_jax.files import write_atomically
from nc_jax.report.page.content import Chart, Page, Rows

try:
    from jinja2 import BaseLoader, Environment, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise ImportError(
        "nc_jax.report needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error

SCRIPTS = ("common.js", "table.js", "chart.js", "heat.js")


def write_page(path: Path, page: Page) -> None:
    """Writes a page.

    Raises:
        OSError: the folder cannot be written.
    """
    text = render_page(page)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def render_page(page: Page) -> str:
    """The page as HTML; all text of the data is escaped."""
    environment = Environment(loader=BaseLoader(), autoescape=True, undefined=StrictUndefined)
    environment.filters["number"] = number
    template = environment.from_string(_asset("page.html"))
    data = {
        "charts": [_chart(chart) for chart in page.charts],
        "heat": page.heat._asdict(),
        "table": _table(page.rows),
    }
    return template.render(
        page=page,
        style=Markup(_asset("page.css")),
        script=Markup("\n".join(_asset(name) for name in SCRIPTS)),
        data=Markup(script_data(data)),
    )


def _asset(name: str) -> str:
    return files("nc_jax.report.page").joinpath(name).read_text(encoding="utf-8")


def number(value: float) -> str:
    """The number with five digits, or a word if there is none."""
    if math.isnan(value):
        return "not known"
    return "never" if math.isinf(value) else f"{value:.5g}"


def script_data(data: Any) -> str:
    """JSON for a script element, without a '<' that could end the element."""
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _plain(value: Any) -> Any:
    """The data as lists, texts and numbers of six digits; None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _chart(chart: Chart) -> dict[str, Any]:
    parts = {name: [one._asdict() for one in getattr(chart, name)] for name in ("series", "marks")}
    return chart._asdict() | parts


def _table(rows: Rows) -> dict[str, Any]:
    return {
        "columns": [column._asdict() for column in rows.columns],
        "rows": rows.frame.to_numpy(object).tolist(),
        "states": rows.states,
        "unit": rows.unit,
        "total": rows.total,
    }
