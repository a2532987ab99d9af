"""The benchmark runs, on sizes too small to say anything about speed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from benchmarks import layer_peeled, peers

TINY = layer_peeled.Config(
    batches=(3,),
    general_batches=(2,),
    classes=(4,),
    wide_batch=2,
    vocabulary=200,
    peer_instances=2,
    peer_batch=2,
    repeats=1,
)


def test_rows_have_rates_and_certificates():
    rows = [*layer_peeled.two_group_rows(TINY), *layer_peeled.long_tailed_rows(TINY, 1e9)]
    assert len(rows) == 4
    assert all(row["solves/s"] > 0 and float(row["worst gap or error"]) < 1e-9 for row in rows)


def test_many_groups_are_certified():
    rows = layer_peeled.many_group_rows(TINY)
    assert [float(row["worst gap or error"]) <= 1e-6 for row in rows] == [True] * 3


def test_peers_solve_the_same_program():
    rows = list(layer_peeled.peer_rows(TINY))
    assert len(rows) == 3
    for row in rows:
        if "not installed" not in row["case"]:
            assert float(row["worst gap or error"]) < 1e-6
    table = pd.DataFrame([*layer_peeled.two_group_rows(TINY), *rows])
    assert all("times" in line for line in layer_peeled.ratios(table))


@pytest.mark.skipif(peers.moreau is None, reason="moreau is not installed (extra peers)")
def test_moreau_takes_any_counts():
    result = peers.moreau_batch(1, 3, np.array([2.0, 50.0]), 1.5)
    other = peers.clarabel_semidefinite(1, 3, np.array([2.0, 50.0]), 1.5)
    np.testing.assert_allclose(result.objectives, other.objectives, atol=1e-6)


def test_a_table_is_stored_after_every_row(tmp_path):
    config = dataclasses.replace(TINY, out=tmp_path)

    def rows():
        yield {"case": "first", "solves": 1}
        stored = (tmp_path / "table.md").read_text()
        assert "first" in stored and (tmp_path / "provenance.json").exists()
        yield {"case": "second", "solves": 2}

    table = layer_peeled.collected(config, rows())
    assert list(table["case"]) == ["first", "second"]
    assert "second" in (tmp_path / "table.json").read_text()


def test_operations_are_counted():
    assert layer_peeled.operations_per_solve() > 100
