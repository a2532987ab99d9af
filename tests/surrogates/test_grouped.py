"""Group numbers stand for a K×K matrix: its objective, gradient and norm are the dense ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_jax.solvers.certificates import nuclear_norm, within_slopes
from nc_jax.surrogates.grouped import GroupLogits, data_loss, expand, value_and_gradient
from tests.instances import GROUPS, LOSSES, random_model


def random_point(model, seed):
    counts = model.sizes.counts
    rng = np.random.default_rng(seed)
    within = np.where(counts > 1, rng.normal(size=len(counts)), 0)
    return GroupLogits(jnp.asarray(within), jnp.asarray(rng.normal(size=2 * counts.shape)))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", GROUPS, ids=str)
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_group_numbers_stand_for_dense_logits(counts, loss, seed):
    model = random_model(seed, counts, loss)
    point, direction = random_point(model, seed), random_point(model, seed + 1)
    sizes = model.sizes

    def dense(numbers):
        return expand(sizes.counts, sizes.membership, numbers)

    logits = dense(point)
    np.testing.assert_allclose(data_loss(model, point), model.objective(logits), rtol=1e-12)
    singular = np.linalg.svd(np.asarray(logits), compute_uv=False)
    np.testing.assert_allclose(nuclear_norm(sizes.counts, point), singular.sum(), rtol=1e-12)

    value, slope = value_and_gradient(model, point)
    full = jax.grad(model.objective)(logits)
    along = sum(jnp.sum(a * b) for a, b in zip(slope[:2], direction[:2], strict=True))
    np.testing.assert_allclose(along, jnp.sum(full * dense(direction)), rtol=1e-9, atol=1e-12)
    largest = max(float(jnp.max(within_slopes(sizes.counts, slope))), np.linalg.norm(slope[1], 2))
    np.testing.assert_allclose(largest, np.linalg.norm(full, 2), rtol=1e-12)
    np.testing.assert_allclose(value, model.objective(logits), rtol=1e-12)
