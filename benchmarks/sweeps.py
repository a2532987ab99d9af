"""Speed of a complete sweep, from its grid to Parquet, compared with the solver, in one run.

A million two-group Layer-Peeled Models: first the solver alone on points in memory,
in chunks of the same size and with the same outputs; then grid, solver, devices and
store together, timed from the second stored chunk on, after all compilation. Finally
the cost of resuming a run with many finished parts.

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
from nc_jax.sweeps import Block, Plan, Store, linspace, run_sweep
from nc_jax.sweeps.engine import ChunkSolver, balanced


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    side: int = 1000
    """Number of ratios and of budgets; the number of points is its square."""
    chunk: int = 65_536
    """Largest number of points in a chunk; all chunks are about equally long."""
    parts: int = 10_000
    """Number of finished parts that a resumed run reads."""
    repeats: int = 5
    """Number of timed runs, of which the median is reported."""
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
    chunk = balanced(config.chunk, config.side**2)
    given = {"outputs": OUTPUTS, "chunk": chunk, "model": model, "axes": axes}
    spec = parse_spec(given)
    block = spec.plan.blocks[0]
    solver = ChunkSolver(spec.experiment, block.choices, chunk, 0)
    ready = [solver.inputs(block.columns(place)) for place in range(block.num_chunks)]
    jax.block_until_ready(solver.work(*ready[0]))
    bare, whole, total = [], [], []
    for _ in range(config.repeats):
        start = time.perf_counter()
        for arguments in ready:
            jax.block_until_ready(solver.work(*arguments))
        bare.append(len(ready) * solver.length / (time.perf_counter() - start))
        stored: list[tuple[float, int]] = []
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            plan = store.prepare(spec.plan)
            outcome = run_sweep(
                plan,
                spec.experiment,
                store,
                progress=lambda n, _, stored=stored: stored.append((time.perf_counter(), n)),
            )
        # The first call reports earlier chunks; from the second chunk on all is compiled.
        (begin, _), *later = stored[1:]
        whole.append(sum(count for _, count in later) / (later[-1][0] - begin))
        total.append(outcome.points / outcome.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    speeds = {
        "solver alone": bare,
        "grid, solver and store": whole,
        "the same, its compilation included": total,
    }
    alone = float(np.median(bare))
    return [
        {
            "what": what,
            "points/s": float(np.median(speed)),
            "share of the solver's": float(np.median(speed)) / alone,
            "process at most, MB": peak,
        }
        for what, speed in speeds.items()
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
    if config.side**2 < 3 * config.chunk or config.repeats < 1:
        raise ValueError("--side squared must be at least three chunks, --repeats positive")
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
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
