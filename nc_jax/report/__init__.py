"""The output of a study: tables, figures and provenance."""

from nc_jax.files import prepare_folder, write_atomically
from nc_jax.report.classes_page import diagnosis_page
from nc_jax.report.commands import as_started, program, run_command
from nc_jax.report.figures import PALETTE, legend_outside, new_figure, plain_ticks, save_figure
from nc_jax.report.grids import draw_lines, draw_maps, export_dataset
from nc_jax.report.options import flag, require_distinct, require_numbers, require_range, shown
from nc_jax.report.page import Page, render_page
from nc_jax.report.progress import map_with_bar, points_bar
from nc_jax.report.provenance import write_provenance
from nc_jax.report.tables import (
    markdown,
    print_table,
    read_table,
    write_report,
    write_summary,
    write_table,
)
from nc_jax.report.tokens_page import head_page
from nc_jax.report.written import write_diagnosis, write_head_diagnosis

__all__ = [
    "PALETTE",
    "Page",
    "as_started",
    "diagnosis_page",
    "draw_lines",
    "draw_maps",
    "export_dataset",
    "flag",
    "head_page",
    "legend_outside",
    "map_with_bar",
    "markdown",
    "new_figure",
    "plain_ticks",
    "points_bar",
    "prepare_folder",
    "print_table",
    "program",
    "read_table",
    "render_page",
    "require_distinct",
    "require_numbers",
    "require_range",
    "run_command",
    "save_figure",
    "shown",
    "write_atomically",
    "write_diagnosis",
    "write_head_diagnosis",
    "write_provenance",
    "write_report",
    "write_summary",
    "write_table",
]
