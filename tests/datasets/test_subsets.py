"""Imbalanced subsets: sizes, nesting, independence of the rest of the data."""

import numpy as np
import pytest

from nc_jax.datasets import choose_subset, long_tailed_sizes, oversampled, step_sizes

LABELS = np.random.default_rng(0).integers(0, 6, 3000)


def test_step_sizes_floor_the_minority():
    np.testing.assert_array_equal(step_sizes(4, 3, 100, 7), [100, 100, 100, 14])
    np.testing.assert_array_equal(step_sizes(3, 1, 50, 50), [50, 1, 1])
    np.testing.assert_array_equal(step_sizes(3, 1, 50, 1), [50] * 3)


def test_long_tails_fall_to_their_ratio():
    sizes = long_tailed_sizes(5, 1000, 100)
    np.testing.assert_array_equal(sizes, [1000, 316, 100, 31, 10])
    assert long_tailed_sizes(5, 10, 1e6).min() == 1


def test_subsets_have_their_sizes_and_are_nested():
    sizes = [5, 80, 3, 200, 1, 40]
    chosen = choose_subset(LABELS, sizes, seed=4)
    np.testing.assert_array_equal(np.bincount(LABELS[chosen]), sizes)
    assert len(set(chosen)) == sum(sizes)
    smaller = choose_subset(LABELS, [2, 10, 3, 7, 1, 9], seed=4)
    assert set(smaller) <= set(chosen)
    assert set(choose_subset(LABELS, sizes, seed=5)) != set(chosen)


def test_a_class_s_choice_does_not_depend_on_the_others():
    one = choose_subset(LABELS, [10, 20, 1, 1, 1, 1], 0)
    other = choose_subset(LABELS, [10, 300, 100, 1, 1, 1], 0)
    assert set(one[LABELS[one] == 0]) == set(other[LABELS[other] == 0])


def test_oversampling_repeats_members_alone():
    chosen = choose_subset(LABELS, [5, 4, 3, 2, 2, 2], 0)
    longer = oversampled(chosen, LABELS, [3, 5], 10)
    np.testing.assert_array_equal(np.bincount(LABELS[longer]), [5, 4, 3, 20, 2, 20])
    np.testing.assert_array_equal(oversampled(chosen, LABELS, [3], 1), chosen)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: step_sizes(4, 4, 10, 2), "majority"),
        (lambda: step_sizes(4, 2, 10, 11), "ratio"),
        (lambda: step_sizes(4, 2, 10, 0.5), "ratio"),
        (lambda: step_sizes(1, 1, 10, 2), "num_classes"),
        (lambda: long_tailed_sizes(4, 10, float("nan")), "ratio"),
        (lambda: choose_subset(LABELS, [1, 0, 1, 1, 1, 1], 0), "sizes"),
        (lambda: choose_subset(LABELS, [1, 1, 1, 1, 1, 10**6], 0), "class 5"),
        (lambda: choose_subset(LABELS, [1.5, 2.0], 0), "sizes"),
        (lambda: oversampled([0], LABELS, [0], 0), "rate"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
