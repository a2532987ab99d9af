"""The table of a study: what stays after a kill, and what makes it stale."""

import numpy as np
import pytest

from nc_jax.sweeps import Block, Values, forget, tabulate
from tests.sweeps import toy
from tests.test_source import loaded

BLOCKS = [Block({"k": k}, Values("x", np.linspace(0, 1, 9)), 4) for k in (1, 2)]


def counted(calls, fail=None):
    """A build function that notes which blocks it is asked for."""

    def build(choices):
        calls.append(choices["k"])
        if choices["k"] == fail:
            raise RuntimeError("this block is cursed")
        return toy.build(choices)

    return lambda choices: lambda columns, keys: build(choices)(columns | {"y": columns["x"]}, keys)


def test_rows_are_in_the_order_of_the_blocks(tmp_path):
    table = tabulate(counted([]), BLOCKS, tmp_path, {})
    assert list(table) == ["k", "x", "z", "noise"]
    np.testing.assert_allclose(table["z"], table["k"] * table["x"] ** 2 + table["x"], rtol=1e-6)
    np.testing.assert_array_equal(table["x"], np.tile(np.linspace(0, 1, 9), 2))


def test_what_was_done_before_a_failure_is_not_done_again(tmp_path):
    first, second = [], []
    with pytest.raises(ValueError, match="cursed"):
        tabulate(counted(first, fail=2), BLOCKS, tmp_path, {})
    table = tabulate(counted(second), BLOCKS, tmp_path, {})
    assert set(second) == {2}
    forget(tmp_path)
    assert not tmp_path.exists()
    np.testing.assert_array_equal(tabulate(counted([]), BLOCKS, tmp_path, {}), table)


def test_other_settings_are_computed_anew(tmp_path):
    calls = []
    tabulate(counted([]), BLOCKS, tmp_path, {"width": 1})
    tabulate(counted(calls), BLOCKS, tmp_path, {"width": 2})
    assert set(calls) == {1, 2}
    one = tabulate(counted([]), BLOCKS, tmp_path, {}, seed=1)["noise"]
    assert not np.array_equal(one, tabulate(counted([]), BLOCKS, tmp_path, {}, seed=2)["noise"])


CODE = """
def build(choices):
    return lambda columns, keys: {{"z": columns["x"] * {factor}}}


def cursed(choices):
    if choices["k"] == 2:
        raise RuntimeError("this block is cursed")
    return build(choices)
"""


def test_points_of_other_code_are_computed_again_and_kept(tmp_path):
    study, parts = tmp_path / "study.py", tmp_path / "parts"
    with pytest.raises(ValueError, match="cursed"):
        tabulate(loaded(study, CODE.format(factor=1)).cursed, BLOCKS, parts, {})
    stale = set(parts.rglob("*.parquet"))
    assert len(stale) == 3
    mended = loaded(study, CODE.format(factor=2))
    with pytest.warns(UserWarning, match="parts holds points of another version of the code"):
        table = tabulate(mended.build, BLOCKS, parts, {})
    np.testing.assert_array_equal(table["z"], 2 * table["x"])
    tabulate(mended.build, BLOCKS, parts, {})
    forget(parts)
    assert set(parts.rglob("*")) == stale | {parts / "parts"}


def test_an_unreadable_plan_is_replaced(tmp_path):
    table = tabulate(counted([]), BLOCKS, tmp_path, {})
    (tmp_path / "sweep.json").write_text("{")
    np.testing.assert_array_equal(tabulate(counted([]), BLOCKS, tmp_path, {}), table)
