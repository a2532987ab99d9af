"""The training benchmark, on a network so small that it says nothing of speed."""

import dataclasses

import pandas as pd
import pytest

from benchmarks import training

QUICK = training.PRESETS["quick"]


def test_our_side_is_timed_and_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "matrix_rate", lambda: 1e9)
    # In this process, as on an accelerator.
    monkeypatch.setattr(training, "beside_torch", training.beside_products)
    training.main(dataclasses.replace(QUICK, out=tmp_path))
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert len(table) == 1 and (table.drop(columns="network") > 0).all(axis=None)


def test_sides_take_turns_in_processes_of_their_own():
    pytest.importorskip("torch")
    sides = {
        name: (training.torch_steps, (QUICK, "vgg11", 1 / 16, steps, False))
        for name, steps in (("one", 1), ("four", 4))
    }
    speeds, first = training.in_turns(sides, 3)
    assert set(speeds) == set(first) == set(sides)
    assert min(*speeds.values(), *first.values()) > 0
    assert not training._ready


def test_a_row_holds_every_ratio(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    speeds = {"ours": 6.0, "ours, one a core": 9.0, "torch": 3.0, "torch, channels last": 2.0}
    asked = {}
    monkeypatch.setattr(
        training, "in_turns", lambda sides, repeats: (asked.update(sides), (speeds, speeds))[1]
    )
    row = training.beside_torch(QUICK, "vgg11", 1.0)
    ratios = [value for name, value in row.items() if " over " in name]
    assert ratios == [2, 3, 3, 4.5] and list(asked) == list(speeds)
    # A wide network's epoch is short.
    assert {arguments[3] for _, arguments in asked.values()} == {QUICK.steps[0]}


@pytest.mark.parametrize(
    ("choice", "named"), [({"networks": ("mlp",)}, "--networks"), ({"steps": (0, 1)}, "--steps")]
)
def test_options_that_make_no_sense_are_named(choice, named):
    with pytest.raises(ValueError, match=named):
        training.main(dataclasses.replace(QUICK, **choice))
