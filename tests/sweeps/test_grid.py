"""Grids: lazy, the same whatever the chunks, ids that follow from content."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nc_jax.sweeps import (
    Block,
    Plan,
    Product,
    Random,
    Sobol,
    Values,
    Zip,
    linspace,
    logspace,
    point_ids,
)
from nc_jax.sweeps.grid import from_spec, rows_of
from nc_jax.sweeps.plan import extended, plan_from_spec

GRIDS = {
    "values": Values("x", [3.0, 1.0, 2.0]),
    "words": Values("word", ["relu", "identity"]),
    "linspace": linspace("x", 0, 1, 7),
    "logspace": logspace("x", 1e-3, 1e3, 7),
    "random": Random({"x": (0, 1), "y": (1e-3, 1, "log")}, 50, seed=3),
    "sobol": Sobol({"x": (0, 1), "y": (1e-3, 1, "log")}, 50, seed=3),
    "zip": Zip(Values("x", [1, 2, 1]), Values("y", [5.0, 5.0, 6.0])),
    "product": Product(linspace("x", 0, 1, 4), Values("k", [1, 2, 3]), Sobol({"z": (0, 2)}, 5)),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_chunks_and_specs_give_the_same_points(kind):
    grid = GRIDS[kind]
    whole = grid.at(np.arange(len(grid)))
    assert tuple(whole) == grid.names
    parts = [grid.at(np.arange(i, min(i + 3, len(grid)))) for i in range(0, len(grid), 3)]
    again = from_spec(grid.spec())
    for name in grid.names:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])
        np.testing.assert_array_equal(again.at(np.arange(len(grid)))[name], whole[name])
    assert len(set(rows_of(grid))) == len(np.unique(point_ids(whole))) == len(grid)


def test_a_product_varies_its_last_factor_fastest():
    grid = Product(Values("a", [1, 2]), Values("b", [10, 20, 30]))
    expected = [(1, 10), (1, 20), (1, 30), (2, 10), (2, 20), (2, 30)]
    assert rows_of(grid) == expected


def test_sobol_is_scipy_s_and_even():
    from scipy.stats import qmc

    grid = Sobol({"x": (0, 1), "y": (0, 1), "z": (0, 1)}, 1000, seed=7)
    points = np.stack(list(grid.at(np.arange(1000)).values()), axis=1)
    expected = qmc.Sobol(3, rng=7, bits=Sobol.BITS).random(1024)[:1000]
    np.testing.assert_allclose(points, expected, atol=1e-15)
    longer = Sobol({"x": (0, 1), "y": (0, 1), "z": (0, 1)}, 5000, seed=7)
    np.testing.assert_array_equal(longer.at(np.arange(1000))["x"], points[:, 0])


def test_random_points_are_uniform_and_independent():
    columns = Random({"x": (0, 1), "y": (1e-2, 1e2, "log")}, 10**5, seed=1).at(np.arange(10**5))
    x, y = columns["x"], np.log10(columns["y"]) / 4 + 0.5
    for unit in (x, y):
        assert abs(unit.mean() - 0.5) < 0.005 and abs(unit.var() - 1 / 12) < 0.001
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.01
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.01
    other = Random({"x": (0, 1), "y": (1e-2, 1e2, "log")}, 10**5, seed=2).at(np.arange(10))
    assert (other["x"] != x[:10]).all()


def test_a_billion_points_cost_nothing():
    axes = [logspace(name, 1, 10, 1000) for name in ("a", "b")]
    grid = Product(*axes, Random({"c": (0, 1)}, 1000))
    assert len(grid) == 10**9
    block = Block({}, grid, 1000)
    last = block.columns(block.num_chunks - 1)
    np.testing.assert_allclose(last["a"], 10)
    assert len(np.unique(last["point"])) == 1000


@given(st.permutations(["a", "b", "c"]), st.integers(1, 9))
def test_ids_follow_from_content_alone(order, chunk):
    values = {"a": [1.0, 2.0, 0.0], "b": [4.0, 5.0], "c": [7.0]}
    grid = Product(*(Values(name, values[name]) for name in order))
    block = Block({"k": 3}, grid, chunk)
    parts = [block.columns(c) for c in range(block.num_chunks)]
    found = {
        tuple(float(part[name][i]) for name in "abc"): int(part["point"][i])
        for part in parts
        for i in range(len(part["point"]))
    }
    rows = np.array(sorted(found))
    direct = point_ids({"k": np.full(6, 3), **dict(zip("abc", rows.T, strict=True))})
    assert [found[tuple(row)] for row in rows] == direct.tolist()
    changed = point_ids({"k": np.full(6, 4), **dict(zip("abc", rows.T, strict=True))})
    assert not set(changed.tolist()) & set(direct.tolist())


def points_of(plan):
    return {
        int(point)
        for block in plan.blocks
        for chunk in range(block.num_chunks)
        for point in block.columns(chunk)["point"]
    }


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)
)
def test_appended_values_add_what_is_missing_and_keep_the_rest(a, b, more_a, more_b, more_k):
    def plan(a, b, k):
        grid = Product(Values("a", np.arange(a + 1.0)), Values("b", np.arange(b + 1.0)[::-1]))
        return Plan({"f": 1}, tuple(Block({"k": i}, grid, 2) for i in range(k + 1)))

    first, wanted = plan(a, b, 0), plan(a + more_a, b + more_b, more_k)
    merged = extended(first, wanted)
    assert merged.blocks[0].spec() == first.blocks[0].spec()
    assert merged.num_points == wanted.num_points
    assert points_of(merged) == points_of(wanted)
    last = plan(a + more_a + 1, b + more_b + 1, more_k + 1)
    again = extended(plan_from_spec(merged.spec()), last)
    assert points_of(again) == points_of(last) and again.num_points == last.num_points
    assert again.fingerprints[: len(merged.blocks)] == merged.fingerprints


def test_an_unchanged_design_is_not_listed_to_be_resumed():
    grid = Product(Values("k", [1, 2]), Random({"x": (0, 1)}, 10**9))
    plan = Plan({}, (Block({}, grid, 10**6),))
    assert extended(plan, plan_from_spec(plan.spec())).spec() == plan.spec()
    more = Product(Values("k", [1, 2, 3]), Random({"x": (0, 1)}, 10**9))
    merged = extended(plan, Plan({}, (Block({}, more, 10**6),)))
    assert [len(block.grid) for block in merged.blocks] == [2 * 10**9, 10**9]


def test_what_is_no_extension_is_refused():
    block = Block({}, Values("a", [1.0, 2.0]), 2)
    plan = Plan({"f": 1}, (block,))
    with pytest.raises(ValueError, match="f was 1, is 2"):
        extended(plan, Plan({"f": 2}, (block,)))
    with pytest.raises(ValueError, match="not in the new"):
        extended(plan, Plan({"f": 1}, (Block({}, Values("a", [1.0, 3.0]), 2),)))
    with pytest.raises(ValueError, match="axes changed"):
        extended(plan, Plan({"f": 1}, (Block({}, Values("b", [1.0, 2.0]), 2),)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Values("x", []), "x"),
        (lambda: Values("x", [1.0, math.nan]), "NaN"),
        (lambda: Values("x", [[1.0]]), "x"),
        (lambda: Values("x", [None]), "x"),
        (lambda: linspace("x", 0, 1, 0), "num"),
        (lambda: linspace("x", 0, 1, 2.5), "num"),
        (lambda: logspace("x", 0, 1, 3), "positive"),
        (lambda: Random({"x": (1, 0)}, 3), "low < high"),
        (lambda: Random({"x": (0, 1, "log")}, 3), "low < high"),
        (lambda: Random({}, 3), "at least one"),
        (lambda: Sobol({"x": (0, 1)}, 0), "num"),
        (lambda: Product(Values("x", [1]), Values("x", [2])), "x more than once"),
        (lambda: Product(), "at least one"),
        (lambda: Zip(Values("x", [1]), Values("y", [1, 2])), "equal lengths"),
        (lambda: Block({}, Values("x", [1, 1]), 2), "repeat"),
        (lambda: Block({}, Values("x", [1]), -1), "chunk"),
        (lambda: from_spec({"spiral": {}}), "spiral"),
        (lambda: plan_from_spec({"blocks": [{}]}), "plan"),
    ],
)
def test_bad_grids_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
