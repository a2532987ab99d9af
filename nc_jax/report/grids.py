"""Tables over a grid of axes: lines, maps, and export of a table in many parts to one file."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
from matplotlib.figure import Figure

from nc_jax.files import write_atomically
from nc_jax.report.figures import PALETTE, legend_outside, new_figure
from nc_jax.report.tables import markdown

# Largest number of panels or lines of one figure; of more, evenly spaced ones are shown.
MOST_PANELS = 9
MOST_LINES = len(PALETTE)
MOST_MARKDOWN_ROWS = 10_000


def export_dataset(dataset: Any, path: Path) -> None:
    """Writes a pyarrow dataset as one .csv, .parquet or .md file, part by part.

    Raises:
        ValueError: too many rows for a Markdown table.
        OSError: the file cannot be written; an existing file is left unchanged.
    """
    if path.suffix == ".md":
        if dataset.count_rows() > MOST_MARKDOWN_ROWS:
            raise ValueError(
                f"{path.name} would have more than {MOST_MARKDOWN_ROWS:,} rows; "
                "use .csv or .parquet"
            )
        text = markdown(dataset.to_table().to_pandas())
        write_atomically(path, lambda file: file.write_text(text))
        return
    kinds = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}

    def write(file: Path) -> None:
        with kinds[path.suffix](str(file), dataset.schema) as writer:
            for batch in dataset.to_batches():
                writer.write_batch(batch)

    write_atomically(path, write)


def draw_lines(table: pd.DataFrame, over: list[str], rest: list[str], output: str) -> Figure:
    """An output over one axis, a line for each combination of the others."""
    figure, axes = new_figure(1, 1, 5.5, 3.6)
    panel, (name,) = axes[0, 0], over
    for color, (label, part) in zip(PALETTE, _parts(table, rest, MOST_LINES), strict=False):
        ordered = part.sort_values(name)
        panel.plot(ordered[name], ordered[output], color=color, label=label or output)
    _scale(panel.set_xscale, table[name])
    panel.set_xlabel(name)
    panel.set_ylabel(output)
    legend_outside(figure, panel, columns=2)
    return figure


def draw_maps(table: pd.DataFrame, over: list[str], rest: list[str], output: str) -> Figure:
    """An output over two axes, a panel for each combination of the others."""
    parts = _parts(table, rest, MOST_PANELS)
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    figure, axes = new_figure(rows, columns, 1.2 + 2.8 * columns, 0.9 + 2.3 * rows)
    values = np.asarray(table[output], float)
    finite = values[np.isfinite(values)]
    limits = (finite.min(), finite.max()) if finite.size else (0, 1)
    mesh = None
    for panel, (label, part) in zip(axes.flat, parts, strict=False):
        grid = part.pivot_table(index=over[0], columns=over[1], values=output, dropna=False)
        mesh = panel.pcolormesh(
            grid.columns, grid.index, np.asarray(grid, float), cmap="cividis",
            vmin=limits[0], vmax=limits[1], shading="nearest", rasterized=True,
        )  # fmt: skip
        panel.set_facecolor("0.85")
        panel.set_title(label)
        _scale(panel.set_yscale, table[over[0]])
        _scale(panel.set_xscale, table[over[1]])
    for panel in axes.flat[len(parts) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel(over[1])
    for panel in axes[:, 0]:
        panel.set_ylabel(over[0])
    if mesh is not None:
        figure.colorbar(mesh, ax=axes, label=f"{output} (grey: undefined)", shrink=0.9)
    return figure


def _parts(table: pd.DataFrame, rest: list[str], most: int) -> list[tuple[str, pd.DataFrame]]:
    """The table split by the other axes into at most ``most`` parts, evenly chosen."""
    levels = [np.unique(np.asarray(table[name])) for name in rest]
    combinations = list(itertools.product(*levels))
    chosen = np.unique(np.linspace(0, len(combinations) - 1, most).round().astype(int))
    parts = []
    for place in chosen if len(combinations) > most else range(len(combinations)):
        mask = np.ones(len(table), bool)
        for name, value in zip(rest, combinations[place], strict=True):
            mask &= np.asarray(table[name]) == value
        words = [
            f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
            for name, value in zip(rest, combinations[place], strict=True)
        ]
        if mask.any():
            parts.append((", ".join(words), table.loc[mask]))
    return parts


def _scale(setter: Any, column: Any) -> None:
    """Chooses a logarithmic scale if the values are spaced that way."""
    values = np.unique(np.asarray(column, float))
    if len(values) > 2 and values[0] > 0 and values[-1] / values[0] > 20:
        logs = np.diff(np.log(values))
        if np.ptp(logs) < np.ptp(np.diff(values)) / np.diff(values).mean() * logs.mean():
            setter("log")
