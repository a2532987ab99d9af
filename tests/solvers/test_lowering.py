"""Every solver lowers for GPUs and TPUs, so that nothing enters that only a CPU can run."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax import solvers
from nc_jax.datasets import gaussian_classes

PLATFORMS = ("cuda", "tpu")
DESCENT = nc.GradientDescent(steps=10, records=3)
PRICES = np.array([1.0, 2.0, 3.0])


def peeled(sizes, **options):
    return nc.LayerPeeled(sizes, feature_energy=PRICES, **options)


def penalised(sizes, **options):
    return nc.UnconstrainedFeatures(sizes, 1e-3 * PRICES, 1e-3, **options)


def multilayer(loss):
    inputs, labels = gaussian_classes(3, 4, 5, 0.5, 0)
    return nc.MultilayerUnconstrainedFeatures(inputs, labels, 1e-2 * PRICES, 1.0, loss=loss)


# By name: a solver and a batch of models of each kind that it accepts. A new solver belongs here.
SIZES = [5.0, 5.0, 1.0]
SQUARED = nc.MeanSquaredError()
CASES = {
    "root": (nc.TwoGroupRoot(), lambda: peeled(nc.two_groups(3, 2, 10.0))),
    "reduced": (nc.ReducedInteriorPoint(), lambda: peeled(nc.two_groups(3, 2, 10.0))),
    "reduced, with bias": (nc.ReducedInteriorPoint(), lambda: penalised(SIZES, lambda_b=1e-2)),
    "reduced, class-dependent loss": (
        nc.ReducedInteriorPoint(),
        lambda: penalised(SIZES, loss=nc.VectorScaling([0.0, 0.0, 1.0], [1.0, 1.0, 0.5])),
    ),
    "quasi-Newton": (nc.FactoredQuasiNewton(), lambda: peeled([5.0, 4.0, 3.0])),
    "multi-start": (nc.FactoredMultiStart(restarts=2), lambda: penalised([5.0, 4.0, 3.0])),
    "multi-start, deep": (
        nc.FactoredMultiStart(restarts=2),
        lambda: nc.DeepUnconstrainedFeatures(SIZES, 2, 1e-2, 1e-3 * PRICES),
    ),
    "multi-start, contrastive": (
        nc.FactoredMultiStart(restarts=2),
        lambda: peeled([3.0, 2.0], loss=nc.SupervisedContrastive(), samples=2),
    ),
    "eliminated": (nc.EliminatedMultiStart(restarts=2), lambda: multilayer(SQUARED)),
    "layerwise": (nc.LayerwiseMultiStart(restarts=2), lambda: multilayer(nc.CrossEntropy())),
}


def lowered(function, *arguments):
    """The program of each platform; raises where it calls what the platform lacks."""
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)


def cast(model, dtype):
    def leaf(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(leaf, model)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_lowers_for_accelerators(name, dtype):
    solver, build = CASES[name]
    key = jax.random.key(0)
    # A CPU may solve lanes one after another, accelerators solve them side by side.
    program = lowered(
        lambda model, key: nc.solve_batch(model, solver, key, batch_size=2),
        cast(build(), dtype),
        key,
    )
    assert program.platforms == PLATFORMS
    outputs = {aval.dtype for aval in program.out_avals if jnp.issubdtype(aval.dtype, np.floating)}
    assert outputs == {np.dtype(dtype)}


def test_gradient_descent_lowers_for_accelerators():
    data = gaussian_classes(3, 4, 5, 0.5, 0)
    model = nc.MultilayerUnconstrainedFeatures(*data, 1e-2, 1.0, loss=SQUARED)
    assert lowered(DESCENT, cast(model, "float32"), jax.random.key(0)).platforms == PLATFORMS


def test_the_derivative_of_a_solution_lowers_for_accelerators():
    def objective(energies):
        return jnp.sum(nc.solve(nc.LayerPeeled(SIZES, feature_energy=energies)).objective)

    assert lowered(jax.grad(objective), PRICES).platforms == PLATFORMS


def test_every_solver_stands_in_the_list():
    public = {getattr(solvers, name) for name in solvers.__all__}
    callable_types = {one for one in public if isinstance(one, type) and "__call__" in vars(one)}
    assert {type(solver) for solver, _ in CASES.values()} | {type(DESCENT)} == callable_types


def test_the_check_sees_a_program_that_only_a_cpu_can_run():
    with pytest.raises(RuntimeError, match="schur"):
        lowered(jax.lax.linalg.schur, np.eye(3))
