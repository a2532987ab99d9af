"""Seconds from starting Python to the first certified answer, for each kind of model.

    python -m benchmarks.first_answers
    python -m benchmarks.first_answers --models "two groups" "long-tailed sizes"

Every measurement is a process of its own. "Cold" compiles everything; "warm" finds the
programs on disk, in a folder that one run before has filled. The parts are those of the cold
start: importing nc_jax and JAX, building the model, tracing and lowering the program,
compiling it, and solving; then the same solve again, with other parts at zero.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nc_jax import report

# Python expressions, by name.
MODELS = {
    "two groups": "nc.LayerPeeled(nc.two_groups(5, 5, 100.0), feature_energy=5.0)",
    "any class sizes": "nc.LayerPeeled([500, 500, 120, 60, 5], feature_energy=5.0)",
    "squared error": ("nc.LayerPeeled([50, 5, 5], feature_energy=0.5, loss=nc.MeanSquaredError())"),
    "a million two-group models": (
        "nc.LayerPeeled(nc.two_groups(5, 5, np.geomspace(1, 1e4, 1_000_000)), feature_energy=5.0)"
    ),
    "vector scaling": (
        "nc.LayerPeeled([500, 500, 5], feature_energy=5.0, "
        "loss=nc.VectorScaling([0.0, 0.0, 1.0], [1.0, 1.0, 0.5]))"
    ),
    "unconstrained features": "nc.UnconstrainedFeatures([500, 500, 5], 1e-2, 1e-5)",
    "unconstrained features with bias": (
        "nc.UnconstrainedFeatures([500, 500, 5], 1e-2, 1e-5, lambda_b=1e-2)"
    ),
    "long-tailed sizes": "nc.LayerPeeled(nc.long_tailed(50, 100.0), feature_energy=5.0)",
    "few dimensions": "nc.LayerPeeled([10.0] * 6, feature_energy=5.0, dimension=2)",
    "deep features": "nc.DeepUnconstrainedFeatures([50, 50, 5], 2, 1e-2, 1e-5)",
    "multilayer, squared error": "multilayer(nc.MeanSquaredError())",
    "multilayer, cross-entropy": "multilayer(nc.CrossEntropy())",
}
PROGRAM = """
import json, sys, time
begin = float(sys.argv[1])
import jax, numpy as np
from jax import monitoring
import nc_jax as nc
jax.config.update("jax_enable_x64", True)
solve = nc.solve
imported = time.time()
spent = dict.fromkeys(("trace", "lower", "compile"), 0.0)
names = {"jaxpr_trace_duration": "trace", "jaxpr_to_mlir_module_duration": "lower",
         "backend_compile_duration": "compile"}

def note(name, seconds, **_):
    name = names.get(name.rpartition("/")[2])
    if name:
        spent[name] += seconds

monitoring.register_event_duration_secs_listener(note)

def multilayer(loss):
    from nc_jax.datasets import gaussian_classes
    return nc.MultilayerUnconstrainedFeatures(
        *gaussian_classes(3, 40, 10, 0.5, 0), 1e-2, 1.0, loss=loss
    )

model = eval(sys.argv[2])
built = time.time()
solution = jax.block_until_ready(solve(model))
solved = time.time()
parts = dict(spent)
again = time.time()
jax.block_until_ready(solve(model))
print(json.dumps({
    "solver": type(nc.solvers.choose_solver(model)).__name__, "import": imported - begin,
    "model": built - imported, **parts, "solve": time.time() - again, "total": solved - begin,
    "gap": float(np.max(solution.gap)), "status": int(np.max(solution.status)),
}))
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    models: tuple[str, ...] = tuple(MODELS)
    """Names of the models."""
    repeats: int = 1
    """Number of processes of each kind; the fastest counts."""
    out: Path = Path("results/benchmarks/first_answers")
    """Folder of the results."""


PRESETS = {"default": Config(), "quick": Config(models=("two groups",), repeats=1)}


def started(model: str, folder: str | None) -> dict[str, Any]:
    """The times of one process, with compiled programs in a folder, or with none kept."""
    own = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    if folder is not None:
        own["JAX_COMPILATION_CACHE_DIR"] = folder
        own["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    command = [sys.executable, "-c", PROGRAM, str(time.time()), MODELS[model]]
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{model}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def fastest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the least time to its answer."""
    return min(runs, key=lambda run: run["total"])


def measure(model: str, repeats: int) -> dict[str, Any]:
    """A row of the table."""
    cold = fastest([started(model, None) for _ in range(repeats)])
    with tempfile.TemporaryDirectory() as folder:
        started(model, folder)
        warm = fastest([started(model, folder) for _ in range(repeats)])
    row: dict[str, Any] = {"model": model, "solver": cold["solver"]}
    row |= {"cold (s)": cold["total"], "warm (s)": warm["total"], "import (s)": cold["import"]}
    row |= {"model (s)": cold["model"], "trace (s)": cold["trace"] + cold["lower"]}
    row |= {"compile (s)": cold["compile"], "load (s)": warm["compile"], "solve (s)": cold["solve"]}
    row = {name: round(value, 3) if "(s)" in name else value for name, value in row.items()}
    return row | {"gap": f"{cold['gap']:.1e}" if np.isfinite(cold["gap"]) else "none"}


def main(config: Config) -> None:
    """Measures, prints, and stores one table."""
    report.require_distinct(config, "models", known=MODELS)
    report.require_numbers(config, "repeats", least=1)
    report.prepare_folder(config.out)
    start, load = time.perf_counter(), os.getloadavg()[0]
    table = pd.DataFrame([measure(model, config.repeats) for model in config.models])
    report.write_summary(table, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - start)
    report.print_table(table, "Seconds from the start of Python to the first answer")
    print(f"{os.cpu_count()} cores; load average before {load:.1f}, after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
