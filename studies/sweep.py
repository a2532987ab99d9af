"""Sweeps of any surrogate over any axes, from a TOML file to one table.

    plan     shows points, chunks and an estimate of the time from a timed sample
    run      computes what the store lacks; after an interruption it resumes
    resume   the same as run, for a store that already exists
    status   shows what the store holds
    export   writes the table as CSV, Parquet or Markdown
    plot     draws an output over one axis (lines) or two axes (a map)
    aggregate  writes number, mean, least and largest value of outputs in the cells of a coarse
             map, for stores that are larger than memory

    python studies/sweep.py run ratio_budget.toml
    python studies/sweep.py run SPEC.toml --shard 0/4        # on each of four machines
    python studies/sweep.py run SPEC.toml --ray local        # or the address of a cluster
    python studies/sweep.py plot ratio_budget.toml --output minority_cosine
    python studies/sweep.py plot hundred_million.toml --output minority_cosine --cells 200

The file format is described in ``nc_jax/specs/reading.py``. Four examples come with the study
and are found by their names: ratio_budget.toml, long_tailed.toml, weight_decay.toml and
hundred_million.toml, which can be stopped (Ctrl-C) and drawn at any time.

Time on two CPU cores: 15 s (ratio_budget.toml).
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import pandas as pd
import pyarrow as pa
import tyro
from matplotlib.figure import Figure
from pyarrow import dataset

from nc_jax import report
from nc_jax.specs import (
    Cluster,
    Spec,
    chosen_axes,
    coarse_table,
    compute,
    other_code,
    read_spec,
)
from nc_jax.sweeps import (
    Estimates,
    Outcome,
    Store,
    planned_rows,
    stop_on_signals,
    stored_rows,
    usable_devices,
    use_every_core,
)
from nc_jax.sweeps.machines import share_of

EXPORTS = (".csv", ".parquet", ".md")
EXAMPLES = Path(__file__).parent / "specs"


@dataclasses.dataclass(frozen=True)
class Options:
    """The command, the sweep and where to compute and store it."""

    command: tyro.conf.Positional[
        Literal["plan", "run", "resume", "status", "export", "plot", "aggregate"]
    ]
    """What to do; see the list above."""
    spec: tyro.conf.Positional[Path]
    """The TOML file of the sweep, or the name of an example."""
    store: str | None = None
    """Folder or address (s3://, gs://, memory://) of the store; overrides the one in the file."""
    shard: str | None = None
    """i/n: this process computes every n-th chunk; by default from Slurm or jax.distributed."""
    ray: str | None = None
    """'local' for a cluster on this machine, or the address of one to join."""
    cpus: report.NonNegative[float] = 1.0
    """CPU cores that each Ray task reserves."""
    gpus: report.NonNegative[float] = 0.0
    """GPUs that each Ray task reserves."""
    replace: bool = False
    """If the file or the code has changed, discard the earlier sweep in the store."""
    any_code: bool = False
    """If the code has changed, continue the sweep: its table then holds rows of both versions."""
    to: Path | None = None
    """File to write; export: .csv, .parquet, .md (default table.csv); plot: .png (the store);
    aggregate: .csv, .parquet, .md (default aggregate.csv)."""
    output: str | None = None
    """Output to plot (by default the first one) or to aggregate (by default all)."""
    over: tuple[str, ...] = ()
    """One or two axes to plot or aggregate over; by default the last ones of the file."""
    cells: tuple[int, ...] = ()
    """Number of cells of these axes, or one number for both; plot then draws means over
    cells, and over all other axes, without loading the table. aggregate: 100."""


def show_plan(spec: Spec, store: Store) -> int:
    """Prints points, chunks, and the estimated time."""
    before = store.plan()
    rows = pd.DataFrame(planned_rows(spec.plan, Estimates(spec.experiment)))
    shown = rows.assign(**{"estimate, s": rows["estimate, s"].map("{:.3g}".format)})
    report.print_table(shown, f"{spec.plan.num_points:,} points into {store.address}")
    done = sum(before.size(*key) for key in store.scan(before).parts) if before else 0
    total, where = rows["estimate, s"].sum(), f"{len(usable_devices())} device(s)"
    print(f"{done:,} points are already stored; all points take about {total:.3g} s on {where}")
    for line in other_code(spec, store):
        print(line)
    return 0


def run(spec: Spec, store: Store, options: Options) -> int:
    """Computes what is missing; 0 if all is done, 1 after failures, 130 if interrupted."""
    cluster = Cluster(options.ray, options.cpus, options.gpus) if options.ray else None
    chosen = share_of(options.shard), options.replace, options.any_code, cluster
    try:
        outcome = compute(spec, store, *chosen, stop_on_signals(), report.points_bar)
    except OSError as error:
        raise OSError(f"{error}; what was written is whole, {resume_line(options)}") from error
    return conclude(store, options, outcome)


def conclude(store: Store, options: Options, outcome: Outcome) -> int:
    """Reports the outcome and returns the exit code."""
    for name in outcome.damaged:
        print(f"{name} was truncated or altered; computed again", file=sys.stderr)
    for name in outcome.foreign:
        print(f"{name} does not belong to this sweep; left alone", file=sys.stderr)
    for line in outcome.failed:
        print(f"failed: {line}", file=sys.stderr)
    speed = outcome.points / max(outcome.seconds, 1e-9)
    print(
        f"{outcome.points:,} points in {outcome.chunks} chunks, {outcome.seconds:.1f} s "
        f"({speed:,.0f} points/s); {outcome.found} chunks were already stored; {store.address}"
    )
    if outcome.interrupted:
        print(f"stopped; {resume_line(options)}")
        return 130
    if outcome.failed:
        print(f"{len(outcome.failed)} chunks failed; run again to try them again", file=sys.stderr)
        return 1
    if store.local and options.shard is None:
        report.write_provenance(Path(store.root), options, outcome.seconds)
    return 0


def resume_line(options: Options) -> str:
    """Tells how to resume."""
    where = f" --store {options.store}" if options.store else ""
    return f"to resume: {report.program()} resume {options.spec}{where}"


def status(spec: Spec, store: Store) -> int:
    """Prints what the store holds; 0 if it is complete, 1 if not."""
    plan = store.plan()
    if plan is None:
        raise FileNotFoundError(f"no sweep in {store.address}")
    scan = store.scan(plan)
    report.print_table(pd.DataFrame(stored_rows(plan, scan)), f"{store.address}")
    for kind in ("damaged", "foreign"):
        for name in getattr(scan, kind):
            print(f"{kind}: {name}")
    for note in store.failures():
        print(f"failed: chunk {note['chunk']} of {note['choices']}: {note['error']}")
    for line in other_code(spec, store):
        print(line)
    return 0 if len(scan.parts) == plan.num_chunks else 1


def write(options: Options, default: str, table: Callable[[], Any]) -> Path:
    """Writes rows, which are made only if the file has a known kind; returns the file."""
    to = options.to or Path(default)
    if to.suffix not in EXPORTS:
        raise ValueError(f"--to must end in {', '.join(EXPORTS)}, got {to}")
    rows = table()
    report.prepare_folder(to.parent)
    report.export_dataset(rows, to)
    return to


def export(store: Store, options: Options) -> int:
    """Writes the whole table to one file."""
    print(write(options, "table.csv", store.dataset))
    return 0


def require_output(spec: Spec, options: Options) -> None:
    """ValueError if --output is not an output of the sweep."""
    if options.output is not None and options.output not in spec.experiment.outputs:
        raise ValueError(f"--output must be one of {', '.join(spec.experiment.outputs)}")


def write_aggregate(spec: Spec, store: Store, options: Options) -> int:
    """Writes the table of the cells."""
    require_output(spec, options)
    outputs = [options.output] if options.output else list(spec.experiment.outputs)

    def rows() -> Any:
        table = coarse_table(spec, store, options.over, options.cells, outputs)
        print(f"{table['points'].sum():,} points in {len(table):,} cells")
        return dataset.dataset(pa.Table.from_pandas(table, preserve_index=False))

    print(write(options, "aggregate.csv", rows))
    return 0


def plot(spec: Spec, store: Store, options: Options) -> int:
    """Draws a figure of one output."""
    start = time.perf_counter()
    require_output(spec, options)
    output = options.output or spec.experiment.outputs[0]
    over = chosen_axes(spec, options.over)
    if options.to is not None and options.to.suffix != ".png":
        raise ValueError(f"--to must end in .png, got {options.to}")
    if options.cells:
        rest = []
        table = coarse_table(spec, store, over, options.cells, [output])
        table = table.rename(columns={f"{output}_mean": output})
    else:
        rest = [name for name in spec.axes if name not in over]
        table = store.to_pandas([*spec.axes, output])
    to = options.to or Path(store.root if store.local else ".") / f"{output}.png"
    report.prepare_folder(to.parent)
    draw = report.draw_lines if len(over) == 1 else report.draw_maps
    figure: Figure = draw(table, list(over), rest, output)
    report.save_figure(figure, to.parent, to.stem)
    if not (to.parent / "provenance.json").exists():
        # A sweep writes it when it is complete; one that was stopped can be drawn before.
        report.write_provenance(to.parent, options, time.perf_counter() - start)
    print(to)
    return 0


def main(options: Options) -> int:
    """Runs one command and returns the exit code."""
    report.require_declared(options)
    example = EXAMPLES / options.spec
    spec = read_spec(example if example.exists() and not options.spec.exists() else options.spec)
    store = Store(options.store or spec.store)
    commands = {
        "plan": lambda: show_plan(spec, store),
        "run": lambda: run(spec, store, options),
        "resume": lambda: run(spec, store, options),
        "status": lambda: status(spec, store),
        "export": lambda: export(store, options),
        "plot": lambda: plot(spec, store, options),
        "aggregate": lambda: write_aggregate(spec, store, options),
    }
    if options.command == "resume" and store.plan() is None:
        raise FileNotFoundError(f"no sweep in {store.address}; use run")
    return commands[options.command]()


if __name__ == "__main__":
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    chosen = tyro.cli(
        Annotated[Options, tyro.conf.FlagConversionOff],
        prog=report.program(),
        description=report.as_started((__doc__ or "").strip()),
    )
    try:
        sys.exit(main(chosen))
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print(f"error: {str(error).strip()}", file=sys.stderr)
        sys.exit(2)
