"""Rows of many classes by frequency, against brute force."""

import numpy as np
import pytest

from nc_jax.metrics.tokens import (
    binned_rows,
    frequency_bins,
    mean_cosine_of_rows,
    nearest_distances,
    participation,
)

RNG = np.random.default_rng(0)


def cosines_of(rows):
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units @ units.T


def test_bins_are_equal_ratios_and_none_is_empty():
    np.testing.assert_array_equal(frequency_bins([1, 2, 5, 99, 1000], 3), [0, 0, 0, 1, 2])
    # Nothing between 10 and 100.
    np.testing.assert_array_equal(frequency_bins([1000, 1, 9, 500], 3), [1, 0, 0, 1])
    np.testing.assert_array_equal(frequency_bins([7, 7, 7], 4), [0, 0, 0])


def test_binned_rows_agree_with_all_pairs():
    rows, bins = RNG.normal(1, 1, (30, 4)), RNG.integers(0, 3, 30)
    merged = RNG.random(30) < 0.5
    found = binned_rows(rows, bins, merged)
    for place in range(3):
        own = bins == place
        cosines = cosines_of(rows[own])
        pairs = cosines[~np.eye(own.sum(), dtype=bool)]
        np.testing.assert_allclose(found.cosines[place], pairs.mean())
        np.testing.assert_allclose(found.merged[place], merged[own].mean())
        np.testing.assert_allclose(found.norms[place], np.linalg.norm(rows[own], axis=1).mean())


def test_a_row_of_zeros_has_no_direction():
    rows = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 3.0]])
    np.testing.assert_allclose(mean_cosine_of_rows(rows), np.sqrt(0.5))
    assert np.isnan(mean_cosine_of_rows(rows[:2]))


@pytest.mark.parametrize("number", [40, 1100])
def test_nearest_distances_agree_with_all_pairs(number):
    rows = RNG.normal(0.3, 1, (number, 3))
    rows[7] = rows[number - 1] + 1e-9
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    known = distances.min(axis=1) / np.linalg.norm(rows, axis=1).max()
    np.testing.assert_allclose(nearest_distances(rows), known, rtol=1e-6, atol=1e-16)
    np.testing.assert_allclose(nearest_distances(5 * rows), known, rtol=1e-6, atol=1e-16)


def test_participation_counts_equal_directions():
    basis = np.linalg.qr(RNG.normal(size=(20, 5)))[0]
    np.testing.assert_allclose(participation(3 * basis), 5)
    np.testing.assert_allclose(participation(basis * [1, 1, 0, 0, 0]), 2)
    assert np.isnan(participation(0 * basis)) and np.isnan(nearest_distances(0 * basis)).all()


def test_bad_arguments_are_named():
    for counts, bins, named in [([1, 2], 0, "num_bins"), ([0, 1], 2, "counts"), ([], 2, "counts")]:
        with pytest.raises(ValueError, match=named):
            frequency_bins(counts, bins)
