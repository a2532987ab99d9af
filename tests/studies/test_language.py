"""The study of language models, run as a user runs it, on a few files."""

import json

import numpy as np
import pandas as pd
import pytest

from studies import language
from studies.language import Config
from tests.running import require, run_study

SMALL = ["--vocabulary", 30, "--width", 8, "--attention-heads", 2, "--context", 8, "--batch", 4]
SMALL += ["--train-tokens", 2000, "--test-tokens", 200, "--steps", 6, "--measures", 2, "--rows", 6]
SMALL += ["--bins", 3, "--iterations", 30, "--places", 200, "--groups", 8]
FIGURES = ("rows-untied", "training")


def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    for number in range(12):
        chosen = rng.choice(words, 250, p=np.arange(64, 0, -1) / 2080)
        (folder / f"file{number}.txt").write_text(" ".join(chosen))
    return folder


def test_runs_are_measured_and_predicted_and_kept(tmp_path):
    given = ["--text-dir", texts(tmp_path), "--heads", "untied", *SMALL]
    decays = ["--weight-decays", "sgd:0.01", "adamw:0.1"]
    out = tmp_path / "out"
    done = run_study("language", "--out", out, *given, *decays)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(out / "table.parquet")
    assert len(table) == 2 * 3 and set(table["step"]) == {0, 1, 6}
    assert set(table["status"]) == {"trained"}
    compared = pd.read_parquet(out / "compared.parquet")
    # AdamW has no prediction from weight decay.
    assert len(compared) == 5 + 2
    assert set(compared[compared["optimiser"] == "adamw"]["surrogate"]) == {
        "hard-budgets",
        "soft-budgets",
    }
    assert "Explained:" in done.stdout and "Not explained:" in done.stdout
    for figure in FIGURES:
        assert (out / f"{figure}.png").stat().st_size > 10_000
    assert len(json.loads((out / "provenance.json").read_text())["data"]["text"]) == 64

    kept = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    again = run_study("language", "--out", out, *given, *decays[:-1])
    assert again.returncode == 0, again.stderr
    assert kept == {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert len(pd.read_parquet(out / "table.parquet")) == 3


def test_a_run_that_breaks_down_is_told_beside_the_others(tmp_path):
    given = ["--text-dir", texts(tmp_path), "--surrogates", "hard-budgets", *SMALL]
    given += ["--heads", "untied", "--weight-decays", "sgd:0.01", "sgd:1e30"]
    done = run_study("language", "--out", tmp_path / "out", *given)
    assert done.returncode == 0, done.stderr
    assert "broke down in step" in done.stdout and "1e+30" in done.stdout
    table = pd.read_parquet(tmp_path / "out" / "table.parquet")
    assert table["status"].iloc[-1] == "broke down" and table["step"].iloc[-1] < 6
    assert len(pd.read_parquet(tmp_path / "out" / "compared.parquet")) == 1


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"vocabulary": 2}, "--vocabulary"),
        ({"rows": 1}, "--rows"),
        ({"rows": 3000}, "--rows"),
        ({"width": 30}, "--width"),
        ({"heads": ("loose",)}, "--heads"),
        ({"heads": ()}, "--heads"),
        ({"weight_decays": ("0.1",)}, "--weight-decays"),
        ({"weight_decays": ("sgd:x",)}, "--weight-decays"),
        ({"weight_decays": ("sgd:-1",)}, "--weight-decays"),
        ({"weight_decays": ("sgd:0.1", "sgd:1e-1")}, "--weight-decays"),
        ({"sgd_rate": 0.0}, "--sgd-rate"),
        ({"adamw_rate": float("nan")}, "--adamw-rate"),
        ({"momentum": 1.0}, "--momentum"),
        ({"rare": 0.0}, "--rare"),
        ({"merged": 1.5}, "--merged"),
        ({"train_tokens": 20}, "--train-tokens"),
        ({"surrogates": ("magic",)}, "--surrogates"),
        ({"surrogates": ("soft-norm",)}, "adamw:0.1"),
        ({"seeds": (-1,)}, "--seeds"),
        ({"steps": 0}, "--steps"),
    ],
)
def test_bad_options_are_named(changed, text):
    with pytest.raises(ValueError, match=text):
        require(language, Config(**changed))


def test_a_vocabulary_larger_than_the_text_is_named(tmp_path):
    done = run_study("language", "--text-dir", texts(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert (
        "--vocabulary" in done.stderr
        and "at most 64" in done.stderr
        and "Traceback" not in done.stderr
    )
