"""The designer: least strengths beside an independent solver, fits, prices, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.design import closest, cured, least_strength, margins_of, separation
from tests.oracles import Rows, clarabel_rows

SIZES = np.asarray([500.0, 300.0, 120.0, 60.0, 5.0])
BUDGET = 2.0


def plain():
    return nc.LayerPeeled(SIZES, BUDGET, BUDGET)


def independent_rank(rows):
    """Directions of the logits that CLARABEL keeps, relative to the largest."""
    logits = clarabel_rows(rows, radius=len(SIZES) * BUDGET).logits
    singular = np.linalg.svd(logits, compute_uv=False)
    return int(np.sum(singular > 1e-3 * singular[0]))


def weighted_rows(power):
    weights = SIZES**-power
    return Rows(weights * SIZES / (weights @ SIZES), np.ones(5), np.zeros((5, 5)), np.eye(5))


def smoothed_rows(epsilon):
    targets = (1 - epsilon) * np.eye(5) + epsilon / 5
    return Rows(SIZES / SIZES.sum(), np.ones(5), np.zeros((5, 5)), targets)


@pytest.mark.parametrize(
    ("cure", "rows"), [("class-weights", weighted_rows), ("label-smoothing", smoothed_rows)]
)
def test_the_least_strength_is_confirmed_by_an_independent_solver(cure, rows):
    found = least_strength(plain(), cure)
    assert found.threshold is not None and found.threshold.certified
    assert found.solution.gap < 1e-9 and separation(found.solution) > 0
    assert independent_rank(rows(found.strength)) == 4
    assert independent_rank(rows(0.98 * found.strength)) == 3
    # The price: small classes gain margin, the largest loses some.
    gain = found.price.margins_after - found.price.margins_before
    assert gain[-1] != 0 and gain[0] < 0
    np.testing.assert_allclose(found.price.margins_after, margins_of(found.solution.logits))


def test_oversampling_needs_what_weights_need():
    weights, repeats = (least_strength(plain(), cure) for cure in ("class-weights", "oversampling"))
    np.testing.assert_allclose(weights.strength, repeats.strength, rtol=1e-3)


def test_nothing_to_mend_and_nothing_that_mends():
    assert least_strength(nc.LayerPeeled(SIZES, 6.0, 6.0), "margins").strength == 0
    hopeless = least_strength(plain(), "logit-adjustment")
    assert np.isnan(hopeless.strength) and hopeless.threshold is None
    assert separation(hopeless.solution) < 0


def test_weights_that_bring_the_simplex_back_are_those_of_inverse_sizes():
    fit = closest(plain(), "weights", "simplex-etf")
    assert fit.distance < 1e-8 < fit.distance_before and fit.solution.gap < 1e-9
    products = fit.parameters.values * SIZES
    np.testing.assert_allclose(products, jnp.mean(products), rtol=1e-4)


def test_offsets_come_closer_to_equal_margins():
    sizes = [40.0, 40.0, 10.0, 5.0]
    fit = closest(nc.UnconstrainedFeatures(sizes, 0.01, 0.001), "offsets", "equal-margins")
    assert fit.distance < 0.02 * fit.distance_before and fit.solution.gap < 1e-9


def test_bad_arguments_are_named():
    for call, text in [
        (lambda: cured(plain(), "unknown", 1.0), "cure must be one of"),
        (lambda: least_strength(plain(), "margins", strongest=-1.0), "strongest"),
        (lambda: closest(plain(), "unknown"), "family"),
        (lambda: closest(plain(), "weights", "circle"), "target"),
        (lambda: cured(nc.LayerPeeled(SIZES, loss=nc.Focal()), "margins", 1.0), "CrossEntropy"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="LayerPeeled"):
        cured(nc.DeepLayerPeeled(SIZES, 2), "margins", 1.0)  # type: ignore[arg-type]
