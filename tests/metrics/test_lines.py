"""Straight lines to random last layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.metrics import class_moments, decreases_from, measure_line, random_last_layer

LABELS = np.repeat(np.arange(4), 5)


def inputs_of(seed=3, dimension=6):
    return jnp.asarray(2 + np.random.default_rng(seed).normal(size=(20, dimension)))


@pytest.mark.parametrize("within", [0.0, 0.4])
def test_a_random_last_layer_is_a_frame_of_the_asked_length(within):
    inputs = inputs_of()
    last = random_last_layer(jax.random.key(1), inputs, LABELS, 4, (1.5, 1.5), within)
    before, after = (class_moments(x, LABELS, 4) for x in (inputs, last))
    assert nc.metrics.etf_distance(nc.metrics.centred_means(after)) < 1e-12
    lengths = [
        float(jnp.mean(jnp.sum((m.means - m.means.mean(0)) ** 2, -1))) for m in (before, after)
    ]
    np.testing.assert_allclose(lengths[1], 1.5**2 * lengths[0], rtol=1e-12)
    deviations = [x - m.means[LABELS] for x, m in ((inputs, before), (last, after))]
    np.testing.assert_allclose(deviations[1], within * deviations[0], atol=1e-12)


def test_other_keys_turn_it_otherwise():
    keys = jax.random.split(jax.random.key(0), 40)
    inputs = inputs_of()
    positions = np.linspace(0, 1, 11)

    def cosine(key):
        last = random_last_layer(key, inputs, LABELS, 4, (0.5, 2.0))
        return measure_line(inputs, last, LABELS, 4, positions)[0]["means_alignment"]

    found = np.asarray(jax.vmap(cosine)(keys))
    assert found.min() < -0.5 and found.max() > 0.5


def test_the_measures_are_those_of_the_features_on_the_line():
    inputs, positions = inputs_of(), np.linspace(0, 1, 21)
    last = random_last_layer(jax.random.key(5), inputs, LABELS, 4, (1.0, 2.0))
    row, curves = measure_line(inputs, last, LABELS, 4, positions)
    assert curves.shape == (21, 4)
    half = nc.metrics.feedforward_metrics([(inputs + last) / 2], LABELS, 4)
    np.testing.assert_allclose(curves[10, 1:], [half.pfc1[0], half.pfc2[0], half.pfc3[0]])
    np.testing.assert_allclose(curves[:, 0], curves[:, 1], atol=1e-10 * curves[0, 1])
    cost = np.sum(np.asarray(last - inputs) ** 2) / 20
    np.testing.assert_allclose(row["transport_cost"], cost)
    assert bool(row["pfc1_falling"]) == bool(row["C"] >= 0) == bool(row["predicted_falling"])
    np.testing.assert_allclose(row["pfc1_peak"], positions[np.argmax(curves[:, 1])])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3, 2, 1, 0], 2.0), ([3, 4, 2, 1], 3.0), ([3, 2, 4, 1], 5.0), ([1, 1, 2, 3], 9.0)],
)
def test_from_where_on_values_decrease(values, expected):
    assert decreases_from(jnp.asarray(values, float), [2.0, 3.0, 5.0, 9.0]) == expected
