"""Even batches, what weight decay acts on, and trainings that go on from others."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from flax import nnx

from nc_jax.campaigns import Campaign, Training, measure_collapse, train_chains
from nc_jax.datasets import DATA_SETS, load_images
from nc_jax.networks import build_network
from nc_jax.training import Recipe, Run, Trainer, on_device, train
from nc_jax.training.steps import _decayed

IMAGES = on_device(load_images("digits"), DATA_SETS["digits"])
CHOSEN = np.arange(23)


def trainer_of(recipe, longest=23, together=1):
    return Trainer("mlp-norm", IMAGES, 10, recipe, longest, 1 / 64, together)


def weights_after(recipe, chosen=CHOSEN, **options):
    (end,) = train(trainer_of(recipe), [Run(chosen, recipe)], **options)
    return end


@pytest.mark.parametrize("size", [5, 8, 22])
def test_even_batches_take_every_image_once(size):
    # Without normalisation and at rate zero, an epoch's loss is the mean over its images.
    recipe = Recipe(
        learning_rate=1e-30, epochs=1, milestones=(), batch_size=size, even_batches=True
    )
    whole = dataclasses.replace(recipe, batch_size=23)
    ends = []
    for own in (recipe, whole):
        trainer = Trainer("mlp", IMAGES, 10, own, 23, 1 / 64)
        ends += train(trainer, [Run(CHOSEN, own)])
    np.testing.assert_allclose(ends[0].loss, ends[1].loss, rtol=1e-6)


def test_even_batches_are_those_of_a_size_that_divides():
    # 23 images: 20 and 3 become 12 and 11, which are the batches of size 12.
    step = {"learning_rate": 0.1, "epochs": 5, "milestones": ()}
    even = weights_after(Recipe(**step, batch_size=20, even_batches=True), np.arange(23))
    same = weights_after(Recipe(**step, batch_size=12), np.arange(23))
    uneven = weights_after(Recipe(**step, batch_size=20), np.arange(23))
    np.testing.assert_allclose(even.loss, same.loss, rtol=1e-5)
    assert abs(uneven.loss - same.loss) > 1e-3


@pytest.mark.parametrize(
    ("network", "spared"),
    [("mlp-norm", True), ("vgg11", True), ("small-resnet", True), ("mlp", False)],
)
def test_effective_decay_spares_what_normalisation_makes_free(network, spared):
    side = 32 if network == "vgg11" else 8
    module = build_network(network, (side, side, 1), 10, jax.random.key(0), 1 / 16)
    params = nnx.split(module, nnx.Param, ...)[1]
    mask = _decayed(Recipe(decayed="effective"), params)
    assert (mask is not None) is spared
    if spared:
        for path, own in jax.tree_util.tree_leaves_with_path(mask):
            text = jax.tree_util.keystr(path)
            assert own is any(word in text for word in ("scale", "offset", "classifier")), text


def campaign_of(folder, recipe):
    return Campaign(
        {"data": "digits"}, lambda together: trainer_of(recipe, 23, together), folder,
        IMAGES, frozenset({3}), 1, measure_collapse,
    )  # fmt: skip


def test_a_chain_goes_on_from_its_own_end_whenever_it_is_stopped(tmp_path):
    recipe = Recipe(learning_rate=0.1, epochs=3, milestones=(), batch_size=23)
    legs = [
        Training({"leg_of": place}, Run(own, recipe), own, ())
        for place, own in enumerate((np.arange(23), np.arange(4, 23)))
    ]
    first = train(trainer_of(recipe), [legs[0].run])[0]
    after = train(trainer_of(recipe), [legs[1].run], weights=[first.fetch()])[0]
    whole = train_chains(campaign_of(tmp_path / "whole", recipe), [legs], lambda *_: None)
    assert list(whole["leg"]) == [1, 2]
    np.testing.assert_allclose(whole["loss"], [first.loss, after.loss], rtol=1e-6)
    fresh = train(trainer_of(recipe), [legs[1].run])[0]
    assert abs(fresh.loss - after.loss) > 0.05

    class Stopped(Exception):
        pass

    epochs = iter(range(100))

    def stop(*_):
        if next(epochs) == 5:
            raise Stopped

    with pytest.raises(Stopped):
        train_chains(campaign_of(tmp_path / "cut", recipe), [legs], stop)
    again = train_chains(campaign_of(tmp_path / "cut", recipe), [legs], lambda *_: None)
    pd.testing.assert_frame_equal(again, whole)
    # Nothing is trained a second time, and no checkpoint is left.
    assert not list((tmp_path / "cut").glob("*/checkpoints"))
    with pytest.raises(ValueError, match="same number"):
        train_chains(campaign_of(tmp_path, recipe), [legs, legs[:1]], lambda *_: None)
