"""Spherical codes: exact values, the sharp codes attain Levenshtein's bound, bad input."""

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.theory.codes import PROVED, TABLED

SHARP = [key for key in PROVED if key[1] > 4] + [(12, 3), (240, 8)]


@pytest.mark.parametrize(("classes", "dimension"), SHARP)
def test_sharp_codes_attain_the_bound(classes, dimension):
    known = nc.theory.known_code(classes, dimension)
    assert known.proved
    bound = nc.theory.least_largest_cosine(classes, dimension)
    np.testing.assert_allclose(bound, known.cosine, rtol=1e-9)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 8])
def test_no_known_code_is_below_the_bound_and_more_classes_are_closer(dimension):
    bounds = [nc.theory.least_largest_cosine(k, dimension) for k in range(2, 60)]
    assert np.all(np.diff(bounds) >= -1e-12)
    for size, bound in enumerate(bounds, start=2):
        known = nc.theory.known_code(size, dimension)
        assert known is None or known.cosine >= bound - 1e-9


def test_polygons_and_simplices():
    for size in range(3, 12):
        assert nc.theory.known_code(size, size - 1).name == "simplex"
        polygon = nc.theory.least_largest_cosine(size, 2)
        np.testing.assert_allclose(polygon, np.cos(2 * np.pi / size), rtol=1e-9, atol=1e-15)
    assert nc.theory.known_code(2, 1).cosine == -1
    assert nc.theory.known_code(6, 4).cosine == 0
    assert nc.theory.known_code(8, 4).name == "orthoplex"
    assert not nc.theory.known_code(24, 4).proved
    assert nc.theory.known_code(200, 9) is None
    assert set(TABLED) <= set(range(9, 17))


@pytest.mark.parametrize("function", [nc.theory.known_code, nc.theory.least_largest_cosine])
def test_bad_input_names_the_argument(function):
    with pytest.raises(ValueError, match="num_classes"):
        function(1, 3)
    with pytest.raises(ValueError, match="dimension"):
        function(5, 0)
    with pytest.raises(TypeError, match="dimension"):
        function(5, 2.0)
