"""The benchmark of reduced programs runs, on batches too small to say anything about speed."""

import dataclasses

import pytest

from benchmarks import reduced

TINY = reduced.Config(lanes=9, lanes_three=9, lanes_eight=2, peer_batch=2, repeats=1)


def test_every_row_is_certified(monkeypatch):
    monkeypatch.setattr(reduced, "GROUPS", {2: (1, 2)})
    rows = list(reduced.reduced_rows(TINY))
    assert len(rows) == 6
    assert all(float(row["worst gap or error"]) < 1e-9 for row in rows)
    assert all(row["unconverged"] == 0 and row["steps, mean"] < 30 for row in rows)


def test_operations_are_counted():
    model = reduced.models_of(8, (3, 7))["unconstrained features with bias"]
    assert reduced.operations_per_step(model) > 1000


@pytest.mark.parametrize("name", ["lanes", "lanes_three", "lanes_eight", "peer_batch", "repeats"])
def test_numbers_that_are_not_positive_are_named(name, tmp_path):
    config = dataclasses.replace(TINY, out=tmp_path / "table", **{name: 0})
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        reduced.main(config)
    assert not config.out.exists()
