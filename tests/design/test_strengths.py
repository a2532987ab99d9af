"""The strength of a cure that is best for a target."""

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.design import CURES, TARGETS, along, best_strength, closest, least_strength, separation
from nc_jax.metrics import etf_distance

BUDGET = 2.0


def plain(ratio=30.0):
    return nc.LayerPeeled(nc.two_groups(4, 3, ratio), BUDGET, BUDGET)


@pytest.mark.parametrize("ratio", [7.0, 30.0, 400.0])
@pytest.mark.parametrize("cure", ["class-weights", "oversampling"])
def test_undoing_the_imbalance_gives_a_simplex_etf(cure, ratio):
    # Proposition 1 of Fang et al. 2021.
    found = best_strength(plain(ratio), cure)
    np.testing.assert_allclose(found.strength, 1, atol=2e-3)
    assert found.distance < 1e-6 < found.distance_before
    assert found.solution.gap < 1e-8 and not found.at_end
    assert separation(found.solution) > 0


@pytest.mark.parametrize("sizes", [nc.two_groups(4, 3, 30.0), nc.class_sizes([9.0, 9, 4, 2, 2, 2])])
def test_the_distance_from_a_frame_is_that_of_the_metrics(sizes):
    found = nc.solve(nc.LayerPeeled(sizes, BUDGET, BUDGET))
    squared = etf_distance(found.classifiers) ** 2
    distance = TARGETS["simplex-etf"](found)
    np.testing.assert_allclose(distance, squared * (1 - squared / 4), rtol=1e-9)
    assert distance > 1e-3


def test_under_enough_label_smoothing_the_budget_is_slack_and_imbalance_gone():
    found = along(plain(), "label-smoothing", np.linspace(0.45, 0.85, 5))
    np.testing.assert_allclose(found.solution.within_cosines, -1 / 6, atol=1e-7)
    np.testing.assert_allclose(found.distances["simplex-etf"], 0, atol=1e-10)
    assert (np.asarray(found.solution.gap) < 1e-8).all()
    best = best_strength(plain(), "label-smoothing")
    # The least of the equally good ones: there a simplex ETF of margin log(1 + K(1−ε)/ε)
    # takes the whole budget, a nuclear norm of K√(E_W E_H).
    margin = 7 * BUDGET / 6
    np.testing.assert_allclose(best.strength, 7 / (6 + np.exp(margin)), atol=2e-3)


def test_a_finer_scan_does_not_find_better():
    found = best_strength(plain(4.0), "logit-adjustment")
    finer = along(plain(4.0), "logit-adjustment", np.linspace(0, CURES["logit-adjustment"][1], 79))
    assert found.distance <= finer.distances["simplex-etf"].min() + 1e-9
    np.testing.assert_allclose(found.solution.model.loss.offsets.values, _offsets(found.strength))


def _offsets(strength):
    return nc.logit_adjustment(np.array([4.0] * 4 + [1.0] * 3), strength).offsets.values


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: best_strength(plain(), "margins", target="beauty"), "target"),
        (lambda: best_strength(plain(), "margins", points=2), "points"),
        (lambda: best_strength(plain(), "margins", strongest=-1), "strongest"),
        (lambda: best_strength(plain(), "focal"), "cure"),
        (lambda: along(plain(), "margins", [[1.0]]), "strengths"),
        (lambda: along(plain(), "margins", [np.nan]), "strengths"),
        (lambda: along(plain(), "label-smoothing", [1.5]), "strengths .* 1.5"),
        (lambda: along(plain(), "class-weights", [1e6]), "strengths .* class_weights"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_the_least_strength_in_float32_is_that_in_float64():
    sizes = [500.0, 300.0, 40.0, 10.0]
    found = [
        least_strength(
            nc.LayerPeeled(np.asarray(sizes, dtype), dtype(1), dtype(2)), "class-weights"
        )
        for dtype in (np.float64, np.float32)
    ]
    exact, single = found
    assert single.solution.gap.dtype == np.float32 and exact.threshold.at_low < 0
    np.testing.assert_allclose(single.strength, exact.strength, rtol=2e-3)
    np.testing.assert_allclose(exact.strength, 0.379, atol=1e-3)


def test_too_few_dimensions_for_a_certified_optimum_are_an_error():
    model = nc.LayerPeeled(nc.two_groups(3, 3, 5.0), 2.0, 3.0, dimension=2)
    with pytest.raises(ValueError, match="dimension ≥ 5"):
        least_strength(model, "class-weights")
    with pytest.raises(ValueError, match="dimension ≥ 5"):
        closest(model, "class-weights")
