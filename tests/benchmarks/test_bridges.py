"""The benchmark of the epoch logger runs, on sizes too small to say anything about cost."""

import dataclasses

import pandas as pd
import pytest

pytest.importorskip("torch")

from benchmarks import bridges  # noqa: E402


def test_every_training_is_timed_and_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(bridges, "on_one_core", bridges.measured)
    quick = dataclasses.replace(bridges.PRESETS["quick"], out=tmp_path, pairs=1)
    bridges.main(quick)
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert len(table) == 5
    assert (table[["processor seconds without", "processor seconds with"]] > 0).all(axis=None)
