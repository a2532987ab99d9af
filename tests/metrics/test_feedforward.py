"""Collapse layer by layer: definitions, Theorems 1 and 2 on a line, moments in one pass."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax import metrics
from nc_jax.datasets import gaussian_classes

seeds = st.integers(0, 10**6)
SIZE, COUNT, WIDTH = 4, 6, 5


def data(seed, sigma=0.5):
    return gaussian_classes(SIZE, COUNT, WIDTH, sigma, seed)


def collapsed(seed, labels, means=None, share=0.0):
    """A last layer at a random simplex ETF, turned towards or away from given means."""
    rng = np.random.default_rng(seed)
    frame = np.asarray(nc.simplex_etf(SIZE, WIDTH))
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    spots = frame @ turn * np.exp(rng.uniform(-1, 1)) + rng.normal(size=WIDTH)
    if means is not None:
        spots = spots + share * means
    return spots[labels]


@given(seed=seeds)
def test_layers_against_definitions(seed):
    inputs, labels = data(seed)
    wide = np.concatenate([inputs, inputs**2], axis=1)
    found = metrics.feedforward_metrics([inputs, wide], labels, SIZE)
    for layer, features in enumerate((inputs, wide)):
        means = np.stack([features[labels == k].mean(0) for k in range(SIZE)])
        within = np.mean(np.sum((features - means[labels]) ** 2, axis=1))
        centred = means - means.mean(0)
        gram = centred @ centred.T
        target = (np.eye(SIZE) - 1 / SIZE) / np.sqrt(SIZE - 1)
        distances = np.linalg.norm(features[:, None] - means, axis=2)
        np.testing.assert_allclose(
            found.pfc1[layer], within / np.mean(np.sum(centred**2, axis=1)), rtol=1e-10
        )
        expected = np.linalg.norm(gram / np.linalg.norm(gram) - target)
        np.testing.assert_allclose(found.pfc2[layer], expected, rtol=1e-9)
        # PFC2² = 2 − 2 tr G/(√(K−1)‖G‖).
        other = 2 - 2 * np.trace(gram) / np.sqrt(SIZE - 1) / np.linalg.norm(gram)
        np.testing.assert_allclose(found.pfc2[layer] ** 2, other, rtol=1e-9)
        np.testing.assert_allclose(found.pfc3[layer], np.mean(distances.argmin(1) == labels))
        moments = metrics.class_moments(features, labels, SIZE)
        quotient = metrics.within_between_quotient(moments)
        np.testing.assert_allclose(found.pfc1[layer], quotient, rtol=1e-12)


def test_the_ends_of_the_scale():
    labels = np.repeat(np.arange(SIZE), COUNT)
    frame = np.asarray(nc.simplex_etf(SIZE, WIDTH))[labels]
    on_a_line = np.arange(SIZE, dtype=float)[labels, None] * np.ones(WIDTH)
    found = metrics.feedforward_metrics([frame, on_a_line], labels, SIZE)
    np.testing.assert_allclose(found.pfc1, 0, atol=1e-12)
    np.testing.assert_allclose(found.pfc2[0], 0, atol=1e-7)
    np.testing.assert_allclose(found.pfc2[1], np.sqrt(2 - 2 / np.sqrt(SIZE - 1)), rtol=1e-12)
    np.testing.assert_array_equal(found.pfc3, 1)
    same = metrics.feedforward_metrics([np.ones_like(frame)], labels, SIZE)
    assert same.pfc1[0] == np.inf and np.isnan(same.pfc2[0])


@given(seed=seeds, share=st.floats(-3, 3))
def test_theorem_1_exactly(seed, share):
    inputs, labels = data(seed)
    means = np.stack([inputs[labels == k].mean(0) for k in range(SIZE)])
    last = collapsed(seed, labels, means, share)
    line = metrics.geodesic(inputs, last, labels, SIZE)
    positions = np.concatenate([[0, 1e-6, 1e-4], np.linspace(0.01, 1, 100)])
    measured = metrics.geodesic_metrics(inputs, last, labels, SIZE, positions).pfc1
    predicted = line.pfc1(positions)
    np.testing.assert_allclose(measured, predicted, rtol=1e-8, atol=1e-12)
    assert bool(line.decreasing) == bool(line.between_cross >= 0)
    assert bool(metrics.decreases(measured)) == bool(line.decreasing)
    if not line.decreasing:
        np.testing.assert_allclose(line.pfc1(line.peak), np.max(predicted), rtol=0.05)
        assert line.pfc1(line.peak) >= np.max(predicted) * (1 - 1e-12)


@given(seed=seeds, same=st.floats(-1, 1), length=st.floats(0.05, 3))
def test_whether_pfc1_falls_between_any_two_layers(seed, same, length):
    inputs, labels = data(seed, sigma=1.0)
    other, _ = data(seed + 1, sigma=length)
    last = same * inputs + (1 - abs(same)) * other
    line = metrics.geodesic(inputs, last, labels, SIZE)
    ratio = np.geomspace(1e-6, 1e6, 20_001)
    curve = np.asarray(line.pfc1(ratio / (1 + ratio)))
    rises = np.max(np.diff(curve) / curve[:-1])
    assert rises <= 1e-12 if bool(line.decreasing) else rises > 1e-12


@given(seed=seeds)
def test_theorem_2_near_the_last_layer(seed):
    inputs, labels = data(seed)
    last = collapsed(seed, labels)
    near = np.linspace(0.98, 1, 11)
    found = metrics.geodesic_metrics(inputs, last, labels, SIZE, near)
    assert metrics.decreases(found.pfc2)
    assert metrics.decreases(1 - found.pfc3)


def test_positions_and_effective_depth():
    layers = [np.zeros((3, 2)), np.full((3, 2), 1.0), np.full((3, 2), 4.0), np.full((3, 2), 2.0)]
    np.testing.assert_allclose(metrics.layer_positions(layers), [0, 1 / 6, 4 / 6, 1], rtol=1e-12)
    assert np.isnan(metrics.layer_positions([layers[0]] * 2)).all()
    accuracies = np.array([[0.5, 0.9, 0.8, 0.95, 0.99], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0.2]])
    np.testing.assert_array_equal(metrics.effective_depth(accuracies, 0.1), [3, 0, 5])
    np.testing.assert_array_equal(metrics.effective_depth(accuracies[0], 0.2), 1)
    np.testing.assert_array_equal(metrics.effective_depth(accuracies[0], 0.0), 5)


def test_pure_under_jit_and_vmap_and_rotation():
    inputs, labels = data(0)
    last = collapsed(1, labels)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0]

    @jax.jit
    def both(first, second):
        line = metrics.geodesic(first, second, labels, SIZE)
        return line, metrics.feedforward_metrics([first, second], labels, SIZE)

    plain = both(inputs, last)
    chex.assert_trees_all_close(plain, both(inputs @ turn, last @ turn), atol=1e-10)
    stacked = jax.vmap(both)(jnp.stack([inputs] * 2), jnp.stack([last] * 2))
    chex.assert_trees_all_close(
        jax.tree.map(lambda leaf: leaf[1], stacked), plain, rtol=1e-10, atol=1e-12
    )


@given(seed=seeds, batches=st.integers(1, 7))
def test_moments_in_one_pass(seed, batches):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(SIZE), rng.integers(0, SIZE, 60)])
    # An offset far above the spread: raw second moments would lose it.
    features = rng.normal(size=(64, WIDTH)) + 1e5
    cuts = np.sort(rng.integers(0, 65, batches - 1))
    parts = list(zip(np.split(features, cuts), np.split(labels, cuts), strict=True))
    found = metrics.accumulate_moments(parts, SIZE)
    expected = metrics.class_moments(features, labels, SIZE, "sample")
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-9)
    halves = [
        metrics.accumulate_moments([(features[a], labels[a])], SIZE)
        for a in (np.s_[: SIZE + 20], np.r_[0:SIZE, SIZE + 20 : 64])
    ]
    doubled = np.concatenate([features, features[:SIZE]])
    twice = metrics.class_moments(doubled, np.concatenate([labels, labels[:SIZE]]), SIZE, "sample")
    chex.assert_trees_all_close(metrics.merge_moments(*halves), twice, rtol=1e-9, atol=1e-9)


def test_single_precision_moments_in_one_pass():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, SIZE, 4000)
    features = (rng.normal(size=(4000, WIDTH)) + 100).astype(np.float32)
    batches = zip(np.split(features, 40), np.split(labels, 40), strict=True)
    found = metrics.accumulate_moments(batches, SIZE)
    assert found.scatter.dtype == jnp.float32
    exact = metrics.class_moments(features.astype(np.float64), labels, SIZE, "sample")
    np.testing.assert_allclose(np.trace(found.scatter), np.trace(exact.scatter), rtol=1e-4)


INPUTS, LABELS = data(0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: metrics.feedforward_metrics([], LABELS, SIZE), "layers"),
        (lambda: metrics.feedforward_metrics([INPUTS[:3]], LABELS, SIZE), "labels"),
        (lambda: metrics.feedforward_metrics([INPUTS], LABELS, 2), "labels"),
        (lambda: metrics.geodesic(INPUTS, INPUTS[:, :2], LABELS, SIZE), "last"),
        (lambda: metrics.geodesic_metrics(INPUTS, INPUTS, LABELS, SIZE, [1.5]), "positions"),
        (lambda: metrics.geodesic_metrics(INPUTS, INPUTS[:, :2], LABELS, SIZE, [0.5]), "last"),
        (lambda: metrics.layer_positions([INPUTS]), "layers"),
        (lambda: metrics.layer_positions([INPUTS, INPUTS[:, :2]]), "layers"),
        (lambda: metrics.effective_depth([0.5], 1.5), "tolerance"),
        (lambda: metrics.accumulate_moments([], SIZE), "batches"),
        (lambda: metrics.accumulate_moments([(INPUTS, LABELS)], SIZE + 1), "missing"),
        (
            lambda: metrics.accumulate_moments([(INPUTS, LABELS), (INPUTS[:, :2], LABELS)], SIZE),
            "width",
        ),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
