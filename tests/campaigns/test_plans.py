"""The trainings of a study: their subsets, and what tells one from another."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from nc_jax.campaigns import (
    Plan,
    Splits,
    TrainingOptions,
    balanced_pixels,
    balanced_training,
    check_majority,
    converging_training,
    cured_plans,
    majority_size_of,
    mean_energy,
    optimisers_of,
    recipe_of,
    step_training,
    strengths_of,
    train_plans,
    with_states,
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


@dataclasses.dataclass(frozen=True)
class Converging(TrainingOptions):
    """Options of runs that are compared with stationary points."""

    labels: str = "random"
    decayed: str = "effective"


def test_runs_to_stationary_points_have_their_labels_and_decay():
    options = Converging(networks=("mlp",), epochs=1)
    chosen = (3, 4, 0.01, 5)
    random = converging_training(options, PLACE, LABELS, 12, chosen)
    assert random.run.recipe.decayed == "effective" and "large_classes" in random.about
    first = dataclasses.replace(options, labels="first", decayed="all")
    plain = converging_training(first, PLACE, LABELS, 12, chosen)
    expected = step_training(first, PLACE, LABELS, 12, chosen)
    np.testing.assert_array_equal(plain.subset, expected.subset)
    assert plain.run.recipe.decayed == "all" and plain.about == expected.about


def test_energy_of_normalised_images():
    images = ImageData(np.full((4, 2, 2, 1), 255, np.uint8), np.arange(4))
    images.images[3] = 0
    known = find_data_set("digits")
    white, black = ((x - known.mean[0]) / known.deviation[0] for x in (1.0, 0.0))
    found = mean_energy(images, "digits", np.array([0, 3]))
    np.testing.assert_allclose(found, 2 * (white**2 + black**2), rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Options of a data set with equal classes."""

    data: str = "digits"
    data_dir: None = None
    num_classes: int = 3
    per_class: int = 5
    seed: int = 0


def test_pixels_of_equal_classes():
    inputs, labels = balanced_pixels(Pixels())
    assert inputs.shape == (15, 64) and np.bincount(labels).tolist() == [5] * 3
    for name, value in (("num_classes", 11), ("per_class", 10**4)):
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be at most"):
            balanced_pixels(dataclasses.replace(Pixels(), **{name: value}))


def test_every_cure_is_trained_with_its_strengths_and_the_designed_one():
    plain = step_training(OPTIONS, PLACE, LABELS, 12, (3, 4, 0.01, 5))
    plain = dataclasses.replace(plain, about={**plain.about, "cure": "none", "strength": 0.0})
    grids = strengths_of(["class-weights:0.5,1", "focal:2"])
    assert grids == {"class-weights": [0.5, 1.0], "focal": [2.0]}
    design = {"data": "digits", "network": "mlp", "ratio": 4, "weight_decay": 0.01}
    designs = [design | {"cure": "focal", "designed": d} for d in (0.0, 1.5)]
    designs.append(design | {"cure": "focal", "designed": 9.0, "ratio": 5})
    plans = cured_plans([plain], {"digits": LABELS}, grids, pd.DataFrame(designs))
    # Class weights change the loss of no other class, so they share a plan with the plain runs.
    found = [[(t.about["cure"], t.about["strength"]) for t in plan.trainings] for plan in plans]
    weights = [("none", 0.0), ("class-weights", 0.5), ("class-weights", 1.0)]
    assert found == [weights, [("focal", 1.5), ("focal", 2.0)]]


def test_optimisers_are_read_from_their_option():
    assert optimisers_of(["sgd:0.1", "adamw:0"]) == [("sgd", 0.1), ("adamw", 0.0)]
    for bad in ("0.1", "sgd:x", "sgd:-1"):
        with pytest.raises(ValueError, match="--weight-decays must be"):
            optimisers_of([bad])
    with pytest.raises(ValueError, match="--weight-decays must be distinct"):
        optimisers_of(["sgd:0.1", "sgd:1e-1"])


def test_runs_have_a_state():
    row = {"status": "trained", "loss": 0.1, "train_accuracy_majority": 1.0, "stationarity": 0.1}
    row |= {"least_minority_accuracy": 1.0, "minority_cosine": 0.99}
    table = with_states(pd.DataFrame([row, row | {"stationarity": 1.0, "minority_cosine": 0.0}]))
    assert table["state"].tolist() == ["collapsed", "separated"]
    assert table["converged"].tolist() == [True, False]
    broken = {"status": "broke down", "loss": np.nan, "train_accuracy_majority": np.nan}
    table = with_states(pd.DataFrame([broken]), "balance")
    assert table["state"].tolist() == ["broken"] and table["balance"].isna().all()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: strengths_of(["magic:1"]), "--cures must be distinct"),
        (lambda: strengths_of(["focal:1", "focal:2"]), "--cures must be distinct"),
        (lambda: strengths_of(["focal:x"]), "positive strengths"),
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
