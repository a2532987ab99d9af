"""The sweep benchmark runs, on sizes too small to say anything about speed."""

import dataclasses

import pandas as pd

from benchmarks import sweeps


def test_the_table_holds_speeds_and_resume(tmp_path):
    sweeps.main(dataclasses.replace(sweeps.PRESETS["quick"], out=tmp_path))
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert (table["points/s"].dropna() > 0).all() and table["seconds"].notna().sum() == 1
