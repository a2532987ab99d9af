"""The benchmark of first answers runs, on two models."""

import pandas as pd
import pytest

from benchmarks import first_answers


def test_warm_is_not_compiled_and_every_part_is_in_the_total(tmp_path):
    config = first_answers.Config(models=("two groups",), repeats=1, out=tmp_path)
    first_answers.main(config)
    row = pd.read_csv(tmp_path / "table.csv").iloc[0]
    assert row["solver"] == "TwoGroupRoot" and float(row["gap"]) < 1e-9
    assert row["load (s)"] < row["compile (s)"]
    parts = row[["import (s)", "model (s)", "trace (s)", "compile (s)"]].sum()
    assert 0 < parts < 1.1 * row["cold (s)"]


def test_wrong_models_are_named(tmp_path):
    with pytest.raises(ValueError, match="--models"):
        first_answers.main(first_answers.Config(models=("none",), out=tmp_path))
