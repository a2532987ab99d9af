"""Cures over their strengths in the columns of tables."""

import numpy as np

import nc_jax as nc
from nc_jax import design

MODEL = nc.LayerPeeled(nc.two_groups(5, 5, 300.0), 1.0, 8.0)


def test_full_class_weights_make_an_equal_frame():
    columns = design.curve_of(MODEL, "class-weights", [0.0, 1.0], 5, "simplex-etf")
    assert columns["strength"].tolist() == [0, 1] and columns["phase"][1] == "separated"
    np.testing.assert_allclose(columns["minority_cosine"][1], -1 / 9, atol=1e-6)
    np.testing.assert_allclose(columns["norm_ratio"][1], 1, atol=1e-6)
    np.testing.assert_allclose(columns["minority_margin"][1], columns["majority_margin"][1])
    assert columns["distance"][0] > 0.1 > columns["distance"][1]
    row = design.row_of(MODEL, "class-weights")
    assert 0 < row["least"] < row["best"] <= 1.05 and row["gap"] < 1e-8
    assert row["at best"] < 1e-3 < row["distance"]


def test_the_designed_strength_is_on_the_grid():
    columns = design.chosen_with(MODEL, "class-weights", [0.5, 2.0], "simplex-etf")
    assert columns["designed"] in columns["strength"]
    assert {0.0, 0.5, 2.0} < set(columns["strength"])
    place = columns["strength"].index(columns["designed"])
    assert np.argmin(columns["distance"]) == place
