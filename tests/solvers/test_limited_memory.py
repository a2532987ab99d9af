"""The compact form of L-BFGS against dense matrices updated pair by pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nc_jax.solvers.limited_memory import Limits, advance, begin, restarted

MEMORY, WIDTH, SEARCHES = 4, 7, 3
LIMITS = Limits(0.0, 0.0, 1000, 1000)


def objective(x):
    """Steep enough that some trials are rejected, which leaves their places empty."""
    scales = jnp.exp(jnp.linspace(0.0, 5.0, WIDTH))
    return jnp.sum(scales * x**2) + jnp.sum(x**4) + jnp.sum(jnp.sin(3 * x))


@jax.jit
def tick(search, place):
    value, slope = jax.vmap(jax.value_and_grad(objective))(search.trial)
    return advance(search, place, value, slope, LIMITS)


@jax.jit
def tick_each(search, places):
    """Every search alone, at a place of its own."""
    alone = jax.tree.map(lambda leaf: leaf[:, None], search)
    return jax.tree.map(lambda leaf: leaf[:, 0], jax.vmap(tick)(alone, places))


def dense_direction(pairs, slope):
    """−H g, where H is γI updated by every pair, the oldest first (BFGS)."""
    step, change = pairs[-1]
    inverse = np.eye(WIDTH) * (step @ change) / (change @ change)
    for step, change in pairs:
        share = 1 / (step @ change)
        left = np.eye(WIDTH) - share * np.outer(step, change)
        inverse = left @ inverse @ left.T + share * np.outer(step, step)
    return -inverse @ slope


@pytest.mark.parametrize("together", [True, False])
def test_directions_are_those_of_dense_matrices(together):
    points = jax.random.normal(jax.random.key(1), (SEARCHES, WIDTH))
    search = begin(points, MEMORY)
    ring = [[None] * MEMORY for _ in range(SEARCHES)]
    compared = rejections = 0
    for count in range(90):
        shift = 0 if together else np.arange(SEARCHES, dtype=np.int32)
        places = np.asarray((count + shift) % MEMORY, np.int32)
        before = search
        search = tick(search, jnp.asarray(places)) if together else tick_each(search, places)
        for k in range(SEARCHES):
            own = ring[k]
            place = int(np.broadcast_to(places, SEARCHES)[k])
            accepted = search.iterations[k] > before.iterations[k]
            rejections += not accepted
            own[place] = None
            if accepted and before.iterations[k] >= 0:
                step = np.asarray(search.point[k] - before.point[k])
                change = np.asarray(search.gradient[k] - before.gradient[k])
                if step @ change > 1e-14 * np.linalg.norm(step) * np.linalg.norm(change):
                    own[place] = (step, change)
            pairs = [own[(place + 1 + age) % MEMORY] for age in range(MEMORY)]
            pairs = [pair for pair in pairs if pair is not None]
            if accepted and pairs and count < 20:
                expected = dense_direction(pairs, np.asarray(search.gradient[k]))
                scale = np.abs(expected).max()
                np.testing.assert_allclose(search.direction[k], expected, atol=1e-7 * scale)
                compared += 1
    assert compared > 30
    assert rejections > 3
    slopes = jax.vmap(jax.grad(objective))(search.point)
    np.testing.assert_allclose(slopes, 0, atol=1e-6)


def test_searches_that_start_anew_forget_what_they_knew():
    first, second = jax.random.normal(jax.random.key(0), (2, SEARCHES, WIDTH))
    old, new = begin(first, MEMORY), begin(second, MEMORY)
    for count in range(6):
        old = tick(old, count % MEMORY)
    fresh = jnp.array([True, False, True])
    mixed = restarted(old, fresh, second)
    np.testing.assert_array_equal(mixed.point[1], old.point[1])
    for count in range(6, 12):
        mixed, new = tick(mixed, count % MEMORY), tick(new, count % MEMORY)
        old = tick(old, count % MEMORY)
    for k, expected in enumerate((new, old, new)):
        np.testing.assert_allclose(mixed.point[k], expected.point[k], rtol=1e-12)
        assert mixed.evaluations[k] == expected.evaluations[k]


def test_a_search_ends_where_it_is_told():
    points = jnp.ones((2, WIDTH)).at[1].set(jnp.nan)
    search = begin(points, MEMORY)
    limits = Limits(0.0, 0.0, 3, 1000)
    for count in range(8):
        value, slope = jax.vmap(jax.value_and_grad(objective))(search.trial)
        search = advance(search, jnp.asarray(count % MEMORY), value, slope, limits)
    assert search.done.all()
    assert search.iterations[0] == 3
    assert search.iterations[1] == -1
