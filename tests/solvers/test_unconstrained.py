"""Unconstrained features: certified, against an independent solver, at their thresholds."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.immutable import immutable
from tests.instances import LOSSES
from tests.oracles import clarabel_unconstrained

SOLVERS = {"reduced": nc.ReducedInteriorPoint(), "factored": nc.FactoredQuasiNewton()}
BIASES = [None, 0.0, 0.03]
seeds = st.integers(0, 10**6)


def random_features(seed, counts, loss, bias, largest_ratio=1e3, dtype=np.float64):
    """Log-uniform sizes, λ_Z from far below to somewhat above where all vanishes."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, np.log(largest_ratio), len(counts)))
    membership = tuple(np.repeat(np.arange(len(counts)), counts).tolist())
    samples = float(sizes @ np.asarray(counts))
    penalty = np.sqrt(sizes.max()) / samples * np.exp(rng.uniform(-5, 0.3))
    tilt = np.exp(rng.uniform(-1, 1))
    return nc.UnconstrainedFeatures(
        nc.ClassSizes(sizes.astype(dtype), membership),
        lambda_w=dtype(penalty * tilt),
        lambda_h=dtype(penalty / tilt),
        lambda_b=None if bias is None else dtype(bias),
        loss=LOSSES[loss],
    )


def primal_objective(model, solution):
    """The model's definition, at the solution's own classifiers, features and bias."""
    sizes = np.asarray(model.sizes.class_sizes)
    features, classifiers = np.asarray(solution.features), np.asarray(solution.classifiers)
    logits = features @ classifiers.T
    bias = np.zeros(len(sizes)) if solution.bias is None else np.asarray(solution.bias)
    losses = model.loss(jnp.asarray(logits + bias), jnp.arange(len(sizes)))
    cost = float(sizes / sizes.sum() @ np.asarray(losses))
    cost += 0.5 * float(model.lambda_w) * np.sum(classifiers**2)
    cost += 0.5 * float(model.lambda_h) * float(sizes @ np.sum(features**2, axis=1))
    return cost + 0.5 * float(model.lambda_b or 0) * np.sum(bias**2)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", [(2, 3, 1)], ids=str)
@settings(max_examples=5)
@given(seed=seeds)
def test_solvers_agree_and_their_factors_reach_the_objective(counts, loss, bias, seed):
    model = random_features(seed, counts, loss, bias)
    solutions = [nc.solve(model, solver) for solver in SOLVERS.values()]
    for solution in solutions:
        assert solution.status == nc.Status.CONVERGED
        np.testing.assert_allclose(
            primal_objective(model, solution), solution.objective, rtol=1e-9, atol=1e-10
        )
        dense = model.objective(
            solution.features @ solution.classifiers.T,
            None if bias is None else solution.bias,
        )
        np.testing.assert_allclose(dense, solution.objective, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(solutions[0].objective, solutions[1].objective, atol=2e-9)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", [(3, 2), (1, 1, 2)], ids=str)
@settings(max_examples=4)
@given(seed=seeds)
def test_agrees_with_an_independent_convex_solver(counts, loss, bias, seed):
    model = random_features(seed, counts, loss, bias, largest_ratio=100)
    solution = nc.solve(model)
    assert solution.status == nc.Status.CONVERGED
    oracle = clarabel_unconstrained(
        np.asarray(model.sizes.class_sizes), float(model.penalty), loss, bias
    )
    assert oracle >= solution.objective - solution.gap - 1e-12
    np.testing.assert_allclose(solution.objective, oracle, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("bias", [None, 0.0])
@pytest.mark.parametrize(("majority", "minority"), [(3, 7), (5, 5), (7, 3)])
@settings(max_examples=5)
@given(size=st.floats(10, 1e4), tightness=st.floats(0.01, 0.9))
def test_minority_collapses_exactly_at_its_ratio(majority, minority, bias, size, tightness):
    # Strong decay, past which every ratio collapses, is at 2 g √(K_A K_B) = 1.
    penalty = tightness / (2 * np.sqrt(size * majority * minority))
    ratio = float(nc.theory.unconstrained_collapse_ratio(majority, minority, size, penalty))
    found = []
    for factor in (1 - 1e-3, 1 + 1e-3):
        sizes = nc.two_groups(majority, minority, ratio * factor, size / (ratio * factor))
        threshold = nc.theory.unconstrained_collapse_penalty(sizes.class_sizes)[-1]
        assert (penalty >= threshold) == (factor > 1)
        solution = nc.solve(nc.UnconstrainedFeatures(sizes, penalty, penalty, lambda_b=bias))
        assert solution.status == nc.Status.CONVERGED
        found.append(bool(solution.within[1] == 0))
    assert found == [False, True]


@pytest.mark.parametrize(
    ("majority", "minority", "known"), [(5, 5, 0.004605), (3, 7, 0.008120), (1, 4, None)]
)
def test_minority_vanishes_exactly_at_its_penalty(majority, minority, known):
    threshold = nc.theory.unconstrained_vanish_penalty(majority, minority, 500.0, 100.0)
    if known is not None:
        np.testing.assert_allclose(threshold, known, atol=5e-7)
    sizes = nc.two_groups(majority, minority, 5.0, 100.0)
    phases = [
        nc.phase(nc.solve(nc.UnconstrainedFeatures(sizes, penalty, penalty)))
        for penalty in (threshold * (1 - 1e-3), threshold * (1 + 1e-3))
    ]
    assert phases[0] != "vanished"
    assert phases[1] == "vanished"


def test_strong_decay_leaves_nothing():
    solution = nc.solve(nc.UnconstrainedFeatures([4.0, 3.0, 2.0], 1.0, 1.0))
    np.testing.assert_allclose(solution.objective, np.log(3), rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(solution.logits), np.zeros((3, 3)))
    assert nc.phase(solution) == "vanished"


def of_penalty(x):
    return nc.UnconstrainedFeatures(nc.two_groups(3, 2, 20.0, 5.0), x, x, lambda_b=0.01)


mapped = jax.jit(jax.vmap(lambda x: nc.solve(of_penalty(x)).objective))


@settings(max_examples=5)
@given(seed=seeds)
def test_a_batch_jit_and_vmap_give_the_single_answer(seed):
    penalties = np.exp(np.random.default_rng(seed).uniform(-9, -5, 3))
    single = [nc.solve(of_penalty(x)).objective for x in penalties]
    np.testing.assert_allclose(nc.solve(of_penalty(penalties)).objective, single, rtol=1e-12)
    np.testing.assert_allclose(mapped(penalties), single, rtol=1e-12)


@pytest.mark.parametrize("bias", BIASES)
@settings(max_examples=5)
@given(seed=seeds)
def test_single_precision(bias, seed):
    exact = random_features(seed, (3, 4), "cross-entropy", bias)
    model = random_features(seed, (3, 4), "cross-entropy", bias, dtype=np.float32)
    solution, reference = nc.solve(model), nc.solve(exact)
    chex.assert_type([solution.within, solution.objective, solution.features], jnp.float32)
    np.testing.assert_allclose(solution.objective, reference.objective, rtol=2e-5, atol=1e-5)


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match="lambda_w"):
        nc.UnconstrainedFeatures([2.0, 1.0], -1.0, 1.0)
    with pytest.raises(ValueError, match="lambda_b"):
        nc.UnconstrainedFeatures([2.0, 1.0], 1.0, 1.0, lambda_b=-0.1)
    with pytest.raises(ValueError, match="dimension"):
        nc.UnconstrainedFeatures([2.0, 1.0, 1.0], 1.0, 1.0, dimension=0)
    with pytest.raises(ValueError, match="TwoGroupRoot"):
        nc.solve(nc.UnconstrainedFeatures(nc.two_groups(2, 2, 3.0), 0.1, 0.1), nc.TwoGroupRoot())
    with pytest.raises(ValueError, match="lambda_b"):
        model = nc.UnconstrainedFeatures([2.0, 1.0], 0.1, 0.1, 0.0, loss=_Doubled())
        nc.solve(model, nc.ReducedInteriorPoint())
    with pytest.raises(TypeError, match="loss must be a pytree"):
        nc.UnconstrainedFeatures([2.0, 1.0], 0.1, 0.1, loss=_Unregistered())
    lanes = nc.solve(nc.UnconstrainedFeatures([2.0, 1.0], np.array([0.1, np.nan]), 0.1))
    assert list(np.asarray(lanes.status)) == [nc.Status.CONVERGED, nc.Status.INVALID]


@immutable()
class _Doubled:
    """A convex loss that treats classes alike and is neither of the named two."""

    convex = True
    shift_invariant = True

    def __call__(self, logits, label, multiplicity=None):
        return nc.CrossEntropy()(2 * logits, label, multiplicity)


class _Unregistered:
    """Offers what a loss offers, but JAX would not know what to do with it."""

    convex = True
    shift_invariant = True

    def __call__(self, logits, label, multiplicity=None):
        return jnp.sum(logits)
