"""Speed of the interior point on reduced programs of two, three and eight groups.

    python -m benchmarks.reduced
    python -m benchmarks.reduced --preset quick

Batches of random sizes, budgets and penalties, K = 10, float64. In the same run Moreau solves
a batch of the two-group cross-entropy program over its four numbers. Compilation is timed
separately; times are medians of repeats; every row has its largest duality gap. The operations
of a step are those that XLA counts, and their rate is compared with that of a matrix product.
"""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import nc_jax as nc
from benchmarks import peers
from benchmarks.layer_peeled import (
    FEATURE_ENERGY,
    MAJORITY,
    MINORITY,
    collected,
    conclude,
    matmul_rate,
    operations,
    row,
    timed,
)
from nc_jax import report
from nc_jax.solvers.reduced.factorisation import Factorisation
from nc_jax.solvers.reduced.rows import numbers_of, row_losses
from nc_jax.solvers.reduced.state import Program, program_of, start_of
from nc_jax.solvers.reduced.step import advance

# Classes of each group, K = 10.
GROUPS = {2: (3, 7), 3: (3, 3, 4), 8: (1, 1, 1, 1, 1, 1, 2, 2)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the benchmark."""

    lanes: int = 16_384
    """Number of programs in a batch of two groups."""
    lanes_three: int = 4_096
    """The same for three groups."""
    lanes_eight: int = 512
    """The same for eight groups."""
    peer_batch: int = 1024
    """Number of instances in the batch for moreau."""
    repeats: int = 5
    """Number of timed repeats."""
    out: Path = Path("results/benchmarks/reduced")
    """Folder in which the results are written."""


PRESETS = {
    "default": Config(),
    "quick": Config(lanes=512, lanes_three=64, lanes_eight=16, peer_batch=64, repeats=2),
}


def random_sizes(lanes: int, counts: tuple[int, ...], rng: np.random.Generator) -> nc.ClassSizes:
    """Group sizes between 50 and 500,000, log-uniform."""
    sizes = 50 * np.exp(rng.uniform(0, np.log(1e4), (lanes, len(counts))))
    return nc.ClassSizes(sizes, tuple(np.repeat(np.arange(len(counts)), counts).tolist()))


def models_of(lanes: int, counts: tuple[int, ...]) -> dict[str, Any]:
    """A batch of every kind of model."""
    rng = np.random.default_rng(0)
    sizes = random_sizes(lanes, counts, rng)
    budget = np.exp(rng.uniform(np.log(0.05), np.log(12), lanes))
    weights = np.exp(rng.uniform(np.log(1e-6), np.log(1e-2), lanes))
    largest = np.asarray(sizes.group_sizes).max(axis=1)
    features = weights / largest * np.exp(rng.uniform(-1, 1, lanes))
    decay = np.exp(rng.uniform(np.log(1e-5), np.log(1e-1), lanes))

    def layer_peeled(loss: Any, **options: Any) -> Any:
        return nc.LayerPeeled(sizes, 1.0, budget**2, loss, **options)

    return {
        "Layer-Peeled Model, squared error": layer_peeled(nc.MeanSquaredError()),
        "Layer-Peeled Model, logit adjustment": layer_peeled(nc.logit_adjustment(sizes)),
        "Layer-Peeled Model, vector scaling": layer_peeled(nc.vector_scaling(sizes)),
        "Layer-Peeled Model, class weights": layer_peeled(
            nc.CrossEntropy(), class_weights=nc.size_weights(sizes)
        ),
        "unconstrained features": nc.UnconstrainedFeatures(sizes, weights, features),
        "unconstrained features with bias": nc.UnconstrainedFeatures(
            sizes, weights, features, decay
        ),
    }


def operations_per_step(model: Any) -> float:
    """Operations of one step of one lane, as XLA counts them."""
    lanes = model.batch_shape[0]

    def step(model: Any, start: Any) -> Any:
        return advance(program(model), start)

    def program(model: Any) -> Program:
        # XLA counts the operations of a loop's body once.
        how = Factorisation.WRITTEN_OUT
        return program_of(model, numbers_of(model), row_losses(model), how)

    start = jax.jit(lambda model: start_of(program(model)))(model)
    return operations(step, model, start) / lanes


def reduced_rows(config: Config) -> Iterator[dict[str, Any]]:
    """All kinds of models for every number of groups."""
    lanes = {2: config.lanes, 3: config.lanes_three, 8: config.lanes_eight}
    for groups, counts in GROUPS.items():
        for name, model in models_of(lanes[groups], counts).items():
            solver = nc.ReducedInteriorPoint()
            compile_s, seconds, solution = timed(
                lambda model=model, solver=solver: nc.solve_batch(model, solver), config.repeats
            )
            case = f"{groups} groups, {name}"
            entry = row(case, lanes[groups], compile_s, seconds, float(jnp.max(solution.gap)))
            entry["unconverged"] = int(jnp.sum(solution.status != nc.Status.CONVERGED))
            entry["steps, mean"] = round(float(jnp.mean(solution.iterations)), 1)
            entry["steps, largest"] = int(jnp.max(solution.iterations))
            yield entry


def peer_rows(config: Config) -> Iterator[dict[str, Any]]:
    """Moreau on two-group cross-entropy, and the same programs by the interior point."""
    ratios = np.geomspace(1, 1e4, config.peer_batch)
    sizes = nc.two_groups(MAJORITY, MINORITY, ratios)
    model = nc.LayerPeeled(sizes, 1.0, FEATURE_ENERGY)
    exact = nc.solve_batch(model)
    solver = nc.ReducedInteriorPoint()
    compile_s, seconds, solution = timed(lambda: nc.solve_batch(model, solver), config.repeats)
    gap = float(jnp.max(solution.gap))
    yield row("the peer's programs, interior point", len(ratios), compile_s, seconds, gap)
    if peers.moreau is None or peers.cp is None:
        yield {"case": "moreau is not installed"}
        return
    result = peers.moreau_batch(MAJORITY, MINORITY, ratios, FEATURE_ENERGY**0.5)
    error = float(np.max(np.abs(result.objectives - np.asarray(exact.objective))))
    yield row(result.name, len(ratios), 0.0, result.seconds, error)


def main(config: Config) -> None:
    """Runs the benchmark, prints and stores the table."""
    lanes = config.lanes, config.lanes_three, config.lanes_eight
    if min(*lanes, config.peer_batch, config.repeats) < 1:
        raise ValueError(
            "--lanes, --lanes-three, --lanes-eight, --peer-batch and --repeats must be positive"
        )
    jax.config.update("jax_enable_x64", True)
    report.prepare_folder(config.out)
    start = time.perf_counter()
    rate = matmul_rate(config.repeats)
    table = collected(config, reduced_rows(config), peer_rows(config))
    notes = [f"float64 matrix product: {rate / 1e9:.0f} GFLOP/s"]
    peer = table.loc[table["case"].str.startswith("moreau"), "solves/s"].max()
    for groups, counts in list(GROUPS.items())[:2]:
        rows: Any = table[table["case"].str.startswith(f"{groups} groups")]
        slowest = rows.loc[rows["solves/s"].idxmin()]
        model = models_of(256, counts)["unconstrained features with bias"]
        work = operations_per_step(model)
        biased = rows[rows["case"].str.endswith("with bias")].iloc[0]
        reached = biased["solves/s"] * biased["steps, mean"] * work
        note = f"{groups} groups, slowest case: {slowest['solves/s']:,.0f} solves/s"
        if peer > 0:
            note += f", {slowest['solves/s'] / peer:.1f} times moreau's two-group batch"
        notes += [
            note,
            f"{groups} groups with bias: {work:,.0f} operations a step, "
            f"{reached / 1e9:.1f} Gop/s, {reached / rate:.0%} of the matrix-product rate",
        ]
    conclude(table, notes, config, time.perf_counter() - start, "Reduced programs")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
