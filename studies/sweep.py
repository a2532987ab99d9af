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

Time on two CPU cores: 7 s (ratio_budget.toml).
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Literal

import jax
import tyro

from nc_jax import report
from nc_jax.specs import Cluster, Spec, compute, read_spec
from nc_jax.sweeps import Outcome, Store, stop_on_signals, use_every_core
from nc_jax.sweeps.machines import share_of

EXAMPLES = Path(__file__).parent / "specs"


@dataclasses.dataclass(frozen=True)
class Options:
    """The command, the sweep and where to compute and store it."""

    command: tyro.conf.Positional[
        Literal["plan", "run", "resume", "status", "export", "plot", "aggregate"]
    ] = tyro.MISSING
    """What to do; see the list above."""
    spec: tyro.conf.Positional[Path] = tyro.MISSING
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


def run(spec: Spec, store: Store, options: Options) -> int:
    """Computes what is missing; 0 if all is done, 1 after failures, 130 if interrupted."""
    if options.command == "resume" and store.plan() is None:
        raise FileNotFoundError(f"no sweep in {store.address}; use run")
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


def plot(spec: Spec, store: Store, options: Options) -> Path:
    """Draws a figure of one output, with provenance."""
    start = time.perf_counter()
    chosen = options.over, options.cells, options.output, options.to
    to = report.draw_store(spec, store, *chosen)
    if not (to.parent / "provenance.json").exists():
        # A sweep writes it when it is complete; one that was stopped can be drawn before.
        report.write_provenance(to.parent, options, time.perf_counter() - start)
    return to


def main(options: Options) -> int:
    """Runs one command and returns the exit code."""
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    report.require_declared(options)
    example = EXAMPLES / options.spec
    spec = read_spec(example if example.exists() and not options.spec.exists() else options.spec)
    store = Store(options.store or spec.store)
    match options.command:
        case "plan":
            report.print_plan(spec, store)
        case "run" | "resume":
            return run(spec, store, options)
        case "status":
            return 0 if report.print_status(spec, store) else 1
        case "export":
            to = options.to or Path("table.csv")
            report.export_store(store, to)
            print(to)
        case "aggregate":
            to = options.to or Path("aggregate.csv")
            report.export_cells(spec, store, options.over, options.cells, options.output, to)
            print(to)
        case "plot":
            print(plot(spec, store, options))
    return 0


if __name__ == "__main__":
    report.run_command({"default": Options()}, main, __doc__ or "")
