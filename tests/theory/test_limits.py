"""Vanishing weight decay: which max-margin geometry each loss tends to."""

import cvxpy as cp
import numpy as np
import pytest

import nc_jax as nc

SIZES = np.array([50.0, 20.0, 5.0, 5.0])
SCALES = np.array([1.0, 0.8, 0.6, 0.6])
DECAYS = (1e-4, 1e-8)
LOSSES = {
    "cross-entropy": (nc.CrossEntropy(), np.ones(4)),
    "offsets": (nc.logit_adjustment(SIZES, 1.0), np.ones(4)),
    "weights": (nc.ClassWeights(nc.size_weights(SIZES, 1.0)), np.ones(4)),
    "scales": (nc.VectorScaling(scales=SCALES), SCALES),
}


def widest_margins(scales):
    """Logits [K, K], a column a class, of the least ‖Z D^½‖_* with scaled margins of one."""
    logits = cp.Variable((4, 4))
    margins = [
        scales[k] * logits[k, k] - scales[j] * logits[j, k] >= 1
        for k in range(4)
        for j in range(4)
        if j != k
    ]
    weighed = logits @ np.diag(np.sqrt(SIZES))
    cp.Problem(cp.Minimize(cp.normNuc(weighed)), margins).solve(solver=cp.CLARABEL)
    return weighed.value / np.linalg.norm(weighed.value)


def distances(loss, scales):
    limit, found = widest_margins(scales), []
    for decay in DECAYS:
        model = nc.UnconstrainedFeatures(SIZES, decay, decay / SIZES.sum(), loss=loss)
        solution = nc.solve(model)
        assert solution.gap < 1e-12
        weighed = np.asarray(solution.logits).T * np.sqrt(SIZES)
        found.append(np.linalg.norm(weighed / np.linalg.norm(weighed) - limit))
    return np.array(found)


@pytest.mark.parametrize("name", LOSSES)
def test_geometry_tends_to_the_widest_margins(name):
    # Margins grow with log 1/λ while offsets and weights stay: what they change falls
    # as its inverse, to one half between the two decays.
    found = distances(*LOSSES[name])
    assert found[1] < 0.13
    np.testing.assert_allclose(found[1] / found[0], 0.5, atol=0.08)


def test_scales_have_another_limit_than_offsets_and_weights():
    loss, _ = LOSSES["scales"]
    found = distances(loss, np.ones(4))
    assert found[1] > found[0] > 0.1
