"""Fewer dimensions than the convex form needs: bounds, certificates, codes, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.solvers import choose_solver
from tests.solvers.test_factored import FEW

SIZES = nc.two_groups(3, 3, 5.0)
TARGETS = nc.SoftTargets(np.random.default_rng(0).dirichlet(np.full(6, 0.3), 5))


def largest_cosine(vectors):
    angles = np.array(nc.cosines(nc.gram(vectors)))
    np.fill_diagonal(angles, -1)
    return angles.max()


MODELS = {
    "layer-peeled": nc.LayerPeeled(SIZES, 3.0, 4.0, dimension=2),
    "every class its own size": nc.LayerPeeled(nc.long_tailed(6, 30.0), 3.0, 4.0, dimension=3),
    "soft targets": nc.LayerPeeled(np.ones(5), 3.0, 4.0, TARGETS, dimension=2),
    "contrastive": nc.LayerPeeled(
        SIZES, feature_energy=2.0, loss=nc.SupervisedContrastive(), dimension=2
    ),
    "free bias": nc.UnconstrainedFeatures(SIZES, 1e-2, 1e-3, 0.0, dimension=2),
    "nonnegative": nc.UnconstrainedFeatures(SIZES, 1e-2, 1e-3, dimension=2, nonnegative=True),
    "one deep decayed layer": nc.DeepUnconstrainedFeatures(SIZES, 1, 1e-2, 1e-3, widths=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_bound_is_that_of_the_model_with_enough_dimensions(name):
    """No point goes below it, and it is the certified optimum of the relaxed program."""
    model = MODELS[name]
    found = nc.solve(model, FEW)
    assert found.status in (nc.Status.STATIONARY, nc.Status.CONVERGED)
    bound = float(found.objective - found.gap)
    assert np.all(bound <= np.asarray(found.restart_objectives) + 1e-12)
    if isinstance(model, nc.LayerPeeled | nc.UnconstrainedFeatures):
        wide = nc.solve(dataclasses.replace(model, dimension=None))
        assert found.objective >= wide.objective - wide.gap - 1e-12
        np.testing.assert_allclose(bound, wide.objective, atol=1e-6)
    assert found.classifiers.shape[1] == found.features.shape[1] < 6
    assert nc.phase(found) in ("separated", "collapsed", "vanished", "unresolved")


@pytest.mark.parametrize(
    "model",
    [
        nc.DeepLayerPeeled(SIZES, 2, 4.0, 4.0, widths=(2, 3)),
        nc.LayerPeeled(SIZES, 2.0, 2.0, feature_power=3.0, dimension=2),
    ],
    ids=["deep", "powers"],
)
def test_models_without_a_convex_form_have_no_bound(model):
    found = nc.solve(model, FEW)
    assert found.status != nc.Status.CONVERGED
    assert np.isinf(found.gap)
    assert np.isfinite(found.objective)


@pytest.mark.parametrize(
    ("sizes", "dimension", "certified"),
    [((3, 7, 1e3), 3, True), ((3, 7, 1e3), 2, False), ((7, 3, 10.0), 6, True)],
    ids=["collapsed", "one too few", "vanished"],
)
def test_a_convex_optimum_of_low_rank_certifies(sizes, dimension, certified):
    """Beyond R0 the optimum has rank K_A; beyond R1 all minorities vanish: rank K_A − 1."""
    model = nc.LayerPeeled(nc.two_groups(*sizes), 1.0, 5.0, dimension=dimension)
    found, wide = nc.solve(model, FEW), nc.solve(dataclasses.replace(model, dimension=None))
    assert (found.gap <= 1e-7) == certified
    assert (found.status == nc.Status.CONVERGED) == certified
    if certified:
        np.testing.assert_allclose(found.objective, wide.objective, atol=1e-9)
        assert nc.phase(found) == nc.phase(wide)


def test_the_full_dimension_depends_on_loss_and_targets():
    assert nc.LayerPeeled(np.ones(6)).full_dimension == 5
    assert nc.LayerPeeled(np.ones(6), loss=nc.MeanSquaredError()).full_dimension == 6
    assert nc.UnconstrainedFeatures(np.ones(6), 0.1, 0.1).full_dimension == 5
    assert nc.LayerPeeled(np.ones(5), loss=TARGETS).full_dimension == 5
    more = nc.SoftTargets(np.full((8, 6), 1 / 6))
    assert nc.LayerPeeled(np.ones(8), loss=more).full_dimension == 5
    # One dimension more than K − 1 changes nothing, one fewer does.
    assert not isinstance(choose_solver(nc.LayerPeeled(SIZES, dimension=5)), nc.FactoredMultiStart)
    assert isinstance(choose_solver(nc.LayerPeeled(SIZES, dimension=4)), nc.FactoredMultiStart)


@pytest.mark.parametrize(
    "solver", [nc.ReducedInteriorPoint(), nc.FactoredQuasiNewton(), nc.TwoGroupRoot()]
)
def test_convex_solvers_refuse_too_few_dimensions(solver):
    with pytest.raises(ValueError, match="dimension ≥ 5"):
        nc.solve(MODELS["layer-peeled"], solver)


@pytest.mark.parametrize("dimension", [0, -1])
@pytest.mark.parametrize(
    "build",
    [
        lambda p: nc.LayerPeeled(SIZES, dimension=p),
        lambda p: nc.UnconstrainedFeatures(SIZES, 0.1, 0.1, dimension=p),
        lambda p: nc.LayerPeeled(np.ones(5), loss=TARGETS, dimension=p),
    ],
)
def test_no_dimension_is_an_error(build, dimension):
    with pytest.raises(ValueError, match="dimension must be at least 1"):
        build(dimension)
    with pytest.raises(TypeError, match="dimension"):
        build(1.5)


@pytest.mark.parametrize(
    ("classes", "dimension", "known"),
    [(12, 3, 5**-0.5), (24, 4, 0.5)],
    ids=["icosahedron", "24-cell"],
)
def test_the_balanced_optimum_is_the_known_code(classes, dimension, known):
    model = nc.LayerPeeled(np.ones(classes), 20.0, 20.0, dimension=dimension)
    found = nc.solve(model)
    assert found.status == nc.Status.STATIONARY
    assert abs(largest_cosine(found.classifiers) - known) < 1e-6
    assert abs(largest_cosine(found.features) - known) < 1e-6
    assert nc.phase(found) == "separated"
    # Features and classifiers are one code, of equal lengths.
    measured = nc.metrics.collapse_metrics(found)
    assert measured.nc2_equinorm < 1e-6
    assert measured.nc3_difference < 1e-6
    # A tight frame is as near to a simplex frame as few dimensions allow.
    nearest = np.sqrt(2 - 2 * np.sqrt(dimension / (classes - 1)))
    np.testing.assert_allclose(measured.nc2_etf, nearest, rtol=1e-5)


def test_a_batch_has_a_bound_for_each_lane():
    energies = np.array([0.5, np.nan, 4.0, 9.0])
    batch = nc.LayerPeeled(nc.two_groups(3, 3, 5.0), energies, 2.0, dimension=2)
    found = nc.solve_batch(batch, FEW, jax.random.key(1))
    assert found.status[1] == nc.Status.INVALID
    kept = np.array([0, 2, 3])
    wide = nc.solve(nc.LayerPeeled(SIZES, energies[kept], 2.0))
    np.testing.assert_allclose((found.objective - found.gap)[kept], wide.objective, atol=1e-8)
    assert jnp.all(found.gap[kept] >= 0)


def test_many_budgets_share_one_program():
    solver = jax.jit(lambda model: nc.solve(model, FEW).objective)
    for energy in (1.0, 2.0, 7.0):
        solver(nc.LayerPeeled(SIZES, jnp.asarray(energy), 2.0, dimension=2))
    assert solver._cache_size() == 1
