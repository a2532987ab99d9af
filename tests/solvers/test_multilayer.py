"""The multilayer model: theorems of Wang, Gai, Zhang (2024), scipy, limits, certificates."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import nc_jax as nc
from nc_jax.datasets import gaussian_classes
from nc_jax.metrics import accumulate_moments, class_moments, feedforward_metrics

seeds = st.integers(0, 10**6)
SIZE, COUNT, WIDTH = 3, 4, 5


def problem(seed, size=SIZE, count=COUNT, width=WIDTH, **options):
    """Gaussian classes of any spread and scale; penalties on both sides of the certificate."""
    rng = np.random.default_rng(seed)
    inputs, labels = gaussian_classes(size, count, width, rng.uniform(0.1, 1.5), seed)
    inputs = inputs * np.exp(rng.uniform(-1, 2))
    lambda_w, lambda_h = np.exp(rng.uniform(np.log(1e-3), np.log([1e-1, 10])))
    given = {"lambda_w": lambda_w, "lambda_h": lambda_h} | options
    return nc.MultilayerUnconstrainedFeatures(inputs, labels, **given)


def best_features(model, weights):
    """H = (X + Y W/λ_H)(I + WᵀW/λ_H)⁻¹, rows are samples: the minimiser for a fixed W."""
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    price = float(model.lambda_h)
    right = inputs + np.eye(model.num_classes)[labels] @ weights / price
    return right @ np.linalg.inv(np.eye(weights.shape[1]) + weights.T @ weights / price)


def scipy_joint(model, restarts, seed=0):
    """Best of several L-BFGS-B runs over W and H together, in NumPy throughout."""
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    count, width = inputs.shape
    size = model.num_classes
    decay, price = float(model.lambda_w), float(model.lambda_h)
    own = np.eye(size)[labels]

    def cost(point):
        weights = point[: size * width].reshape(size, width)
        features = point[size * width :].reshape(inputs.shape)
        logits, moved = features @ weights.T, features - inputs
        if isinstance(model.loss, nc.MeanSquaredError):
            slopes = logits - own
            losses = 0.5 * np.sum(slopes**2)
        else:
            shifted = logits - logits.max(axis=1, keepdims=True)
            total = np.exp(shifted).sum(axis=1, keepdims=True)
            losses = np.sum(np.log(total)) - np.sum(shifted * own)
            slopes = np.exp(shifted) / total - own
        value = (losses + 0.5 * price * np.sum(moved**2)) / count + 0.5 * decay * np.sum(weights**2)
        by_weights = slopes.T @ features / count + decay * weights
        by_features = (slopes @ weights + price * moved) / count
        return value, np.concatenate([by_weights.ravel(), by_features.ravel()])

    rng = np.random.default_rng(seed)
    options = {"maxiter": 3000, "maxfun": 10_000, "gtol": 1e-10, "ftol": 1e-13}
    starts = [rng.normal(size=size * width + inputs.size) for _ in range(restarts)]
    runs = [minimize(cost, x, jac=True, method="L-BFGS-B", options=options) for x in starts]
    return min(run.fun for run in runs)


@jax.jit
def joint_and_eliminated(model, weights, features):
    joint = jax.value_and_grad(model.reduced_cost, (0, 1))
    return joint(weights, features), jax.value_and_grad(model.eliminated_cost)(weights)


@given(seed=seeds)
def test_elimination_keeps_value_and_gradient(seed):
    model = problem(seed)
    weights = np.random.default_rng(seed).normal(size=(SIZE, WIDTH))
    features = best_features(model, weights)
    joint, (reduced, gradient) = joint_and_eliminated(model, weights, features)
    value, (by_weights, by_features) = joint
    np.testing.assert_allclose(reduced, value, rtol=1e-11)
    np.testing.assert_allclose(gradient, by_weights, atol=1e-10 * np.abs(by_weights).max())
    assert np.abs(by_features).max() < 1e-11 * max(1, np.abs(features).max())


@settings(max_examples=3)
@given(seed=seeds)
def test_optimum_is_the_best_of_scipy_on_the_joint_problem(seed):
    model = problem(seed)
    solution = nc.solve(model)
    best = scipy_joint(model, restarts=4, seed=seed)
    assert float(solution.objective) <= best * (1 + 1e-9)
    assert float(solution.objective) >= best * (1 - 1e-4)
    np.testing.assert_allclose(
        model.reduced_cost(solution.classifiers, solution.sample_features),
        solution.objective,
        rtol=1e-11,
    )


@settings(max_examples=20)
@given(seed=seeds)
def test_identities_hold_at_the_optimum(seed):
    model = problem(seed)
    solution = nc.solve(model)
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    weights, features = np.asarray(solution.classifiers), np.asarray(solution.sample_features)
    price = float(model.lambda_h)
    contraction = np.linalg.inv(np.eye(WIDTH) + weights.T @ weights / price)
    scale = np.abs(inputs).max()
    means = np.stack([inputs[labels == k].mean(0) for k in range(SIZE)])
    centres = np.stack([features[labels == k].mean(0) for k in range(SIZE)])
    np.testing.assert_allclose(centres, (means + weights / price) @ contraction, atol=1e-8 * scale)
    inside = (inputs - means[labels]) @ contraction
    np.testing.assert_allclose(features - centres[labels], inside, atol=1e-8 * scale)
    np.testing.assert_allclose(solution.features, centres, atol=1e-8 * scale)
    # Ridge regression of the labels on the features gives the classifiers back.
    gram = features.T @ features / len(labels) + float(model.lambda_w) * np.eye(WIDTH)
    ridge = np.eye(SIZE)[labels].T @ features / len(labels) @ np.linalg.inv(gram)
    np.testing.assert_allclose(weights, ridge, atol=1e-8 * max(1, np.abs(weights).max()))


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_all_layers_free_end_on_the_line_at_equal_steps(depth):
    """Theorem 3, found rather than assumed."""
    model = problem(3, num_layers=depth)
    full = nc.solve(model, nc.LayerwiseMultiStart(reduced=False))
    reduced = nc.solve(model)
    np.testing.assert_allclose(full.objective, reduced.objective, rtol=1e-9)
    assert full.layers.shape == (depth, SIZE * COUNT, WIDTH)
    inputs, last = np.asarray(model.input_samples[0]), np.asarray(full.sample_features)
    for layer, features in enumerate(full.layer_features()):
        on_line = inputs + layer / depth * (last - inputs)
        np.testing.assert_allclose(features, on_line, atol=1e-5 * np.abs(inputs).max())
    np.testing.assert_allclose(
        model.cost(full.classifiers, full.layers), full.objective, rtol=1e-12
    )


def test_unequal_prices_of_layers_act_like_springs_in_series():
    model = problem(4, num_layers=3, layer_scales=np.array([1.0, 4.0, 2.0]))
    np.testing.assert_allclose(model.positions, [0, 4 / 7, 5 / 7, 1], rtol=1e-12)
    full = nc.solve(model, nc.LayerwiseMultiStart(reduced=False))
    np.testing.assert_allclose(full.objective, nc.solve(model).objective, rtol=1e-9)
    inputs, last = np.asarray(model.input_samples[0]), np.asarray(full.sample_features)
    for place, features in zip(model.positions, full.layer_features(), strict=True):
        np.testing.assert_allclose(features, inputs + place * (last - inputs), atol=1e-4)


@settings(max_examples=15)
@given(seed=seeds)
def test_theorem_4(seed):
    """Data that are not collapsed leave features that are not; a high price lowers NC1."""
    prices = np.geomspace(1e-6, 1e6, 13)
    model = problem(seed, lambda_h=prices)
    solution = nc.solve_batch(model)
    inputs, labels = model.input_samples
    data = feedforward_metrics([inputs], labels, SIZE).pfc1[0]
    after = feedforward_metrics(list(solution.sample_features), labels, SIZE).pfc1
    assert (after > 0).all()
    assert (after[-3:] < data).all()
    assert np.isin(solution.status, [nc.Status.CONVERGED, nc.Status.STATIONARY]).all()


def test_a_low_price_gives_the_unconstrained_optimum_and_its_frame():
    inputs, labels = gaussian_classes(4, 10, 6, 0.3, 0)
    free = nc.UnconstrainedFeatures(
        [10.0] * 4, 5e-3, 1e-12 / 40, loss=nc.MeanSquaredError(), dimension=6
    )
    solution = nc.solve(nc.MultilayerUnconstrainedFeatures(inputs, labels, 5e-3, 1e-12))
    np.testing.assert_allclose(solution.objective, nc.solve(free).objective, rtol=5e-3)
    metrics = feedforward_metrics([solution.sample_features], labels, 4)
    assert metrics.pfc1[0] < 1e-4
    assert metrics.pfc2[0] < 1e-3
    assert solution.status == nc.Status.CONVERGED


def test_a_high_price_leaves_the_data_and_ridge_regression():
    model = problem(5, lambda_h=1e9)
    solution = nc.solve(model)
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    np.testing.assert_allclose(solution.sample_features, inputs, atol=1e-6)
    gram = inputs.T @ inputs / len(labels) + float(model.lambda_w) * np.eye(WIDTH)
    ridge = np.eye(SIZE)[labels].T @ inputs / len(labels) @ np.linalg.inv(gram)
    np.testing.assert_allclose(solution.classifiers, ridge, atol=1e-6)
    np.testing.assert_allclose(solution.alignment, 1, atol=1e-12)


@pytest.mark.parametrize("loss", [nc.CrossEntropy(), nc.MeanSquaredError()], ids=["ce", "mse"])
def test_without_data_it_is_the_unconstrained_feature_model(loss):
    labels = np.repeat(np.arange(3), [6, 3, 1])
    model = nc.MultilayerUnconstrainedFeatures(np.zeros((10, 4)), labels, 2e-2, 0.05, loss=loss)
    free = nc.UnconstrainedFeatures([6.0, 3.0, 1.0], 2e-2, 0.05 / 10, loss=loss, dimension=4)
    solution, certified = nc.solve(model), nc.solve(free)
    assert solution.status == certified.status == nc.Status.CONVERGED
    np.testing.assert_allclose(solution.objective, certified.objective, rtol=1e-9)
    np.testing.assert_allclose(solution.logits, certified.logits, atol=1e-3)


@settings(max_examples=15)
@given(seed=seeds)
def test_the_bound_holds_where_the_features_have_more_dimensions(seed):
    """With K more dimensions the relaxation is exact, so its optimum is above every bound."""
    model = problem(seed)
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    padded = np.concatenate([inputs, np.zeros((len(inputs), SIZE))], axis=1)
    wide = nc.solve(
        nc.MultilayerUnconstrainedFeatures(padded, labels, model.lambda_w, model.lambda_h)
    )
    solution = nc.solve(model)
    assert wide.status == nc.Status.CONVERGED
    assert wide.objective <= solution.objective * (1 + 1e-9)
    assert wide.objective >= (solution.objective - solution.gap) * (1 - 1e-9)
    if solution.status == nc.Status.CONVERGED:
        np.testing.assert_allclose(wide.objective, solution.objective, rtol=1e-7)


@settings(max_examples=5)
@given(seed=seeds)
def test_rotation_and_relabelling_change_nothing_else(seed):
    model = problem(seed)
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    order, names = rng.permutation(len(labels)), rng.permutation(SIZE)
    moved = nc.MultilayerUnconstrainedFeatures(
        (inputs @ turn)[order], names[labels][order], model.lambda_w, model.lambda_h
    )
    one, other = nc.solve(model), nc.solve(moved)
    np.testing.assert_allclose(one.objective, other.objective, rtol=1e-10)
    np.testing.assert_allclose(one.alignment, other.alignment, rtol=1e-5)
    before = feedforward_metrics([one.sample_features], labels, SIZE)
    after = feedforward_metrics([other.sample_features], names[labels][order], SIZE)
    np.testing.assert_allclose(before.pfc1, after.pfc1, rtol=1e-4)
    np.testing.assert_allclose(before.pfc2, after.pfc2, atol=1e-4)


def test_cross_entropy_beside_scipy():
    model = problem(6, loss=nc.CrossEntropy())
    solution = nc.solve(model)
    assert float(solution.objective) <= scipy_joint(model, restarts=4) * (1 + 1e-9)
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    weights, features = np.asarray(solution.classifiers), np.asarray(solution.sample_features)
    slopes = np.asarray(jax.nn.softmax(features @ weights.T)) - np.eye(SIZE)[labels]
    # Stationarity: λ_H (h − x) = −Wᵀg and λ_W W = −mean g hᵀ.
    moved = -slopes @ weights / float(model.lambda_h)
    np.testing.assert_allclose(features - inputs, moved, atol=1e-6 * np.abs(inputs).max())
    np.testing.assert_allclose(
        float(model.lambda_w) * weights, -slopes.T @ features / len(labels), atol=1e-6
    )


def test_batches_moments_and_jit_agree_with_one_solve():
    prices = np.geomspace(1e-3, 10, 6).reshape(2, 3)
    model = problem(7, lambda_h=prices)
    batch = nc.solve_batch(model)
    chex.assert_shape(batch.objective, (2, 3))
    chex.assert_shape(batch.classifiers, (2, 3, SIZE, WIDTH))
    inputs, labels = model.input_samples
    halves = [(inputs[:5], labels[:5]), (inputs[5:], labels[5:])]
    streamed = nc.MultilayerUnconstrainedFeatures.from_moments(
        accumulate_moments(halves, SIZE), model.lambda_w, prices
    )
    compiled = jax.jit(nc.solve)(streamed)
    np.testing.assert_allclose(compiled.objective, batch.objective, rtol=1e-10)
    one = nc.solve(problem(7, lambda_h=prices[1, 2]))
    np.testing.assert_allclose(one.objective, batch.objective[1, 2], rtol=1e-10)
    lane = batch.lane((1, 2))
    np.testing.assert_allclose(lane.alignment, one.alignment, rtol=1e-6)
    np.testing.assert_allclose(lane.sample_features, one.sample_features, atol=1e-5)


def test_moments_at_a_position_are_those_of_the_features():
    model = problem(8, num_layers=4)
    solution = nc.solve(model)
    labels = solution.labels
    for place, features in zip(model.positions, solution.layer_features(), strict=True):
        measured = class_moments(features, labels, SIZE, "sample")
        predicted = solution.moments_at(place)
        np.testing.assert_allclose(predicted.means, measured.means, atol=1e-10)
        np.testing.assert_allclose(predicted.scatter, measured.scatter, atol=1e-10)
    inputs, last = np.asarray(model.input_samples[0]), np.asarray(solution.sample_features)
    cosine = np.sum(inputs * last) / np.linalg.norm(inputs) / np.linalg.norm(last)
    np.testing.assert_allclose(solution.alignment, cosine, rtol=1e-10)
    again = solution.features_of(inputs[:3], np.asarray(labels)[:3])
    np.testing.assert_allclose(again, last[:3], atol=1e-12)


def test_single_precision_comes_close():
    model = problem(9)
    inputs, labels = (np.asarray(a) for a in model.input_samples)
    single = nc.MultilayerUnconstrainedFeatures(
        inputs.astype(np.float32),
        labels,
        np.float32(model.lambda_w),
        np.float32(model.lambda_h),
    )
    solution = nc.solve(single)
    assert solution.objective.dtype == jnp.float32
    np.testing.assert_allclose(solution.objective, nc.solve(model).objective, rtol=1e-4)


def test_a_bad_lane_spoils_no_other():
    model = problem(10, lambda_h=np.array([0.1, np.nan, -1.0]))
    solution = nc.solve_batch(model)
    assert list(solution.status[1:]) == [nc.Status.INVALID] * 2
    assert np.isnan(solution.objective[1:]).all()
    one = nc.solve(problem(10, lambda_h=0.1))
    np.testing.assert_allclose(solution.objective[0], one.objective, rtol=1e-10)


def test_descent_takes_the_paper_s_steps():
    model = problem(11)
    key = jax.random.key(0)
    path = nc.GradientDescent(rate=0.05, steps=2, records=2)(model, key)
    assert list(path.iterations) == [0, 1, 2]
    weights, features = path.classifiers[0], path.layers[0, -1]
    slopes = jax.jit(jax.grad(model.reduced_cost, (0, 1)))
    by_weights, by_features = slopes(weights, features)
    np.testing.assert_allclose(path.classifiers[1], weights - 0.05 * by_weights, rtol=1e-12)
    np.testing.assert_allclose(path.features[1], features - 0.05 * by_features, rtol=1e-12)
    last = nc.GradientDescent(rate=0.05, steps=2, records=1)(model, key)
    assert list(last.iterations) == [0, 2]
    np.testing.assert_allclose(last.features[-1], path.features[-1], rtol=1e-12)


def test_descent_over_all_layers_comes_to_the_optimum():
    inputs, labels = gaussian_classes(3, 3, 4, 0.3, 0)
    model = nc.MultilayerUnconstrainedFeatures(inputs, labels, 0.05, 1.0, num_layers=3)
    path = nc.GradientDescent(rate=0.2, steps=20_000, records=10, reduced=False)(model)
    assert path.layers.shape[1:] == (3, 9, 4)
    np.testing.assert_allclose(path.objectives[-1], nc.solve(model).objective, rtol=1e-6)


BAD = {
    "labels": ({"labels": np.array([0, 1, 3])}, ValueError, "labels"),
    "empty class": ({"num_classes": 4}, ValueError, "labels"),
    "one class": ({"num_classes": 1}, ValueError, "num_classes"),
    "inputs": ({"inputs": np.ones(3)}, ValueError, "features|inputs"),
    "nan": ({"inputs": np.full((3, 2), np.nan)}, ValueError, "inputs"),
    "integers": ({"inputs": np.ones((3, 2), int)}, ValueError, "features|inputs"),
    "lambda_w": ({"lambda_w": 0.0}, ValueError, "lambda_w"),
    "lambda_h": ({"lambda_h": -1.0}, ValueError, "lambda_h"),
    "layers": ({"num_layers": 0}, ValueError, "num_layers"),
    "scales": ({"num_layers": 2, "layer_scales": np.ones(3)}, ValueError, "layer_scales"),
    "negative scale": ({"layer_scales": np.array([-1.0])}, ValueError, "layer_scales"),
    "loss": ({"loss": nc.SupervisedContrastive(1.0)}, TypeError, "loss"),
    "axes": (
        {"lambda_w": np.ones(2), "lambda_h": np.ones(3)},
        ValueError,
        "lambda_w.*lambda_h",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_models_name_the_argument(case):
    changes, error, named = BAD[case]
    right = {
        "inputs": np.random.default_rng(0).normal(size=(3, 2)),
        "labels": np.array([0, 1, 2]),
        "lambda_w": 0.1,
        "lambda_h": 0.1,
    }
    with pytest.raises(error, match=named):
        nc.MultilayerUnconstrainedFeatures(**(right | changes))


def test_bad_solver_settings_and_models_without_samples():
    with pytest.raises(ValueError, match="restarts"):
        nc.EliminatedMultiStart(restarts=0)
    with pytest.raises(ValueError, match="MeanSquaredError"):
        nc.solve(problem(0, loss=nc.CrossEntropy()), nc.EliminatedMultiStart())
    moments = class_moments(*problem(0).input_samples, SIZE, "sample")
    bare = nc.MultilayerUnconstrainedFeatures.from_moments(moments, 0.1, 0.1)
    with pytest.raises(ValueError, match="moments"):
        nc.solve(bare, nc.LayerwiseMultiStart())
    with pytest.raises(ValueError, match="moments"):
        nc.solve(bare).sample_features  # noqa: B018
    with pytest.raises(TypeError, match="moments"):
        nc.MultilayerUnconstrainedFeatures.from_moments(None, 0.1, 0.1)
    with pytest.raises(ValueError, match="rate"):
        nc.GradientDescent(rate=0.0)
    with pytest.raises(ValueError, match="single"):
        nc.GradientDescent()(problem(0, lambda_h=np.ones(2)))
