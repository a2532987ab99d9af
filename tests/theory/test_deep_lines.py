"""The lines of deep linear heads: where the learnt state exists, and where it wins."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import nc_jax as nc


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_existence_is_the_maximum_of_the_stationarity_equation(layers):
    def price(x):
        return layers * x ** (layers - 1) / (x**layers + 1) ** 2

    best = minimize_scalar(lambda x: -price(x), bounds=(0, 3), method="bounded")
    lines = nc.theory.deep_linear_lines(layers)
    np.testing.assert_allclose(lines.existence, -best.fun, rtol=1e-8)
    assert lines.equality < lines.existence


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_optimum_changes_at_the_ratio_of_equality(layers):
    decay, majority, minority, size = 0.02, 3, 4, 700.0
    price = nc.theory.deep_linear_lines(layers).equality
    ratio = float(nc.theory.deep_linear_ratio(layers, price, majority, minority, decay))
    assert ratio > 1
    for factor, learned in ((0.999, True), (1.001, False)):
        small = size / (ratio * factor)
        sizes = np.array([size] * majority + [small] * minority)
        found = nc.theory.deep_linear_optimum(sizes, layers, decay, decay / sizes.sum())
        assert bool(found.learned[-1]) is learned


def test_one_layer_has_a_single_line():
    lines = nc.theory.deep_linear_lines(1)
    assert lines.existence == lines.equality == 1
