"""The trainings of a study: their subsets, and what tells one from another."""

import dataclasses

import numpy as np
import pytest

from nc_jax.campaigns import (
    Plan,
    Splits,
    TrainingOptions,
    balanced_training,
    check_majority,
    majority_size_of,
    recipe_of,
    step_training,
    train_plans,
)
from nc_jax.datasets import GivenImages, ImageData, find_data_set, load_images

PLACE = ("digits", "mlp")
LABELS = np.tile(np.arange(10), 12)
OPTIONS = TrainingOptions(networks=("mlp",), width=0.02, epochs=1, batch=10, measures=1)


def test_classes_in_two_sizes():
    training = step_training(OPTIONS, PLACE, LABELS, 12, (3, 4, 0.01, 5))
    assert np.bincount(LABELS[training.subset]).tolist() == [12] * 3 + [3] * 7
    assert training.minority == tuple(range(3, 10)) and training.run.seed == 5
    assert training.about["minority_size"] == 3 and training.about["majority_size"] == 12
    assert training.run.recipe.weight_decay == training.about["weight_decay"] == 0.01


def test_classes_of_one_size():
    recipe = recipe_of(OPTIONS, 0.5)
    own, whole, other = (
        balanced_training(PLACE, LABELS, size, recipe, seed, {"head": "bias"})
        for size, seed in ((4, 0), (None, 0), (4, 1))
    )
    assert np.bincount(LABELS[own.subset]).tolist() == [4] * 10 and own.about["head"] == "bias"
    assert len(whole.subset) == len(LABELS) and whole.about["per_class"] == 12
    assert sorted(own.subset) != sorted(other.subset) and own.about["weight_decay"] == 0.5


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: majority_size_of(13, "--ratios", 1, "digits", LABELS), "--majority-size"),
        (lambda: majority_size_of(0, "--ratios", 1, "digits", LABELS), "--majority-size"),
        (
            lambda: majority_size_of(None, "--ratios", 13, "digits", LABELS),
            "--ratios must be at most n_A",
        ),
        (lambda: check_majority(OPTIONS, (3, 9)), "--majority"),
        (lambda: check_majority(OPTIONS, (4,), 5), "--majority"),
        (lambda: balanced_training(PLACE, LABELS, 13, recipe_of(OPTIONS, 0), 0, {}), "--per-class"),
    ],
)
def test_sizes_that_make_no_sense_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_other_pixels_under_the_same_name_are_trained_anew(tmp_path):
    digits, known = load_images("digits"), find_data_set("digits")
    given = GivenImages(digits, digits)
    training = balanced_training(PLACE, digits.labels, 2, recipe_of(OPTIONS, 0.01), 0, {})
    options, plan = dataclasses.replace(OPTIONS, out=tmp_path), Plan(*PLACE, [training])
    losses = []
    for images, own in (
        (digits.images, known),
        (255 - digits.images, known),
        (digits.images, known),
        # The same pixels, normalised by other numbers.
        (digits.images, given),
    ):
        split = ImageData(images, digits.labels)
        splits = {"digits": Splits(split, split, own)}
        losses.append(train_plans(options, splits, [plan])["loss"].item())
    assert losses[0] == losses[2] and len(set(losses)) == 3
    assert len(list((tmp_path / "runs").glob("*/table.parquet"))) == 3
