"""The factored benchmark runs, on sizes too small to say anything about speed."""

import pandas as pd

from benchmarks import factored


def test_the_table_holds_both_solvers_and_their_errors(tmp_path):
    factored.main(
        factored.Config(lanes=6, peer_lanes=2, num_classes=4, dimension=5, repeats=1, out=tmp_path)
    )
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert len(table) == 5
    assert (table["solves/s"] > 0).all()
    assert table["converged"][0] == 6
    tight = table["solver"].str.contains("tight")
    assert table.loc[tight, "worst excess"].max() < 1e-7
