"""Speed of the factored solver compared with scipy, in one run.

4,096 random unconstrained feature models under cross-entropy (K = 10, p = 16):
all restarts in one queue, compared with scipy's L-BFGS-B on one model after another, with
jitted value and gradient in float64. scipy solves the model in its original form
(variables W and H), and once more in the scaling with even curvature that the solver uses.

    python -m benchmarks.factored
    python -m benchmarks.factored --preset quick
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree

import nc_jax as nc
from nc_jax import report
from nc_jax.solvers.parametrisations import parametrised
from nc_jax.surrogates.layers import TopLayers


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    lanes: int = 4096
    """Number of models for the factored solver."""
    peer_lanes: int = 64
    """Number of models for scipy: the first ones of the same batch."""
    num_classes: int = 10
    """K, the number of classes."""
    dimension: int = 16
    """p, the dimension of the features."""
    restarts: int = 1
    """Number of random starts of each model; scipy always has one."""
    repeats: int = 3
    """Number of timed runs, of which the median is reported."""
    out: Path = Path("results/benchmarks/factored")
    """Folder in which the results are written."""
    seed: int = 0
    """Seed of sizes, penalties and starts."""


PRESETS = {"default": Config(), "quick": Config(lanes=64, peer_lanes=4, repeats=1)}


def random_models(config: Config) -> nc.UnconstrainedFeatures:
    """Class sizes from 1 to 1000; λ_Z from 1 % to 100 % of the value at which all vanishes."""
    rng = np.random.default_rng(config.seed)
    sizes = np.exp(rng.uniform(0, np.log(1e3), (config.lanes, config.num_classes)))
    largest = np.sqrt(sizes.max(axis=1)) / sizes.sum(axis=1)
    penalty = largest * np.exp(rng.uniform(np.log(1e-2), 0, config.lanes))
    return nc.UnconstrainedFeatures(sizes, penalty, penalty, dimension=config.dimension)


def lane_of(models: nc.UnconstrainedFeatures, lane: int) -> nc.UnconstrainedFeatures:
    """One model of the batch."""
    return jax.tree.map(lambda leaf: leaf[lane], models)


def time_factored(config: Config, models: nc.UnconstrainedFeatures) -> tuple[dict, Any]:
    """Times the whole batch, after compilation and a warm-up run."""
    solver = nc.FactoredMultiStart(restarts=config.restarts)
    key = jax.random.key(config.seed)
    start = time.perf_counter()
    solution = jax.block_until_ready(nc.solve_batch(models, solver, key))
    first = time.perf_counter() - start
    times = []
    for _ in range(config.repeats):
        start = time.perf_counter()
        solution = jax.block_until_ready(nc.solve_batch(models, solver, key))
        times.append(time.perf_counter() - start)
    elapsed = float(np.median(times))
    evaluations = np.asarray(solution.restart_evaluations).sum(axis=1)
    row = {
        "solver": "FactoredMultiStart",
        "solves/s": config.lanes / elapsed,
        "evaluations, median": float(np.median(evaluations)),
        "evaluations, largest": int(evaluations.max()),
        "worst gap": float(jnp.max(solution.gap)),
        "converged": int(np.sum(np.asarray(solution.status) == nc.Status.CONVERGED)),
        "of": config.lanes,
        "compilation, s": first - elapsed,
    }
    return row, solution


def time_scipy(
    config: Config, models: nc.UnconstrainedFeatures, even: bool, tight: bool, best: np.ndarray
) -> dict[str, Any]:
    """Times L-BFGS-B of scipy on one model after another."""
    from scipy.optimize import minimize

    template = jax.eval_shape(lambda: parametrised(lane_of(models, 0)).start(jax.random.key(0)))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), template)
    _, unravel = ravel_pytree(zeros)

    @jax.jit
    def value_and_gradient(model: nc.UnconstrainedFeatures, point: jax.Array) -> Any:
        def cost(x: jax.Array) -> jax.Array:
            if even:
                return model.cost(parametrised(model).layers(unravel(x)))
            features, weights = unravel(x)["matrices"]
            return model.cost(TopLayers(features, (weights,)))

        return jax.value_and_grad(cost)(point)

    options: dict[str, Any] = {"maxiter": 10_000, "maxfun": 20_000}
    if tight:
        options |= {"gtol": 1e-9, "ftol": 1e-15}
    keys = jax.random.split(jax.random.key(config.seed), config.lanes)
    lanes = [lane_of(models, lane) for lane in range(config.peer_lanes)]
    starts = [
        np.asarray(ravel_pytree(parametrised(model).start(key))[0])
        for model, key in zip(lanes, keys, strict=False)
    ]
    jax.block_until_ready(value_and_gradient(lanes[0], starts[0]))
    evaluations, excess = [], []
    start = time.perf_counter()
    for model, point, optimum in zip(lanes, starts, best, strict=False):

        def function(x: np.ndarray, model: Any = model) -> tuple[float, np.ndarray]:
            value, gradient = value_and_gradient(model, x)
            return float(value), np.asarray(gradient)

        found: Any = minimize(function, point, jac=True, method="L-BFGS-B", options=options)
        evaluations.append(found.nfev)
        excess.append(found.fun - optimum)
    elapsed = time.perf_counter() - start
    name = "even scaling" if even else "W and H"
    return {
        "solver": f"scipy L-BFGS-B, {name}, {'tight' if tight else 'default'} tolerance",
        "solves/s": config.peer_lanes / elapsed,
        "evaluations, median": float(np.median(evaluations)),
        "evaluations, largest": int(np.max(evaluations)),
        "worst excess": float(np.max(excess)),
        "of": config.peer_lanes,
    }


def main(config: Config) -> None:
    """Runs the benchmark, stores and prints the table."""
    begin = time.perf_counter()
    if not 1 <= config.peer_lanes <= config.lanes or config.repeats < 1:
        raise ValueError("--peer-lanes must be from 1 to --lanes, and --repeats positive")
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    models = random_models(config)
    ours, solution = time_factored(config, models)
    best = np.asarray(solution.objective)
    certified = nc.solve_batch(
        jax.tree.map(lambda leaf: leaf[: config.peer_lanes], models), nc.ReducedInteriorPoint()
    )
    ours["worst excess"] = float(
        np.max(best[: config.peer_lanes] - np.asarray(certified.objective))
    )
    rows = [ours]
    for even in (False, True):
        for tight in (True, False):
            rows.append(time_scipy(config, models, even, tight, np.asarray(certified.objective)))
    table = pd.DataFrame(rows)
    table["ours over it"] = ours["solves/s"] / table["solves/s"]
    shown = table.copy()
    for column in ("worst gap", "worst excess"):
        shown[column] = ["-" if np.isnan(value) else f"{value:.1e}" for value in table[column]]
    for column in ("solves/s", "ours over it", "compilation, s", "converged"):
        shown[column] = ["-" if np.isnan(value) else f"{value:,.4g}" for value in table[column]]
    report.write_table(table, config.out)
    report.write_summary(shown, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - begin)
    title = f"{config.lanes} unconstrained feature models, K = {config.num_classes}"
    report.print_table(shown, f"{title}, p = {config.dimension}")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
