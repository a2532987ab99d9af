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


@jax.jit
def by_groups(model, point):
    """Objective, its value and gradient, nuclear norm, slopes of the parts within groups."""
    counts = model.sizes.counts
    value, slope = value_and_gradient(model, point)
    norm = nuclear_norm(counts, point)
    return data_loss(model, point), value, slope, norm, within_slopes(counts, slope)


@jax.jit
def by_classes(model, point, direction):
    """Logits and a direction as K×K matrices, and the objective with its gradient there."""
    logits, moved = (
        expand(model.sizes.counts, model.sizes.membership, own) for own in (point, direction)
    )
    return logits, moved, *jax.value_and_grad(model.objective)(logits)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", GROUPS, ids=str)
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_group_numbers_stand_for_dense_logits(counts, loss, seed):
    model = random_model(seed, counts, loss)
    point, direction = random_point(model, seed), random_point(model, seed + 1)
    loss_value, value, slope, norm, slopes = by_groups(model, point)
    logits, moved, objective, full = map(np.asarray, by_classes(model, point, direction))
    np.testing.assert_allclose(loss_value, objective, rtol=1e-12)
    np.testing.assert_allclose(value, objective, rtol=1e-12)
    np.testing.assert_allclose(norm, np.linalg.svd(logits, compute_uv=False).sum(), rtol=1e-12)
    along = sum(np.vdot(a, b) for a, b in zip(slope[:2], direction[:2], strict=True))
    np.testing.assert_allclose(along, np.vdot(full, moved), rtol=1e-9, atol=1e-12)
    largest = max(np.max(slopes), np.linalg.norm(slope[1], 2))
    np.testing.assert_allclose(largest, np.linalg.norm(full, 2), rtol=1e-12)
