"""Cholesky factorisation in blocks, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nc_jax.solvers.reduced import blocks

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="kernels of a CPU")


def positive_definite(rng, rows, lanes, least=0.1):
    root = rng.normal(size=(lanes, rows, rows))
    return np.moveaxis(root @ root.transpose(0, 2, 1) / rows + least * np.eye(rows), 0, -1)


def reference(matrix, right):
    return np.moveaxis(np.linalg.solve(*(np.moveaxis(a, -1, 0) for a in (matrix, right))), 0, -1)


@jax.jit
def factored_and_solved(matrix, right):
    rows, size = len(matrix), blocks.filled_rows(len(matrix))
    identity = jnp.broadcast_to(
        jnp.eye(size, dtype=matrix.dtype)[..., None], (size, size, matrix.shape[-1])
    )
    factor = blocks.factored(identity.at[:rows, :rows].set(matrix))
    return factor, blocks.solved(factor, right)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rows", [1, 2, 5, 8, 9, 15, 16, 23, 24, 41])
@given(seed=st.integers(0, 2**32 - 1))
def test_solutions_are_those_of_numpy(rows, dtype, seed):
    # Whole blocks, and some with one to four rows less.
    rng = np.random.default_rng(seed)
    matrix, right = positive_definite(rng, rows, 3), rng.normal(size=(rows, 2, 3))
    _, found = factored_and_solved(matrix.astype(dtype), right.astype(dtype))
    assert found.shape == right.shape and found.dtype == dtype
    error = np.abs(np.asarray(found) - reference(matrix, right))
    conditions = np.linalg.cond(np.moveaxis(matrix, -1, 0))
    assert (
        error <= 10 * blocks.PIVOT * conditions * np.finfo(dtype).eps * np.abs(right).max()
    ).all()


@pytest.mark.parametrize("rows", [6, 12, 24])
def test_blocks_hold_the_factor_with_inverted_diagonal_blocks(rows):
    matrix = positive_definite(np.random.default_rng(rows), rows, 2)
    factor, _ = factored_and_solved(matrix, np.zeros((rows, 1, 2)))
    size = blocks.block_rows(rows)
    lower = np.linalg.cholesky(np.moveaxis(matrix, -1, 0))
    number = 0
    for row in range(0, rows, size):
        for column in range(0, row + 1, size):
            block = lower[:, row : row + size, column : column + size]
            expected = np.linalg.inv(block) if row == column else block
            found = np.transpose(factor[number], (2, 1, 0))
            np.testing.assert_allclose(found, expected, atol=1e-10)
            number += 1
    assert number == len(factor)


@pytest.mark.parametrize("rows", [6, 12, 20])
def test_a_singular_matrix_gives_finite_numbers(rows):
    # Rounding can make the pivots that should be zero negative.
    rng = np.random.default_rng(rows)
    root = rng.normal(size=(16, rows, 2))
    matrix = np.moveaxis(root @ root.transpose(0, 2, 1), 0, -1)
    right = np.einsum("ijl,jl->il", matrix, rng.normal(size=(rows, 16)))[:, None]
    factor, found = factored_and_solved(matrix, right)
    assert np.isfinite(factor).all() and np.isfinite(found).all()
    # A right-hand side of the range is reached, up to the shift of the tiny pivots.
    np.testing.assert_allclose(np.einsum("ijl,jml->iml", matrix, found), right, atol=1e-5)


def test_lanes_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    matrix, right = positive_definite(rng, 11, 5), rng.normal(size=(11, 1, 5))
    _, both = factored_and_solved(matrix, right)
    matrix[..., 1] = np.nan
    _, without = factored_and_solved(matrix, right)
    kept = [0, 2, 3, 4]
    np.testing.assert_array_equal(without[..., kept], both[..., kept])
    assert np.isnan(without[..., 1]).any()


@given(rows=st.integers(1, 400))
def test_few_rows_are_added(rows):
    size, filled = blocks.block_rows(rows), blocks.filled_rows(rows)
    assert 3 <= size <= 6 and filled % size == 0 and rows <= filled < rows + 5
    assert blocks.block_rows(filled) == size
