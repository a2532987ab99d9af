"""The diagnosis benchmark runs, on sizes too small to say anything about speed."""

import dataclasses

import pandas as pd
import pytest

from benchmarks import diagnosis

SMALL = dataclasses.replace(diagnosis.PRESETS["quick"], num_classes=4, dimension=6, sizes=(500,))


def test_both_sides_agree_and_are_measured(tmp_path):
    diagnosis.main(dataclasses.replace(SMALL, out=tmp_path / "out", scratch=tmp_path))
    table = pd.read_parquet(tmp_path / "out" / "table.parquet")
    assert (table.drop(columns="file, GB") > 0).all(axis=None)
    assert not list(tmp_path.glob("**/*.npz"))


def test_another_answer_of_the_peer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "timed", lambda work, path: work(path))
    monkeypatch.setattr(diagnosis, "in_memory", lambda path: dict.fromkeys(diagnosis.MEASURES, 1e3))
    with pytest.raises(RuntimeError, match="nc1_pinv of 500 features"):
        diagnosis.compare(SMALL, tmp_path, 500)
