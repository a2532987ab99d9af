"""A network's layers beside the straight line and the multilayer model."""

import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.datasets import gaussian_classes
from nc_jax.diagnosis import fit_price, layer_path

CLASSES = 3


def line_of(steps=4, seed=0):
    """Layers on a straight line in equal steps."""
    rng = np.random.default_rng(seed)
    first, labels = gaussian_classes(CLASSES, 15, 8, 0.4, seed)
    last = np.eye(CLASSES, 8)[labels] + 0.05 * rng.normal(size=first.shape)
    return [first + t * (last - first) for t in np.linspace(0, 1, steps + 1)], labels


def test_layers_on_a_line_are_predicted_exactly():
    layers, labels = line_of()
    path = layer_path(layers, labels, CLASSES)
    np.testing.assert_allclose(path.positions, np.linspace(0, 1, 5), atol=1e-12)
    for seen, predicted in zip(path.seen, path.line, strict=True):
        np.testing.assert_allclose(seen, predicted, rtol=1e-9)
    np.testing.assert_allclose([path.straightness, path.transport], 1, rtol=1e-12)
    np.testing.assert_allclose(path.traces.pfc1(jnp.asarray(path.positions)), path.seen.pfc1)


def test_a_detour_is_longer_and_costs_more():
    layers, labels = line_of()
    layers[2] = layers[2] + np.random.default_rng(1).normal(size=layers[2].shape)
    path = layer_path(layers, labels, CLASSES)
    assert path.straightness < 0.95 and path.transport > 1.1
    assert path.transport >= 1 / path.straightness**2 - 1e-12


def rotation(rng):
    """Into more dimensions than there are samples, where their span is worked in."""
    return np.linalg.qr(rng.normal(size=(120, 8)))[0].T


def test_rotated_layers_of_any_width_are_the_same():
    layers, labels = line_of()
    turn = rotation(np.random.default_rng(2))
    path = layer_path(layers, labels, CLASSES)
    wide = layer_path([layer @ turn for layer in layers], labels, CLASSES)
    for one, other in zip(path.seen + path.line, wide.seen + wide.line, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_the_price_of_a_model_is_found_again_in_any_basis():
    # In one test, as all share their compiled programs.
    inputs, labels = gaussian_classes(CLASSES, 15, 8, 0.4, 0)
    inputs, spots, fits = 3 * inputs, np.linspace(0, 1, 6), []
    for price in (1e-6, 1e-3):
        model = nc.MultilayerUnconstrainedFeatures(inputs, labels, 4e-3, price, num_layers=5)
        layers = [np.asarray(layer) for layer in nc.solve(model).layer_features()]
        fits.append(fit_price(layers[0], layers[-1], labels, CLASSES, 4e-3, spots))
        fit, path = fits[-1], layer_path(layers, labels, CLASSES)
        np.testing.assert_allclose(fit.lambda_h, price, rtol=0.05)
        np.testing.assert_allclose(fit.predicted.pfc1, path.seen.pfc1, rtol=0.05)
        np.testing.assert_allclose(fit.predicted.pfc2, path.seen.pfc2, rtol=0.05, atol=1e-3)
        assert fit.alignment > 0.999
    # At low prices the dual bound is tight.
    assert fits[0].gap < 1e-12
    turn = rotation(np.random.default_rng(2))
    other = fit_price(layers[0] @ turn, layers[-1] @ turn, labels, CLASSES, 4e-3, spots)
    np.testing.assert_allclose(fits[-1].lambda_h, other.lambda_h, rtol=1e-4)
    np.testing.assert_allclose(fits[-1].predicted.pfc1, other.predicted.pfc1, rtol=1e-4)
    np.testing.assert_allclose(fits[-1].alignment, other.alignment, rtol=1e-4)


def test_bad_layers_are_named():
    layers, labels = line_of()
    with pytest.raises(ValueError, match="layers"):
        layer_path(layers[:1], labels, CLASSES)
    with pytest.raises(ValueError, match="not all the same"):
        layer_path([layers[0], layers[0]], labels, CLASSES)
    with pytest.raises(ValueError, match="first"):
        fit_price(0 * layers[0], layers[-1], labels, CLASSES, 1e-3, np.array([0.0, 1.0]))
