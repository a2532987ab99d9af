"""What every study does around its own question."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from nc_jax import report
from nc_jax.study import Results, Study, swept, with_names
from nc_jax.sweeps import Block, Values
from tests.running import settings_of_jax


@dataclasses.dataclass(frozen=True)
class Config:
    """Options."""

    points: int = 3
    out: Path = Path("out")
    seed: int = 0
    dtype: str = "float64"


def check(config):
    report.require_numbers(config, "points", least=1)


def squares(choices):
    return lambda columns, keys: {"y": choices["factor"] * columns["x"] ** 2}


def table_of(config):
    blocks = [
        Block({"factor": f}, Values("x", np.arange(1.0, config.points + 1)), 2) for f in (1, 2)
    ]
    return swept(config, squares, blocks, bar=False)


def run(config):
    table = table_of(config)
    # The parts are there until the results are stored.
    assert any((config.out / "parts").rglob("*.parquet"))
    summary = table.groupby("factor", as_index=False)["y"].sum()
    shown = ["first", ("Sums", summary), "last"]
    return Results({"table": table}, {"sums": summary}, shown, "6 points", {"digits": "abc"})


def draw(config, tables):
    # Drawn from what was stored, not from what was computed.
    assert tables["table"].attrs == {} and len(tables["table"]) == 2 * config.points
    figure, axes = report.new_figure(1, 1, 3, 2)
    axes[0, 0].plot(tables["table"]["x"], tables["table"]["y"])
    return {"curve": figure}


STUDY = Study({"default": Config()}, check, run, draw)


def test_a_study_leaves_tables_figures_and_provenance(tmp_path, capsys):
    with settings_of_jax(jax_enable_x64=False):
        STUDY.answer(Config(out=tmp_path))
        assert jax.config.values["jax_enable_x64"] is True
    names = {"table.parquet", "sums.csv", "sums.md", "curve.png", "curve.svg", "provenance.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert table["y"].tolist() == [1, 4, 9, 2, 8, 18]
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["config"]["points"] == 3 and record["data"] == {"digits": "abc"}
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "first" and said[-2] == "last" and "Sums" in said[1]
    assert said[-1].startswith("6 points, ") and said[-1].endswith(f"results in {tmp_path}/")


def test_a_study_in_single_precision_says_so(tmp_path):
    with settings_of_jax(jax_enable_x64=True):
        STUDY.answer(Config(out=tmp_path, dtype="float32"))
    assert json.loads((tmp_path / "provenance.json").read_text())["x64"] is False
    assert pd.read_parquet(tmp_path / "table.parquet")["y"].dtype == np.float32


def test_a_bad_option_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="--points must be at least 1"):
        STUDY.answer(Config(points=0, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_points_of_an_interrupted_study_are_found_whatever_its_folder_is_called(tmp_path):
    config = Config(out=tmp_path / "one")
    before = table_of(config)
    parts = {path: path.stat().st_mtime_ns for path in config.out.rglob("*.parquet")}
    config.out.rename(tmp_path / "two")
    pd.testing.assert_frame_equal(before, table_of(Config(out=tmp_path / "two")))
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").rglob("*.parquet")}
    assert sorted(parts.values()) == sorted(after.values())
    table_of(Config(out=tmp_path / "two", seed=1))
    assert len(list((tmp_path / "two").rglob("*.parquet"))) >= len(parts)


def test_codes_become_names():
    table = pd.DataFrame({"phase": [0, 2], "status": [0, 1], "x": [1.0, 2.0]})
    named = with_names(table)
    assert named["phase"].tolist() == ["separated", "vanished"]
    assert named["status"][0] == "converged" and table["phase"].tolist() == [0, 2]
    assert list(with_names(table[["x"]])) == ["x"]
