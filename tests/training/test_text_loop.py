"""Training of a language model: learning, optimisers against their definition, breakdown."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nc_jax.datasets.contexts import context_rows
from nc_jax.datasets.text import Text
from nc_jax.networks import Transformer
from nc_jax.training.text_loop import TextTrainer, _advanced
from nc_jax.training.text_measures import Looked, measure_text
from nc_jax.training.text_recipe import TextRecipe

V = 7
# Every token has one that follows it, but for one in seven.
TOKENS = np.array([0, 3, 1, 4, 2, 5, 6] * 60, np.int32)
RECIPE = TextRecipe("sgd", 0.3, 1e-3, steps=40, batch=8)


def build(key, tied=False):
    return Transformer(V, 8, 2, 1, 5, key, tied)


@pytest.fixture(scope="module")
def trainer():
    return TextTrainer(build, TOKENS, RECIPE)


def replaced(**changes):
    return TextRecipe(**{**RECIPE.__dict__, **changes})


def test_a_run_learns_and_repeats_itself(trainer):
    states = list(trainer.train(RECIPE, 3, [5, 20, 90]))
    assert [int(state.step) for state in states] == [0, 5, 20, 40]
    losses = [trainer.outputs(state, TOKENS, 200).losses.mean() for state in states]
    np.testing.assert_allclose(losses[0], np.log(V), atol=0.2)
    assert losses[-1] < 0.8 and losses[-1] < losses[1]
    # Other moments, the same run.
    again = list(trainer.train(RECIPE, 3, []))[-1]
    np.testing.assert_allclose(trainer.head(again), trainer.head(states[-1]), atol=1e-5)
    other = list(trainer.train(RECIPE, 4, []))[-1]
    assert np.abs(trainer.head(other) - trainer.head(again)).max() > 1e-2


def test_weight_decays_share_a_program(trainer):
    list(trainer.train(RECIPE, 0, []))
    traced = _advanced._cache_size()
    heavy = list(trainer.train(replaced(weight_decay=0.3, learning_rate=0.1), 0, []))[-1]
    light = list(trainer.train(replaced(weight_decay=0.0, learning_rate=0.1), 0, []))[-1]
    assert _advanced._cache_size() == traced
    assert np.sum(trainer.head(heavy) ** 2) < 0.5 * np.sum(trainer.head(light) ** 2)


def test_a_run_that_breaks_down_says_so(trainer):
    *_, last = trainer.train(replaced(learning_rate=1e30), 0, [1, 2, 39])
    assert last.status == "broke down" and int(last.step) < 40


def test_outputs_lie_evenly_over_the_text(trainer):
    state = trainer.start(0)
    text = np.arange(7 * 13, dtype=np.int32) % V
    made = trainer.outputs(state, text, 10**6)
    assert made.features.shape == (90, 8)
    np.testing.assert_array_equal(made.following, text[1:91])
    np.testing.assert_array_equal(made.previous, text[:90])
    assert len(trainer.outputs(state, text, 22).losses) == 20


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("decayed", ["all", "head"])
def test_steps_are_those_of_the_definition(optimiser, decayed):
    recipe = TextRecipe(optimiser, 0.1, 0.2, decayed, momentum=0.5)
    params = {"classifier": jnp.asarray([1.0, -2.0]), "places": jnp.asarray([3.0])}
    slopes = {"classifier": jnp.asarray([0.5, 0.25]), "places": jnp.asarray([-1.0])}
    memory = recipe.transform(0.2).init(params)
    for _ in range(2):
        moves, memory = recipe.moves(slopes, memory, params, jnp.asarray(0.2))
    for name, own in slopes.items():
        decay = 0.2 if decayed == "all" or name == "classifier" else 0.0
        if optimiser == "sgd":
            known = 1.5 * (own + decay * params[name])
        else:
            known = np.sign(own) + decay * params[name]
        np.testing.assert_allclose(moves[name], known, rtol=1e-5)


def test_the_rate_rises_and_falls_to_nothing():
    recipe = TextRecipe(warmup=0.1)
    steps, total = jnp.arange(100, dtype=jnp.int32), jnp.asarray(100, jnp.int32)
    rates = np.asarray(recipe.rate_at(steps, total, jnp.asarray(2.0, jnp.float32)))
    np.testing.assert_allclose(rates[[0, 4]], [0.2, 1.0], rtol=1e-5)
    assert rates.argmax() == 9 and (np.diff(rates[9:]) < 0).all() and rates[-1] < 1e-6


def test_measures_are_those_of_the_head_and_of_the_features(trainer):
    state = list(trainer.train(RECIPE, 0, []))[-1]
    text = Text(TOKENS, TOKENS[:60], tuple("abcdefg"), np.bincount(TOKENS), 1, "")
    contexts = context_rows(TOKENS, V, 3)
    rare = np.arange(V) >= 5
    look = Looked(text, contexts, np.repeat([0, 1], [3, 4]), rare, 0.02, 400)
    found = measure_text(trainer, state, look)
    head = trainer.head(state).astype(np.float64)
    head -= head.mean(axis=0)
    np.testing.assert_allclose(found.norms, np.linalg.norm(head, axis=1))
    units = head / found.norms[:, None]
    cosines = units @ units.T
    np.testing.assert_allclose(found.numbers["rare_cosine"], cosines[5, 6], atol=1e-6)
    inside = cosines[:3, :3][~np.eye(3, dtype=bool)].mean()
    np.testing.assert_allclose(found.binned.cosines[0], inside, atol=1e-6)
    made = trainer.outputs(state, TOKENS, 400)
    squares = np.sum(made.features**2, axis=1)
    means = [squares[made.following == token].mean() for token in range(V)]
    np.testing.assert_allclose(found.numbers["feature_energy"], np.mean(means), rtol=1e-5)
    gain, offset = trainer.gain(state)
    balance = np.sum(head**2) / (np.sum(gain**2) + np.sum(offset**2))
    np.testing.assert_allclose(found.numbers["balance"], balance, rtol=1e-5)
    assert found.numbers["train_rare_accuracy"] == np.mean(made.right[made.following >= 5])


def test_a_tied_head_is_the_embedding():
    tied = TextTrainer(partial(build, tied=True), TOKENS, replaced(optimiser="adamw"))
    *_, state = tied.train(replaced(optimiser="adamw", learning_rate=0.01), 0, [])
    np.testing.assert_array_equal(tied.head(state), state.params["embedding"][...])
    assert jax.tree.all(jax.tree.map(lambda x: bool(jnp.isfinite(x).all()), state.params))


def test_bad_arguments_are_named(trainer):
    for changes in (
        {"optimiser": "adam"},
        {"decayed": "none"},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"momentum": 1.0},
        {"warmup": 1.0},
        {"steps": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(changes))):
            replaced(**changes)
    with pytest.raises(ValueError, match="tokens"):
        TextTrainer(build, TOKENS[:6], RECIPE)
    with pytest.raises(ValueError, match="tokens"):
        trainer.outputs(trainer.start(0), TOKENS[:5], 100)
    with pytest.raises(ValueError, match="batch"):
        next(trainer.train(replaced(batch=4), 0, []))
