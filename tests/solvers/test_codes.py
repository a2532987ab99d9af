"""The limit of large budgets: known codes to 1e-6, margins, invariances, bad input."""

import jax
import numpy as np
import pytest

import nc_jax as nc

CODES = [(4, 3), (5, 2), (5, 3), (6, 3), (10, 3), (12, 3), (10, 4), (24, 4), (120, 4)]


@pytest.mark.parametrize(("classes", "dimension"), CODES)
def test_known_codes_are_found(classes, dimension):
    code = nc.spherical_code(classes, dimension)
    known = nc.theory.known_code(classes, dimension)
    assert code.status == nc.Status.STATIONARY
    assert abs(code.cosine - known.cosine) < 1e-6
    inner = code.points @ code.points.T
    np.testing.assert_allclose(np.diag(inner), 1, rtol=1e-12)
    np.fill_diagonal(inner, -1)
    np.testing.assert_allclose(inner.max(), code.cosine, rtol=1e-12)
    margins = nc.metrics.one_vs_rest_margins(code.points)
    assert margins.min() >= 1 - code.cosine - 1e-9
    # The neighbours' mean lies along the point itself in a sharp code.
    if (classes, dimension) in ((4, 3), (6, 3), (12, 3), (24, 4), (120, 4)):
        np.testing.assert_allclose(margins, 1 - code.cosine, atol=1e-6)


def test_a_wrong_basin_is_not_hidden():
    """13 points on the sphere have local optima: restarts differ, the best is reported."""
    code = nc.spherical_code(13, 3)
    assert code.spread > 1e-3
    assert 1 <= code.restarts_within(1e-4) < len(code.restart_cosines)
    assert code.cosine >= nc.theory.least_largest_cosine(13, 3)


def test_margins_of_simple_shapes():
    for size in (2, 3, 7):
        margins = nc.metrics.one_vs_rest_margins(3.7 * nc.simplex_etf(size))
        np.testing.assert_allclose(margins, size / (size - 1), rtol=1e-9)
    # A merged pair, and a point inside the hull of the others, have no margin.
    square = np.array([[1.0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [0.1, 0.2]])
    margins = nc.metrics.one_vs_rest_margins(square)
    np.testing.assert_allclose(margins[[0, 1, 5]], 0, atol=1e-12)
    assert margins[2] > 0.5
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    turned = nc.metrics.one_vs_rest_margins(square @ turn)
    np.testing.assert_allclose(turned, margins, atol=1e-12)


def test_the_margin_is_what_the_best_feature_attains():
    """max over ‖h‖ ≤ 1 of min_j h·(w_k − w_j), by many directions: on a fine grid."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(6, 2))
    margins = nc.metrics.one_vs_rest_margins(rows)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    size = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    for k, margin in enumerate(margins):
        others = np.delete(rows, k, axis=0)
        best = np.max(np.min(directions @ (rows[k] - others).T, axis=1)) / size
        np.testing.assert_allclose(margin, max(best, 0), atol=1e-3)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: nc.spherical_code(1, 3), "num_classes"),
        (lambda: nc.spherical_code(5, 1), "dimension"),
        (lambda: nc.spherical_code(5, 3, restarts=0), "restarts"),
        (lambda: nc.metrics.one_vs_rest_margins(np.zeros((3, 2))), "classifiers"),
        (lambda: nc.metrics.one_vs_rest_margins(np.ones(3)), "classifiers"),
    ],
)
def test_bad_input_names_the_argument(build, name):
    with pytest.raises(ValueError, match=name):
        build()


def test_another_key_finds_the_same_code():
    first, second = (nc.spherical_code(8, 3, key=jax.random.key(seed)) for seed in (1, 2))
    np.testing.assert_allclose(first.cosine, second.cosine, atol=1e-9)
