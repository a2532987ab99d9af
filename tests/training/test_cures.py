"""Trainings with a cure: lists, weights and losses by class sizes; losses side by side."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.datasets import DATA_SETS, choose_subset, load_images
from nc_jax.training import (
    RUN_CURES,
    Recipe,
    Run,
    Trainer,
    cured_run,
    on_device,
    repeated_to,
    train,
)

DIGITS = load_images("digits")
SIZES = np.array([9, 3, 1, 9, 9, 3, 3, 9, 1, 9])
RECIPE = Recipe(epochs=3, milestones=(), batch_size=64, learning_rate=0.1)
RUN = Run(choose_subset(DIGITS.labels, SIZES, 0), RECIPE, 0)


def cured(cure, strength, run=RUN):
    return cured_run(run, DIGITS.labels, 10, cure, strength)


@pytest.mark.parametrize("cure", RUN_CURES)
def test_strength_zero_does_nothing(cure):
    run = cured(cure, 0.0)
    logits = jax.random.normal(jax.random.key(0), (20, 10), "float32")
    labels = np.arange(20) % 10
    losses = [np.asarray(own.recipe.loss(logits, labels)) for own in (run, RUN)]
    # An offset of all classes alike would change nothing either.
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_array_equal(run.indices, RUN.indices)
    weights = np.ones(10) if run.class_weights is None else run.class_weights
    np.testing.assert_allclose(weights, 1)


def test_the_rules_are_those_of_the_models():
    sizes = SIZES.astype(float)
    np.testing.assert_allclose(
        cured("class-weights", 0.7).class_weights, nc.size_weights(sizes, 0.7).values
    )
    for cure, loss in (
        ("logit-adjustment", nc.logit_adjustment(sizes, 1.3)),
        ("vector-scaling", nc.vector_scaling(sizes, 1.3)),
        ("margins", nc.size_margins(sizes, 1.3)),
    ):
        own = cured(cure, 1.3).recipe.loss
        assert type(own) is type(loss)
        for one, other in zip(jax.tree.leaves(own), jax.tree.leaves(loss), strict=True):
            np.testing.assert_allclose(one, other)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    power=st.floats(0, 1.5),
    seed=st.integers(0, 99),
)
def test_oversampling_has_the_totals_asked_for(sizes, power, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    run = Run(np.arange(len(labels)), RECIPE, 0)
    shown = cured_run(run, labels, len(sizes), "oversampling", power).indices
    totals = np.round(np.array(sizes) * (max(sizes) / np.array(sizes)) ** power)
    np.testing.assert_array_equal(np.bincount(labels[shown], minlength=len(sizes)), totals)
    times = np.bincount(shown, minlength=len(labels))
    for label in range(len(sizes)):
        assert np.ptp(times[labels == label]) <= 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cure": "magic"}, "cure"),
        ({"strength": -1.0}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"num_classes": 11}, "every class"),
        ({"cure": "label-smoothing", "strength": 1.5}, "epsilon"),
    ],
)
def test_bad_cures_are_named(change, text):
    given = {"num_classes": 10, "cure": "margins", "strength": 1.0} | change
    with pytest.raises(ValueError, match=text):
        cured_run(RUN, DIGITS.labels, **given)


def test_totals_below_what_is_there_are_named():
    with pytest.raises(ValueError, match="totals"):
        repeated_to([0, 1, 2], [0, 0, 1], [1, 1])


def trainer_of(recipe, together):
    images = on_device(DIGITS, DATA_SETS["digits"])
    return Trainer("mlp-norm", images, 10, recipe, len(RUN.indices), 1 / 64, together)


def test_losses_of_one_kind_train_side_by_side():
    other = Run(choose_subset(DIGITS.labels, SIZES[::-1], 1), RECIPE, 1)
    runs = [cured("logit-adjustment", 1.0), cured("logit-adjustment", 2.5, other)]
    both = train(trainer_of(runs[0].recipe, 2), runs)
    for run, end in zip(runs, both, strict=True):
        (alone,) = train(trainer_of(run.recipe, 1), [run])
        np.testing.assert_allclose(end.loss, alone.loss, rtol=1e-4)
    (plain,) = train(trainer_of(RECIPE, 1), [RUN])
    assert abs(plain.loss - both[0].loss) > 1e-3


def test_losses_of_two_kinds_do_not():
    runs = [cured("logit-adjustment", 1.0), cured("focal", 1.0)]
    with pytest.raises(ValueError, match="loss like"):
        train(trainer_of(runs[0].recipe, 2), runs)


def test_a_recipe_needs_a_loss():
    with pytest.raises(TypeError, match="loss"):
        dataclasses.replace(RECIPE, loss="cross-entropy")
