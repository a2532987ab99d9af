"""Many trainings: together as alone, stopped and resumed, found again, broken alone."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

from nc_jax.campaigns import Campaign, Training, fastest_trainer, kept, train_all
from nc_jax.datasets import DATA_SETS, choose_subset, load_images, step_sizes
from nc_jax.training import Recipe, Run, Trainer, on_device, train
from tests.test_source import loaded

RECIPE = Recipe(epochs=4, milestones=(3,), batch_size=16, learning_rate=0.05, weight_decay=1e-3)
EXACT = {"check_exact": True}


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def trainers(digits):
    """Trainers by how many runs they train at once; the same ones for all tests."""
    images, made = on_device(digits, DATA_SETS["digits"]), {}

    def make(together):
        if together not in made:
            made[together] = Trainer("mlp", images, 10, RECIPE, 160, 1 / 16, together)
        return made[together]

    return make


@pytest.fixture
def campaign(trainers, tmp_path):
    test = on_device(load_images("digits", "test"), DATA_SETS["digits"])
    # As many together as there are: no choice by the clock.
    return Campaign({"data": "digits"}, trainers, tmp_path, test, frozenset({2, 4}), 1)


def trainings(digits, ratios, rates=(0.05,), seed=0):
    return [
        Training(
            {"ratio": ratio, "rate": rate},
            Run(subset, dataclasses.replace(RECIPE, learning_rate=rate), seed),
            subset,
            tuple(range(5, 10)),
        )
        for ratio in ratios
        for rate in rates
        for subset in [choose_subset(digits.labels, step_sizes(10, 5, 16, ratio), seed)]
    ]


def together(campaign, trainers, count):
    """A campaign that trains so many at once."""
    return dataclasses.replace(campaign, make=lambda _: trainers(count))


def ignore(*_):
    """Watches nothing."""


def test_runs_of_other_lengths_together_are_those_trained_alone(digits, trainers):
    plan = [training.run for training in trainings(digits, (1, 2, 4, 16), (0.05, 0.02))]
    plan[3] = dataclasses.replace(plan[3], seed=7, class_weights=np.linspace(0.5, 2, 10))
    # Eight runs in ten places: two stay empty.
    ends = train(trainers(10), plan)
    for run, end in zip(plan, ends, strict=True):
        (alone,) = train(trainers(1), [run])
        assert np.isclose(end.loss, alone.loss, rtol=1e-4) and end.epoch == 4
        for one, other in zip(
            jax.tree.leaves(end.fetch()), jax.tree.leaves(alone.fetch()), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_rows_come_in_the_order_given_and_are_found_again(digits, campaign, trainers):
    campaign = together(campaign, trainers, 2)
    plan, seen = trainings(digits, (4, 1, 16)), []
    table = train_all(campaign, plan, lambda *done: seen.append(done))
    assert table["ratio"].tolist() == [4, 4, 1, 1, 16, 16]
    assert table["epoch"].tolist() == [2, 4] * 3 and set(table["status"]) == {"trained"}
    images = sum(len(training.run.indices) for training in plan) * 4
    assert seen[0] == (0, 0) and sum(count for count, _ in seen) == images
    assert not list(campaign.folder.rglob("checkpoints"))

    def never(_):
        raise AssertionError("trained again")

    found = train_all(dataclasses.replace(campaign, make=never), plan[::-1], ignore)
    assert found["ratio"].tolist() == [16, 16, 1, 1, 4, 4]
    for ratio, rows in found.groupby("ratio"):
        own = table[table["ratio"] == ratio]
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), own.reset_index(drop=True))
    other = dataclasses.replace(campaign, settings={"data": "other"}, make=never)
    with pytest.raises(AssertionError):
        train_all(other, plan, ignore)


def test_stopped_at_any_moment_the_table_is_the_same(digits, campaign, trainers, tmp_path):
    campaign = together(campaign, trainers, 2)
    plan = trainings(digits, (4, 1, 16))
    whole = train_all(dataclasses.replace(campaign, folder=tmp_path / "whole"), plan, ignore)
    calls, moments = 0, (3, 4, 8, 12)

    def interrupt(*_):
        nonlocal calls
        calls += 1
        if calls in moments:
            raise KeyboardInterrupt

    for _ in moments:
        with pytest.raises(KeyboardInterrupt):
            train_all(campaign, plan, interrupt)
    pd.testing.assert_frame_equal(train_all(campaign, plan, ignore), whole, **EXACT)


def measure_twice(trainer, state, training, test):
    """Two rows at every epoch."""
    kernel, _ = trainer.classifier(state.fetch())
    size = float(np.linalg.norm(kernel))
    return [{"layer": 0, "size": size}, {"layer": 1, "size": 2 * size}]


def test_a_measure_of_several_rows_is_kept_through_a_stop(digits, campaign, trainers, tmp_path):
    campaign = dataclasses.replace(together(campaign, trainers, 2), measure=measure_twice)
    plan = trainings(digits, (4, 1))
    whole = train_all(dataclasses.replace(campaign, folder=tmp_path / "whole"), plan, ignore)
    assert whole["layer"].tolist() == [0, 1] * 4 and whole["epoch"].tolist() == [2, 2, 4, 4] * 2
    calls = 0

    def interrupt(*_):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(campaign, plan, interrupt)
    pd.testing.assert_frame_equal(train_all(campaign, plan, ignore), whole, **EXACT)


def test_a_run_that_breaks_down_stops_alone(digits, campaign, trainers):
    plan = trainings(digits, (2, 4), (0.05, 1e9))
    failures = []
    table = train_all(
        together(campaign, trainers, 4), plan, lambda _, broken: failures.append(broken)
    )
    fate = table.groupby(["ratio", "rate"])["status"].last()
    assert (fate[:, 1e9] == "broke down").all() and (fate[:, 0.05] == "trained").all()
    assert sum(failures) == 2 and table.loc[table["rate"] < 1, "minority_cosine"].notna().all()
    assert table.loc[table["rate"] < 1, "epoch"].tolist() == [2, 4, 2, 4]
    assert not np.isfinite(table.loc[table["status"] == "broke down", "loss"]).any()


def test_a_damaged_table_is_computed_again(digits, campaign, trainers):
    plan = trainings(digits, (2,))
    table = train_all(campaign, plan, ignore)
    (path,) = campaign.folder.rglob("table.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"table.parquet is not a readable .* computed again"):
        again = train_all(campaign, plan, ignore)
    pd.testing.assert_frame_equal(again, table, **EXACT)


CODE = "def measure(trainer, state, training, test): return [{{'size': {size}}}]"


def test_trainings_of_other_code_are_trained_again_and_kept(digits, campaign, tmp_path):
    """Rows from before a correction of the code are never mixed with rows from after it."""
    plan, file = trainings(digits, (2, 4)), tmp_path / "measures.py"
    before = dataclasses.replace(campaign, measure=loaded(file, CODE.format(size=1)).measure)
    assert set(train_all(before, plan, ignore)["size"]) == {1}
    stale = {path: path.read_bytes() for path in campaign.folder.rglob("table.parquet")}
    mended = dataclasses.replace(campaign, measure=loaded(file, CODE.format(size=2)).measure)
    with pytest.warns(UserWarning, match="holds 2 training.s. of another version of the code"):
        table = train_all(mended, plan, ignore)
    assert set(table["size"]) == {2}
    assert stale == {path: path.read_bytes() for path in stale}
    # Nothing is left to train: no warning.
    pd.testing.assert_frame_equal(train_all(mended, plan, ignore), table, **EXACT)


def test_a_text_table_of_other_code_is_made_again_and_kept(tmp_path):
    code = "def make(): return __import__('pandas').DataFrame({{'size': [{size}]}})"
    file, folder = tmp_path / "study.py", tmp_path / "runs"
    assert kept(folder, {"a": 1}, loaded(file, code.format(size=1)).make)["size"].item() == 1
    mended = loaded(file, code.format(size=2))
    with pytest.warns(UserWarning, match="runs holds 1 table.s. of another version of the code"):
        assert kept(folder, {"a": 1}, mended.make)["size"].item() == 2
    assert kept(folder, {"a": 1}, mended.make)["size"].item() == 2
    assert len(list(folder.glob("*.parquet"))) == 2


def test_the_number_together_is_measured_where_there_is_a_choice(digits, trainers):
    runs = [training.run for training in trainings(digits, (1, 2, 4, 8, 16))]
    made = []

    def make(count):
        made.append(count)
        return trainers(count)

    devices = len(jax.local_devices())
    assert fastest_trainer(make, runs[:2]).together == min(devices, 2) and len(made) == 1
    chosen = fastest_trainer(make, runs * 4)
    assert chosen.together in made[1:] and made[1:3] == [devices, 4 * devices]


def test_as_many_together_as_memory_takes(digits, trainers, monkeypatch):
    runs = [training.run for training in trainings(digits, (1, 2, 4, 8, 16))] * 8
    most = 4 * len(jax.local_devices())

    def speed(trainer, runs):
        if trainer.together > most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return float(trainer.together)

    monkeypatch.setattr("nc_jax.campaigns.together._images_per_second", speed)
    assert fastest_trainer(trainers, runs).together == most
    most = 0
    with pytest.raises(jax.errors.JaxRuntimeError, match="memory"):
        fastest_trainer(trainers, runs)


SPREAD = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import sys
sys.path.insert(0, sys.argv[1])
from tests.campaigns.test_campaign import *
digits = load_images("digits")
images = on_device(digits, DATA_SETS["digits"])
runs = [training.run for training in trainings(digits, (1, 4, 16))]
alone = [train(Trainer("mlp", images, 10, RECIPE, 160, 1 / 16), [run])[0] for run in runs]
for together in (2, 4):
    trainer = Trainer("mlp", images, 10, RECIPE, 160, 1 / 16, together)
    for first in range(0, 3, together):
        own = runs[first : first + together]
        for end, one in zip(train(trainer, own), alone[first:]):
            np.testing.assert_allclose(end.loss, one.loss, rtol=1e-4)
            leaves = zip(jax.tree.leaves(end.fetch()), jax.tree.leaves(one.fetch()))
            for leaf, other in leaves:
                np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-5)
with __import__("pytest").raises(ValueError, match="together must be a multiple of 2"):
    Trainer("mlp", images, 10, RECIPE, 160, 1 / 16, 3)
print(len(jax.devices()))
"""


def test_runs_spread_over_devices_are_those_trained_alone():
    root = str(__import__("tests.test_architecture").test_architecture.ROOT)
    done = subprocess.run(
        [sys.executable, "-c", SPREAD, root], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
