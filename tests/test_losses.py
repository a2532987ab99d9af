"""Losses against their definitions, at extremes, and with multiplicity."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc

LOSSES = {
    "cross-entropy": nc.CrossEntropy(),
    "mean-squared-error": nc.MeanSquaredError(),
    "power": nc.PowerSoftmax(2.5),
    "softmax-based": nc.SoftmaxBased(lambda s: -jnp.log(s), lambda s: s**2),
}


# One program for each shape; operation by operation, each would be compiled alone.
COMPILED = {name: jax.jit(loss) for name, loss in LOSSES.items()}


def direct(name, z, label):
    """The definition, in NumPy float64."""
    softmax = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    others = np.delete(softmax, label)
    target = np.eye(len(z))[label]
    return {
        "cross-entropy": -np.log(softmax[label]),
        "mean-squared-error": 0.5 * np.sum((z - target) ** 2),
        "power": (1 - softmax[label]) ** 2.5 + np.sum(others**2.5),
        "softmax-based": -np.log(softmax[label]) + np.sum(others**2),
    }[name]


@pytest.mark.parametrize("name", LOSSES)
@given(classes=st.integers(2, 12), seed=st.integers(0, 10**6), scale=st.floats(0.1, 5))
def test_equals_its_definition_over_any_leading_axes(name, classes, seed, scale):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(2, 3, classes))
    labels = rng.integers(0, classes, (2, 3))
    expected = [[direct(name, logits[i, j], labels[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(COMPILED[name](logits, labels), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 10**6), label=st.integers(0, 3))
def test_multiplicity_stands_for_copies(name, seed, label):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=4)
    copies = rng.integers(1, 5, 4)
    copies[label] = 1
    spread = np.repeat(logits, copies)
    position = int(np.sum(copies[:label]))
    loss = COMPILED[name]
    np.testing.assert_allclose(
        loss(logits, label, copies.astype(float)), loss(spread, position), rtol=1e-12
    )


@pytest.mark.parametrize("name", LOSSES)
def test_an_entry_of_multiplicity_zero_is_absent(name):
    loss = COMPILED[name]
    with_ghost = loss(jnp.array([0.3, 900.0, -0.2]), 0, jnp.array([1.0, 0.0, 1.0]))
    without = loss(jnp.array([0.3, -0.2]), 0)
    if name == "mean-squared-error":
        without = without + 0  # a ghost adds nothing here either
    np.testing.assert_allclose(with_ghost, without, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [0, 1])
def test_finite_at_extreme_logits_with_finite_gradients(name, label, dtype):
    logits = jnp.array([1e4, -1e4, 0.0], dtype)
    value, slope = jax.jit(jax.value_and_grad(LOSSES[name]))(logits, label)
    chex.assert_tree_all_finite((value, slope))
    assert value.dtype == dtype and slope.dtype == dtype


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_cross_entropy_keeps_relative_precision_where_tiny(dtype):
    logits = jnp.array([60.0, 0.0, -1.0], dtype)
    expected = np.exp(-60.0) + np.exp(-61.0)
    rtol = 1e-5 if dtype == jnp.float32 else 1e-13
    np.testing.assert_allclose(nc.CrossEntropy()(logits, 0), expected, rtol=rtol)
    np.testing.assert_allclose(nc.CrossEntropy()(jnp.array([-1e4, 1e4], dtype), 0), 2e4)


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 10**6))
def test_relabelling_and_shifting(name, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=5)
    order = rng.permutation(5)
    loss = COMPILED[name]
    value = loss(logits, 2)
    permuted = loss(logits[order], int(np.argmax(order == 2)))
    np.testing.assert_allclose(permuted, value, rtol=1e-12)
    shifted = loss(logits + 3.0, 2)
    assert np.isclose(shifted, value, rtol=1e-10) == LOSSES[name].shift_invariant


HESSIANS = {
    name: jax.jit(jax.hessian(LOSSES[name])) for name in ("cross-entropy", "mean-squared-error")
}


@pytest.mark.parametrize("name", HESSIANS)
@given(seed=st.integers(0, 10**6))
def test_convex_losses_have_positive_semidefinite_hessians(name, seed):
    assert LOSSES[name].convex
    logits = 3 * np.random.default_rng(seed).normal(size=6)
    assert np.linalg.eigvalsh(HESSIANS[name](logits, 1)).min() > -1e-12


@pytest.mark.parametrize("name", ["cross-entropy", "mean-squared-error", "power"])
def test_gradients_match_finite_differences(name):
    logits = jnp.array([0.4, -1.3, 2.0, 0.1])
    chex.assert_numerical_grads(jax.jit(lambda z: LOSSES[name](z, 2)), (logits,), order=2)


def test_the_exponent_is_traced_and_checked():
    value = jax.jit(lambda q: nc.PowerSoftmax(q)(jnp.array([1.0, 0.0]), 0))(2.0)
    np.testing.assert_allclose(value, 2 / (1 + np.e) ** 2, rtol=1e-12)
    with pytest.raises(ValueError, match="q must be"):
        nc.PowerSoftmax(1.0)
    with pytest.raises(TypeError, match="g1"):
        nc.SoftmaxBased(3, lambda s: s)  # type: ignore[arg-type]


@jax.jit
def called(loss, features, labels, copies=None):
    return loss(features, labels, copies)


def contrastive_by_loops(features, labels, temperature):
    """Theorem 3's definition, sample by sample."""
    losses = []
    for i, label in enumerate(labels):
        same = [j for j in range(len(labels)) if labels[j] == label]
        total = sum(np.exp(features[i] @ other / temperature) for other in features)
        terms = [-np.log(np.exp(features[i] @ features[j] / temperature) / total) for j in same]
        losses.append(np.mean(terms))
    return np.array(losses)


@given(seed=st.integers(0, 10**6), temperature=st.floats(0.3, 3))
def test_contrastive_equals_a_double_loop_over_any_leading_axes(seed, temperature):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 7, 3))
    # One class of a single sample, the others unequal.
    labels = np.array([0, 1, 1, 2, 2, 2, 2])
    loss = nc.SupervisedContrastive(temperature)
    found = loss(jnp.asarray(features), jnp.asarray(np.stack([labels, labels[::-1]])))
    expected = [
        contrastive_by_loops(features[0], labels, temperature),
        contrastive_by_loops(features[1], labels[::-1], temperature),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    chex.assert_trees_all_close(found, called(loss, features, np.stack([labels, labels[::-1]])))


def test_contrastive_multiplicity_counts_copies():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(3, 4)), np.array([0, 0, 1])
    copies = np.array([2, 1, 3])
    loss = nc.SupervisedContrastive(0.7)
    repeated = np.repeat(np.arange(3), copies)
    whole = called(loss, features[repeated], labels[repeated])
    brief = np.asarray(called(loss, features, labels, copies))
    np.testing.assert_allclose(brief[repeated], whole, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contrastive_is_finite_for_single_samples_and_long_features(dtype):
    features = jnp.asarray(100 * np.eye(3), dtype)
    loss = nc.SupervisedContrastive(dtype(0.05))
    both = jax.value_and_grad(lambda x: jnp.sum(loss(x, np.arange(3))))
    value, slope = jax.jit(both)(features)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(slope))
