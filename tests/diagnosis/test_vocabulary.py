"""Classes of skewed sizes: counts, and which keep a direction of their own."""

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.diagnosis import PROFILES, own_directions, vocabulary_rows, zipf_counts


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_have_their_ends(name):
    profile = PROFILES[name]
    counts = profile.counts()
    assert counts.shape == (profile.classes,) and np.all(np.diff(counts) <= 0)
    assert counts[0] == profile.largest and counts[-1] == profile.smallest


def test_zipf_counts_are_whole_and_follow_the_law():
    counts = zipf_counts(1000, 1e6, 1.5, shift=1.0)
    assert np.all(counts == np.round(counts)) and counts.min() >= 1
    assert counts[0] / counts[9] == pytest.approx((11 / 2) ** 1.5, rel=1e-3)
    assert counts.sum() == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize("budget", [0.1, 0.6, 1.5, 4.0, 20.0])
def test_classes_with_a_direction_are_those_no_other_points_along(budget):
    sizes = np.array([400.0, 90, 90, 90, 20, 20, 20, 20, 3, 3, 3, 3])
    solution = nc.solve(nc.LayerPeeled(sizes, budget, budget))
    rows = np.asarray(solution.classifiers)
    lengths = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(lengths > 1e-4 * lengths.max(), lengths, np.nan)[:, None]
    angles = np.nan_to_num(unit @ unit.T, nan=-1.0) - 2 * np.eye(12)
    apart = (np.max(angles, axis=1) < 0.99) & ~np.isnan(unit[:, 0])
    assert own_directions(solution) == np.sum(apart)


def test_rows_are_those_of_the_exact_counts():
    counts = np.repeat([50.0, 10.0, 2.0], [2, 5, 20])
    few, many = vocabulary_rows(counts, [0.3, 20.0], 0.0)
    assert few["own"] < 27 and many["own"] == 27 and many["rank"] == 26
    assert few["groups"] == 3 and max(few["gap"], many["gap"]) < 1e-6
    exact = nc.solve(nc.LayerPeeled(counts, 0.3, 0.3))
    assert few["objective"] == pytest.approx(float(exact.objective), abs=1e-6)
    assert few["smallest_length"] < many["smallest_length"] <= 1
