"""Losses whose numbers differ from class to class: certified, grouped, differentiable."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from tests.oracles import Rows, clarabel_rows

seeds = st.integers(0, 10**6)


def ones(classes):
    return {
        "weights": np.ones(classes),
        "scales": np.ones(classes),
        "shifts": np.zeros((classes, classes)),
        "targets": np.eye(classes),
    }


def random_loss(kind, rng, classes):
    """A loss with random numbers, some equal, and the rows that define it."""
    parts = ones(classes)
    numbers = rng.normal(size=classes)
    if kind == "offsets":
        parts["shifts"] = np.tile(numbers, (classes, 1))
        return nc.VectorScaling(numbers), parts
    if kind == "vector-scaling":
        parts["scales"] = np.exp(0.3 * rng.normal(size=classes))
        parts["shifts"] = np.tile(numbers, (classes, 1))
        return nc.VectorScaling(numbers, parts["scales"]), parts
    if kind == "margins":
        margins = np.abs(numbers)
        parts["shifts"] = margins[:, None] * (1 - np.eye(classes))
        return nc.LabelMargins(margins), parts
    if kind == "smoothing":
        epsilon = rng.uniform(0.02, 0.4)
        parts["targets"] = (1 - epsilon) * np.eye(classes) + epsilon / classes
        return nc.LabelSmoothing(epsilon), parts
    parts["weights"] = np.exp(numbers)
    return nc.ClassWeights(parts["weights"]), parts


KINDS = ("offsets", "vector-scaling", "margins", "smoothing", "weights")


def random_sizes(rng, classes, largest_ratio=100):
    return np.exp(rng.uniform(0, np.log(largest_ratio), classes))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(seed=seeds)
def test_layer_peeled_equals_an_independent_solver(kind, seed):
    rng, classes = np.random.default_rng(seed), 5
    sizes = random_sizes(rng, classes)
    loss, parts = random_loss(kind, rng, classes)
    budget = np.exp(rng.uniform(np.log(0.2), np.log(6)))
    model = nc.LayerPeeled(sizes, budget, budget, loss=loss)
    solution = nc.solve(model)
    parts["weights"] = parts["weights"] * sizes / sizes.sum()
    expected = clarabel_rows(Rows(**parts), radius=classes * budget).objective
    assert solution.status == nc.Status.CONVERGED
    assert expected >= solution.objective - solution.gap - 1e-12
    np.testing.assert_allclose(solution.objective, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("bias", [0.0, 0.02])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2)
@given(seed=seeds)
def test_unconstrained_features_equal_an_independent_solver(kind, bias, seed):
    rng, classes = np.random.default_rng(seed), 4
    sizes = random_sizes(rng, classes)
    loss, parts = random_loss(kind, rng, classes)
    penalty = np.sqrt(sizes.max()) / sizes.sum() * np.exp(rng.uniform(-4, -0.5))
    model = nc.UnconstrainedFeatures(sizes, penalty, penalty, bias, loss=loss)
    solution = nc.solve(model)
    parts["weights"] = parts["weights"] * sizes / sizes.sum()
    root = 1 / np.sqrt(sizes)
    expected = clarabel_rows(Rows(**parts), None, root, penalty, bias).objective
    assert solution.status == nc.Status.CONVERGED
    assert expected >= solution.objective - solution.gap - 1e-12
    np.testing.assert_allclose(solution.objective, expected, rtol=1e-7, atol=1e-8)


def patterned_loss(kind, rng):
    """Numbers of six classes of which the first two, and the fourth and fifth, are alike."""
    numbers = rng.normal(size=4)[np.asarray([0, 0, 1, 2, 2, 3])]
    return {
        "offsets": lambda: nc.VectorScaling(numbers),
        "vector-scaling": lambda: nc.VectorScaling(numbers, np.exp(numbers / 4)),
        "margins": lambda: nc.LabelMargins(np.abs(numbers)),
        "smoothing": lambda: nc.LabelSmoothing(0.1),
        "weights": lambda: nc.ClassWeights(np.exp(numbers)),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2)
@given(seed=seeds)
def test_grouping_changes_no_optimum(kind, seed):
    """Four numbers for six classes, or every class by itself; two solvers, and a gap each."""
    rng = np.random.default_rng(seed)
    sizes = np.asarray([9.0, 9.0, 9.0, 2.0, 2.0, 1.0]) * rng.uniform(0.5, 5)
    loss = patterned_loss(kind, rng)
    grouped = nc.LayerPeeled(sizes, 2.0, 2.0, loss=loss)
    single = nc.ClassSizes(jnp.asarray(sizes), tuple(range(6)))
    apart = nc.LayerPeeled(single, 2.0, 2.0, loss=loss)
    assert grouped.sizes.num_groups == (3 if kind == "smoothing" else 4)
    first, second = nc.solve(grouped), nc.solve(apart, nc.FactoredQuasiNewton())
    np.testing.assert_allclose(first.objective, second.objective, atol=3e-9)
    np.testing.assert_allclose(first.logits, second.logits, atol=2e-4)


def test_classes_are_alike_only_if_all_their_numbers_are():
    sizes = [5.0, 5.0, 5.0, 1.0, 1.0]
    model = nc.LayerPeeled(sizes, loss=nc.VectorScaling([0, 0, 1, 0, 0], [1, 2, 1, 1, 1]))
    assert model.sizes.membership == (0, 1, 2, 3, 3)
    np.testing.assert_array_equal(model.sizes.class_sizes, sizes)
    model = nc.LayerPeeled(sizes, class_weights=[1, 1, 1, 2, 3])
    assert model.sizes.membership == (0, 0, 0, 1, 2)


@settings(max_examples=5)
@given(seed=seeds)
def test_weights_are_sizes(seed):
    """Only ω_k n_k enters the loss of a Layer-Peeled Model (Fang et al. 2021, Prop. 1)."""
    rng = np.random.default_rng(seed)
    sizes, weights = rng.uniform(1, 50, 4), np.exp(rng.normal(size=4))
    weighted = nc.solve(nc.LayerPeeled(sizes, 1.5, 1.5, class_weights=weights))
    folded = nc.solve(nc.LayerPeeled(sizes * weights, 1.5, 1.5))
    total = weights @ sizes / sizes.sum()
    np.testing.assert_allclose(weighted.objective, total * folded.objective, rtol=1e-8)
    np.testing.assert_allclose(weighted.logits, folded.logits, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_without_effect_is_cross_entropy(kind):
    sizes = [20.0, 20.0, 3.0, 1.0]
    neutral = {
        "offsets": nc.VectorScaling(np.full(4, 0.7)),
        "vector-scaling": nc.VectorScaling(np.zeros(4), np.ones(4)),
        "margins": nc.LabelMargins(np.zeros(4)),
        "smoothing": nc.LabelSmoothing(0.0),
        "weights": nc.ClassWeights(np.ones(4)),
    }[kind]
    plain = nc.solve(nc.LayerPeeled(sizes, 2.0, 2.0))
    same = nc.solve(nc.LayerPeeled(sizes, 2.0, 2.0, loss=neutral))
    np.testing.assert_allclose(same.objective, plain.objective, rtol=1e-9)
    np.testing.assert_allclose(same.logits, plain.logits, atol=1e-6)


def numbers_to_losses(sizes):
    """Losses as functions of one traced vector."""
    return {
        "offsets": lambda v: nc.VectorScaling(v),
        "scales": lambda v: nc.VectorScaling(scales=jnp.exp(v)),
        "margins": lambda v: nc.LabelMargins(jnp.abs(v)),
        "weights": lambda v: nc.ClassWeights(jnp.exp(v)),
        "smoothing": lambda v: nc.LabelSmoothing(0.1 + 0.01 * v[0]),
        "tau": lambda v: nc.logit_adjustment(sizes, v[0]),
        "gamma": lambda v: nc.class_temperatures(sizes, 0.2 + 0.1 * v[0]),
    }


@pytest.mark.parametrize(
    "name", ["offsets", "scales", "margins", "weights", "smoothing", "tau", "gamma"]
)
def test_gradients_through_solve_are_those_of_differences(name):
    sizes = jnp.asarray([40.0, 9.0, 1.0])
    loss_of = numbers_to_losses(nc.class_sizes(sizes))[name]

    # One program for values and slopes: each takes seconds to compile.
    @jax.jit
    @jax.value_and_grad
    def objective(v):
        return nc.solve(nc.UnconstrainedFeatures(sizes, 0.01, 0.01, loss=loss_of(v))).objective

    at = np.asarray([0.3, -0.2, 0.5])
    slope, step = objective(at)[1], 1e-4
    moved = [
        (objective(at + step * e)[0] - objective(at - step * e)[0]) / (2 * step) for e in np.eye(3)
    ]
    np.testing.assert_allclose(slope, moved, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("solver", "step", "accuracy"),
    # Logits of the quasi-Newton solver are as exact as the root of rounding allows.
    [(nc.ReducedInteriorPoint(), 1e-5, 1e-6), (nc.FactoredQuasiNewton(), 1e-3, 1e-4)],
)
def test_gradients_of_the_geometry_are_those_of_differences(solver, step, accuracy):
    """Of cosines and lengths at an optimum of which one group has collapsed."""
    sizes = nc.class_sizes([40.0, 40.0, 9.0, 1.0, 1.0])

    @jax.jit
    @jax.value_and_grad
    def geometry(tau):
        loss = nc.logit_adjustment(sizes, tau)
        solution = nc.solve(nc.UnconstrainedFeatures(sizes, 0.01, 0.01, loss=loss), solver)
        return solution.between_cosines[0, 2] + solution.classifier_norms[1]

    differences = (geometry(0.7 + step)[0] - geometry(0.7 - step)[0]) / (2 * step)
    np.testing.assert_allclose(geometry(0.7)[1], differences, rtol=accuracy)


def test_batches_over_a_losss_numbers_compile_once():
    sizes = nc.two_groups(3, 2, 20.0)
    taus = jnp.linspace(0.0, 1.5, 5)
    batch = nc.LayerPeeled(sizes, 2.0, 2.0, loss=nc.logit_adjustment(sizes, taus))
    assert batch.batch_shape == (5,) and batch.sizes.num_groups == 2
    together = nc.solve(batch)
    chex.assert_shape(together.objective, (5,))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def one(tau):
        return nc.solve(nc.LayerPeeled(sizes, 2.0, 2.0, loss=nc.logit_adjustment(sizes, tau)))

    for tau, objective in zip(taus, together.objective, strict=True):
        np.testing.assert_allclose(one(tau).objective, objective, atol=1e-9)
    vectors = np.asarray([[0, 0, 0, 1, 1], [0, 0, 0, 2, 3.0]])
    many = nc.LayerPeeled(sizes, 2.0, 2.0, loss=nc.VectorScaling(vectors))
    assert many.sizes.membership == (0, 0, 0, 1, 2)
    alone = nc.solve(nc.LayerPeeled(sizes, 2.0, 2.0, loss=nc.VectorScaling(vectors[1])))
    np.testing.assert_allclose(nc.solve(many).objective[1], alone.objective, atol=1e-9)


@pytest.mark.parametrize("rows, outputs", [(5, 3), (3, 4)])
@settings(max_examples=3)
@given(seed=seeds)
def test_soft_targets_equal_an_independent_solver(rows, outputs, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(1, 20, rows)
    targets = rng.dirichlet(np.ones(outputs), rows)
    penalty = 0.1 * np.sqrt(sizes.max()) / sizes.sum()
    loss = nc.SoftTargets(targets)
    parts = Rows(
        sizes / sizes.sum(), np.ones(outputs), np.zeros((rows, outputs)), targets / targets.sum()
    )._replace(targets=targets)
    free = nc.solve(nc.UnconstrainedFeatures(sizes, penalty, penalty, 0.05, loss=loss))
    expected = clarabel_rows(parts, None, 1 / np.sqrt(sizes), penalty, 0.05).objective
    assert free.gap < 1e-8
    np.testing.assert_allclose(free.objective, expected, rtol=1e-7)
    chex.assert_shape(free.logits, (rows, outputs))
    peeled = nc.solve(nc.LayerPeeled(sizes, 0.5, 0.5, loss=loss))
    expected = clarabel_rows(parts, radius=0.5 * np.sqrt(rows * outputs)).objective
    assert peeled.gap < 1e-8
    np.testing.assert_allclose(peeled.objective, expected, rtol=1e-7)


def test_soft_targets_in_single_precision():
    loss = nc.SoftTargets(np.asarray([[0.9, 0.1], [0.2, 0.8]], np.float32))
    sizes = np.asarray([3.0, 1.0], np.float32)
    for model in (
        nc.LayerPeeled(sizes, loss=loss),
        nc.UnconstrainedFeatures(sizes, np.float32(0.1), np.float32(0.1), loss=loss),
    ):
        solution = nc.solve(model)
        chex.assert_type([solution.objective, solution.gap], jnp.float32)
        assert solution.gap < 1e-3


def test_soft_targets_of_smoothed_labels_are_label_smoothing():
    sizes = [30.0, 10.0, 2.0]
    smoothed = nc.solve(nc.LayerPeeled(sizes, 1.0, 1.0, loss=nc.LabelSmoothing(0.2)))
    targets = 0.8 * np.eye(3) + 0.2 / 3
    soft = nc.solve(nc.LayerPeeled(sizes, 1.0, 1.0, loss=nc.SoftTargets(targets)))
    np.testing.assert_allclose(soft.objective, smoothed.objective, rtol=1e-8)


BAD = {
    "offsets": lambda: nc.VectorScaling([0.0, np.nan, 1.0]),
    "tau": lambda: nc.logit_adjustment([3.0, 2.0, 1.0], np.nan),
    "scales": lambda: nc.VectorScaling(scales=[1.0, 0.0, 1.0]),
    "margins": lambda: nc.LabelMargins([0.1, -0.2, 0.0]),
    "epsilon": lambda: nc.LabelSmoothing(1.0),
    "gamma": lambda: nc.Focal(-1.0),
    "class_weights": lambda: nc.LayerPeeled([3.0, 2.0, 1.0], class_weights=[1.0, -1.0, 1.0]),
    "class-dependent numbers": lambda: nc.LayerPeeled([3.0, 2.0], class_weights=[1.0, 1.0, 1.0]),
    "targets": lambda: nc.SoftTargets([[0.5, 0.6], [0.5, 0.5]]),
    "row of targets": lambda: nc.LayerPeeled([3.0, 2.0, 1.0], loss=nc.SoftTargets(np.eye(2))),
    "offsets or scales": lambda: nc.VectorScaling(),
    "same number": lambda: nc.VectorScaling([0.0, 1.0], [1.0, 1.0, 1.0]),
    "vector": lambda: nc.VectorScaling(0.3),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_numbers_are_named(name):
    with pytest.raises(ValueError, match=name):
        BAD[name]()
