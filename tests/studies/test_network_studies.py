"""Oversampling, weight decay and feedforward collapse, run as a user runs them, on few images."""

import numpy as np
import pandas as pd
import pytest

from nc_jax.campaigns import IDENTITY_COLUMNS, predict_rates
from nc_jax.report.feedforward import summarise_layers
from nc_jax.report.identities import draw_identities, draw_training, summarise_heads
from nc_jax.report.oversampling import draw_networks, summarise_rates
from studies import feedforward_collapse, oversampling, weight_decay
from tests.running import require, run_study

TINY = ["--epochs", 4, "--measures", 2, "--batch", 32, "--test-size", 200]


def finished(out, name, *arguments):
    """The table of a study that went well, and what it said."""
    done = run_study(name, "--out", out, *TINY, *arguments)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in out.iterdir()}
    assert {"table.parquet", "table.csv", "table.md", "provenance.json"} <= names
    for path in out.glob("*.png"):
        assert path.stat().st_size > 10_000
    return pd.read_parquet(out / "table.parquet"), done.stdout


def test_oversampling_beside_its_model(tmp_path):
    arguments = ["--networks", "mlp", "--majority", 5, "--majority-size", 12, "--ratio", 6]
    arguments += ["--rates", 1, 3, "--class-weights", True]
    table, said = finished(tmp_path, "oversampling", *arguments)
    # Class weights in the model, by another solver.
    assert float(said.split("differ by at most ")[1].split()[0]) < 1e-5
    assert table["cure"].tolist() == ["none", "none", "oversampling", "class weights"]
    assert table["effective_ratio"].tolist() == [1, 6, 2, 2]
    plain = table.iloc[1]
    expected = max(1, 6 / plain["predicted_R0"])
    np.testing.assert_allclose(table["recommended_rate"], expected)
    model = pd.read_parquet(tmp_path / "model.parquet")
    assert model["gap"].max() < 1e-9
    for _, part in model.groupby(["majority", "feature_energy"]):
        # Proposition 1: collapsed exactly below the least rate, an ETF at w_r = R.
        free = part["phase"] == "separated"
        least = part["least_rate"].iloc[0]
        near = abs(np.log(part["rate"] / least)) < 0.02
        assert (free == (part["rate"] > least))[~near].all()
        np.testing.assert_allclose(part["cosine"].iloc[-1], -1 / 9, atol=1e-9)
        assert (np.diff(part["cosine"]) < 1e-9).all()


def test_weight_decay_measures_every_head(tmp_path):
    arguments = ["--networks", "mlp", "--per-class", 10, "--width", 0.05]
    table, said = finished(tmp_path, "weight_decay", *arguments)
    assert "where the theory is exact" in said
    small = pd.read_parquet(tmp_path / "small.parquet")
    assert small["stationarity"].max() < 1e-5
    free = small["head"] == "bias-free"
    assert small.loc[~free, ["direction", "simplex"]].to_numpy().max() < 1e-3
    assert small.loc[free, "orthogonality"].max() < 1e-3
    assert table["head"].tolist() == ["bias-free"] * 2 + ["bias"] * 2 + ["centred"] * 2
    decayed = table[table["weight_decay"] > 0]
    assert decayed[["stationarity", "direction", "norm"]].notna().all(axis=None)
    assert table[["nc1_quotient", "nc2_etf", "epsilon", "layer_norm_spread"]].notna().all(axis=None)


def test_feedforward_collapse_measures_every_layer(tmp_path):
    arguments = ["--networks", "dense-resnet", "--per-class", 12, "--width", 0.02]
    table, _ = finished(tmp_path, "feedforward_collapse", *arguments)
    assert table["name"].tolist() == ["stem", *(f"block{i}" for i in range(1, 11))]
    assert table["position"].iloc[0] == 0 and abs(table["position"].iloc[-1] - 1) < 1e-6
    assert (np.diff(table["position"]) >= 0).all()
    # Predictions start from the ends that were seen.
    for place in (0, -1):
        np.testing.assert_allclose(
            table["line_pfc1"].iloc[place], table["pfc1"].iloc[place], rtol=1e-4
        )
    assert table["straightness"].between(0, 1).all() and (table["transport"] >= 1).all()


def test_presets_make_sense():
    for study in (oversampling, weight_decay, feedforward_collapse):
        for config in study.PRESETS.values():
            require(study, config)


@pytest.mark.parametrize(
    ("study", "choice", "named"),
    [
        (oversampling, {"rates": (10, 100)}, "--rates"),
        (oversampling, {"ratio": 1}, "--ratio"),
        (oversampling, {"majority": (9,)}, "--majority"),
        (oversampling, {"model_ratio": float("nan")}, "--model-ratio"),
        (weight_decay, {"networks": ("vgg11",)}, "--networks"),
        (weight_decay, {"per_class": 0}, "--per-class"),
        (weight_decay, {"heads": ()}, "--heads"),
        (feedforward_collapse, {"networks": ("mlp",)}, "--networks"),
        (feedforward_collapse, {"tolerance": 2.0}, "--tolerance"),
        (feedforward_collapse, {"per_class": 1}, "--per-class"),
    ],
)
def test_options_that_make_no_sense_are_named(study, choice, named):
    with pytest.raises(ValueError, match=named):
        require(study, study.Config(**choice))


def test_runs_that_broke_down_are_drawn_and_summed_up():
    about = {"data": "x", "network": "y", "weight_decay": 0.1, "seed": 0, "epoch": 1}
    about |= {"status": "broke down", "loss": np.nan, "test_accuracy_minority": 0.1}
    about |= {"test_accuracy_all": 0.1, "train_accuracy_all": 0.1, "num_classes": 10}
    own = {"majority": 5, "majority_size": 12}
    rows = [
        about | own | {"ratio": ratio, "rate": rate, "cure": cure, "minority_size": 12 // ratio}
        for ratio, rate, cure in ((1, 1, "none"), (6, 1, "none"), (6, 3, "oversampling"))
    ]
    ends = predict_rates(pd.DataFrame(rows))
    assert summarise_rates(ends)["minority cosine, w_r = 1"].tolist() == ["nan"]
    draw_networks(ends).canvas.draw()
    names = {name: np.nan for name in IDENTITY_COLUMNS}
    own = about | names | {"head": "bias", "nc2_etf": np.nan}
    broken = pd.DataFrame([own])
    assert summarise_heads(broken)["cosine"].tolist() == ["nan"]
    assert len(weight_decay.lemmas(broken)) == 1
    draw_training(broken).canvas.draw()
    draw_identities(broken, broken).canvas.draw()
    broken = pd.DataFrame([about | {"pfc1": np.nan}])
    summary = summarise_layers(broken, feedforward_collapse.RUN, 0.02)
    assert summary["status"].tolist() == ["broke down"]
