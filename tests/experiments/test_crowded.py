"""More classes than dimensions."""

import jax
import numpy as np

import nc_jax as nc
from nc_jax.experiments.crowded import code_row, crowded_row, merging_rows

KEY = jax.random.key(0)


def test_the_best_code_in_the_plane_is_a_polygon_and_the_model_is_close_to_it():
    row = code_row(5, 2, KEY) | crowded_row(5, 2, 20.0, 4, KEY)
    np.testing.assert_allclose(row["code_cosine"], np.cos(2 * np.pi / 5), atol=1e-6)
    assert row["proved"] and row["known_name"] == "regular polygon"
    assert row["bound"] <= row["code_cosine"] + 1e-9
    np.testing.assert_allclose(row["model_cosine"], row["code_cosine"], atol=1e-3)
    assert row["model_curvature"] > -1e-6 and row["model_restarts_at_best"] >= 1


def test_small_classes_stand_apart_from_a_larger_budget_on():
    rows = merging_rows(nc.two_groups(1, 3, 20.0), 2, np.array([0.3, 8.0]), 4, KEY)
    assert [(row["E"], row["class"]) for row in rows] == [
        (e, k) for e in (0.3, 8.0) for k in range(4)
    ]
    small = [row["distance"] for row in rows if row["class"] > 0]
    assert max(small[:3]) < 0.01 < min(small[3:])
    assert all(row["rank"] <= 2 and row["length"] <= 1 for row in rows)
