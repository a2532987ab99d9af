"""Closed forms of unconstrained features against certified solves and direct minimisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import nc_jax as nc

SQUARED = nc.MeanSquaredError()


@settings(max_examples=10)
@given(
    classes=st.sampled_from([2, 4, 7]),
    samples=st.floats(1, 1e4),
    strength=st.floats(1e-4, 1.5),
    tilt=st.floats(0.2, 5),
    bias=st.booleans(),
)
def test_balanced_cross_entropy(classes, samples, strength, tilt, bias):
    penalty = strength / (classes * np.sqrt(samples))
    decays = (penalty * tilt, penalty / tilt)
    known = nc.theory.unconstrained_optimum(classes, samples, *decays)
    model = nc.UnconstrainedFeatures([samples] * classes, *decays, 0.0 if bias else None)
    found = nc.solve(model)
    np.testing.assert_allclose(found.objective, known.objective, rtol=1e-8)
    gap = found.logits[0, 0] - found.logits[0, 1]
    np.testing.assert_allclose(gap, known.logit_gap, atol=1e-6)
    weights, features = found.classifiers, found.features
    np.testing.assert_allclose(jnp.linalg.norm(weights[0]), known.weight_norm, atol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(features[0]), known.feature_norm, atol=1e-4)
    assert bool(jnp.isnan(known.cosine)) == (strength >= 1)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_squared_error_without_bias_for_any_sizes(seed):
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, 5, 4))
    penalty = np.sqrt(sizes.max()) / sizes.sum() * rng.uniform(0.01, 1.2)
    known = nc.theory.squared_error_optimum(sizes, 2 * penalty, penalty / 2)
    found = nc.solve(nc.UnconstrainedFeatures(sizes, 2 * penalty, penalty / 2, loss=SQUARED))
    np.testing.assert_allclose(found.objective, known.objective, rtol=1e-8)
    np.testing.assert_allclose(found.logits, known.logits, atol=1e-4)


@settings(max_examples=10)
@given(
    classes=st.sampled_from([2, 5]),
    strength=st.floats(0.01, 1.2),
    samples=st.floats(1, 1e3),
    bias=st.sampled_from([0.0, 1e-3, 0.05, 1.0, 30.0]),
)
def test_balanced_squared_error_with_bias(classes, strength, samples, bias):
    penalty = strength / (classes * np.sqrt(samples))
    known = nc.theory.balanced_squared_error_optimum(classes, samples, penalty, penalty, bias)
    model = nc.UnconstrainedFeatures([samples] * classes, penalty, penalty, bias, SQUARED)
    found = nc.solve(model)
    np.testing.assert_allclose(found.objective, known.objective, rtol=1e-8)
    np.testing.assert_allclose(found.logits - found.bias, known.logits, atol=1e-4)
    np.testing.assert_allclose(found.bias, known.bias, atol=1e-4)


def deep_objective(flat, sizes, layers, decay, in_h):
    """Of deep linear layers with the squared error, over all matrices and features."""
    *matrices, features = flat.reshape(layers + 1, 3, 3)
    out = features
    for matrix in matrices:
        out = out @ matrix.T
    value = jnp.sum(sizes / jnp.sum(sizes) * 0.5 * jnp.sum((out - jnp.eye(3)) ** 2, axis=1))
    value += 0.5 * decay * sum(jnp.sum(m**2) for m in matrices)
    return value + 0.5 * in_h * jnp.sum(sizes[:, None] * features**2)


deep_gradient = jax.jit(jax.value_and_grad(deep_objective), static_argnames="layers")


@pytest.mark.parametrize("layers", [1, 2, 3])
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_deep_linear_is_not_beaten_and_its_value_is_attained(layers, seed):
    """Direct minimisation over all matrices, from the solution and from random starts."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, 2, 3))
    decay, in_h = np.exp(rng.uniform(-7, -3, 2))
    known = nc.theory.deep_linear_optimum(sizes, layers, decay, in_h)

    def gradient(flat):
        return tuple(map(np.asarray, deep_gradient(flat, sizes, layers, decay, in_h)))

    diagonal = [np.diag(known.singular_values)] * layers + [np.diag(known.feature_norms)]
    at_solution = np.stack(diagonal).ravel()
    np.testing.assert_allclose(gradient(at_solution)[0], known.objective, rtol=1e-10)
    for start in [at_solution] + [rng.normal(size=at_solution.shape) for _ in range(4)]:
        found = minimize(gradient, start, jac=True)
        assert found.fun >= known.objective - 1e-8


def test_one_layer_of_the_deep_linear_form_is_the_shallow_one():
    sizes = np.array([50.0, 20.0, 0.01])
    shallow = nc.theory.squared_error_optimum(sizes, 1e-2, 1.3e-2)
    deep = nc.theory.deep_linear_optimum(sizes, 1, 1e-2, 1.3e-2)
    np.testing.assert_allclose(deep.objective, shallow.objective, rtol=1e-13)
    np.testing.assert_allclose(deep.logits, jnp.diag(shallow.logits), atol=1e-13)
    assert list(np.asarray(deep.learned)) == [True, True, False]


@pytest.mark.parametrize(("majority", "minority"), [(3, 7), (5, 5), (1, 4), (4, 1)])
def test_weak_decay_approaches_the_seli_geometry(majority, minority):
    known = nc.theory.seli_cosines(majority, minority, 10.0)
    sizes = nc.two_groups(majority, minority, 10.0)
    distances = []
    for penalty in (1e-5, 1e-10):
        found = nc.solve(nc.UnconstrainedFeatures(sizes, penalty, penalty))
        expected = [known.majority, known.minority, known.mixed]
        got = [*found.within_cosines, found.between_cosines[0, 1]]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        distances.append(np.nanmax(np.abs(np.subtract(got, expected))))
    # The approach is logarithmic: the logit gap grows as log(1/λ).
    assert distances[1] < 0.6 * distances[0] < 0.1


@pytest.mark.parametrize(("majority", "minority"), [(3, 7), (5, 5), (1, 4), (50, 3), (4, 1)])
def test_equally_large_classes_vanish_together(majority, minority):
    """All features are zero from λ_Z = 1/(K √n) on; one lane of equal sizes spoils no other."""
    ratios = np.array([1.0, 1 + 1e-9, 2.0])
    found = nc.theory.unconstrained_vanish_penalty(majority, minority, 60.0, 60.0 / ratios)
    known = 1 / ((majority + minority) * np.sqrt(60))
    np.testing.assert_allclose(found[:2], known, rtol=1e-8)
    assert np.isfinite(found[2]) and abs(found[2] / known - 1) > 1e-3


def test_seli_is_the_gram_of_simplex_encoded_labels():
    sizes = np.array([40.0] * 3 + [4.0] * 2)
    simplex = np.eye(5) - 0.2
    square = simplex.T @ np.diag(sizes) @ simplex
    values, vectors = np.linalg.eigh(square)
    gram = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    cosines = np.asarray(nc.cosines(jnp.asarray(gram)))
    known = nc.theory.seli_cosines(3, 2, 10.0)
    np.testing.assert_allclose(known.majority, cosines[0, 1], atol=1e-12)
    np.testing.assert_allclose(known.minority, cosines[3, 4], atol=1e-12)
    np.testing.assert_allclose(known.mixed, cosines[0, 3], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: t.unconstrained_optimum(1, 5.0, 0.1, 0.1), "num_classes"),
        (lambda t: t.unconstrained_optimum(3, 5.0, -0.1, 0.1), "lambda_w"),
        (lambda t: t.unconstrained_collapse_ratio(2.5, 2, 10.0, 0.1), "majority"),
        (lambda t: t.unconstrained_vanish_penalty(2, 2, 1.0, 2.0), "majority_size"),
        (lambda t: t.squared_error_optimum(3.0, 0.1, 0.1), "class_sizes"),
        (lambda t: t.balanced_squared_error_optimum(3, 5.0, 0.1, 0.1, -1.0), "lambda_b"),
        (lambda t: t.deep_linear_optimum([3.0, 1.0], 0, 0.1, 0.1), "num_layers"),
        (lambda t: t.seli_cosines(2, 2, 0.0), "ratio"),
    ],
)
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=name):
        call(nc.theory)
