"""Theorem 1 of Fang et al. 2021, and its analogue for the squared error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc

SOLVERS = {
    "reduced": nc.ReducedInteriorPoint(),
    "factored": nc.FactoredQuasiNewton(),
}
# A number of classes is a shape, which compiles anew.
classes = st.sampled_from([2, 3, 7, 12])


@pytest.mark.parametrize("solver", SOLVERS)
@given(classes=classes, budget=st.floats(0.05, 12), size=st.floats(0.1, 1e4))
def test_balanced_cross_entropy_gives_a_simplex_etf(solver, classes, budget, size):
    model = nc.LayerPeeled([size] * classes, weight_energy=1.0, feature_energy=budget**2)
    solution = nc.solve(model, SOLVERS[solver])
    known = nc.theory.balanced_optimum(classes, budget)
    np.testing.assert_allclose(solution.objective, known.objective, rtol=1e-9)
    np.testing.assert_allclose(solution.within_cosines, known.cosine, atol=1e-9)
    expected = np.full((classes, classes), known.other_logit)
    np.fill_diagonal(expected, known.own_logit)
    np.testing.assert_allclose(solution.logits, expected, atol=1e-8 * budget)
    # Self-duality: class means are parallel to the classifiers, h = C w.
    np.testing.assert_allclose(solution.features, budget * solution.classifiers, atol=1e-7 * budget)


@given(classes=classes, budget=st.floats(0.05, 4))
def test_balanced_squared_error_gives_an_orthogonal_frame(classes, budget):
    loss = nc.MeanSquaredError()
    model = nc.LayerPeeled([3.0] * classes, feature_energy=budget**2, loss=loss)
    solution = nc.solve(model)
    known = nc.theory.balanced_optimum(classes, budget, loss)
    np.testing.assert_allclose(solution.objective, known.objective, atol=1e-10)
    np.testing.assert_allclose(solution.logits, known.own_logit * np.eye(classes), atol=1e-5)


CURES = {
    "margins": nc.LabelMargins(np.full(5, 0.7)),
    "offsets": nc.VectorScaling(np.full(5, -2.0)),
    "scales": nc.VectorScaling(scales=np.full(5, 0.6)),
    "weights": nc.ClassWeights(np.full(5, 3.0)),
    "smoothing": nc.LabelSmoothing(0.1),
    "weighted-smoothing": nc.ClassWeights(np.full(5, 2.0), nc.LabelSmoothing(0.3)),
}


@pytest.mark.parametrize("name", CURES)
def test_losses_for_imbalance_on_balanced_classes(name):
    for budget in (0.7, 6.0):
        model = nc.LayerPeeled([4.0] * 5, budget, budget, loss=CURES[name])
        solution = nc.solve(model)
        known = nc.theory.balanced_optimum(5, budget, CURES[name])
        np.testing.assert_allclose(solution.objective, known.objective, rtol=1e-8)
        np.testing.assert_allclose(solution.logits[0, 0], known.own_logit, rtol=1e-3)
        np.testing.assert_allclose(solution.logits[0, 1], known.other_logit, rtol=1e-3)
    # Beyond its target's logits label smoothing does not go.
    assert (known.own_logit < 6) == ("smoothing" in name)


def test_the_focal_loss_has_the_simplex_of_theorem_4():
    solution = nc.solve(nc.LayerPeeled([2.0] * 4, 8.0, 8.0, loss=nc.Focal(1.5)))
    assert nc.theory.softmax_condition(4, 8.0)
    known = nc.theory.balanced_optimum(4, 8.0, nc.Focal(1.5))
    np.testing.assert_allclose(solution.objective, known.objective, rtol=1e-5)


def test_the_reference_value():
    known = nc.theory.balanced_optimum(4, 2.0)
    np.testing.assert_allclose(known.objective, np.log1p(3 * np.exp(-8 / 3)), rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((1, 1.0), "num_classes"),
        ((3, -1.0), "budget"),
        ((3, 1.0, nc.SupervisedContrastive()), "loss"),
        ((3, 1.0, nc.VectorScaling([0.0, 0.0, 1.0])), "same number"),
    ],
)
def test_bad_input_names_the_argument(arguments, name):
    with pytest.raises(ValueError, match=name):
        nc.theory.balanced_optimum(*arguments)
