"""Speed and accuracy of solving Layer-Peeled Models, compared with other solvers.

    python -m benchmarks.layer_peeled
    python -m benchmarks.layer_peeled --preset quick

Measures solves per second for two-group batches (K = 10), seconds for long-tailed sizes
up to K = 1000, general convex solvers on the same programs in the same run,
and the share of the machine's arithmetic rate that is reached. Compilation is timed
separately; times are medians of repeats; every row has its worst duality gap or error.
"""

import dataclasses
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import nc_jax as nc
from benchmarks import peers
from nc_jax import report
from nc_jax.files import write_atomically
from nc_jax.solvers.two_groups import STEPS

MAJORITY, MINORITY, FEATURE_ENERGY = 5, 5, 5.0


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    batches: tuple[int, ...] = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
    """Sizes of two-group cross-entropy batches."""
    general_batches: tuple[int, ...] = (1, 100, 1_000)
    """Sizes of two-group batches for the interior-point solver."""
    classes: tuple[int, ...] = (10, 30, 100, 300, 1000)
    """Numbers of long-tailed classes, with sizes from 1 to 100 and E_H = 5."""
    wide_batch: int = 40
    """Number of long-tailed vectors of 100 classes, with random imbalance, solved as a batch."""
    vocabulary: int = 50_000
    """Number of tokens with counts by Zipf's law, in a text of twenty times as many words."""
    peer_instances: int = 20
    """Number of instances for the peers that solve one after another."""
    peer_batch: int = 1024
    """Number of instances in the batch for moreau."""
    repeats: int = 5
    """Number of timed repeats of everything that takes less than ten seconds."""
    out: Path = Path("results/benchmarks/layer_peeled")
    """Folder in which the results are written."""


PRESETS = {
    "default": Config(),
    "quick": Config(
        batches=(1, 1_000, 100_000),
        general_batches=(100,),
        classes=(10, 100),
        wide_batch=8,
        vocabulary=2_000,
        peer_instances=5,
        peer_batch=128,
        repeats=3,
    ),
}


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Compilation time in seconds, median run time in seconds, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    first = time.perf_counter() - start
    seconds = []
    for _ in range(1 if first > 10 else repeats):
        start = time.perf_counter()
        result = jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds))
    return max(first - median, 0.0), median, result


def two_group_model(lanes: int, loss: nc.Loss) -> nc.LayerPeeled:
    """Two-group models with R from 1 to 10⁴, across all thresholds."""
    sizes = nc.two_groups(MAJORITY, MINORITY, np.geomspace(1, 1e4, lanes))
    return nc.LayerPeeled(sizes, 1.0, FEATURE_ENERGY, loss)


def row(name: str, lanes: int, compile_s: float, seconds: float, worst: float) -> dict[str, Any]:
    """One row of the table."""
    return {
        "case": name,
        "solves": lanes,
        "compile s": round(compile_s, 2),
        "seconds": float(f"{seconds:.3g}"),
        "solves/s": float(f"{lanes / seconds:.3g}"),
        "worst gap or error": f"{worst:.1e}",
    }


def two_group_rows(config: Config) -> Iterator[dict[str, Any]]:
    """Batches of the exact two-group solver and of the interior point."""
    cases = [
        ("two groups, cross-entropy, TwoGroupRoot", config.batches, nc.CrossEntropy(), None),
        (
            "two groups, cross-entropy, ReducedInteriorPoint",
            config.general_batches,
            nc.CrossEntropy(),
            nc.ReducedInteriorPoint(),
        ),
        (
            "two groups, squared error, ReducedInteriorPoint",
            config.general_batches,
            nc.MeanSquaredError(),
            nc.ReducedInteriorPoint(),
        ),
    ]
    for name, batches, loss, solver in cases:
        for lanes in batches:
            model = two_group_model(lanes, loss)
            compile_s, seconds, solution = timed(
                lambda model=model, solver=solver: nc.solve_batch(model, solver), config.repeats
            )
            yield row(name, lanes, compile_s, seconds, float(jnp.max(solution.gap)))


def long_tailed_rows(config: Config, matmul_rate: float) -> Iterator[dict[str, Any]]:
    """One solve for each size; to a gap of 1e−9, or 1e−6 for a thousand classes."""
    for classes in config.classes:
        solver = None if classes < 1000 else nc.FactoredQuasiNewton(tolerance=1e-6)
        model = nc.LayerPeeled(nc.long_tailed(classes, 100.0), 1.0, FEATURE_ENERGY)
        compile_s, seconds, solution = timed(
            lambda model=model, solver=solver: nc.solve(model, solver), config.repeats
        )
        steps = int(solution.iterations)
        entry = row(f"long-tailed, K = {classes}", 1, compile_s, seconds, float(solution.gap))
        if classes > 16:
            # A step costs about one evaluation of loss and gradient: three K×K products.
            rate = steps * 6 * classes**3 / seconds
            entry["matrix-product rate reached"] = f"{rate / matmul_rate:.0%} ({steps} steps)"
        yield entry


def many_group_rows(config: Config) -> Iterator[dict[str, Any]]:
    """A batch of long-tailed sizes to a gap of 1e−8, and vocabularies to 1e−6."""
    rng = np.random.default_rng(0)
    ratios = np.exp(rng.uniform(1, 6, config.wide_batch))
    tails = [rng.permutation(nc.long_tailed(100, ratio).group_sizes) for ratio in ratios]
    batch = nc.LayerPeeled(np.stack(tails), 1.0, FEATURE_ENERGY)
    solver = nc.FactoredQuasiNewton(tolerance=1e-8)
    compile_s, seconds, solution = timed(lambda: nc.solve_batch(batch, solver), config.repeats)
    gap = float(jnp.max(solution.gap))
    yield row("long-tailed, K = 100, batch", config.wide_batch, compile_s, seconds, gap)
    counts = 1 / (np.arange(config.vocabulary) + 2.7)
    sizes = nc.merge_sizes(
        np.maximum(1, np.round(20 * config.vocabulary * counts / counts.sum())), 0.0
    )
    penalty = FEATURE_ENERGY / config.vocabulary**1.5
    for name, model in (
        ("Layer-Peeled Model", nc.LayerPeeled(sizes, 1.0, FEATURE_ENERGY)),
        ("unconstrained features", nc.UnconstrainedFeatures(sizes, penalty, penalty)),
    ):
        chosen = nc.FactoredQuasiNewton(tolerance=1e-6, order=tuple(range(sizes.num_groups)))
        compile_s, seconds, solution = timed(lambda m=model, s=chosen: nc.solve(m, s), 1)
        case = f"{name}, {config.vocabulary:,} Zipf tokens in {sizes.num_groups} groups"
        yield row(case, 1, compile_s, seconds, float(solution.gap))


def peer_rows(config: Config) -> Iterator[dict[str, Any]]:
    """General convex solvers on the same two-group programs."""
    budget = FEATURE_ENERGY**0.5
    cases = [
        ("cvxpy", peers.cp, peers.clarabel_semidefinite, config.peer_instances),
        ("cvxpy", peers.cp, peers.clarabel_four_numbers, config.peer_instances),
        ("moreau", peers.moreau and peers.cp, peers.moreau_batch, config.peer_batch),
    ]
    for package, module, solve, lanes in cases:
        if module is None:
            yield {"case": f"{solve.__name__}: {package} is not installed"}
            continue
        ratios = np.geomspace(1, 1e4, lanes)
        result = solve(MAJORITY, MINORITY, ratios, budget)
        exact = nc.solve_batch(two_group_model(lanes, nc.CrossEntropy())).objective
        error = float(np.max(np.abs(result.objectives - np.asarray(exact))))
        yield row(result.name, lanes, 0.0, result.seconds, error)


def matmul_rate(repeats: int, size: int = 2000) -> float:
    """Floating-point operations per second of a float64 matrix product."""
    matrix = jnp.ones((size, size))
    _, seconds, _ = timed(lambda: matrix @ matrix, repeats)
    return 2 * size**3 / seconds


def operations_per_solve() -> float:
    """Number of operations of one two-group solve, as counted by XLA."""
    solver, lanes = nc.TwoGroupRoot(steps=STEPS), 1024
    model = two_group_model(lanes, nc.CrossEntropy())
    axes = jax.tree.map(lambda leaf: 0 if leaf.shape[:1] == (lanes,) else None, model)
    # XLA counts the body of a loop once; it runs `steps` times on two branches.
    return operations(jax.vmap(solver, in_axes=(axes,)), model) * STEPS / lanes


def operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of a call as XLA counts them, which it does for CPUs only."""
    shapes = jax.eval_shape(lambda *own: own, *arguments)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        counts: Any = jax.jit(function).lower(*shapes).compile().cost_analysis()
    return counts["flops"] + counts.get("transcendentals", 0.0)


def ratios(table: pd.DataFrame) -> list[str]:
    """Our best rate divided by that of each peer, as text."""
    rates = {str(name): cases["solves/s"].max() for name, cases in table.groupby("case")}
    ours = max(rate for name, rate in rates.items() if "TwoGroupRoot" in name)
    return [
        f"TwoGroupRoot over {name}: {ours / rate:,.0f} times"
        for name, rate in rates.items()
        if "numbers" in name or "SDP" in name
    ]


def collected(config: Any, *parts: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """All rows in a table, which is stored after each of them."""
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    for entry in itertools.chain(*parts):
        rows.append(entry)
        print(", ".join(f"{name}: {value}" for name, value in entry.items()), flush=True)
        store(pd.DataFrame(rows), [], config)
        report.write_provenance(config.out, config, time.perf_counter() - start)
    return pd.DataFrame(rows)


def store(table: pd.DataFrame, notes: list[str], config: Any) -> None:
    """Writes the table, the machine, and what follows from the table."""
    machine = {"cores": os.cpu_count(), "cpu": platform.machine(), "notes": notes}
    rows = [entry.dropna().to_dict() for _, entry in table.iterrows()]
    text = json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n"
    report.write_summary(table.fillna(""), config.out)
    write_atomically(config.out / "table.json", lambda file: file.write_text(text))


def conclude(
    table: pd.DataFrame, notes: list[str], config: Any, seconds: float, title: str
) -> None:
    """Prints and stores the complete table."""
    store(table, notes, config)
    report.write_provenance(config.out, config, seconds)
    report.print_table(table.fillna(""), title)
    print("\n".join(notes))


def main(config: Config) -> None:
    """Runs the benchmark, prints and stores the table."""
    jax.config.update("jax_enable_x64", True)
    report.prepare_folder(config.out)
    start = time.perf_counter()
    rate = matmul_rate(config.repeats)
    two_groups = two_group_rows(config), peer_rows(config)
    table = collected(config, *two_groups, long_tailed_rows(config, rate), many_group_rows(config))
    work = operations_per_solve()
    fastest = table["solves/s"].max()
    notes = [
        *ratios(table),
        f"float64 matrix product: {rate / 1e9:.0f} GFLOP/s",
        f"two-group solve: about {work:,.0f} operations, {fastest * work / 1e9:.1f} Gop/s, "
        f"{fastest * work / rate:.0%} of the matrix-product rate",
    ]
    conclude(table, notes, config, time.perf_counter() - start, "Layer-Peeled Models")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
