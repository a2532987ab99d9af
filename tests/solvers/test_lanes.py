"""Operations on small matrices with the lanes last, written out or as loops."""

import jax
import numpy as np
import pytest

from nc_jax.solvers.lanes import diagonal, largest, least, product, total, transpose


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 6, 1), (5, 2, 1), (6, 4, 1), (6, 4, 3)])
def test_they_agree_with_numpy(shape):
    rows, inner, lanes = shape
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape), rng.normal(size=(inner, rows, lanes))
    found = jax.jit(product)(a, b)
    np.testing.assert_allclose(found, np.einsum("ikl,kjl->ijl", a, b), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(diagonal(found), np.moveaxis(np.diagonal(found), -1, 0))
    np.testing.assert_allclose(jax.jit(total)(a), a.sum(0), rtol=1e-13)
    np.testing.assert_array_equal(jax.jit(least)(a), a.min(0))
    np.testing.assert_array_equal(jax.jit(largest)(transpose(a)), a.max(1))
