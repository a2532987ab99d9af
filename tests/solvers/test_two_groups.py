"""The scalar equation of two-group cross-entropy models."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.solvers.certificates import certify
from nc_jax.surrogates.grouped import GroupLogits

# K = 10, E_W = 1: (E_H, K_A, R0, minority cosine at 0.7 R0, at 0.98 R0).
COSINES = [
    (5, 3, 245.496930598, 0.5910, 0.9666),
    (5, 5, 12.1924470803, 0.3349, 0.9252),
    (5, 7, 4.00046671014, 0.1104, 0.8433),
    (10, 3, 6350.84646254, 0.6847, 0.9766),
    (10, 5, 81.1022060974, 0.4728, 0.9505),
    (10, 7, 13.6658571425, 0.2586, 0.9023),
]
# E_H = 5: (K_A, R0, α, b, c) on the edge of collapse.
EDGES = [
    (3, 245.496930598, 8.120010782, -0.683505157, -0.398325912),
    (5, 12.1924470803, 4.915195773, -0.316711189, -0.213267121),
    (7, 4.00046671014, 3.530512469, -0.143767514, -0.104654567),
]


def solve(majority, minority, ratio, energy):
    return nc.solve(nc.LayerPeeled(nc.two_groups(majority, minority, ratio), 1.0, energy))


@pytest.mark.parametrize(("energy", "majority", "collapse", "early", "late"), COSINES)
def test_reference_cosines(energy, majority, collapse, early, late):
    for share, expected in ((0.7, early), (0.98, late)):
        solution = solve(majority, 10 - majority, share * collapse, energy)
        np.testing.assert_allclose(solution.within_cosines[1], expected, atol=6e-5)


@pytest.mark.parametrize(("majority", "collapse", "alpha", "b", "c"), EDGES)
def test_reference_numbers_on_the_edge_of_collapse(majority, collapse, alpha, b, c):
    solution = solve(majority, 10 - majority, collapse, 5.0)
    logits = solution.logits
    np.testing.assert_allclose(solution.within, [alpha, 0], atol=1e-8)
    np.testing.assert_allclose([logits[0, -1], logits[-1, 0]], [b, c], atol=6e-10)


def test_reference_numbers_when_separated():
    solution = solve(3, 7, 10.0, 5.0)
    logits = solution.logits
    found = [*solution.within, logits[0, -1], logits[-1, 0]]
    np.testing.assert_allclose(found, [4.988, 1.396, -0.428, -0.329], atol=6e-4)


# Numbers of classes are shapes: a few. Numbers that are traced are tested in
# tests/surrogates/test_counted.py.
@given(counts=st.sampled_from([(1, 9), (9, 1), (5, 5), (17, 50)]), seed=st.integers(0, 10**6))
def test_exact_at_every_ratio_and_budget(counts, seed):
    majority, minority = counts
    rng = np.random.default_rng(seed)
    ratios = 10 ** rng.uniform(-6, 6, 500)
    budgets = 10 ** rng.uniform(-2, np.log10(30), 500)
    sizes = nc.two_groups(majority, minority, ratios)
    solution = nc.solve_batch(nc.LayerPeeled(sizes, 1.0, budgets**2))
    assert np.all(solution.status == nc.Status.CONVERGED)
    assert np.max(solution.gap) <= 1e-12
    assert np.max(solution.gap / solution.objective) <= 1e-11
    # The closed-form certificate is the general one.
    for lane in range(0, 500, 125):
        model = nc.LayerPeeled(
            nc.two_groups(majority, minority, ratios[lane]), 1, budgets[lane] ** 2
        )
        point = GroupLogits(solution.within[lane], solution.between[lane])
        general = certify(model, point)
        np.testing.assert_allclose(general.objective, solution.objective[lane], rtol=1e-12)
        np.testing.assert_allclose(general.multiplier, solution.multiplier[lane], rtol=1e-10)
        assert general.gap <= 1e-11 * general.objective


@pytest.mark.parametrize("counts", [(1, 50), (3, 999), (999, 3)])
def test_a_few_classes_against_many_converge_everywhere(counts):
    rng = np.random.default_rng(sum(counts))
    ratios, energies = np.exp(rng.uniform([[0], [-3]], [[9.2], [3]], (2, 3000)))
    solution = nc.solve(nc.LayerPeeled(nc.two_groups(*counts, ratios), energies, energies))
    assert np.all(solution.status == nc.Status.CONVERGED)
    assert np.all(solution.gap <= 1e-10 * solution.objective)
    with_too_few = nc.solve(solution.model, nc.TwoGroupRoot(steps=4))
    assert np.any(with_too_few.status == nc.Status.NOT_CONVERGED) or counts == (999, 3)


def test_groups_may_come_in_either_order():
    one, two = solve(3, 7, 50.0, 5.0), solve(7, 3, 1 / 50.0, 5.0)
    np.testing.assert_allclose(one.within, two.within[::-1], rtol=1e-12)
    np.testing.assert_allclose(one.logits[0, -1], two.logits[-1, 0], rtol=1e-12)
    assert nc.phase(one) == nc.phase(two)


def test_collapse_is_exact_and_vanishing_is_undefined():
    collapsed = solve(5, 5, 100.0, 5.0)
    assert collapsed.within[1] == 0 and collapsed.within_cosines[1] == 1
    np.testing.assert_array_equal(np.ptp(collapsed.classifier_gram[5:, 5:]), 0)
    vanished = solve(7, 3, 100.0, 5.0)
    assert vanished.classifier_norms[1] == 0
    assert np.isnan(vanished.within_cosines[1])
    np.testing.assert_allclose(vanished.within_cosines[0], -1 / 6, rtol=1e-12)


def test_a_single_class_has_no_cosine_of_its_own():
    solution = solve(9, 1, 1.5, 5.0)
    assert np.isnan(solution.within_cosines[1]) and np.isfinite(solution.between_cosines[0, 1])


@given(seed=st.integers(0, 10**6))
def test_group_cosines_are_those_of_the_classifiers(seed):
    rng = np.random.default_rng(seed)
    solution = solve(4, 6, 10 ** rng.uniform(0, 1), 10 ** rng.uniform(0, 1))
    gram = nc.cosines(nc.gram(solution.classifiers))
    np.testing.assert_allclose(solution.within_cosines, [gram[0, 1], gram[8, 9]], atol=1e-12)
    np.testing.assert_allclose(solution.between_cosines[0, 1], gram[0, 9], atol=1e-12)
    lengths = jnp.linalg.norm(solution.classifiers, axis=1)
    np.testing.assert_allclose(solution.classifier_norms, lengths[jnp.array([0, 9])], rtol=1e-12)


def test_another_structure_is_refused():
    with pytest.raises(ValueError, match="two groups"):
        nc.TwoGroupRoot()(nc.LayerPeeled([3.0, 2.0, 1.0]))
    loss = nc.MeanSquaredError()
    with pytest.raises(ValueError, match="CrossEntropy"):
        nc.TwoGroupRoot()(nc.LayerPeeled([3.0, 2.0], loss=loss))


@pytest.mark.parametrize(("majority", "minority"), [(1, 9), (9, 1), (5, 5), (1, 1), (50, 20)])
def test_float32_agrees_with_float64(majority, minority):
    rng = np.random.default_rng(majority)
    ratios, energies = 10 ** rng.uniform(0, 6, 500), 10 ** rng.uniform(-3, 2, 500)
    double, single = (
        nc.solve_batch(
            nc.LayerPeeled(
                nc.two_groups(majority, minority, ratios.astype(dtype)), 1.0, energies.astype(dtype)
            )
        )
        for dtype in (np.float64, np.float32)
    )
    assert single.gap.dtype == jnp.float32
    assert np.all(single.status == nc.Status.CONVERGED)
    np.testing.assert_allclose(single.objective, double.objective, rtol=2e-5, atol=1e-6)
