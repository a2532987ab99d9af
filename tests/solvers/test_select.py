"""The front door: batches, bad lanes, compilation, errors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc

LOSSES = [nc.CrossEntropy(), nc.MeanSquaredError()]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("solver", [None, nc.ReducedInteriorPoint(), nc.FactoredQuasiNewton()])
def test_a_bad_lane_leaves_the_others_untouched(loss, solver):
    # As many lanes, so that both batches share a program.
    good = np.array([3.0, 5.0, 10.0, 20.0, 100.0, 200.0])
    mixed = np.array([3.0, np.nan, 10.0, -1.0, 100.0, np.inf])
    clean = nc.solve_batch(nc.LayerPeeled(nc.two_groups(2, 3, good), 1.0, 2.0, loss), solver)
    dirty = nc.solve_batch(nc.LayerPeeled(nc.two_groups(2, 3, mixed), 1.0, 2.0, loss), solver)
    bad = np.array([1, 3, 5])
    assert np.all(dirty.status[bad] == nc.Status.INVALID)
    assert np.isnan(dirty.objective[bad]).all() and np.isnan(dirty.logits[bad]).all()
    assert list(nc.phase(dirty)[bad]) == ["unresolved"] * 3
    kept = np.array([0, 2, 4])
    np.testing.assert_array_equal(dirty.logits[kept], clean.logits[kept])


def test_batches_broadcast_and_match_single_solves():
    ratios, energies = np.array([2.0, 30.0, 500.0]), np.array([[1.0], [5.0]])
    solution = nc.solve(nc.LayerPeeled(nc.two_groups(3, 7, ratios), 1.0, energies))
    assert solution.objective.shape == (2, 3) and solution.logits.shape == (2, 3, 10, 10)
    assert nc.phase(solution).shape == (2, 3)
    one = nc.solve(nc.LayerPeeled(nc.two_groups(3, 7, 30.0), 1.0, 5.0))
    np.testing.assert_allclose(solution.logits[1, 1], one.logits, atol=1e-12)
    np.testing.assert_allclose(solution.classifiers[1, 1], one.classifiers, atol=1e-9)
    np.testing.assert_allclose(solution.between_cosines[1, 1], one.between_cosines, atol=1e-12)


def test_chunks_do_not_change_results():
    model = nc.LayerPeeled(nc.two_groups(3, 7, np.geomspace(1, 1e4, 37)), 1.0, 5.0)
    whole, chunked = nc.solve_batch(model), nc.solve_batch(model, batch_size=8)
    np.testing.assert_allclose(whole.within, chunked.within, rtol=1e-13, atol=1e-13)


def test_vmap_of_solve():
    model = nc.LayerPeeled(nc.two_groups(5, 5, np.array([1.0, 1e3])), np.ones(2), 5 * np.ones(2))
    solution = jax.vmap(nc.solve)(model)
    assert list(nc.phase(solution)) == ["separated", "collapsed"]


@pytest.mark.parametrize("solver", [nc.TwoGroupRoot, nc.ReducedInteriorPoint])
def test_no_number_recompiles(solver):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(model, solver):
        return solver(model).objective

    for ratio, energy, tolerance in [(1.0, 1.0, 1e-9), (7.0, 5.0, 1e-8), (1e5, 0.1, 1e-7)]:
        model = nc.LayerPeeled(nc.two_groups(5, 5, ratio), 2 * energy, energy)
        run(model, solver(tolerance=tolerance))


def test_a_model_survives_flattening_with_placeholders():
    model = nc.LayerPeeled(nc.two_groups(2, 3, 4.0), 1.0, 2.0, nc.PowerSoftmax(3.0))
    leaves, structure = jax.tree.flatten(model)
    rebuilt = jax.tree.unflatten(structure, [object()] * len(leaves))
    assert jax.tree.structure(rebuilt) == structure
    assert len(leaves) == 4


@pytest.mark.parametrize("dimension", [9, 10, 13])
def test_the_feature_dimension(dimension):
    model = nc.LayerPeeled(nc.two_groups(4, 6, 5.0), 2.0, 3.0, dimension=dimension)
    solution = nc.solve(model)
    classifiers, features = solution.classifiers, solution.features
    assert classifiers.shape == features.shape == (10, dimension)
    np.testing.assert_allclose(features @ classifiers.T, solution.logits, atol=1e-12)
    np.testing.assert_allclose(jnp.mean(jnp.sum(classifiers**2, -1)), 2.0, rtol=1e-12)
    np.testing.assert_allclose(jnp.mean(jnp.sum(features**2, -1)), 3.0, rtol=1e-12)


SIZES = [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: nc.LayerPeeled([3.0, -2.0]), "sizes"),
        (lambda: nc.LayerPeeled(SIZES, weight_energy=0.0), "weight_energy"),
        (lambda: nc.LayerPeeled(SIZES, feature_energy=np.nan), "feature_energy"),
        (lambda: nc.LayerPeeled(SIZES, feature_energy="5"), "feature_energy"),
        (lambda: nc.LayerPeeled(SIZES, loss="cross-entropy"), "loss"),
        (lambda: nc.LayerPeeled(SIZES, dimension=0), "dimension"),
        (lambda: nc.LayerPeeled(SIZES, dimension=2.5), "dimension"),
        (lambda: nc.LayerPeeled(np.ones((4, 3)), feature_energy=np.ones(5)), "broadcast"),
        (
            lambda: nc.solve(
                nc.LayerPeeled(SIZES, loss=nc.PowerSoftmax()), nc.ReducedInteriorPoint()
            ),
            "loss=PowerSoftmax",
        ),
        (lambda: nc.solve(SIZES), "model"),
        (lambda: nc.solve(nc.LayerPeeled(SIZES), solver="fast"), "solver"),
        (lambda: nc.solve_batch(nc.LayerPeeled(np.ones((4, 3))), batch_size=0), "batch_size"),
        (lambda: nc.solve_batch(nc.LayerPeeled(np.ones((0, 3)))), "sizes"),
    ],
)
def test_bad_input_names_the_argument(build, name):
    with pytest.raises((TypeError, ValueError), match=name):
        build()
