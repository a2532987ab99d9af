"""Figures of publication quality: one style, legends outside the panels, PNG and SVG.

They are drawn without pyplot: the backend and the open figures of a session stay as they are,
and no display is needed.
"""

from pathlib import Path
from typing import Any

from nc_jax.files import write_atomically

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatterMathtext
except ImportError as error:
    raise ImportError(
        "nc_jax.report needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error

# The colours of Okabe and Ito, which readers with colour blindness can distinguish.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

STYLE: Any = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "nc_jax",
}


def new_figure(
    rows: int, columns: int, width: float, height: float, share_x: Any = True, share_y: Any = True
) -> tuple[Figure, Any]:
    """A figure in the project's style, which a notebook shows if it is a cell's last line.

    Args:
        rows: number of rows of panels.
        columns: number of columns of panels.
        width: width in inches.
        height: height in inches.
        share_x: which panels share their horizontal axis: True for all, False,
            'row' or 'col'.
        share_y: the same for the vertical axis.

    Returns:
        The figure, and its axes as an array [rows, columns].
    """
    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False)


def legend_outside(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend for the whole figure, below its panels, with as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    while True:
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()
        columns -= 1


class _PlainLogarithm(LogFormatterMathtext):
    """Labels the same ticks as its parent class, with plain numbers."""

    def __call__(self, x: float, pos: Any = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_ticks(axes: Axes) -> None:
    """Labels a logarithmic vertical axis with 0.2, 0.3 instead of 2×10⁻¹, 3×10⁻¹."""
    axes.yaxis.set_major_formatter(_PlainLogarithm())
    axes.yaxis.set_minor_formatter(_PlainLogarithm(labelOnlyBase=False))


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Writes ``folder/name.png`` (200 dots per inch) and ``folder/name.svg``.

    Raises:
        OSError: the folder cannot be written.
    """
    # The layout takes longer than drawing: it is computed once, at the resolution of the PNG.
    figure.set_dpi(200)
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        write_atomically(
            folder / f"{name}.{suffix}",
            lambda file, metadata=metadata: figure.savefig(file, dpi=200, metadata=metadata),
        )
