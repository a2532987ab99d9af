"""Penalties from architecture, class sizes and recipe; the state of a run; the league."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import nc_jax as nc
from nc_jax.networks import NETWORKS
from nc_jax.prediction import (
    LEAGUE,
    agreement,
    cosines_of,
    follow_branches,
    has_converged,
    lines_of,
    measure_rest,
    predict_runs,
    state_of,
    surrogate_of,
)
from nc_jax.training import Recipe

SIZES = [40, 40, 4, 4]
RECIPE = Recipe(weight_decay=0.01)


def test_decay_of_normalisation_is_a_price_on_every_sample():
    model = surrogate_of("vgg11", SIZES, RECIPE)
    assert isinstance(model, nc.UnconstrainedFeatures) and model.nonnegative
    assert (model.lambda_w, model.lambda_b) == (0.01, 0.01)
    np.testing.assert_allclose(model.lambda_h, 0.01 / 88)


def test_residual_branches_share_the_price():
    # Three of the last stage: its projection, and a branch of each of two blocks.
    model = surrogate_of("resnet18", SIZES, RECIPE)
    np.testing.assert_allclose(model.lambda_h, 0.01 / (3 * 88))
    assert NETWORKS["dense-resnet"].head.branches == 11


def test_oversampling_counts_every_repetition():
    repeated = surrogate_of("vgg11", SIZES, RECIPE, oversampling=[1, 1, 10, 10])
    plain = surrogate_of("vgg11", [40, 40, 40, 40], RECIPE)
    np.testing.assert_allclose(repeated.sizes.class_sizes, plain.sizes.class_sizes)
    np.testing.assert_allclose(repeated.lambda_h, plain.lambda_h)


def test_a_plain_network_is_a_deep_model():
    model = surrogate_of("mlp", SIZES, RECIPE, input_energy=20.0)
    assert isinstance(model, nc.DeepUnconstrainedFeatures) and model.num_layers == 3
    np.testing.assert_allclose(model.lambda_h, 0.01 / 20)
    assert surrogate_of("mlp-bias-free", SIZES, RECIPE, input_energy=20.0).lambda_b is None


def test_the_constant_and_a_free_bias():
    model = surrogate_of("vgg11", SIZES, RECIPE, constant=1.5, decayed_bias=False)
    np.testing.assert_allclose(model.lambda_h, 1.5 * 0.01 / 88)
    assert model.lambda_b == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"network": "lenet"}, "network"),
        ({"recipe": Recipe(weight_decay=0.0)}, "weight decay"),
        ({"recipe": Recipe(weight_decay=0.1, decayed="kernels")}, "kernels"),
        ({"oversampling": 0.5}, "oversampling"),
        ({"oversampling": [1, 2]}, "oversampling"),
        ({"constant": 0.0}, "constant"),
        ({"class_weights": [1, 2, 3]}, "class_weights"),
        ({"class_weights": [1, 1, 2, -2]}, "class_weights"),
        ({"network": "mlp"}, "input_energy"),
        ({"sizes": [4, 0]}, "sizes"),
    ],
)
def test_bad_arguments_are_named(options, text):
    given = {"network": "vgg11", "sizes": SIZES, "recipe": RECIPE} | options
    with pytest.raises(ValueError, match=text):
        surrogate_of(**given)


def test_rest_is_the_gradient_of_the_regularised_loss():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 5)), rng.integers(0, 3, 30)
    kernel, bias = rng.normal(size=(3, 5)), rng.normal(size=3)
    rest = measure_rest(nc.CrossEntropy(), 0.1, features, labels, kernel, bias)

    def objective(kernel):
        logits = features @ kernel.T + bias
        losses = jax.nn.logsumexp(logits, axis=1) - logits[np.arange(30), labels]
        return jnp.mean(losses) + 0.05 * jnp.sum(kernel**2)

    slope = np.linalg.norm(jax.grad(objective)(jnp.asarray(kernel)))
    np.testing.assert_allclose(rest.stationarity, slope / (0.1 * np.linalg.norm(kernel)), rtol=1e-5)
    np.testing.assert_allclose(rest.balance, 30 * np.sum(kernel**2) / np.sum(features**2))
    assert measure_rest(nc.CrossEntropy(), 0.0, features, labels, kernel, None).stationarity == (
        np.inf
    )


GOOD = {
    "status": "trained",
    "loss": 0.1,
    "train_accuracy_majority": 1.0,
    "least_minority_accuracy": 1.0,
    "minority_cosine": 0.2,
    "stationarity": 0.05,
}


@pytest.mark.parametrize(
    ("changed", "state", "converged"),
    [
        ({}, "separated", True),
        ({"stationarity": 0.5}, "separated", False),
        ({"minority_cosine": 0.99}, "collapsed", True),
        ({"least_minority_accuracy": 0.0}, "unlearnt", True),
        ({"train_accuracy_majority": 0.5}, "broken", False),
        ({"status": "broke down", "loss": np.nan}, "broken", False),
        ({"stationarity": np.nan}, "separated", False),
    ],
)
def test_states(changed, state, converged):
    row = GOOD | changed
    assert state_of(row) == state
    assert has_converged(row) is converged


def run_of(model, majority, seed, **changed):
    """A run whose last layer is a surrogate's optimum, turned in feature space."""
    found = nc.solve(model)
    size = model.sizes.num_classes
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(model.dimension,) * 2))
    weights = np.asarray(found.classifiers) @ turn
    means = np.asarray(found.features) @ turn
    sizes = np.asarray(model.sizes.class_sizes)
    small = nc.metrics.minority_metrics(jnp.asarray(weights), np.arange(majority, size))
    centred = means - means.mean(axis=0)
    squares = sizes @ np.sum(means**2, axis=1)
    row = {
        "data": "digits", "network": "mlp-norm", "majority": majority, "num_classes": size,
        "majority_size": sizes[0], "minority_size": sizes[-1], "ratio": sizes[0] / sizes[-1],
        "weight_decay": float(model.lambda_w), "seed": seed, "input_energy": 1.0,
        "weight_energy": np.mean(np.sum(weights**2, axis=1)),
        "feature_energy": np.mean(np.sum((means - means.mean(axis=0)) ** 2, axis=1)),
        "balance": sizes.sum() * np.sum(weights**2) / squares,
        "minority_cosine": float(small.cosine),
        "classifier_gram": (weights @ weights.T).ravel().tolist(),
        "mean_gram": (centred @ centred.T).ravel().tolist(),
    }  # fmt: skip
    return GOOD | row | {"state": "separated", "converged": True} | changed


def test_the_league_finds_the_model_that_a_run_obeys():
    recipe = Recipe(weight_decay=0.02)
    runs = [
        run_of(surrogate_of("mlp-norm", [20] * 5, recipe), 2, 0),
        run_of(surrogate_of("mlp-norm", [20, 20, 2, 2, 2], recipe), 2, 1),
    ]
    broken = {name: runs[1][name] for name in runs[1] if not name.endswith(("gram", "energy"))}
    broken |= {"seed": 2, "status": "broke down", "minority_cosine": np.nan, "balance": np.nan}
    broken |= {"state": "broken", "converged": False, "input_energy": 1.0}
    table = predict_runs(
        pd.DataFrame([*runs, broken]), ("layer-peeled", "matched", "matched-constant")
    )
    assert len(table) == 9
    for name in ("matched", "matched-constant"):
        own = table[table["surrogate"] == name]
        whole = own[own["state"] == "separated"]
        np.testing.assert_allclose(whole["difference"], 0, atol=1e-5)
        np.testing.assert_allclose(whole["classifier_rms"], 0, atol=1e-4)
        np.testing.assert_allclose(
            whole["predicted_small_norm"], whole["seen_small_norm"], rtol=1e-4
        )
        assert (whole["gap"] < 1e-9).all()
    constant = table.loc[table["surrogate"] == "matched-constant", "constant"]
    np.testing.assert_allclose(constant, 1, rtol=1e-4)
    other = table[(table["surrogate"] == "layer-peeled") & (table["ratio"] > 1)]
    assert abs(other["difference"].iloc[0]) > 0.02
    assert np.isnan(other["predicted_cosine"].iloc[1])
    with pytest.raises(ValueError, match="surrogates"):
        predict_runs(pd.DataFrame(runs), ("unheard-of",))
    assert "matched" in LEAGUE


def test_agreement_forgives_what_does_not_exist():
    gram = np.diag([1.0, 2.0, 0.0])
    angles = cosines_of(gram)
    assert np.isnan(angles[2]).all()
    same = agreement(angles, angles)
    assert same.rms == 0 and np.isnan(same.correlation)


def test_branches_jump_where_the_closed_form_says():
    ratios, decays = np.geomspace(1, 40, 6), [0.02]
    squared = nc.MeanSquaredError()
    branches = follow_branches(2, 2, 50, ratios, decays, 2, squared, "identity", False)
    line = lines_of(branches).iloc[0]
    for name, price in nc.theory.deep_linear_lines(2)._asdict().items():
        known = float(nc.theory.deep_linear_ratio(2, price, 2, 2, 0.02))
        assert line[name] == max(ratio for ratio in ratios if ratio < known)
    down = branches[branches["branch"] == "down"]
    # The unlearnt state stays a minimum however small the imbalance is.
    assert not down["learnt"].any() and (branches["residual"] < 1e-6).all()


def test_rest_counts_repeats_and_class_weights():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(12, 5)), np.arange(12) % 3
    kernel, times = rng.normal(size=(3, 5)), rng.integers(1, 4, 12)
    given = nc.CrossEntropy(), 0.1
    repeated = measure_rest(
        *given, np.repeat(features, times, axis=0), np.repeat(labels, times), kernel, None
    )
    counted = measure_rest(*given, features, labels, kernel, None, times)
    np.testing.assert_allclose(counted, repeated, rtol=1e-5)
    # A class weight is a repeat for the loss, not for the length of the features.
    weighed = measure_rest(*given, features, labels, kernel, None, None, np.array([1.0, 2.0, 3.0]))
    again = measure_rest(*given, features, labels, kernel, None, np.array([1, 2, 3])[labels])
    np.testing.assert_allclose(weighed[:2], again[:2], rtol=1e-5)
    plain = measure_rest(*given, features, labels, kernel, None)
    np.testing.assert_allclose(weighed.balance, plain.balance)
