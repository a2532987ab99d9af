"""Nonnegative unconstrained features: certified, and what an orthogonal frame gives."""

import cvxpy as cp
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc


def model(sizes, decay, bias=True, **options):
    sizes = np.asarray(sizes, float)
    penalties = decay, decay / sizes.sum(), decay if bias else None
    return nc.UnconstrainedFeatures(sizes, *penalties, nonnegative=True, **options)


def by_rows(sizes, decay, bias):
    """The program of an orthogonal frame: a price √n_k ‖Z_k‖ for every class, by CVXPY."""
    sizes = np.asarray(sizes, float)
    count, total = len(sizes), sizes.sum()
    logits = cp.Variable((count, count))
    offset = cp.Variable(count) if bias else np.zeros(count)
    cost = 0.5 * decay * cp.sum_squares(offset) if bias else 0.0
    for k in range(count):
        row = logits[k] + offset
        cost += sizes[k] / total * (cp.log_sum_exp(row) - row[k])
        cost += decay * np.sqrt(sizes[k] / total) * cp.norm(logits[k])
    problem = cp.Problem(cp.Minimize(cost))
    problem.solve(solver=cp.CLARABEL)
    return problem.value


@given(st.integers(3, 6), st.floats(1, 200), st.floats(1e-3, 1e-2))
def test_balanced_is_the_frame_of_unconstrained_features_at_a_higher_price(classes, size, decay):
    # An orthogonal frame pays K √((K−1)/K) for a logit gap, a simplex ETF K − 1.
    found = nc.solve(model([size] * classes, decay, bias=False))
    price = decay * np.sqrt(classes / (classes - 1))
    known = nc.theory.unconstrained_optimum(classes, size, price, price / (classes * size))
    assert found.status == nc.Status.CONVERGED and found.gap < 1e-9
    np.testing.assert_allclose(found.objective, known.objective, rtol=1e-9)
    cosines = nc.cosines(nc.gram(found.features))[~np.eye(classes, dtype=bool)]
    np.testing.assert_allclose(cosines, 0, atol=1e-5)
    cosines = nc.cosines(found.classifier_gram)[~np.eye(classes, dtype=bool)]
    np.testing.assert_allclose(cosines, -1 / (classes - 1), atol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [[60, 60, 12, 12], [50, 20, 9, 4, 2]])
def test_an_independent_solver_finds_the_same_value(sizes, bias):
    found = nc.solve(model(sizes, 0.01, bias))
    assert found.gap < 1e-9
    assert jnp.min(found.features) >= 0
    np.testing.assert_allclose(found.objective, by_rows(sizes, 0.01, bias), atol=2e-7)


def test_signs_forbidden_cost_something_and_the_bound_holds_for_every_restart():
    sizes = [80, 80, 80, 8, 8]
    plain = nc.solve(nc.UnconstrainedFeatures(sizes, 0.01, 0.01 / 256, 0.01))
    found = nc.solve(model(sizes, 0.01))
    assert found.objective > plain.objective + 1e-4
    assert jnp.min(found.restart_objectives) >= found.objective - found.gap - 1e-12


def test_small_classes_collapse_with_a_certificate():
    # They share one direction then, and no orthogonal frame is optimal.
    found = nc.solve(model([100] * 5 + [5] * 5, 0.1))
    assert found.gap < 1e-9
    assert nc.phase(found) == "collapsed"
    assert by_rows([100] * 5 + [5] * 5, 0.1, True) > found.objective - 1e-7


def test_float32_and_batches():
    sizes = nc.two_groups(2, 2, np.array([1.0, 10.0], np.float32), np.float32(10))
    decay = np.full(2, 0.01, np.float32)
    batch = nc.UnconstrainedFeatures(sizes, decay, decay / 100, decay, nonnegative=True)
    found = nc.solve_batch(batch)
    assert found.objective.dtype == jnp.float32
    assert (np.asarray(found.gap) < 1e-3).all()
    double = nc.solve(
        nc.UnconstrainedFeatures([100, 100, 10, 10], 0.01, 1e-4, 0.01, nonnegative=True)
    )
    np.testing.assert_allclose(found.objective[1], double.objective, rtol=1e-4)


def test_what_does_not_go_is_refused():
    with pytest.raises(ValueError, match="FactoredMultiStart"):
        nc.solve(model([5, 5, 5], 0.01), solver=nc.ReducedInteriorPoint())
    with pytest.raises(ValueError, match="nonnegative"):
        nc.UnconstrainedFeatures(
            [5, 5], 0.1, 0.1, loss=nc.SupervisedContrastive(1.0), nonnegative=True
        )
