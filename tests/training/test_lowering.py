"""Training lowers for GPUs and TPUs, so that nothing enters that only a CPU can run."""

from functools import partial

import jax
import jax.export
import numpy as np
import pytest

from nc_jax.networks import Transformer
from nc_jax.training import Images, Recipe, Run, Stack, Trainer
from nc_jax.training.programs import train_epoch
from nc_jax.training.text_loop import TextTrainer, _advanced
from nc_jax.training.text_recipe import TextRecipe

shape = jax.ShapeDtypeStruct


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_epoch_of_resnet18(platform, precision, monkeypatch):
    # Convolutions are chosen by the backend of the process.
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    channel = shape((3,), np.float32)
    images = Images(shape((8, 32, 32, 3), np.uint8), shape((8,), np.int32), channel, channel)
    recipe = Recipe(batch_size=4, precision=precision)
    trainer = Trainer("resnet18", images, 10, recipe, longest=8, width=1 / 16)
    programs = []

    def lower(epoch, *arguments):
        # Traced anew, because the convolutions of another platform may be traced already.
        function = jax.jit(partial(train_epoch.__wrapped__, epoch))
        programs.append(jax.export.export(function, platforms=[platform])(*arguments))
        return arguments[0], np.zeros(1, np.float32)

    monkeypatch.setattr("nc_jax.training.loop.train_epoch", lower)
    run = Run(np.arange(8), recipe)
    weights = trainer.shapes().weights
    next(trainer.epochs([run], Stack(weights, *trainer._nothing())))
    (program,) = programs
    assert "stablehlo.convolution" in program.mlir_module()


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_steps_of_a_language_model(optimiser):
    recipe = TextRecipe(optimiser, 0.3, 1e-3, steps=40, batch=8)
    tokens = np.arange(40, dtype=np.int32) % 7
    trainer = TextTrainer(lambda key: Transformer(7, 8, 2, 1, 5, key), tokens, recipe)
    state = jax.eval_shape(lambda: trainer.start(0))
    count = shape((), np.int32)
    numbers = shape((), np.uint32), shape((2,), np.float32), count, count
    fixed = trainer.graph, trainer.context, recipe.compiled
    platforms = jax.export.export(_advanced, platforms=["cuda", "tpu"])
    program = platforms(*fixed, state, shape((40,), np.int32), *numbers)
    assert program.platforms == ("cuda", "tpu")
