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


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 2e-3), ("bfloat16", 6e-2)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("network", ["vgg11", "resnet18"])
def test_an_epoch_ends_where_that_of_the_cpu_ends(network, precision, tolerance):
    rng = np.random.default_rng(0)
    labels = np.arange(48).astype(np.int32) % 10
    pixels = rng.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
    data = ImageData(pixels, labels)

    def trained():
        recipe = Recipe(batch_size=16, learning_rate=0.01, precision=precision)
        images = on_device(data, DATA_SETS["cifar10"])
        trainer = Trainer(network, images, 10, recipe, longest=48, width=0.25)
        run = Run(np.arange(48), recipe)
        _, stack = next(trainer.epochs([run], trainer.start([run])))
        return stack.losses, stack.weights

    (own, weights), (loss, expected) = trained(), on_cpu(trained)
    np.testing.assert_allclose(own[0], loss[0], rtol=tolerance)
    for ours, theirs in zip(jax.tree.leaves(weights), jax.tree.leaves(expected), strict=True):
        distance = np.linalg.norm(np.asarray(ours) - theirs)
        assert distance <= 10 * tolerance * np.linalg.norm(theirs) + 1e-3
