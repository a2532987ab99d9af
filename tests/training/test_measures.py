"""What is measured of a network agrees with what its features say directly."""

import jax
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.datasets import DATA_SETS, choose_subset, load_images
from nc_jax.training import Recipe, Run, Trainer, on_device, train
from nc_jax.training.measures import budgets, measure

RECIPE = Recipe(epochs=4, milestones=(), batch_size=32, learning_rate=0.1)
MINORITY = np.arange(6, 10)


@pytest.fixture(scope="module")
def trained():
    digits, test = load_images("digits"), load_images("digits", "test")
    images = on_device(digits, DATA_SETS["digits"])
    chosen = choose_subset(digits.labels, [20] * 6 + [4] * 4, 0)
    trainer = Trainer("mlp", images, 10, RECIPE, 160, width=1 / 16)
    weights = train(trainer, [Run(chosen, RECIPE)])[0].fetch()
    return trainer, weights, chosen, on_device(test, DATA_SETS["digits"])


def test_rows_agree_with_the_features(trained):
    trainer, weights, chosen, test = trained
    row = measure(trainer, weights, chosen, test, MINORITY)
    logits, features, labels = trainer.outputs(weights, trainer.images, chosen)
    right = np.argmax(logits, 1) == labels
    by_class = np.array([right[labels == k].mean() for k in range(10)])
    np.testing.assert_allclose(row["train_accuracy_majority"], by_class[:6].mean())
    np.testing.assert_allclose(row["train_accuracy_minority"], by_class[6:].mean())
    np.testing.assert_allclose(row["train_accuracy_all"], by_class.mean())
    kernel, _ = trainer.classifier(weights)
    unit = np.asarray(kernel)[6:] / np.linalg.norm(kernel[6:], axis=1, keepdims=True)
    pairs = (unit @ unit.T)[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(row["minority_cosine"], pairs.mean(), atol=1e-5)
    np.testing.assert_allclose(row["budget"] ** 2, row["weight_energy"] * row["feature_energy"])
    held = trainer.outputs(weights, test, np.arange(360))
    assert np.isclose(
        row["test_accuracy_all"],
        np.mean([(held[0].argmax(1) == held[2])[held[2] == k].mean() for k in range(10)]),
    )


def test_budgets_of_a_collapsed_layer_are_its_own():
    """At a Layer-Peeled optimum E_W and E_H are the budgets that it was given."""
    solution = nc.solve(nc.LayerPeeled([3.0] * 4, weight_energy=0.7, feature_energy=4.0))
    labels = np.repeat(np.arange(4), 3)
    found = budgets(np.asarray(solution.classifiers), np.asarray(solution.features)[labels], labels)
    np.testing.assert_allclose(found["weight_energy"], 0.7, rtol=1e-6)
    np.testing.assert_allclose(found["feature_energy"], 4.0, rtol=1e-6)


def test_without_a_minority_and_after_a_breakdown(trained):
    trainer, weights, chosen, test = trained
    row = measure(trainer, weights, chosen, test, [])
    assert "minority_cosine" not in row and np.isnan(row["test_accuracy_minority"])
    broken = jax.tree.map(lambda leaf: leaf * np.nan, weights)
    row = measure(trainer, broken, chosen, test, MINORITY)
    assert row["test_accuracy_all"] == 0 and "nc1_quotient" not in row
