"""Recommended cures: the vectors do what is said of them."""

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.design import separation
from nc_jax.diagnosis import recommend_cures

# Not in the order of their sizes.
COUNTS = np.array([4, 200, 40, 200, 4, 40])


def after(cure, **options):
    sizes = COUNTS.astype(float)
    if cure.cure == "class-weights":
        weights = cure.parameters / (sizes @ cure.parameters / sizes.sum())
        return nc.solve(nc.LayerPeeled(sizes, 2.0, 2.0, class_weights=weights))
    loss = nc.VectorScaling(offsets=cure.parameters)
    return nc.solve(nc.UnconstrainedFeatures(sizes, 0.01, 0.01 / sizes.sum(), 0.01, loss=loss))


def test_where_small_classes_merge_weights_are_recommended_first():
    first, second = recommend_cures(COUNTS, 2.0, 2.0)
    assert first.cure == "class-weights" and first.parts
    assert not second.parts and np.isnan(second.least)
    assert 0 < first.least < first.strength
    np.testing.assert_allclose(first.parameters, 200 / COUNTS, rtol=0.01)
    assert separation(after(first)) > 0 and first.distance < 1e-5


def test_where_all_are_apart_offsets_are():
    first, second = recommend_cures(COUNTS, weight_decay=0.01)
    assert first.cure == "logit-adjustment" and first.parts and second.parts
    assert first.least == second.least == 0
    assert first.parameters.max() == 0
    expected = first.strength * np.log(COUNTS / COUNTS.max())
    np.testing.assert_allclose(first.parameters, expected, rtol=1e-6)
    assert separation(after(first)) > 0
    assert first.distance < first.distance_before


@pytest.mark.parametrize(
    "given",
    [{}, {"weight_energy": 1.0}, {"weight_decay": 0.0}, {"weight_decay": 0.1, "branches": 0}],
)
def test_missing_numbers_are_named(given):
    with pytest.raises(ValueError, match="weight_decay"):
        recommend_cures(COUNTS, **given)
