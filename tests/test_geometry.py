"""Class sizes, frames and cosines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.geometry import zero_sum_basis


@given(classes=st.integers(2, 40), extra=st.integers(0, 5))
def test_simplex_etf_has_unit_rows_and_equal_cosines(classes, extra):
    # In NumPy, which compiles nothing for a new shape.
    frame = np.asarray(nc.simplex_etf(classes, classes - 1 + extra))
    expected = np.full((classes, classes), -1 / (classes - 1))
    np.fill_diagonal(expected, 1)
    assert frame.shape == (classes, classes - 1 + extra)
    np.testing.assert_allclose(frame @ frame.T, expected, atol=1e-13)
    np.testing.assert_allclose(frame.sum(0), 0, atol=1e-13)


@given(classes=st.integers(2, 60))
def test_zero_sum_basis_is_orthonormal_and_sums_to_zero(classes):
    basis = np.asarray(zero_sum_basis(classes))
    np.testing.assert_allclose(basis.T @ basis, np.eye(classes - 1), atol=1e-13)
    np.testing.assert_allclose(basis.sum(0), 0, atol=1e-13)


def test_cosine_of_a_zero_vector_is_undefined():
    vectors = jnp.array([[3.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    products = nc.gram(vectors)
    np.testing.assert_allclose(products, [[9, 0, 3], [0, 0, 0], [3, 0, 2]])
    cosine = nc.cosines(products)
    assert np.isnan(cosine[1]).all() and np.isnan(cosine[:, 1]).all()
    np.testing.assert_allclose(cosine[0, 2], np.sqrt(0.5))


def test_two_groups_lays_the_majority_first():
    sizes = nc.two_groups(2, 3, ratio=10.0, minority_size=7.0)
    np.testing.assert_array_equal(sizes.class_sizes, [70, 70, 7, 7, 7])
    np.testing.assert_array_equal(sizes.counts, [2, 3])
    np.testing.assert_allclose(sizes.group_weights, [140 / 161, 21 / 161])


def test_long_tailed_falls_exponentially():
    sizes = nc.long_tailed(5, ratio=16.0, largest=32.0)
    np.testing.assert_allclose(sizes.class_sizes, [32, 16, 8, 4, 2])


def test_a_vector_is_grouped_by_equal_sizes_in_order_of_appearance():
    sizes = nc.class_sizes([5, 9, 5, 1, 9])
    assert sizes.membership == (0, 1, 0, 2, 1)
    np.testing.assert_array_equal(sizes.group_sizes, [5, 9, 1])
    np.testing.assert_array_equal(sizes.class_sizes, [5, 9, 5, 1, 9])


def test_a_traced_vector_makes_every_class_its_own_group():
    groups = []
    jax.jit(lambda v: groups.append(nc.class_sizes(v).num_groups) or v)(jnp.ones(4))
    assert groups == [4]


def test_weights_survive_huge_sizes():
    sizes = nc.class_sizes([1e300, 1e300, 1e-300])
    np.testing.assert_allclose(sizes.group_weights, [1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: nc.two_groups(0, 5, 2.0), "majority"),
        (lambda: nc.two_groups(5, 2.5, 2.0), "minority"),
        (lambda: nc.two_groups(True, 5, 2.0), "majority"),
        (lambda: nc.two_groups(5, 5, -1.0), "ratio"),
        (lambda: nc.two_groups(5, 5, np.nan), "ratio"),
        (lambda: nc.two_groups(5, 5, np.inf), "ratio"),
        (lambda: nc.two_groups(5, 5, "many"), "ratio"),
        (lambda: nc.two_groups(5, 5, 2.0, minority_size=0.0), "minority_size"),
        (lambda: nc.long_tailed(1, 2.0), "num_classes"),
        (lambda: nc.class_sizes([1.0, -2.0]), "sizes"),
        (lambda: nc.class_sizes(3.0), "sizes"),
        (lambda: nc.class_sizes([3.0]), "classes"),
        (lambda: nc.class_sizes([]), "classes"),
        (lambda: nc.class_sizes([[1.0], [2.0, 3.0]]), "sizes"),
        (lambda: nc.ClassSizes([1.0, 2.0], (0, 0, 2)), "membership"),
        (lambda: nc.simplex_etf(5, 3), "dimension"),
        (lambda: nc.simplex_etf(1), "num_classes"),
    ],
)
def test_bad_input_names_the_argument(build, name):
    with pytest.raises((TypeError, ValueError), match=name):
        build()
