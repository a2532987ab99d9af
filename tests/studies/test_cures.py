"""The study of cures, run as a user runs it, on a few images."""

import numpy as np
import pandas as pd
import pytest

from nc_jax.report.cures import summarise_cures
from studies import cures
from studies.cures import Config
from tests.running import require, run_study

SMALL = ["--majority", 5, "--majority-size", 12, "--ratios", 6, "--epochs", 8, "--width", 0.02]
SMALL += ["--seeds", 3, "--model-ratios", 300, "--cures", "class-weights:1", "focal:2"]


def test_networks_are_trained_with_the_designed_strength_too(tmp_path):
    done = run_study("cures", "--out", tmp_path, *SMALL)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert set(table["cure"]) == {"none", "class-weights", "focal"} and len(table) == 4
    weighed = table[table["cure"] == "class-weights"]
    assert set(weighed["strength"]) == {1.0, weighed["designed"].iloc[0]}
    assert weighed["predicted_cosine"].notna().all()
    model = pd.read_parquet(tmp_path / "model.parquet")
    assert (model["gap"] < 1e-8).all()
    whole = model[(model["cure"] == "class-weights") & np.isclose(model["strength"], 1)]
    np.testing.assert_allclose(whole["minority_cosine"], -1 / 9, atol=1e-6)
    np.testing.assert_allclose(whole["minority_margin"], whole["majority_margin"], atol=1e-5)
    designed = pd.read_parquet(tmp_path / "designed.parquet").set_index("cure")
    assert 0 < designed["least"]["class-weights"] < 1
    assert "no strength of logit-adjustment" in done.stdout
    for figure in ("model", "accuracy", "geometry"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"cures": ("magic:1",)}, "--cures"),
        ({"cures": ("focal:1", "focal:2")}, "--cures"),
        ({"cures": ("focal:x",)}, "positive strengths"),
        ({"cures": ("focal:-1",)}, "positive strengths"),
        ({"cures": ()}, "--cures"),
        ({"majority": 9}, "--majority"),
        ({"ratios": (0,)}, "--ratios"),
        ({"model_ratios": (1.0,)}, "--model-ratios"),
        ({"model_energy": float("nan")}, "--model-energy"),
        ({"networks": ("mlp",)}, "--networks"),
        ({"weight_decays": ("0",)}, "--weight-decays"),
    ],
)
def test_bad_options_are_named(changed, text):
    with pytest.raises(ValueError, match=text):
        require(cures, Config(**changed))


def test_the_summary_says_how_far_behind_the_designed_strength_is():
    row = {"data": "x", "network": "y", "ratio": 10, "weight_decay": 0.1, "cure": "margins"}
    row |= {"designed": 2.0, "state": "separated", "converged": True, "minority_cosine": 0.0}
    runs = [
        row | {"strength": s, "test_accuracy_all": a, "test_accuracy_minority": a / 2, "seed": seed}
        for seed in (0, 1)
        for s, a in ((1.0, 0.6), (2.0, 0.55))
    ]
    summary = summarise_cures(pd.DataFrame(runs))
    assert summary["best strength"].tolist() == [1.0]
    assert summary["percentage points below the best"].tolist() == ["5.0"]
