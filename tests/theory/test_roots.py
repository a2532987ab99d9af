"""Roots in a bracket: to the last digits, and with few evaluations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nc_jax.theory import root_between, search_change


def test_bisection_is_exact_and_has_a_derivative():
    def root(a):
        return root_between(lambda x: a - x**3, jnp.asarray(-1.0), jnp.asarray(9.0))

    np.testing.assert_allclose(root(5.0), 5 ** (1 / 3), rtol=1e-15)
    np.testing.assert_allclose(jax.grad(root)(5.0), 5 ** (-2 / 3) / 3, rtol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("relative", [True, False])
def test_a_change_of_sign_is_bracketed_before_the_steps_end(sign, relative):
    def function(x):
        return sign * (x**3 - 700.0), x

    start = jnp.asarray(-jnp.inf)
    ends = jnp.asarray(7.0), jnp.asarray(11.0)
    found = jax.jit(
        lambda: search_change(function, *ends, start, jnp.maximum, 1e-10, relative, 80)
    )()
    root = 700 ** (1 / 3)
    assert found.opposite and found.low <= root <= found.high
    assert found.high - found.low <= 1e-10 * (root if relative else 1)
    assert found.at_low * found.at_high <= 0 and found.steps < 80
    # The largest of all points that were evaluated.
    assert found.kept == 11


def test_ends_of_one_sign_stop_the_search():
    ends = jnp.asarray(2.0), jnp.asarray(3.0)
    found = search_change(lambda x: (x, 0.0), *ends, 0.0, lambda a, b: a, 1e-9, True, 80)
    assert not found.opposite and found.steps == 0 and found.low == 2 and found.high == 3
