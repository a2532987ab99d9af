"""The study of networks on imbalanced data, run as a user runs it, on a few images."""

import numpy as np
import pandas as pd
import pytest

from nc_jax.campaigns import chosen_for, pairs_of
from nc_jax.datasets import ImageData
from nc_jax.report.minority import draw_collapse, draw_overlay
from studies import minority_collapse
from studies.minority_collapse import PRESETS, Config, plans_of, predict, summarise
from tests.running import require, run_study

SMALL = ["--networks", "mlp", "--majority", 5, "--majority-size", 12, "--ratios", 1, 6]
SMALL += ["--epochs", 6, "--measures", 2, "--weight-decays", 0.005]


def test_networks_are_laid_beside_the_model(tmp_path):
    arguments = ["minority_collapse", "--out", tmp_path, *SMALL]
    done = run_study(*arguments)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert table["ratio"].tolist() == [1, 6] and table["minority_size"].tolist() == [12, 2]
    assert table["minority_cosine"].between(-1, 1).all()
    assert abs(table["predicted_cosine"][0] + 1 / 9) < 1e-6
    assert pd.read_parquet(tmp_path / "training.parquet")["epoch"].tolist() == [3, 6, 3, 6]
    for figure in ("overlay", "collapse"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 10_000


def test_runs_that_all_broke_down_are_drawn_and_summed_up():
    row = {"data": "x", "network": "y", "majority": 5, "ratio": 1, "weight_decay": 0.1, "seed": 0}
    row |= {"minority_size": 12, "majority_size": 12, "num_classes": 10, "epoch": 1}
    row |= {"status": "broke down", "loss": np.nan, "test_accuracy_minority": 0.1}
    table = predict(pd.DataFrame([row, row | {"ratio": 6}]))
    assert table["predicted_cosine"].isna().all() and (table["predicted_phase"] == "none").all()
    assert summarise(table)["broke down"].tolist() == [2]
    for draw in (draw_overlay, draw_collapse):
        draw(table).canvas.draw()


def test_the_model_where_minority_classifiers_vanish_is_at_its_limit():
    row = {"data": "x", "network": "y", "weight_decay": 0.1, "seed": 0, "status": "trained"}
    row |= {"majority": 7, "num_classes": 10, "majority_size": 200, "minority_size": 1}
    row |= {"minority_cosine": 0.99, "minority_norm_variation": 0.0}
    ends = [
        row | {"ratio": 200, "weight_energy": 1.0, "feature_energy": 8.0, "budget": 8**0.5},
        row | {"ratio": 2, "minority_size": 100, "weight_energy": 1, "feature_energy": 1}
        | {"budget": 1.0, "status": "broke down"},
    ]  # fmt: skip
    table = predict(pd.DataFrame(ends))
    assert table["predicted_phase"].tolist() == ["vanished", "none"]
    assert table["predicted_cosine"][0] == 1 and abs(table["difference"][0] - 0.01) < 1e-12
    assert table.loc[1, ["predicted_cosine", "difference"]].isna().all()


def test_presets_make_sense():
    for config in PRESETS.values():
        require(minority_collapse, config)
    assert pairs_of(PRESETS["paper"]) == [
        ("fashion_mnist", "vgg11"),
        ("fashion_mnist", "resnet18"),
        ("cifar10", "vgg13"),
        ("cifar10", "resnet18"),
    ]
    assert chosen_for("cifar10", PRESETS["cpu"].weight_decays) == ["0.01"]
    with pytest.raises(ValueError, match="--majority-size must be from 1 to 3 on digits"):
        images = ImageData(np.zeros((30, 8, 8, 1), np.uint8), np.repeat(np.arange(10), 3))
        plans_of(Config(majority_size=4), "digits", "mlp", images)
    assert len(PRESETS["cpu"].ratios) >= 8 and len(PRESETS["cpu"].seeds) == 2


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"networks": ("cifar10:vgg11",)}, "--networks"),
        ({"networks": ()}, "--networks"),
        ({"networks": ("alexnet",)}, "--networks"),
        ({"majority": (9,)}, "--majority"),
        ({"ratios": (0, 1)}, "--ratios"),
        ({"width": 0.0}, "--width"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"weight_decays": ("-1",)}, "--weight-decays"),
        ({"weight_decays": ("much",)}, "--weight-decays"),
        ({"weight_decays": ("mnist:0.1",)}, "--weight-decays mnist:0.1"),
        ({"epochs": 0}, "--epochs"),
        ({"seeds": (-1,)}, "--seeds"),
    ],
)
def test_options_that_make_no_sense_are_named(choice, named):
    with pytest.raises(ValueError, match=named):
        require(minority_collapse, Config(**choice))


def test_bad_options_are_one_line(tmp_path):
    for arguments, named in [
        (["--ratios", 1, 1000], "--ratios must be at most n_A = 100 on digits, got 1000"),
        (["--data", "mnist", "--data-dir", tmp_path / "nowhere"], "nowhere is not a folder"),
    ]:
        done = run_study("minority_collapse", "--out", tmp_path, *arguments)
        assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
