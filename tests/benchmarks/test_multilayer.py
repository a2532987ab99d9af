"""The multilayer benchmark runs, on sizes too small to say anything about speed."""

import dataclasses

import pandas as pd

from benchmarks import multilayer


def test_the_tables_hold_sizes_descent_and_scipy(tmp_path):
    quick = multilayer.PRESETS["quick"]
    multilayer.main(dataclasses.replace(quick, problems=1, peer_restarts=1, out=tmp_path))
    sizes, descent, scipy = (
        pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("sizes", "descent", "scipy")
    )
    assert sizes["moments, MB"].nunique() == 1
    assert sizes["status"].isin(["converged", "stationary"]).all()
    assert (descent["relative excess"].iloc[2:] > 0).all()
    assert (scipy["ours over scipy's best, relative"] < 1e-9).all()
