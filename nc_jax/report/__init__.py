"""The output of a study: tables, figures and provenance."""

from nc_jax.report.commands import as_started, program, run_command
from nc_jax.report.figures import PALETTE, legend_outside, new_figure, plain_ticks, save_figure
from nc_jax.report.files import prepare_folder, write_atomically
from nc_jax.report.grids import draw_lines, draw_maps, export_dataset
from nc_jax.report.head import draw_head, head_tables
from nc_jax.report.options import flag, require_distinct, require_numbers, require_range, shown
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

__all__ = [
    "PALETTE",
    "as_started",
    "draw_head",
    "draw_lines",
    "draw_maps",
    "export_dataset",
    "flag",
    "head_tables",
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
    "require_distinct",
    "require_numbers",
    "require_range",
    "run_command",
    "save_figure",
    "shown",
    "write_atomically",
    "write_provenance",
    "write_report",
    "write_summary",
    "write_table",
]
