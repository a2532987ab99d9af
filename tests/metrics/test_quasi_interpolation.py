"""Symmetric quasi-interpolation: identities on converged small networks, Lemmas 1 and 2."""

import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.metrics import NetworkLayer, quasi_interpolation
from studies.weight_decay import CLASSES, EACH, small_network

LABELS = np.repeat(np.arange(CLASSES), EACH)


@pytest.mark.parametrize(("head", "depth", "decay"), [("bias", 2, 0.01), ("centred", 3, 0.005)])
def test_identities_hold_where_the_theorem_is_mended(head, depth, decay):
    layer, weights = small_network(np.eye(CLASSES * EACH), depth, decay, head)
    own = quasi_interpolation(layer, decay, head == "centred")
    assert own.stationarity < 1e-5 and own.asymmetry < 1e-4
    assert own.direction < 1e-3 and abs(own.norm) < 1e-3 and own.simplex < 1e-3
    np.testing.assert_allclose(own.cosine, -1 / (CLASSES - 1), atol=1e-3)
    expected = nc.theory.quasi_interpolation_norm(CLASSES, decay, own.epsilon)
    squares = np.sum(np.asarray(layer.classifiers) ** 2, axis=1)
    np.testing.assert_allclose(squares, expected, rtol=2e-3)
    # Homogeneous layers share their norm at a stationary point.
    norms = [float(jnp.sum(weight**2)) for weight in weights]
    np.testing.assert_allclose(norms, norms[0], rtol=1e-4)
    # Lemma 2: weight decay leaves something to be learnt.
    assert own.epsilon > 0.01 and own.loss > 0


def test_published_epsilon_of_linear_networks():
    for depth, decay, epsilon in ((2, 0.01, 0.051962), (3, 0.005, 0.021848)):
        layer, _ = small_network(np.eye(CLASSES * EACH), depth, decay, "bias", lambda x: x)
        np.testing.assert_allclose(quasi_interpolation(layer, decay).epsilon, epsilon, atol=2e-6)


def test_without_a_bias_the_frame_is_orthogonal():
    layer, _ = small_network(np.eye(CLASSES * EACH), 2, 0.01, "bias-free")
    own = quasi_interpolation(layer, 0.01)
    assert own.stationarity < 1e-5 and own.orthogonality < 1e-3
    assert own.direction > 0.1 and own.simplex > 0.3


def test_stationarity_is_exact_where_the_symmetry_is_not():
    inputs = np.random.default_rng(3).normal(size=(CLASSES * EACH, 10)) / 3
    layer, _ = small_network(inputs, 2, 0.02, "bias", lambda x: x)
    own = quasi_interpolation(layer, 0.02)
    assert own.stationarity < 1e-5 and own.direction > 1e-3


@pytest.mark.parametrize("alpha", [0.2, 0.75, 1.0])
def test_lemma_1_a_simplex_without_a_bias_does_not_interpolate(alpha):
    means = np.asarray(nc.simplex_etf(CLASSES, 6))
    scale = alpha / (means @ means.T)[0, 0]
    layer = NetworkLayer(means[LABELS], LABELS, scale * means)
    own = quasi_interpolation(layer, 0.0)
    np.testing.assert_allclose(own.loss, nc.theory.collapsed_loss(CLASSES, alpha), rtol=1e-6)
    assert own.loss >= 1 / (2 * CLASSES) - 1e-12
    np.testing.assert_allclose(1 - own.epsilon, alpha, rtol=1e-6)


def test_rotations_and_relabelling_change_nothing():
    rng = np.random.default_rng(0)
    features, classifiers = rng.normal(size=(12, 7)), rng.normal(size=(CLASSES, 7))
    bias, turn = rng.normal(size=CLASSES), np.linalg.qr(rng.normal(size=(7, 7)))[0]
    order = rng.permutation(CLASSES)
    one = quasi_interpolation(NetworkLayer(features, LABELS, classifiers, bias), 0.1)
    other = quasi_interpolation(
        NetworkLayer(
            features @ turn, np.argsort(order)[LABELS], (classifiers @ turn)[order], bias[order]
        ),
        0.1,
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_centred_targets_are_an_unregularised_bias():
    """The optima of unconstrained features under either are the same."""
    sizes, decay = [6.0, 6.0, 6.0], 0.02
    free = nc.solve(nc.UnconstrainedFeatures(sizes, decay, decay, 0.0, loss=nc.MeanSquaredError()))
    centred = nc.solve(nc.UnconstrainedFeatures(sizes, decay, decay, loss=nc.CentredSquaredError()))
    np.testing.assert_allclose(free.objective, centred.objective, rtol=1e-6)
    np.testing.assert_allclose(nc.gram(free.classifiers), nc.gram(centred.classifiers), atol=1e-4)


def test_bad_input_is_named():
    layer = NetworkLayer(np.ones((3, 2)), np.array([0, 0, 1]), np.ones((2, 2)))
    with pytest.raises(ValueError, match="balanced"):
        quasi_interpolation(layer, 0.1)
    with pytest.raises(ValueError, match="weight_decay"):
        quasi_interpolation(NetworkLayer(np.eye(2), np.arange(2), np.eye(2)), -1)
    with pytest.raises(ValueError, match="num_classes"):
        nc.theory.collapsed_loss(1, 0.5)
    with pytest.raises(ValueError, match="weight_decay"):
        nc.theory.quasi_interpolation_norm(3, 0.0, 0.1)
