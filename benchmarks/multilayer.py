"""Speed of the multilayer model's solver: data size, gradient descent, scipy; in one run.

1. The solve after one pass over N = 10⁴ … 10⁷ samples, which are generated batch by batch
   and never stored: its time, and the memory of the process.
2. Plain gradient descent with the settings of Wang, Gai, Zhang (2024): the time to the
   objective it reaches, compared with a complete solve, which reaches a lower one.
3. The optimum compared with the best of many runs of scipy's L-BFGS-B on the joint problem
   over W and H.

    python -m benchmarks.multilayer
    python -m benchmarks.multilayer --preset quick
"""

import dataclasses
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import nc_jax as nc
from nc_jax import report
from nc_jax.datasets import gaussian_classes
from nc_jax.metrics import accumulate_moments


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    """Values of N in the first part."""
    batch: int = 10_000
    """Number of samples generated at a time."""
    dimension: int = 100
    """d in the first part."""
    num_classes: int = 10
    """K in the first part."""
    descent_steps: tuple[int, ...] = (100_000, 300_000, 1_000_000)
    """Numbers of iterations of gradient descent."""
    rate: float = 0.1
    """Step size of gradient descent."""
    problems: int = 8
    """Number of random problems in the third part."""
    peer_restarts: int = 50
    """Number of random starts of scipy on each problem."""
    repeats: int = 21
    """Number of timed runs, of which the median is reported."""
    out: Path = Path("results/benchmarks/multilayer")
    """Folder in which the results are written."""
    seed: int = 0
    """Seed of data and starts."""


PRESETS = {
    "default": Config(),
    "quick": Config(
        sizes=(1_000, 10_000),
        batch=1_000,
        dimension=10,
        num_classes=4,
        descent_steps=(2_000,),
        problems=2,
        peer_restarts=3,
        repeats=2,
    ),
}


def median_times(works: list[Callable[[], Any]], repeats: int) -> tuple[list[float], list[Any]]:
    """Median seconds of compiled calls, which are run alternately, and their results."""
    results = [jax.block_until_ready(work()) for work in works]
    times = np.empty((repeats, len(works)))
    for turn in range(repeats):
        for place, work in enumerate(works):
            start = time.perf_counter()
            results[place] = jax.block_until_ready(work())
            times[turn, place] = time.perf_counter() - start
    return np.median(times, axis=0).tolist(), results


def streamed(config: Config, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gaussian classes around the same means, N samples in batches."""
    rng = np.random.default_rng(config.seed)
    means = rng.normal(size=(config.num_classes, config.dimension)) / config.dimension**0.5
    for _ in range(0, count, config.batch):
        labels = rng.integers(0, config.num_classes, config.batch)
        noise = rng.normal(size=(config.batch, config.dimension)) / config.dimension**0.5
        yield means[labels] + noise, labels


def time_sizes(config: Config) -> list[dict[str, Any]]:
    """One row for each N."""
    solver = nc.EliminatedMultiStart()
    key = jax.random.key(config.seed)

    @jax.jit
    def solve(moments: Any) -> nc.MultilayerSolution:
        model = nc.MultilayerUnconstrainedFeatures.from_moments(moments, 5e-3, 0.1)
        return nc.solve(model, solver, key)

    rows, works = [], []
    for count in config.sizes:
        start = time.perf_counter()
        moments = jax.block_until_ready(
            accumulate_moments(streamed(config, count), config.num_classes)
        )
        works.append(lambda moments=moments: solve(moments))
        rows.append(
            {
                "N": count,
                "pass, s": time.perf_counter() - start,
                "moments, MB": sum(leaf.nbytes for leaf in jax.tree.leaves(moments)) / 1e6,
                "data if held, MB": count * config.dimension * 8 / 1e6,
                "process at most, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            }
        )
    times, solutions = median_times(works, config.repeats)
    for row, elapsed, solution in zip(rows, times, solutions, strict=True):
        row |= {
            "solve, ms": elapsed * 1e3,
            "over the first": elapsed / times[0],
            "evaluations": int(np.sum(solution.restart_evaluations)),
            "status": nc.Status(int(solution.status)).name.lower(),
            "relative gap": float(solution.gap / solution.objective),
        }
    return rows


def time_descent(config: Config) -> list[dict[str, Any]]:
    """Plain descent and a complete solve of the kind of problem in the paper."""
    inputs, labels = gaussian_classes(4, 50, 20, 0.3, config.seed)
    key = jax.random.key(config.seed)
    model = nc.MultilayerUnconstrainedFeatures(inputs, labels, 5e-3, 0.1)
    rows = []
    for restarts in (1, 16):
        solver = nc.EliminatedMultiStart(restarts=restarts)
        solve = jax.jit(lambda model, solver=solver: nc.solve(model, solver, key))
        (elapsed,), (solution,) = median_times([lambda f=solve: f(model)], config.repeats)
        name = f"EliminatedMultiStart, {restarts} start{'s' if restarts > 1 else ''}"
        rows.append({"solver": name, "time, s": elapsed, "objective": float(solution.objective)})
    for steps in config.descent_steps:
        descend = jax.jit(nc.GradientDescent(config.rate, steps, records=1))
        (elapsed,), (path,) = median_times([lambda f=descend: f(model, key)], 1)
        name = f"gradient descent, {steps:,} steps"
        rows.append({"solver": name, "time, s": elapsed, "objective": float(path.objectives[-1])})
    least = rows[1]["objective"]
    for row in rows:
        row["over 1 start"] = row["time, s"] / rows[0]["time, s"]
        row["over 16 starts"] = row["time, s"] / rows[1]["time, s"]
        row["relative excess"] = row["objective"] / least - 1
    return rows


def random_problem(config: Config, number: int) -> nc.MultilayerUnconstrainedFeatures:
    """A problem with random K, n, d, σ and penalties, where the certificate may hold or not."""
    rng = np.random.default_rng([config.seed, number])
    size = int(rng.integers(2, 7))
    inputs, labels = gaussian_classes(
        size, int(rng.integers(2, 12)), int(rng.integers(2, 12)), rng.uniform(0.1, 1.5), number
    )
    inputs = inputs * np.exp(rng.uniform(-1, 2))
    lambda_w, lambda_h = np.exp(rng.uniform(np.log(1e-4), np.log([1e-1, 10])))
    return nc.MultilayerUnconstrainedFeatures(inputs, labels, lambda_w, lambda_h)


def beside_scipy(config: Config, number: int) -> dict[str, Any]:
    """One problem: our optimum, and the best of scipy's runs on the joint problem."""
    from scipy.optimize import minimize

    model = random_problem(config, number)
    solution = nc.solve(model, key=jax.random.key(config.seed))
    count, size, dimension = len(model.input_samples[1]), model.num_classes, model.dimension

    @jax.jit
    def value_and_gradient(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        def cost(x: jax.Array) -> jax.Array:
            weights = x[: size * dimension].reshape(size, dimension)
            return model.reduced_cost(weights, x[size * dimension :].reshape(count, dimension))

        return jax.value_and_grad(cost)(point)

    rng = np.random.default_rng([config.seed, number, 1])
    found = []
    start = time.perf_counter()
    for _ in range(config.peer_restarts):
        point = rng.normal(size=(size + count) * dimension)
        options = {"maxiter": 5_000, "maxfun": 10_000, "gtol": 1e-11, "ftol": 1e-16}
        run: Any = minimize(
            lambda x: tuple(map(np.asarray, value_and_gradient(jnp.asarray(x)))),
            point,
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
        found.append(float(run.fun))
    best = min(found)
    return {
        "K": size,
        "N": count,
        "d": dimension,
        "lambda_w": float(model.lambda_w),
        "lambda_h": float(model.lambda_h),
        "objective": float(solution.objective),
        "ours over scipy's best, relative": float(solution.objective) / best - 1,
        "status": nc.Status(int(solution.status)).name.lower(),
        "scipy's time, s": time.perf_counter() - start,
    }


def shown(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Numbers with four digits, for the terminal."""
    table = pd.DataFrame(rows)
    for name in table.columns:
        if table[name].dtype.kind == "f":
            table[name] = [f"{value:.4g}" for value in table[name]]
    return table


def main(config: Config) -> None:
    """Runs the benchmark, stores and prints the tables."""
    begin = time.perf_counter()
    if any(size < config.batch or size % config.batch for size in config.sizes):
        raise ValueError("--sizes must be multiples of --batch")
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    parts = {
        "sizes": (time_sizes(config), f"one pass, then a solve; d = {config.dimension}"),
        "descent": (time_descent(config), "K = 4, n = 50, d = 20, λ_W = 5e-3, λ_H = 0.1"),
        "scipy": (
            report.map_with_bar(
                lambda number: beside_scipy(config, number),
                range(config.problems),
                "problems beside scipy",
            ),
            f"random problems beside {config.peer_restarts} runs of scipy",
        ),
    }
    for name, (rows, title) in parts.items():
        report.write_table(pd.DataFrame(rows), config.out, name)
        report.write_summary(shown(rows), config.out, name)
        report.print_table(shown(rows), title)
    report.write_provenance(config.out, config, time.perf_counter() - begin)


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
