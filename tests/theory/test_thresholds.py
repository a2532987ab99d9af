"""R0 and R1: reference values, phases around them, derivatives, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nc_jax as nc

# K = 10, E_W = 1: (E_H, K_A, R0, R1), twelve digits.
REFERENCE = [
    (5, 3, 245.496930598, np.inf),
    (5, 5, 12.1924470803, np.inf),
    (5, 7, 4.00046671014, 5.70533017),
    (10, 3, 6350.84646254, np.inf),
    (10, 5, 81.1022060974, np.inf),
    (10, 7, 13.6658571425, 26.2409017),
]


@pytest.mark.parametrize(("energy", "majority", "collapse", "vanish"), REFERENCE)
def test_reference_values(energy, majority, collapse, vanish):
    budget = energy**0.5
    np.testing.assert_allclose(
        nc.theory.collapse_ratio(majority, 10 - majority, budget), collapse, rtol=5e-12
    )
    np.testing.assert_allclose(
        nc.theory.vanish_ratio(majority, 10 - majority, budget), vanish, rtol=2e-9
    )


counts = st.integers(1, 50)
budgets = st.floats(np.log(0.01), np.log(30)).map(np.exp)


def phase_at(majority, minority, ratio, budget, solver=None):
    sizes = nc.two_groups(majority, minority, float(ratio))
    return nc.phase(nc.solve(nc.LayerPeeled(sizes, feature_energy=budget**2), solver))


# Each pair of counts compiles a solver; the formula itself is tested with any counts below.
@given(pair=st.sampled_from([(1, 9), (50, 2), (5, 5), (17, 30)]), budget=budgets)
def test_the_phase_changes_exactly_at_the_thresholds(pair, budget):
    majority, minority = pair
    collapse = nc.theory.collapse_ratio(majority, minority, budget)
    vanish = nc.theory.vanish_ratio(majority, minority, budget)
    assert 1 <= collapse < vanish
    assume(collapse < 1e30)
    assert phase_at(majority, minority, collapse * (1 - 1e-3), budget) == "separated"
    after = collapse * (1 + 1e-3)
    assert phase_at(majority, minority, after, budget) == (
        "collapsed" if after < vanish else "vanished"
    )
    assume(vanish < 1e30)
    before = vanish * (1 - 1e-3)
    assert phase_at(majority, minority, before, budget) == (
        "collapsed" if before > collapse else "separated"
    )
    assert phase_at(majority, minority, vanish * (1 + 1e-3), budget) == "vanished"


@pytest.mark.parametrize("solver", [nc.ReducedInteriorPoint(), nc.FactoredQuasiNewton()])
@pytest.mark.parametrize(("energy", "majority", "collapse", "vanish"), REFERENCE)
def test_independent_solvers_see_the_same_thresholds(energy, majority, collapse, vanish, solver):
    minority, budget = 10 - majority, energy**0.5
    assert phase_at(majority, minority, collapse * (1 - 1e-3), budget, solver) == "separated"
    assert phase_at(majority, minority, collapse * (1 + 1e-3), budget, solver) == "collapsed"
    if np.isfinite(vanish):
        assert phase_at(majority, minority, vanish * (1 - 1e-3), budget, solver) == "collapsed"
        assert phase_at(majority, minority, vanish * (1 + 1e-3), budget, solver) == "vanished"


@given(majority=counts, minority=st.integers(2, 50), budget=st.floats(0.05, 3))
def test_derivative_in_the_budget_matches_finite_differences(majority, minority, budget):
    def log_ratio(energy):
        return nc.theory.log_collapse_ratio(majority, minority, energy)

    step = 1e-5 * budget
    numeric = (log_ratio(budget + step) - log_ratio(budget - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(log_ratio)(budget), numeric, rtol=1e-5)


@given(majority=counts, minority=st.integers(2, 50), budget=budgets)
def test_more_budget_delays_collapse(majority, minority, budget):
    ratios = nc.theory.log_collapse_ratio(majority, minority, budget * np.array([1, 1.1, 2]))
    assert np.all(np.diff(ratios) > 0)


def test_large_budgets_follow_the_asymptote():
    majority, minority, budget = 4, 6, 3000.0
    expected = 10 * budget / (majority - 1 + np.sqrt(minority / 10))
    found = nc.theory.log_collapse_ratio(majority, minority, budget)
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    assert np.isinf(nc.theory.collapse_ratio(majority, minority, budget))


def test_one_minority_class_never_collapses():
    assert np.isinf(nc.theory.collapse_ratio(9, 1, 2.0))
    assert np.isinf(nc.theory.vanish_ratio(1, 9, 2.0))
    # It can still vanish.
    vanish = nc.theory.vanish_ratio(9, 1, 0.5)
    assert phase_at(9, 1, vanish * (1 - 1e-3), 0.5) == "separated"
    assert phase_at(9, 1, vanish * (1 + 1e-3), 0.5) == "vanished"


@given(majority=st.integers(2, 50), minority=counts)
def test_vanishing_ends_exactly_at_its_budget(majority, minority):
    edge = nc.theory.vanish_budget(majority, minority)
    assert np.isfinite(nc.theory.vanish_ratio(majority, minority, edge * (1 - 1e-6)))
    assert np.isinf(nc.theory.vanish_ratio(majority, minority, edge * (1 + 1e-6)))


def test_jit_vmap_and_broadcasting_agree():
    budgets = jnp.array([0.5, 1.0, 2.0])
    one_by_one = [nc.theory.collapse_ratio(3, 7, float(b)) for b in budgets]
    np.testing.assert_allclose(nc.theory.collapse_ratio(3, 7, budgets), one_by_one, rtol=1e-12)
    batched = jax.jit(jax.vmap(lambda b: nc.theory.collapse_ratio(3, 7, b)))(budgets)
    np.testing.assert_allclose(batched, one_by_one, rtol=1e-12)
    table = nc.theory.collapse_ratio(np.arange(1, 10)[:, None], 4, budgets[None, :])
    assert table.shape == (9, 3)


def test_float32():
    single = nc.theory.collapse_ratio(5, 5, jnp.float32(5**0.5))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, 12.1924470803, rtol=1e-4)


@pytest.mark.parametrize("function", [nc.theory.collapse_ratio, nc.theory.vanish_ratio])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0, 5, 1.0), "majority"),
        ((5, 2.5, 1.0), "minority"),
        ((5, 5, 0.0), "budget"),
        ((5, 5, np.nan), "budget"),
        ((5, 5, "large"), "budget"),
    ],
)
def test_bad_input_names_the_argument(function, arguments, name):
    with pytest.raises((TypeError, ValueError), match=name):
        function(*arguments)
