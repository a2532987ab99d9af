"""Trainers and their data are freed after use; compiled programs are shared and hold neither."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest

from nc_jax.datasets import DATA_SETS, load_images
from nc_jax.networks import Transformer
from nc_jax.training import Recipe, Run, Trainer, on_device, programs, text_loop, train
from nc_jax.training.text_loop import TextTrainer
from nc_jax.training.text_recipe import TextRecipe

RECIPE = Recipe(epochs=2, milestones=(), batch_size=32)
TEXT = TextRecipe(steps=4, batch=4)
COMPILED = {
    "images": (programs.weights_program(), programs.train_epoch, programs.layer_outputs),
    "texts": (text_loop._advanced, text_loop._looked),
}


def train_on_images(learning_rate):
    """Uses all programs of a trainer; weak references to it and to its images."""
    images = on_device(load_images("digits"), DATA_SETS["digits"])
    recipe = dataclasses.replace(RECIPE, learning_rate=learning_rate)
    trainer = Trainer("mlp-norm", images, 10, recipe, longest=64, width=1 / 16)
    (end,) = train(trainer, [Run(np.arange(64), recipe)])
    weights = end.fetch()
    trainer.outputs(weights, images, np.arange(5))
    assert trainer.last_stage() and trainer.classifier(weights)[0].shape[0] == 10
    return [weakref.ref(own) for own in (trainer, images.pixels, images.labels)]


def build(key):
    return Transformer(20, 8, 2, 1, 6, key)


def train_on_a_text(learning_rate):
    """The same for a trainer of a language model."""
    tokens = np.arange(200) % 20
    recipe = dataclasses.replace(TEXT, learning_rate=learning_rate)
    trainer = TextTrainer(build, tokens, recipe)
    *_, state = trainer.train(recipe, 0, [2])
    trainer.outputs(state, tokens, 24)
    assert trainer.head(state).shape == (20, 8)
    return [weakref.ref(own) for own in (trainer, trainer.tokens)]


USES = {"images": train_on_images, "texts": train_on_a_text}


@pytest.mark.parametrize("kind", USES)
def test_a_trainer_and_its_data_are_freed_after_use(kind):
    left = USES[kind](0.05)
    gc.collect()
    assert [own() for own in left] == [None] * len(left)


@pytest.mark.parametrize("kind", USES)
def test_another_trainer_of_the_same_shapes_compiles_nothing(kind):
    USES[kind](0.05)
    before = [program._cache_size() for program in COMPILED[kind]]
    assert all(before)
    USES[kind](0.02)
    assert [program._cache_size() for program in COMPILED[kind]] == before
