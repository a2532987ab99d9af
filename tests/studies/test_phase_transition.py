"""The main study, run as a user runs it."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.running import run_study, start_study


def test_the_quick_preset_leaves_all_results(tmp_path):
    out = tmp_path / "results"
    done = start_study("phase_transition", "--preset", "quick", "--out", out, "--majority", 3, 7)
    assert done.returncode == 0, done.stderr
    assert "4.00046671" in done.stdout
    names = {"table.parquet", "map.parquet", "table.csv", "table.md", "provenance.json"}
    names |= {f"{figure}.{kind}" for figure in ("cosines", "map") for kind in ("png", "svg")}
    assert {path.name for path in out.iterdir()} == names

    curves = pd.read_parquet(out / "table.parquet")
    assert len(curves) == 2 * 2 * 41
    assert (curves["status"] == 0).all() and curves["gap"].max() <= 1e-9
    vanished = curves["phase"] == "vanished"
    assert vanished.any() and curves.loc[vanished, "minority_cosine"].isna().all()
    assert curves.loc[~vanished, "minority_cosine"].notna().all()
    assert (curves.loc[curves["phase"] == "collapsed", "minority_cosine"] == 1).all()
    balanced = curves.loc[curves["ratio"] == 1, ["majority_cosine", "minority_cosine"]]
    np.testing.assert_allclose(balanced, -1 / 9, atol=1e-12)

    summary = pd.read_csv(out / "table.csv")
    np.testing.assert_allclose(summary["R0 (collapse)"][0], 245.496930598, rtol=1e-10)
    record = json.loads((out / "provenance.json").read_text())
    assert record["config"]["majority"] == [3, 7] and record["x64"] is True


def test_other_losses_and_single_precision(tmp_path):
    arguments = ["--preset", "quick", "--out", tmp_path, "--majority", 2, "--num-classes", 4]
    arguments += ["--map-size", 5, 4, "--loss", "mean-squared-error", "--dtype", "float32"]
    done = run_study("phase_transition", *arguments)
    assert done.returncode == 0, done.stderr
    assert "R0" in done.stdout and "cross-entropy only" in done.stdout
    assert pd.read_parquet(tmp_path / "table.parquet")["objective"].dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--majority", 10], "--majority"),
        (["--majority", 0], "--majority"),
        (["--feature-energies", -5], "--feature-energies"),
        (["--ratio-range", 10, 1], "--ratio-range"),
        (["--num-ratios", 1], "--num-ratios"),
        (["--preset", "huge"], "--preset"),
        (["--out", "/dev/null/here", "--preset", "quick"], "/dev/null"),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, named):
    done = run_study("phase_transition", *arguments)
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_explains():
    done = run_study("phase_transition", "--help")
    assert done.returncode == 0
    for word in ("--num-classes", "--ratio-range", "--preset", "imbalance ratio"):
        assert word in done.stdout
