"""The study of many classes, run as a user runs it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from nc_jax.report.codes import summarise_merging
from studies import many_classes
from studies.many_classes import PARTS, PRESETS, Config
from tests.running import require, run_study


def test_the_quick_preset_finds_polygons_and_where_classes_merge(tmp_path):
    done = run_study("many_classes", "--preset", "quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    codes = pd.read_parquet(tmp_path / "codes.parquet")
    assert list(codes["K"]) == [4, 5, 6, 7, 8]
    np.testing.assert_allclose(codes["code_cosine"], np.cos(2 * np.pi / codes["K"]), atol=1e-6)
    solved = codes[codes["K"] % 4 == 0]
    np.testing.assert_allclose(solved["model_cosine"], solved["code_cosine"], atol=1e-3)
    assert (solved["model_curvature"] > -1e-6).all()
    merging = pd.read_parquet(tmp_path / "merging.parquet")
    assert set(merging["sizes"]) == {"two sizes", "long-tailed"} and len(merging) == 2 * 4 * 10
    assert (merging["rank"] <= 2).all() and (merging["gap"] >= 0).all()
    # At the smallest budget the convex optimum fits into two dimensions.
    assert (merging.loc[merging["E"] == merging["E"].min(), "gap"] < 1e-7).all()
    for part in PARTS:
        assert (tmp_path / f"{part}.png").stat().st_size > 10_000
        assert (tmp_path / f"{part}.md").exists()
    assert (tmp_path / "provenance.json").exists()


def test_the_summary_says_from_which_budget_on_a_class_stands_apart():
    distances = {1.0: 0.01, 2.0: 0.5, 3.0: 0.05, 4.0: 0.3, 5.0: 0.4}
    rows = [
        {"sizes": "x", "p": 2, "E": e, "class": k, "distance": d, "gap": 0.0 if e < 3 else 1.0}
        for e, d in distances.items()
        for k in (0, 1)
    ]
    table = pd.DataFrame(rows).assign(rank=2)
    table.loc[table["class"] == 1, "distance"] = 0.01
    (row,) = summarise_merging(table).to_dict("records")
    assert row["class 0"] == "4" and row["class 1"] == "> 5"
    assert row["certified up to E"] == "2"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"dimensions": (1,)}, "--dimensions"),
        ({"dimensions": (3, 3)}, "--dimensions"),
        ({"most": 1}, "--most"),
        ({"model_every": 0}, "--model-every"),
        ({"num_classes": 2}, "--num-classes"),
        ({"widths": (10,)}, "--widths"),
        ({"widths": ()}, "--widths"),
        ({"majority": 10}, "--majority"),
        ({"ratio": 1.0}, "--ratio"),
        ({"budget": float("inf")}, "--budget"),
        ({"budget_range": (2.0, 1.0)}, "--budget-range"),
        ({"num_budgets": 1}, "--num-budgets"),
        ({"restarts": 0}, "--restarts"),
        ({"parts": ()}, "--parts"),
        ({"parts": ("codes", "words")}, "--parts"),
    ],
)
def test_bad_options_are_named(changed, text):
    with pytest.raises(ValueError, match=text):
        require(many_classes, dataclasses.replace(Config(), **changed))


def test_every_preset_is_sound():
    for preset in PRESETS.values():
        require(many_classes, preset)
