"""The studies of the factored solver, run as a user runs them."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.running import run_study


def results_of(out, name, *arguments, extra=()):
    """Runs the quick preset; the files it leaves and its table."""
    done = run_study(name, "--preset", "quick", "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in out.iterdir()}
    assert {"table.parquet", "table.csv", "table.md", "provenance.json", *extra} <= names
    assert json.loads((out / "provenance.json").read_text())["x64"] is True
    assert sum(path.suffix == ".png" for path in out.iterdir()) == 1
    return pd.read_parquet(out / "table.parquet")


def test_neural_collapse_reaches_theory(tmp_path):
    table = results_of(tmp_path, "neural_collapse", extra=("norms.parquet", "norms.md"))
    assert set(table["model"]) == {"LPM", "UFM"}
    known = table[table["theory"].notna()]
    assert len(known) >= 8
    below = (known["condition"] == False) & known["loss"].str.startswith("power")  # noqa: E712
    assert known.loc[~below, "excess"].abs().max() < 1e-6
    assert (known["reached"] == known["restarts"]).all()
    entropy = table[table["loss"] == "cross-entropy"]
    assert entropy[["nc1_quotient", "nc2_etf", "nc3_difference"]].max().max() < 1e-5
    norms = pd.read_parquet(tmp_path / "norms.parquet")
    np.testing.assert_allclose(norms["best found"], 0.189989, atol=1e-5)
    assert (norms["gain"] > 1e-3).all()


def test_loss_comparison_finds_the_exact_threshold_of_cross_entropy(tmp_path):
    table = results_of(tmp_path, "loss_comparison", "--feature-energies", 5.0)
    assert table["loss"].nunique() == 7
    summary = pd.read_csv(tmp_path / "table.csv")
    row = summary[summary["loss"] == "cross-entropy"].iloc[0]
    assert float(row["separated up to R"]) < float(row["exact R0"]) < float(row["collapsed from R"])
    assert (table.loc[table["phase"] == "vanished", "minority_cosine"].isna()).all()


def test_deep_layer_peeled_shows_rank_and_spread(tmp_path):
    table = results_of(tmp_path, "deep_layer_peeled")
    assert set(zip(table["depth"], table["activation"], strict=True)) == {
        (1, "identity"),
        (2, "identity"),
        (2, "relu"),
    }
    assert (table["worst_restart"] >= table["objective"] * (1 - 1e-12)).all()
    summary = pd.read_csv(tmp_path / "table.csv")
    assert list(summary["rank of logits"])[0] == 3
    heads = {"spread of restarts", "restarts at the best", "minority collapses at R"}
    assert heads <= set(summary.columns)


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("neural_collapse", ["--powers", 1.0], "--powers"),
        ("loss_comparison", ["--majority", 3], "--majority"),
        ("deep_layer_peeled", ["--depths", 0], "--depths"),
    ],
)
def test_bad_options_are_one_line(tmp_path, name, arguments, named):
    done = run_study(name, "--out", tmp_path, *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
