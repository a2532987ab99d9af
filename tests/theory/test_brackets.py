"""Brackets of a condition on a grid, and bisection."""

import math

import numpy as np
import pytest

from nc_jax.theory import Bracket, bracket, narrow, narrow_all

POINTS = [2.0, 3.0, 5.0, 9.0]


@pytest.mark.parametrize(
    ("holds", "for_good", "at_first"),
    [
        ([0, 0, 1, 1], (3, 5), (3, 5)),
        ([0, 1, 0, 1], (5, 9), (2, 3)),
        ([1, 1, 1, 1], (-math.inf, 2), (-math.inf, 2)),
        ([0, 0, 0, 0], (9, math.inf), (9, math.inf)),
        ([1, 0, 1, 0], (9, math.inf), (-math.inf, 2)),
    ],
)
def test_a_condition_begins_to_hold_between_two_points(holds, for_good, at_first):
    assert bracket(POINTS, holds) == for_good
    assert bracket(POINTS, holds, first=True) == at_first


def test_bisection_finds_a_root_to_the_last_bit():
    found = narrow(Bracket(1.0, 2.0), lambda x: x**2 >= 2)
    assert found.low <= math.sqrt(2) <= found.high
    assert found.high - found.low <= np.spacing(math.sqrt(2))


@pytest.mark.parametrize(("inner", "rounds"), [(1, 12), (3, 6), (15, 3)])
def test_each_round_divides_the_width(inner, rounds):
    found = narrow(Bracket(-3.0, 7.0), lambda x: x >= 0.7, inner=inner, rounds=rounds)
    assert found.low < 0.7 <= found.high
    np.testing.assert_allclose(found.high - found.low, 10 / 4096, rtol=1e-9)


def test_a_width_relative_to_the_upper_end_is_reached_near_zero():
    low, high = narrow(Bracket(0.0, 1.0), lambda x: x >= 3e-6, width=1e-3, relative=True)
    assert low < 3e-6 <= high and 0.4e-3 * high < high - low <= 1e-3 * high


def test_brackets_are_narrowed_together_and_only_where_they_have_two_ends():
    roots, asked = {"a": 30.0, "b": 4e5}, []

    def holds(grids):
        asked.append({key: len(points) for key, points in grids.items()})
        return {key: points > roots[key] for key, points in grids.items()}

    start = dict.fromkeys("ab", Bracket(1.0, 1e6)) | {"c": Bracket(9.0, math.inf)}
    found = narrow_all(start, holds, inner=7, width=1e-3, logarithmic=True)
    assert found.pop("c") == (9.0, math.inf)
    for key, pair in found.items():
        assert pair.low <= roots[key] < pair.high < pair.low * (1 + 1e-3)
    assert asked[0] == {"a": 7, "b": 7} and len(asked) < 10


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="holds must have one value for each of 4 points"):
        bracket(POINTS, [True])
    with pytest.raises(ValueError, match="inner must be at least 0"):
        narrow(Bracket(0.0, 1.0), lambda x: x > 0.5, inner=-1)
