"""What the store of a sweep holds: printed, exported, aggregated and drawn."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import dataset

from nc_jax.files import prepare_folder
from nc_jax.report.figures import save_figure
from nc_jax.report.grids import draw_lines, draw_maps, export_dataset
from nc_jax.report.tables import print_table
from nc_jax.specs import Spec, chosen_axes, coarse_table, other_code
from nc_jax.sweeps import Estimates, Store, planned_rows, stored_rows, usable_devices

EXPORTS = (".csv", ".parquet", ".md")


def print_plan(spec: Spec, store: Store) -> None:
    """Prints points, chunks, and the time that a timed sample lets expect."""
    before = store.plan()
    rows = pd.DataFrame(planned_rows(spec.plan, Estimates(spec.experiment)))
    shown = rows.assign(**{"estimate, s": rows["estimate, s"].map("{:.3g}".format)})
    print_table(shown, f"{spec.plan.num_points:,} points into {store.address}")
    done = sum(before.size(*key) for key in store.scan(before).parts) if before else 0
    total, where = rows["estimate, s"].sum(), f"{len(usable_devices())} device(s)"
    print(f"{done:,} points are already stored; all points take about {total:.3g} s on {where}")
    for line in other_code(spec, store):
        print(line)


def print_status(spec: Spec, store: Store) -> bool:
    """Prints what the store holds; returns whether it is complete.

    Raises:
        FileNotFoundError: the store is empty.
    """
    plan = store.plan()
    if plan is None:
        raise FileNotFoundError(f"no sweep in {store.address}")
    scan = store.scan(plan)
    print_table(pd.DataFrame(stored_rows(plan, scan)), f"{store.address}")
    for kind in ("damaged", "foreign"):
        for name in getattr(scan, kind):
            print(f"{kind}: {name}")
    for note in store.failures():
        print(f"failed: chunk {note['chunk']} of {note['choices']}: {note['error']}")
    for line in other_code(spec, store):
        print(line)
    return len(scan.parts) == plan.num_chunks


def export_store(store: Store, to: Path) -> None:
    """Writes the whole table to one file, a part at a time.

    Raises:
        ValueError: a file that does not end in one of EXPORTS.
        FileNotFoundError: the store is empty.
    """
    _export(store.dataset, to)


def export_cells(
    spec: Spec,
    store: Store,
    over: Sequence[str],
    cells: Sequence[int],
    output: str | None,
    to: Path,
) -> None:
    """Writes number, mean, least and largest value in the cells of one or two axes.

    Args:
        spec: the sweep.
        store: its table, which may be larger than memory.
        over: see :func:`nc_jax.specs.chosen_axes`.
        cells: see :func:`nc_jax.specs.coarse_table`.
        output: name of an output; by default all.
        to: the file.

    Raises:
        ValueError: an invalid argument, which is named as the option of the study.
        FileNotFoundError: the store is empty.
    """
    outputs = [_output(spec, output)] if output else list(spec.experiment.outputs)

    def rows() -> dataset.Dataset:
        table = coarse_table(spec, store, over, cells, outputs)
        print(f"{table['points'].sum():,} points in {len(table):,} cells")
        return dataset.dataset(pa.Table.from_pandas(table, preserve_index=False))

    _export(rows, to)


def draw_store(
    spec: Spec,
    store: Store,
    over: Sequence[str],
    cells: Sequence[int],
    output: str | None,
    to: Path | None,
) -> Path:
    """Draws an output over one axis as lines, or over two axes as maps.

    Args:
        spec: the sweep.
        store: its table.
        over: see :func:`nc_jax.specs.chosen_axes`.
        cells: if not empty, means over cells are drawn without loading the table, see
            :func:`nc_jax.specs.coarse_table`.
        output: name of an output; by default the first one.
        to: the file, by default inside the store.

    Returns:
        The file.

    Raises:
        ValueError: an invalid argument, which is named as the option of the study.
        FileNotFoundError: the store is empty.
    """
    output = _output(spec, output or spec.experiment.outputs[0])
    over = chosen_axes(spec, over)
    if to is not None and to.suffix != ".png":
        raise ValueError(f"--to must end in .png, got {to}")
    if cells:
        rest = []
        table = coarse_table(spec, store, over, cells, [output])
        table = table.rename(columns={f"{output}_mean": output})
    else:
        rest = [name for name in spec.axes if name not in over]
        table = store.to_pandas([*spec.axes, output])
    to = to or Path(store.root if store.local else ".") / f"{output}.png"
    prepare_folder(to.parent)
    draw = draw_lines if len(over) == 1 else draw_maps
    save_figure(draw(table, list(over), rest, output), to.parent, to.stem)
    return to


def _export(rows: Callable[[], dataset.Dataset], to: Path) -> None:
    """Writes rows, which are made only if the file has a known kind."""
    if to.suffix not in EXPORTS:
        raise ValueError(f"--to must end in {', '.join(EXPORTS)}, got {to}")
    made = rows()
    prepare_folder(to.parent)
    export_dataset(made, to)


def _output(spec: Spec, output: str) -> str:
    if output not in spec.experiment.outputs:
        raise ValueError(f"--output must be one of {', '.join(spec.experiment.outputs)}")
    return output
