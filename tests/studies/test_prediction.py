"""The study of predictions before training, run as a user runs it, on a few images."""

import numpy as np
import pandas as pd
import pytest

from nc_jax.campaigns import ends_of, with_states
from nc_jax.prediction import foretold, league_of, states_of
from nc_jax.report.prediction import draw_league, draw_loop, draw_map, draw_overlay
from studies import prediction
from studies.prediction import KEYS, MILD, PRESETS, Config
from tests.running import require, run_study

SMALL = ["--majority", 4, "--majority-size", 12, "--ratios", 1, 6, "--loop", 1, 6]
SMALL += ["--epochs", 8, "--weight-decays", 0.02, "--width", 0.02, "--seeds", 3]
SMALL += ["--surrogates", "layer-peeled", "matched"]


def test_runs_are_laid_beside_the_surrogates(tmp_path):
    done = run_study("prediction", "--out", tmp_path, *SMALL)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "table.parquet")
    # Two from scratch, two up, two down, each beside two surrogates.
    assert len(table) == 12 and set(table["branch"]) == {"scratch", "up", "down"}
    needed = {"data", "network", "majority", "ratio", "weight_decay", "seed", "surrogate"}
    needed |= {"seen_cosine", "predicted_cosine", "converged", "state"}
    assert needed <= set(table.columns)
    columns = ["predicted_cosine", "predicted_loss", "classifier_rms", "mean_rms"]
    assert [name for name in table.columns if name in columns] == columns
    matched = table[table["surrogate"] == "matched"]
    assert (matched["gap"] < 1e-9).all()
    balanced = matched[matched["ratio"] == 1]
    np.testing.assert_allclose(balanced["predicted_cosine"], -1 / 9, atol=1e-5)
    assert set(table["state"]) <= {"separated", "collapsed", "unlearnt", "broken"}
    for figure in ("overlay", "league", "map", "loop"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 10_000
    assert "converged" in done.stdout


def ends_of_runs(through):
    return with_states(ends_of(through, KEYS), "train_accuracy_majority")


def rows(**changed):
    row = {"data": "x", "network": "mlp-norm", "majority": 5, "ratio": 1, "weight_decay": 0.1}
    row |= {
        "seed": 0,
        "num_classes": 10,
        "branch": "scratch",
        "epoch": 1,
        "status": "broke down",
        "loss": np.nan,
    }
    row |= {
        "surrogate": "matched",
        "fitted": "nothing",
        "seen_cosine": np.nan,
        "train_loss": np.nan,
    }
    row |= {"predicted_cosine": 0.1, "difference": np.nan, "train_accuracy_minority": np.nan}
    names = ("classifier_rms", "mean_rms", "predicted_small_norm", "seen_small_norm")
    return row | dict.fromkeys((*names, "predicted_loss", "minority_cosine"), np.nan) | changed


def test_runs_that_all_broke_down_are_counted_and_drawn():
    table = ends_of_runs(pd.DataFrame([rows(), rows(ratio=6), rows(branch="up")]))
    assert (table["state"] == "broken").all() and not table["converged"].any()
    assert states_of(table)["broken"].sum() == 3
    assert league_of(table, MILD)["runs"].tolist() == [0]
    lines = {"model": "linear", "layers": 2, "line": "equality", "majority": 5, "num_classes": 10}
    lines = pd.DataFrame([lines | {"weight_decay": decay, "ratio": 3.0} for decay in (0.05, 0.2)])
    assert foretold(table, lines)["runs"].tolist() == [0]
    for figure in (
        draw_overlay(table),
        draw_league(table),
        draw_loop(table),
        draw_map(table, lines),
    ):
        figure.canvas.draw()


def test_states_are_foretold_by_the_side_of_a_line():
    seen = dict.fromkeys(("train_accuracy_majority", "least_minority_accuracy"), 1.0)
    seen |= {"status": "trained", "loss": 0.1, "stationarity": 0.1, "minority_cosine": 0.1}
    ratios, lost = (1, 9, 11, 100), {100}
    runs = [
        rows(ratio=r, **seen | {"least_minority_accuracy": 0.0 if r in lost else 1.0})
        for r in ratios
    ]
    line = {"model": "linear", "layers": 2, "line": "equality", "majority": 5, "num_classes": 10}
    lines = pd.DataFrame([line | {"weight_decay": decay, "ratio": 10.0} for decay in (0.05, 0.2)])
    found = foretold(ends_of_runs(pd.DataFrame(runs)), lines)
    assert found["runs"].tolist() == [2] and found["share predicted correctly"].tolist() == ["1.00"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"surrogates": ("best",)}, "--surrogates"),
        ({"loop": (10, 1)}, "--loop"),
        ({"ratios": (0,)}, "--ratios"),
        ({"weight_decays": ("0",)}, "--weight-decays"),
        ({"majority": (9,)}, "--majority"),
        ({"lowered": (1.5,)}, "--lowered"),
        ({"networks": ("lenet",)}, "--networks"),
    ],
)
def test_options_that_make_no_sense_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        require(prediction, Config(**options))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_sense(name):
    require(prediction, PRESETS[name])
