"""An accelerator finds what the CPU finds: solvers, the derivative of a solution, training.

Skipped where only a CPU is at hand.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.datasets import DATA_SETS, ImageData, gaussian_classes
from nc_jax.training import Recipe, Run, Trainer, on_device

pytestmark = pytest.mark.skipif(jax.default_backend() == "cpu", reason="no accelerator is at hand")

TOLERANCE = {np.float64: 1e-9, np.float32: 2e-5}


def on_cpu(function):
    """The result of a function that is computed on the CPU."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jax.tree.map(np.asarray, function())


def peeled(sizes, dtype, loss, lanes=9):
    budget = np.geomspace(0.1, 10, lanes).astype(dtype)
    return nc.LayerPeeled(np.asarray(sizes, dtype), dtype(1), budget, loss)


def penalised(sizes, dtype, loss, lanes=9):
    decays = np.geomspace(1e-4, 1e-2, lanes).astype(dtype)
    return nc.UnconstrainedFeatures(
        np.asarray(sizes, dtype), decays, dtype(1e-3), dtype(1e-2), loss
    )


def cases(dtype):
    """By name: a solver and a function that makes a batch of models."""
    softmax, squared = nc.CrossEntropy(), nc.MeanSquaredError()
    ratios = np.geomspace(1, 1e4, 50).astype(dtype)
    return {
        "root": (
            nc.TwoGroupRoot(),
            lambda: nc.LayerPeeled(nc.two_groups(3, 7, ratios), dtype(1), dtype(5), softmax),
        ),
        "reduced": (nc.ReducedInteriorPoint(), lambda: peeled([9, 5, 1], dtype, softmax)),
        "reduced, squares": (nc.ReducedInteriorPoint(), lambda: peeled([9, 5, 1], dtype, squared)),
        "reduced, bias": (nc.ReducedInteriorPoint(), lambda: penalised([9, 5, 1], dtype, softmax)),
        "reduced, LAPACK": (
            nc.ReducedInteriorPoint(),
            lambda: peeled([9, 7, 5, 3, 1], dtype, softmax),
        ),
        "quasi-Newton": (nc.FactoredQuasiNewton(), lambda: peeled([9, 7, 5, 3, 1], dtype, softmax)),
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", list(cases(np.float64)))
def test_convex_solutions_equal_those_of_the_cpu(name, dtype):
    solver, make = cases(dtype)[name]
    own = nc.solve_batch(make(), solver)
    expected = on_cpu(lambda: nc.solve_batch(make(), solver))
    assert np.all(np.asarray(own.status) == nc.Status.CONVERGED)
    assert own.objective.dtype == dtype
    tolerance = TOLERANCE[dtype]
    assert float(jnp.max(own.gap)) < tolerance
    np.testing.assert_allclose(own.objective, expected.objective, atol=2 * tolerance)


def test_three_groups_of_equal_weights_are_certified():
    rng = np.random.default_rng(0)
    sizes = nc.ClassSizes(np.exp(rng.uniform(4, 13, (4096, 3))), (0, 0, 0, 1, 1, 1, 2, 2, 2, 2))
    budgets = np.exp(rng.uniform(-6, 5, 4096))
    weights = nc.size_weights(sizes)
    model = nc.LayerPeeled(sizes, 1.0, budgets, nc.CrossEntropy(), class_weights=weights)
    solution = nc.solve_batch(model, nc.ReducedInteriorPoint())
    assert np.all(np.asarray(solution.status) == nc.Status.CONVERGED)
    assert float(jnp.max(solution.gap)) < 1e-9


def test_derivatives_equal_those_of_the_cpu():
    def objective(ratio):
        model = nc.LayerPeeled(nc.two_groups(3, 7, ratio), 1.0, 2.0)
        return nc.solve(model, nc.ReducedInteriorPoint()).objective

    slope = jax.grad(objective)
    np.testing.assert_allclose(slope(20.0), on_cpu(lambda: slope(20.0)), rtol=1e-6)


def test_stationary_points_equal_those_of_the_cpu():
    inputs, labels = gaussian_classes(3, 4, 5, 0.5, 0)
    decays = np.array([1e-2, 2e-2])
    for loss, solver in (
        (nc.MeanSquaredError(), nc.EliminatedMultiStart(restarts=4)),
        (nc.CrossEntropy(), nc.LayerwiseMultiStart(restarts=4)),
    ):

        def solved(loss=loss, solver=solver):
            model = nc.MultilayerUnconstrainedFeatures(inputs, labels, decays, 1.0, loss=loss)
            return nc.solve_batch(model, solver)

        own, expected = solved(), on_cpu(solved)
        np.testing.assert_allclose(own.objective, expected.objective, rtol=1e-6)


def step_of(network, precision):
    """All weights after one step, the mean loss of its batch, and the step's length."""
    rng = np.random.default_rng(0)
    labels = np.arange(48).astype(np.int32) % 10
    pixels = rng.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
    recipe = Recipe(batch_size=48, learning_rate=0.01, precision=precision)
    images = on_device(ImageData(pixels, labels), DATA_SETS["cifar10"])
    trainer = Trainer(network, images, 10, recipe, longest=48, width=0.25)
    run = Run(np.arange(48), recipe)
    # An accelerator may multiply float32 matrices with fewer digits, which one step shows.
    with jax.default_matmul_precision("highest"):
        start = trainer.start([run])
        before = flat(start.weights)
        _, stack = next(trainer.epochs([run], start))
    after = flat(stack.weights)
    return after, np.asarray(stack.losses)[0], np.linalg.norm(after - before)


def flat(weights):
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(weights)])


@pytest.mark.parametrize("network", ["vgg11", "resnet18"])
def test_a_step_of_training_equals_that_of_the_cpu(network):
    own, loss, _ = step_of(network, "float32")
    expected, expected_loss, moved = on_cpu(lambda: step_of(network, "float32"))
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4)
    assert np.linalg.norm(own - expected) <= 0.01 * moved


@pytest.mark.parametrize("network", ["vgg11", "resnet18"])
def test_bfloat16_loses_no_more_than_on_the_cpu(network):
    exact, _, _ = on_cpu(lambda: step_of(network, "float32"))
    rounded, _, _ = on_cpu(lambda: step_of(network, "bfloat16"))
    own, _, _ = step_of(network, "bfloat16")
    assert np.linalg.norm(own - exact) <= 1.5 * np.linalg.norm(rounded - exact)
