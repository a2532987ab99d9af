"""Least curvature: the dense Hessian's, zero at minima, negative at known saddles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.solvers.curvature import feasible_objective
from nc_jax.solvers.parametrisations import parametrised
from tests.solvers.test_factored import FEW

SIZES = nc.two_groups(2, 2, 5.0)
MODELS = {
    "layer-peeled": nc.LayerPeeled(SIZES, 3.0, 2.0, dimension=2, samples=(2, 1, 1, 3)),
    "powers": nc.LayerPeeled(SIZES, 3.0, 2.0, dimension=2, feature_power=3.0),
    "contrastive": nc.LayerPeeled(SIZES, loss=nc.SupervisedContrastive(), dimension=2),
    "unconstrained": nc.UnconstrainedFeatures(SIZES, 1e-2, 1e-3, 0.1, dimension=2),
    "nonnegative": nc.UnconstrainedFeatures(SIZES, 1e-2, 1e-3, nonnegative=True, dimension=3),
    "deep": nc.DeepLayerPeeled(SIZES, 2, 3.0, 4.0, biased=True, widths=(3, 2)),
    "deep budgets": nc.DeepLayerPeeled(SIZES, 2, layer_energies=[1.0, 2.0], widths=(3, 2)),
    "deep decayed": nc.DeepUnconstrainedFeatures(SIZES, 2, 1e-2, 1e-3, widths=(3, 2)),
}


def random_point(model):
    """A feasible point that need not be stationary, as if it were a solution."""
    own = parametrised(model)
    layers = jax.jit(lambda: own.layers(own.start(jax.random.key(3))))()
    zero = jnp.zeros(())
    numbers = dict.fromkeys(("objective", "gap", "residual", "status", "iterations"), zero)
    restarts = dict.fromkeys(("restart_objectives", "restart_evaluations"), zero[None])
    return nc.FactoredSolution(model=model, layers=layers, **numbers, **restarts)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_invert_the_layers_and_lanczos_finds_the_dense_extremes(name):
    solution = random_point(MODELS[name])
    model, layers = solution.model, solution.layers
    space = parametrised(model)
    for given, back in zip(
        jax.tree.leaves(layers),
        jax.tree.leaves(jax.jit(lambda own: space.layers(space.parameters(own)))(layers)),
        strict=True,
    ):
        np.testing.assert_allclose(back, given, rtol=1e-10, atol=1e-12)
    objective, point = feasible_objective(model, layers)
    dense = np.linalg.eigvalsh(jax.jit(jax.hessian(objective))(point))
    found = nc.least_curvature(solution)
    np.testing.assert_allclose(found.least, dense[0], atol=1e-7 * abs(dense[-1]))
    np.testing.assert_allclose(found.largest, dense[-1], rtol=1e-7)


def test_an_optimum_has_no_direction_of_descent():
    batch = nc.LayerPeeled(nc.two_groups(2, 4, np.array([1.0, 10.0])), 3.0, 2.0, dimension=3)
    found = nc.solve_batch(batch, FEW)
    curvature = nc.least_curvature(found)
    assert curvature.least.shape == (2,)
    np.testing.assert_allclose(curvature.relative, 0, atol=1e-6)
    assert np.all(curvature.largest > 0)


def test_an_optimum_in_fewer_dimensions_is_a_saddle_in_more():
    """The new direction is unused, so the point is stationary; using it helps."""
    narrow = nc.LayerPeeled(np.ones(6), 3.0, 2.0, dimension=2)
    found = nc.solve(narrow, FEW)
    assert nc.least_curvature(found).relative > -1e-6
    wider = jax.tree.map(lambda matrix: jnp.pad(matrix, ((0, 0), (0, 1))), found.layers)
    model = dataclasses.replace(narrow, dimension=3)
    saddle = dataclasses.replace(found, model=model, layers=wider)
    objective, point = feasible_objective(model, wider)
    assert np.linalg.norm(jax.jit(jax.grad(objective))(point)) < 1e-7
    assert nc.least_curvature(saddle).relative < -1e-2


def test_zero_is_a_saddle_below_the_threshold_penalty_only():
    """Balanced cross-entropy: the zero solution is the optimum iff √(n λ_W λ_H) ≥ 1/K."""
    for penalty, sign in ((0.9 / 4, -1), (1.1 / 4, 1)):
        model = nc.UnconstrainedFeatures(np.ones(4), penalty, penalty, dimension=2)
        point = random_point(model)
        zero = dataclasses.replace(point, layers=jax.tree.map(jnp.zeros_like, point.layers))
        assert np.sign(nc.least_curvature(zero).least) == sign


def test_bad_input_names_the_argument():
    with pytest.raises(TypeError, match="solution"):
        nc.least_curvature(nc.solve(nc.LayerPeeled(SIZES)))
    with pytest.raises(ValueError, match="steps"):
        nc.least_curvature(random_point(MODELS["unconstrained"]), steps=0)
