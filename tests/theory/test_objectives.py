"""Optimal values of balanced surrogates under any loss."""

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.theory import balanced_objective, unconstrained_objective


@pytest.mark.parametrize("loss", [nc.CrossEntropy(), nc.MeanSquaredError()])
def test_solvers_agree(loss):
    sizes = np.full(3, 2.0)
    solved = nc.solve(nc.LayerPeeled(sizes, 1.0, 4.0, loss)).objective
    np.testing.assert_allclose(balanced_objective(3, 2, 2.0, loss), solved, rtol=1e-8)
    solved = nc.solve(nc.UnconstrainedFeatures(sizes, 0.03, 0.03, loss=loss)).objective
    np.testing.assert_allclose(unconstrained_objective(3, 2, 0.03, loss), solved, rtol=1e-8)


def test_the_contrastive_loss_has_a_budget_of_features_alone():
    loss = nc.SupervisedContrastive(0.5)
    expected = nc.theory.contrastive_optimum(4, 3, 2.0, 0.5)
    np.testing.assert_allclose(balanced_objective(4, 3, 2.0, loss), expected)
    assert np.isnan(unconstrained_objective(4, 3, 0.1, loss))


def test_no_theorem_is_claimed_for_other_losses():
    found = unconstrained_objective(4, 3, np.array([0.1, 0.2]), nc.PowerSoftmax(2.0))
    assert found.shape == (2,) and np.isnan(found).all()
