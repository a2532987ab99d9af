"""Speed of a complete sweep, from its grid to Parquet, compared with the solver, in one run.

A million two-group Layer-Peeled Models: first the solver alone on points in memory,
in chunks of the same size and with the same outputs, one device for each core as in
``studies/sweep.py``; then grid, solver, devices and store together, from reading an empty
store to the last stored row. Runs of both kinds follow each other, and the share is the
median of their ratios. Finally the cost of resuming a run with many finished parts.

    python -m benchmarks.sweeps
    python -m benchmarks.sweeps --preset quick
"""

import dataclasses
import resource
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from nc_jax import report
from nc_jax.specs import parse_spec
from nc_jax.sweeps import (
    Block,
    Plan,
    Store,
    linspace,
    run_sweep,
    usable_devices,
    use_every_core,
)
from nc_jax.sweeps.chunks import balanced
from nc_jax.sweeps.engine import ChunkSolver


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    side: int = 1000
    """Number of ratios and of budgets; the number of points is its square."""
    chunk: int = 32_768
    """Largest number of points of a chunk on one core; all chunks are about equally long."""
    parts: int = 10_000
    """Number of finished parts that a resumed run reads."""
    repeats: int = 15
    """Number of timed runs, each of both kinds in turn; medians are reported."""
    out: Path = Path("results/benchmarks/sweeps")
    """Folder in which the results are written."""


PRESETS = {"default": Config(), "quick": Config(side=60, chunk=500, parts=50, repeats=1)}
OUTPUTS = ["status", "phase", "gap", "objective", "minority_cosine", "majority_cosine"]


def time_points(config: Config) -> list[dict[str, float | str]]:
    """Times the solver alone and the complete sweep alternately."""
    axes = {
        "budget": {"linspace": [0.25, 4.0, config.side]},
        "ratio": {"logspace": [1.0, 1e4, config.side]},
    }
    model = {"majority": 5, "minority": 5}
    chunk = balanced(config.chunk, config.side**2, len(usable_devices()))
    given = {"outputs": OUTPUTS, "chunk": chunk, "model": model, "axes": axes}
    spec = parse_spec(given)
    block = spec.plan.blocks[0]
    solver = ChunkSolver(spec.experiment, block.choices, chunk, 0)
    ready = [solver.inputs(block.columns(place)) for place in range(block.num_chunks)]
    jax.block_until_ready(solver.work(*ready[0]))
    bare, whole = [], []
    # The first run compiles the program of the sweep.
    for _ in range(1 + config.repeats):
        start = time.perf_counter()
        for arguments in ready:
            jax.block_until_ready(solver.work(*arguments))
        bare.append(len(ready) * solver.length / (time.perf_counter() - start))
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            outcome = run_sweep(store.prepare(spec.plan), spec.experiment, store)
        whole.append(outcome.points / outcome.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    speeds = {
        "solver alone": (bare[1:], bare[1:]),
        "grid, solver and store": (whole[1:], bare[1:]),
        "the same, its compilation included": (whole[:1], bare[:1]),
    }
    return [
        {
            "what": what,
            "points/s": float(np.median(speed)),
            "share of the solver's": float(np.median(np.divide(speed, alone))),
            "process at most, MB": peak,
        }
        for what, (speed, alone) in speeds.items()
    ]


def time_resume(config: Config) -> dict[str, float | str]:
    """Times a run in which everything is already done."""
    plan = Plan({}, (Block({}, linspace("x", 0, 1, 10 * config.parts), 10),))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        plan = store.prepare(plan)
        for chunk in range(config.parts):
            store.write(plan, 0, chunk, plan.blocks[0].columns(chunk))
        start = time.perf_counter()
        outcome = run_sweep(plan, lambda choices: lambda columns, keys: {}, store)
        elapsed = time.perf_counter() - start
    if outcome.found != config.parts:
        raise RuntimeError(f"{outcome.found} of {config.parts} parts were found")
    return {"what": f"resume over {config.parts:,} finished parts", "seconds": elapsed}


def main(config: Config) -> None:
    """Runs the benchmark, stores and prints the table."""
    begin = time.perf_counter()
    if config.side < 2 or config.repeats < 1:
        raise ValueError("--side must be at least 2 and --repeats positive")
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    use_every_core()
    table = pd.DataFrame([*time_points(config), time_resume(config)])
    report.write_table(table, config.out)
    shown = table.copy()
    for name in shown.columns[1:]:
        shown[name] = ["–" if np.isnan(value) else f"{value:,.4g}" for value in table[name]]
    report.write_summary(shown, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - begin)
    report.print_table(shown, f"{config.side**2:,} two-group Layer-Peeled Models")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
