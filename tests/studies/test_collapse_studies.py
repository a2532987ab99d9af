"""The studies of progressive collapse, run as a user runs them."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.running import run_study


def results_of(out, name, *arguments):
    done = run_study(name, "--preset", "quick", "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "provenance.json").read_text())["x64"] is True
    return pd.read_parquet(out / "table.parquet")


def test_multilayer_ufm_lies_between_the_free_features_and_the_data(tmp_path):
    table = results_of(tmp_path, "multilayer_ufm")
    assert len(table) == 25
    assert table["status"].isin(["converged", "stationary"]).all()
    descent = pd.read_parquet(tmp_path / "descent.parquet")
    ends = descent[descent["kind"] != "descent"].set_index("model")
    assert 0 <= ends["pfc1"]["UFM"] < ends["pfc1"]["MUFM"] < ends["pfc1"]["data"]
    assert ends["pfc2"]["UFM"] < ends["pfc2"]["MUFM"] < ends["pfc2"]["data"]
    assert (table["pfc1"] < ends["pfc1"]["data"]).all()
    assert table["alignment"].is_monotonic_increasing
    layers = pd.read_parquet(tmp_path / "layers.parquet")
    for _, part in layers.groupby("lambda_h"):
        assert part["pfc1"].is_monotonic_decreasing
    for name in ("descent", "prices", "layers"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_geodesic_shows_theorem_1_and_its_counterexamples(tmp_path):
    table = results_of(tmp_path, "geodesic")
    assert len(table) == 200
    np.testing.assert_array_equal(table["pfc1_falling"], table["C"] >= 0)
    np.testing.assert_array_equal(table["pfc1_falling"], table["predicted_falling"])
    assert 0.2 < table["pfc1_falling"].mean() < 0.8
    assert table["prediction_error"].max() < 1e-8
    assert (table["pfc2_falls_from"] < 1).all()
    assert (tmp_path / "lines.png").stat().st_size > 10_000


def test_geodesic_of_partly_collapsed_layers(tmp_path):
    table = results_of(tmp_path, "geodesic", "--within", 0.5, "--num-ends", 50)
    np.testing.assert_array_equal(table["pfc1_falling"], table["predicted_falling"])


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("multilayer_ufm", ["--lambda-range", 1.0, 0.1], "--lambda-range"),
        ("multilayer_ufm", ["--data", "mnist", "--data-dir", "nowhere"], "mnist"),
        ("geodesic", ["--within", 2.0], "--within"),
        ("geodesic", ["--num-classes", 1], "--num-classes"),
    ],
)
def test_bad_options_are_one_line(tmp_path, name, arguments, named):
    done = run_study(name, "--out", tmp_path, *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
