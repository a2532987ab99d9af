"""The training benchmark, on a network so small that it says nothing of speed."""

import dataclasses

import jax
import pandas as pd

from benchmarks import training


def test_rows_hold_rates(tmp_path, monkeypatch):
    # JAX has started and keeps its devices.
    assert jax.local_devices()
    monkeypatch.setenv("NPROC", "2")
    config = dataclasses.replace(training.PRESETS["quick"], out=tmp_path)
    training.main(config)
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert len(table) == 1 and (table["ours, images/s"] > 0).all()
