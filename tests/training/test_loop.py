"""Training: digits end to end, kills and damage, subsets of other sizes, numbers that break."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from nc_jax.datasets import DATA_SETS, choose_subset, load_images, step_sizes
from nc_jax.training import Recipe, Run, Trainer, on_device, train
from nc_jax.training.checkpoints import load_checkpoint, save_checkpoint
from nc_jax.training.programs import train_epoch

RECIPE = Recipe(epochs=6, milestones=(4,), batch_size=32, learning_rate=0.05)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def trainer(digits):
    images = on_device(digits, DATA_SETS["digits"])
    return Trainer("mlp", images, 10, RECIPE, longest=200, width=1 / 16)


def leaves(progress):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(progress.fetch())]


def subset(digits, sizes, seed=0):
    return choose_subset(digits.labels, sizes, seed)


def test_digits_reach_95_percent(digits):
    recipe = Recipe(epochs=12, milestones=(6, 9), batch_size=64, learning_rate=0.1)
    images = on_device(digits, DATA_SETS["digits"])
    trainer = Trainer("small-resnet", images, 10, recipe, len(digits.labels), width=1 / 8)
    (end,) = train(trainer, [Run(np.arange(len(digits.labels)), recipe)])
    test = load_images("digits", "test")
    held = on_device(test, DATA_SETS["digits"])
    logits, features, labels = trainer.outputs(end.fetch(), held, np.arange(len(test.labels)))
    assert np.mean(np.argmax(logits, 1) == test.labels) > 0.95 and end.epoch == 12
    np.testing.assert_array_equal(labels, test.labels)
    kernel, bias = trainer.classifier(end.fetch())
    np.testing.assert_allclose(logits, features @ np.asarray(kernel).T + bias, atol=1e-3)


def test_stopped_and_resumed_is_the_same_to_the_last_bit(trainer, digits, tmp_path):
    run = Run(subset(digits, [12] * 10), RECIPE, seed=3)
    whole = leaves(*train(trainer, [run]))
    for stop in (1, 4):
        folder = tmp_path / str(stop)
        for epoch, stack in trainer.epochs([run], trainer.start([run])):
            if epoch == stop:
                save_checkpoint(folder, stop, stack)
                break
        seen = []
        (again,) = train(trainer, [run], folder, watch=lambda p, seen=seen: seen.append(p.epoch))
        assert seen == list(range(stop + 1, 7))
        for one, other in zip(leaves(again), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    (done,) = train(trainer, [run], tmp_path / "1")
    np.testing.assert_array_equal(leaves(done)[0], whole[0])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(trainer, digits, tmp_path):
    run = Run(subset(digits, [12] * 10), RECIPE)
    whole = leaves(*train(trainer, [run], tmp_path, every=2))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-000004", "epoch-000006"]
    largest = max((tmp_path / names[1]).rglob("*"), key=lambda path: path.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    largest.write_bytes(bytes(raw))
    like = trainer.start([run])
    with pytest.warns(UserWarning, match=names[1]):
        saved = load_checkpoint(tmp_path, like)
    assert saved is not None and saved.epoch == 4
    with pytest.warns(UserWarning, match="damaged"):
        again = leaves(*train(trainer, [run], tmp_path))
    for one, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    (tmp_path / names[0] / "about.json").write_text("{")
    (tmp_path / names[1] / "about.json").unlink()
    with pytest.warns(UserWarning, match="damaged"):
        assert load_checkpoint(tmp_path, like) is None


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(trainer, tmp_path, monkeypatch):
    weights = trainer.start([Run(np.arange(1), RECIPE)])
    save_checkpoint(tmp_path, 1, weights)

    def fail(*_):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr("nc_jax.training.checkpoints.orbax.save", fail)
    with pytest.raises(OSError, match="cannot write checkpoint .*epoch-000002.*No space left"):
        save_checkpoint(tmp_path, 2, weights)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001"]


def test_subsets_of_other_sizes_share_a_program(trainer, digits):
    train(trainer, [Run(np.arange(1), dataclasses.replace(RECIPE, epochs=1))])
    before = train_epoch._cache_size()
    for sizes in (step_sizes(10, 5, 20, 10), step_sizes(10, 3, 30, 30), np.full(10, 4)):
        recipe = dataclasses.replace(RECIPE, epochs=1, weight_decay=1e-3, learning_rate=0.01)
        train(trainer, [Run(subset(digits, sizes), recipe)])
    assert train_epoch._cache_size() == before


def test_an_epoch_sees_every_image_once(digits):
    """A step on all images at once knows no order."""
    images = on_device(digits, DATA_SETS["digits"])
    recipe = Recipe(epochs=2, milestones=(), batch_size=128, learning_rate=0.1)
    trainer = Trainer("mlp", images, 10, recipe, longest=128, width=1 / 16)
    chosen = subset(digits, [9] * 10)
    ends = [leaves(*train(trainer, [Run(c, recipe)])) for c in (chosen, chosen[::-1])]
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_oversampling_equals_class_weights_in_full_batches(digits):
    """Proposition 1 in a network: repeating an image is weighing its loss."""
    images = on_device(digits, DATA_SETS["digits"])
    recipe = Recipe(epochs=3, milestones=(), batch_size=128, learning_rate=0.1)
    trainer = Trainer("mlp", images, 10, recipe, longest=128, width=1 / 16)
    chosen = subset(digits, [6] * 5 + [2] * 5)
    rare = digits.labels[chosen] >= 5
    repeated = np.repeat(chosen, np.where(rare, 3, 1))
    weights = np.where(np.arange(10) >= 5, 3.0, 1.0)
    one = leaves(*train(trainer, [Run(repeated, recipe)]))
    other = leaves(*train(trainer, [Run(chosen, recipe, class_weights=weights)]))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run(trainer, digits):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e9)
    (end,) = train(trainer, [Run(subset(digits, [12] * 10), recipe)])
    assert end.epoch < 6 and not np.isfinite(end.loss)


def test_killed_in_the_middle(trainer, digits, tmp_path):
    """kill −9 at any moment, as often as it comes."""
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, {root!r})\n"
        "from tests.training.test_loop import *\n"
        "digits = load_images('digits')\n"
        "images = on_device(digits, DATA_SETS['digits'])\n"
        "trainer = Trainer('mlp', images, 10, RECIPE, longest=200, width=1 / 16)\n"
        "run = Run(choose_subset(digits.labels, [12] * 10, 0), RECIPE, seed=5)\n"
        "train(trainer, [run], Path({folder!r}), every=1, watch=lambda p: time.sleep(0.3))\n"
    )
    root = str(__import__("tests.test_architecture").test_architecture.ROOT)
    command = [sys.executable, "-c", script.format(root=root, folder=str(tmp_path))]
    moments = np.random.default_rng(int.from_bytes(os.urandom(4))).uniform(3, 8, 2)
    for moment in moments:
        with subprocess.Popen(command) as child:
            time.sleep(moment)
            child.send_signal(signal.SIGKILL)
    assert subprocess.run(command).returncode == 0
    run = Run(subset(digits, [12] * 10), RECIPE, seed=5)
    saved = load_checkpoint(tmp_path, trainer.start([run]))
    assert saved is not None and saved.epoch == 6
    kept = [leaf[0] for leaf in jax.tree.leaves(saved.tree.weights)]
    for one, other in zip(kept, leaves(*train(trainer, [run])), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_bad_arguments_are_named(trainer):
    with pytest.raises(ValueError, match="1 to 224"):
        train(trainer, [Run(np.arange(300), RECIPE)])
    for field, value in [
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("milestones", (5, 3)),
        ("epochs", 0),
        ("decayed", "none"),
        ("precision", "float16"),
    ]:
        with pytest.raises(ValueError, match=field):
            Recipe(**{field: value})
    assert Recipe().shortened(35).milestones == (12, 23)
    assert Recipe().rate_at(115) == 0.1 and np.isclose(Recipe().rate_at(233), 0.001)
