"""Losses for imbalance: against their definitions, at extremes, convex or not, over groups."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.batches import batch_shapes
from nc_jax.losses import at_classes

K = 5
OFFSETS, SCALES = np.asarray([0.3, -1.0, 0.0, 2.0, 0.5]), np.asarray([1.0, 0.5, 2.0, 1.5, 0.7])
MARGINS, WEIGHTS = np.asarray([0.0, 0.2, 0.5, 1.0, 0.1]), np.asarray([1.0, 2.0, 0.5, 3.0, 0.1])
TARGETS = np.random.default_rng(0).dirichlet(np.ones(K), K)
LOSSES = {
    "vector-scaling": nc.VectorScaling(OFFSETS, SCALES),
    "offsets": nc.VectorScaling(OFFSETS),
    "scales": nc.VectorScaling(scales=SCALES),
    "margins": nc.LabelMargins(MARGINS),
    "smoothing": nc.LabelSmoothing(0.15),
    "focal": nc.Focal(1.5),
    "weights": nc.ClassWeights(WEIGHTS),
    "weighted-squares": nc.ClassWeights(WEIGHTS, nc.MeanSquaredError()),
    "soft-targets": nc.SoftTargets(TARGETS),
}
# One program for each shape; operation by operation, each would be compiled alone.
COMPILED = {name: jax.jit(loss) for name, loss in LOSSES.items()}
seeds = st.integers(0, 10**6)


@jax.jit
def called(loss, logits, label):
    return loss(logits, label)


def log_softmax(z):
    return z - z.max() - np.log(np.exp(z - z.max()).sum())


def direct(name, z, label):
    """The definition, in NumPy float64."""
    own = np.eye(K)[label]
    if name == "margins":
        others = np.delete(z, label)
        return np.log1p(np.sum(np.exp(others - z[label] + MARGINS[label])))
    if name == "smoothing":
        return -(0.85 * own + 0.15 / K) @ log_softmax(z)
    if name == "focal":
        log = log_softmax(z)[label]
        return -((1 - np.exp(log)) ** 1.5) * log
    if name == "weighted-squares":
        return WEIGHTS[label] * 0.5 * np.sum((z - own) ** 2)
    scaled = {
        "vector-scaling": SCALES * z + OFFSETS,
        "offsets": z + OFFSETS,
        "scales": SCALES * z,
    }.get(name, z)
    target = TARGETS[label] if name == "soft-targets" else own
    weight = WEIGHTS[label] if name == "weights" else 1
    return -weight * (target @ log_softmax(scaled))


@pytest.mark.parametrize("name", LOSSES)
@given(seed=seeds, scale=st.floats(0.1, 5))
def test_equals_its_definition_over_any_leading_axes(name, seed, scale):
    rng = np.random.default_rng(seed)
    logits, labels = scale * rng.normal(size=(2, 3, K)), rng.integers(0, K, (2, 3))
    expected = [[direct(name, logits[i, j], labels[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(COMPILED[name](logits, labels), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "soft-targets"])
@given(seed=seeds, label=st.integers(0, K - 1))
def test_multiplicity_stands_for_copies(name, seed, label):
    rng = np.random.default_rng(seed)
    logits, copies = rng.normal(size=K), rng.integers(1, 5, K)
    copies[label] = 1
    classes = np.repeat(np.arange(K), copies)
    np.testing.assert_allclose(
        COMPILED[name](logits, label, copies.astype(float)),
        called(at_classes(LOSSES[name], classes), logits[classes], int(np.sum(copies[:label]))),
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_finite_and_not_negative_at_large_logits(name, dtype):
    rng = np.random.default_rng(3)
    logits = rng.choice([-1e4, -1e2, 0.0, 1e2, 1e4], (64, K)).astype(dtype)
    labels = rng.integers(0, K, 64)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(LOSSES[name])))(logits, labels)
    chex.assert_tree_all_finite((values, slopes))
    assert values.dtype == slopes.dtype == dtype and values.min() >= 0


@pytest.mark.parametrize("name", LOSSES)
@given(seed=seeds, scale=st.floats(0.5, 8))
def test_claims_of_convexity_and_shift_invariance_hold(name, seed, scale):
    rng, loss = np.random.default_rng(seed), COMPILED[name]
    ends = scale * rng.normal(size=(2, 16, K))
    labels = rng.integers(0, K, 16)
    values = np.asarray(loss(ends, np.broadcast_to(labels, (2, 16))))
    if LOSSES[name].convex:
        middle = loss(ends.mean(axis=0), labels)
        assert np.all(middle <= values.mean(axis=0) * (1 + 1e-12) + 1e-12)
    shifted = loss(ends + 3.0, np.broadcast_to(labels, (2, 16)))
    assert np.allclose(shifted, values, rtol=1e-9, atol=1e-10) == LOSSES[name].shift_invariant


def test_focal_is_not_convex():
    line = jnp.stack([jnp.linspace(-6.0, 0.0, 41), *jnp.zeros((K - 1, 41))], axis=1)
    values = nc.Focal(2.0)(line, jnp.zeros(41, int))
    assert jnp.min(values[2:] - 2 * values[1:-1] + values[:-2]) < -1e-4


def test_constructors_from_class_sizes():
    sizes = nc.class_sizes([60.0, 30.0, 5.0, 5.0])
    offsets = nc.logit_adjustment(sizes, 0.5).offsets
    np.testing.assert_allclose(offsets.values, 0.5 * np.log([0.6, 0.3, 0.05, 0.05]))
    assert offsets.membership == sizes.membership
    scales = nc.class_temperatures(sizes, 0.2).scales
    np.testing.assert_allclose(scales.values, np.asarray([1, 0.5, 1 / 12, 1 / 12]) ** 0.2)
    margins = nc.size_margins(sizes, 0.5).margins
    np.testing.assert_allclose(margins.values, 0.5 * (5 / np.asarray([60, 30, 5, 5])) ** 0.25)
    weights = nc.size_weights(sizes, 1.0)
    np.testing.assert_allclose(
        weights.values * np.asarray([60.0, 30.0, 5.0, 5.0]), np.full(4, 25.0)
    )
    batch = nc.logit_adjustment(sizes, np.asarray([0.0, 1.0, 2.0]))
    assert batch_shapes(batch) == [(3,)]
    chex.assert_shape(batch.offsets.values, (3, 4))
