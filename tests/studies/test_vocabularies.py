"""The study of vocabularies, run as a user runs it."""

import dataclasses

import pandas as pd
import pytest

from studies import vocabularies
from studies.vocabularies import PARTS, PRESETS, Config
from tests.running import require, run_study


def test_the_quick_preset_separates_every_token_at_a_large_budget(tmp_path):
    done = run_study("vocabularies", "--preset", "quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    words = pd.read_parquet(tmp_path / "vocabularies.parquet")
    assert set(words["exponent"]) == {0.8, 1.2} and (words["classes"] == 300).all()
    profiles = pd.read_parquet(tmp_path / "profiles.parquet")
    assert set(profiles["profile"]) == {"CIFAR-100-LT"}
    for table, key in ((words, "exponent"), (profiles, "profile")):
        assert table["solved"].all() and (table["gap"] >= 0).all()
        assert (table["own"] + table["collapsed"] == table["classes"]).all()
        # With a large budget every class is apart, with a small one few are.
        for _, own in table.groupby(key):
            assert own["rank"].iloc[-1] == own["classes"].iloc[-1] - 1
            assert own["own"].iloc[-1] == own["classes"].iloc[-1] > 5 * own["own"].iloc[0]
    for part in PARTS:
        assert (tmp_path / f"{part}.png").stat().st_size > 10_000
        assert (tmp_path / f"{part}.md").exists()
    assert (tmp_path / "provenance.json").exists()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"parts": ()}, "--parts"),
        ({"parts": ("codes",)}, "--parts"),
        ({"profiles": ("MNIST",)}, "--profiles"),
        ({"tokens": 2}, "--tokens"),
        ({"corpus": 100.0}, "--corpus"),
        ({"exponents": (1.0,)}, "--exponents"),
        ({"exponents": (1.0, -1.0)}, "--exponents"),
        ({"vocabulary_budgets": (2.0, 1.0)}, "--vocabulary-budgets"),
        ({"profile_budgets": (0.0, 1.0)}, "--profile-budgets"),
        ({"num_budgets": 1}, "--num-budgets"),
        ({"contours": ()}, "--contours"),
        ({"merge_tolerance": -0.1}, "--merge-tolerance"),
    ],
)
def test_bad_options_are_named(changed, text):
    with pytest.raises(ValueError, match=text):
        require(vocabularies, dataclasses.replace(Config(), **changed))


def test_every_preset_is_sound():
    for preset in PRESETS.values():
        require(vocabularies, preset)
