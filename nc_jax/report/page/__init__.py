"""A diagnosis as one HTML file that needs no network: text, tables, curves, heat maps."""

from nc_jax.report.page.content import Chart, HeatMap, Mark, Page, Rows, Series, Words
from nc_jax.report.page.heat import heat_map
from nc_jax.report.page.writing import render_page, write_page

__all__ = [
    "Chart",
    "HeatMap",
    "Mark",
    "Page",
    "Rows",
    "Series",
    "Words",
    "heat_map",
    "render_page",
    "write_page",
]
