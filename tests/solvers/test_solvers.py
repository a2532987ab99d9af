"""Every solver on random models: certified, feasible, in agreement."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.solvers.certificates import certify
from nc_jax.surrogates.grouped import GroupLogits
from tests.instances import GROUPS, LOSSES, random_model
from tests.oracles import clarabel_layer_peeled

SOLVERS = {"reduced": nc.ReducedInteriorPoint(), "factored": nc.FactoredQuasiNewton()}

certified = jax.jit(certify)
seeds = st.integers(0, 10**6)


def assert_valid(model, solution, gap=1e-9):
    """Certified, feasible, and consistent with what is derived from it."""
    assert solution.status == nc.Status.CONVERGED
    assert 0 <= solution.gap <= gap
    logits = solution.logits
    classifiers, features = solution.classifiers, solution.features
    scale = float(model.budget)
    tolerance = 1e-12 if logits.dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(features @ classifiers.T, logits, atol=30 * tolerance * scale)
    np.testing.assert_allclose(
        classifiers @ classifiers.T, solution.classifier_gram, atol=30 * tolerance * scale**2
    )
    limit = 1 + 100 * tolerance
    assert jnp.mean(jnp.sum(classifiers**2, -1)) <= model.weight_energy * limit
    assert jnp.mean(jnp.sum(features**2, -1)) <= model.feature_energy * limit
    np.testing.assert_allclose(
        model.objective(logits), solution.objective, rtol=1e4 * tolerance, atol=tolerance
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", GROUPS, ids=str)
@given(seed=seeds)
def test_solvers_agree_and_their_solutions_are_feasible(counts, loss, seed):
    model = random_model(seed, counts, loss)
    solutions = {name: nc.solve(model, solver) for name, solver in SOLVERS.items()}
    solutions["default"] = nc.solve(model)
    for solution in solutions.values():
        assert_valid(model, solution)
    objectives = [float(s.objective) for s in solutions.values()]
    np.testing.assert_allclose(objectives, objectives[0], rtol=1e-9, atol=1e-9)
    phases = {nc.phase(s) for s in solutions.values()} - {"unresolved"}
    assert len(phases) == 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", [(1, 1), (3, 3), (2, 1, 2), (1, 1, 1, 1)], ids=str)
@given(seed=seeds)
def test_agrees_with_an_independent_convex_solver(counts, loss, seed):
    model = random_model(seed, counts, loss, largest_ratio=100, budgets=(0.2, 3))
    solution = nc.solve(model)
    oracle = clarabel_layer_peeled(np.asarray(model.sizes.class_sizes), float(model.budget), loss)
    # The oracle's point is feasible: it can only be above, and not by much.
    assert oracle.objective >= solution.objective - solution.gap - 1e-12
    np.testing.assert_allclose(solution.objective, oracle.objective, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=seeds)
def test_the_gap_bounds_the_error_of_any_feasible_point(loss, seed):
    model = random_model(seed, (2, 3, 4, 1), loss)
    best = nc.solve(model)
    rng = np.random.default_rng(seed)
    point = GroupLogits(jnp.asarray(rng.normal(size=4)), jnp.asarray(rng.normal(size=(4, 4))))
    norm = certified(model, point).nuclear_norm
    shrink = model.nuclear_radius / norm * rng.uniform(0.1, 1)
    point = GroupLogits(point.within * shrink, point.between * shrink)
    certificate = certified(model, point)
    assert certificate.gap >= certificate.objective - best.objective - best.gap - 1e-12
    assert certificate.gap > 1e-6


@given(seed=seeds)
def test_only_the_budget_matters_for_the_logits(seed):
    model = random_model(seed, (2, 3, 4, 1), "cross-entropy")
    other = nc.LayerPeeled(
        nc.ClassSizes(7.0 * model.sizes.group_sizes, model.sizes.membership),
        weight_energy=3.0 * model.weight_energy,
        feature_energy=model.feature_energy / 3.0,
    )
    one, two = nc.solve(model), nc.solve(other)
    np.testing.assert_allclose(one.logits, two.logits, atol=1e-7)
    np.testing.assert_allclose(3 * one.classifier_gram, two.classifier_gram, atol=1e-6)


@given(seed=seeds)
def test_relabelling_classes_relabels_the_solution(seed):
    model = random_model(seed, (2, 3, 4, 1), "cross-entropy")
    order = np.array([3, 1, 9, 0, 2, 8, 5, 4, 7, 6])
    sizes = np.asarray(model.sizes.class_sizes)
    arguments = {"feature_energy": model.budget, "weight_energy": model.budget}
    straight = nc.solve(nc.LayerPeeled(sizes, **arguments))
    relabelled = nc.solve(nc.LayerPeeled(sizes[order], **arguments))
    np.testing.assert_allclose(relabelled.logits, straight.logits[order][:, order], atol=1e-7)


@given(seed=seeds)
def test_the_objective_falls_as_the_budget_grows(seed):
    model = random_model(seed, (2, 3, 4, 1), "cross-entropy", budgets=(0.05, 6))
    factors = np.array([1, 1.05, 1.5, 3])
    batch = nc.LayerPeeled(model.sizes, model.weight_energy, factors * float(model.feature_energy))
    assert np.all(np.diff(nc.solve(batch).objective) < 0)


@given(seed=seeds, repeats=st.integers(2, 50))
def test_oversampling_acts_like_larger_classes(seed, repeats):
    """Proposition 1 of Fang et al. 2021."""
    ratio = np.exp(np.random.default_rng(seed).uniform(0, 8))
    arguments = {"feature_energy": 5.0}
    before = nc.LayerPeeled(nc.two_groups(4, 6, ratio), **arguments)
    after = nc.LayerPeeled(nc.two_groups(4, 6, ratio / repeats), **arguments)
    sizes = before.sizes.group_sizes * jnp.array([1.0, repeats])
    oversampled = nc.LayerPeeled(nc.ClassSizes(sizes, before.sizes.membership), **arguments)
    np.testing.assert_allclose(nc.solve(oversampled).logits, nc.solve(after).logits, atol=1e-10)


def test_minority_classifiers_merge_as_the_ratio_grows():
    """Theorem 5 of Fang et al. 2021, for budgets below and above every threshold."""
    ratios = 10.0 ** np.arange(0, 13, 2)
    model = nc.LayerPeeled(nc.two_groups(3, 7, ratios), feature_energy=10.0)
    classifiers = nc.solve(model).classifiers[:, 3:]
    spread = np.ptp(np.asarray(classifiers), axis=1).max(-1)
    assert np.all(np.diff(spread) <= 1e-12) and spread[0] > 0.5 and spread[-1] < 1e-9


@pytest.mark.parametrize("solver", SOLVERS)
def test_jitted_and_not_agree(solver):
    model = random_model(1, (3, 7), "cross-entropy")
    plain = SOLVERS[solver](model)
    jitted = jax.jit(SOLVERS[solver])(model)
    chex.assert_trees_all_close(plain.logits, jitted.logits, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", [(2, 3, 4, 1), (1,) * 6], ids=str)
@given(seed=seeds)
def test_float32_follows_its_inputs_and_stays_accurate(counts, loss, seed):
    double = random_model(seed, counts, loss, largest_ratio=1e3, budgets=(0.1, 4))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), double)
    reference = nc.solve(double)
    for solver in (None, *SOLVERS.values()):
        solution = nc.solve(single, solver)
        assert solution.logits.dtype == jnp.float32
        np.testing.assert_allclose(solution.objective, reference.objective, rtol=2e-5, atol=2e-5)
        if solution.status == nc.Status.CONVERGED:
            assert_valid(single, solution, gap=1e-5)


@given(seed=seeds)
def test_squared_error_has_a_closed_form(seed):
    """Classes decouple: Z = diag((1 − μ/π_k)₊) with Σ_k Z_kk = min(K E, K) [derived]."""
    model = random_model(seed, (2, 3, 4, 1), "mean-squared-error", budgets=(0.02, 2))
    share = np.asarray(model.sizes.class_weights)
    target = min(float(model.nuclear_radius), 10.0)
    low, high = 0.0, share.max()
    for _ in range(200):
        middle = 0.5 * (low + high)
        above = np.maximum(1 - middle / share, 0).sum() > target
        low, high = (middle, high) if above else (low, middle)
    expected = np.maximum(1 - high / share, 0)
    for solver in (None, *SOLVERS.values()):
        solution = nc.solve(model, solver)
        value = share @ (0.5 * (1 - expected) ** 2)
        np.testing.assert_allclose(solution.objective, value, rtol=1e-8, atol=1e-9)
        if solver is None:
            np.testing.assert_allclose(solution.logits, np.diag(expected), atol=1e-5)


def test_thousands_of_classes():
    for majority, minority in [(5000, 5000), (9999, 1), (1, 9999)]:
        model = nc.LayerPeeled(nc.two_groups(majority, minority, 1e3), feature_energy=25.0)
        exact, path = nc.solve(model), nc.solve(model, nc.ReducedInteriorPoint())
        assert exact.gap <= 1e-9 and path.gap <= 1e-9
        np.testing.assert_allclose(exact.objective, path.objective, rtol=1e-9)


def test_long_tailed_hundred_classes():
    model = nc.LayerPeeled(nc.long_tailed(100, 1e3), feature_energy=5.0)
    assert_valid(model, nc.solve(model))


def test_steps_that_run_out_say_so():
    model = nc.LayerPeeled(nc.long_tailed(6, 1e3), feature_energy=5.0)
    for solver in (
        nc.ReducedInteriorPoint(steps=3),
        nc.FactoredQuasiNewton(tolerance=1e-14, max_iterations=5, check_every=5),
    ):
        solution = nc.solve(model, solver)
        assert solution.status == nc.Status.NOT_CONVERGED
        assert nc.phase(solution) == "unresolved"
        assert solution.objective - nc.solve(model).objective <= solution.gap
