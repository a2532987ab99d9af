"""Hundreds of groups: bounds from cut gradients, merged sizes, starts from smaller programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.losses import at_classes
from nc_jax.solvers import choose_solver
from nc_jax.solvers.certificates import certify
from nc_jax.solvers.duals import FIRST_CUT, dual_bound
from nc_jax.solvers.multilevel import coarsened
from nc_jax.surrogates.grouped import GroupLogits

SIZES = np.exp(np.random.default_rng(3).uniform(0, 4, 7))
LOSSES = {
    "cross-entropy": nc.CrossEntropy(),
    "mean-squared-error": nc.MeanSquaredError(),
    "centred-squared-error": nc.CentredSquaredError(),
    "logit-adjustment": nc.logit_adjustment(SIZES, 1.2),
    "temperatures": nc.class_temperatures(SIZES, 0.3),
    "margins": nc.size_margins(SIZES, 1.5),
    "label-smoothing": nc.LabelSmoothing(0.2),
    "class-weights": nc.ClassWeights(nc.size_weights(SIZES, 0.6)),
    "weighted-smoothing": nc.ClassWeights(nc.size_weights(SIZES, 0.6), nc.LabelSmoothing(0.1)),
}


@jax.jit
def slope_and_that_of_its_logits(loss, logits, label):
    def slope(z):
        return jax.grad(lambda own: loss(own, label))(z)

    wanted = slope(logits)
    return wanted, slope(loss.at_slope(wanted, label))


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 10**6), label=st.integers(0, 6))
@settings(max_examples=15, deadline=None)
def test_a_loss_finds_the_logits_of_its_slope(name, seed, label):
    logits = 2 * np.random.default_rng(seed).normal(size=7)
    wanted, again = slope_and_that_of_its_logits(LOSSES[name], logits, label)
    np.testing.assert_allclose(again, wanted, atol=1e-12)


@pytest.mark.parametrize("name", ["cross-entropy", "label-smoothing", "margins", "temperatures"])
def test_slopes_of_copies_are_those_of_each(name):
    groups = np.array([0, 1, 1, 1, 2])
    loss = at_classes(LOSSES[name], groups)
    shared = at_classes(LOSSES[name], np.array([0, 1, 2]))
    copies = jnp.asarray([1.0, 3.0, 1.0])
    logits = jnp.asarray([0.3, -0.4, 1.0])
    first = np.array([0, 1, 4])
    slope_at = jax.jit(jax.grad(lambda z: loss(z, 0)))
    slope = slope_at(logits[groups])[first]
    found = jax.jit(lambda slope: shared.at_slope(slope, 0, copies))(slope)
    np.testing.assert_allclose(slope_at(found[groups])[first], slope, atol=1e-12)


MODELS = {
    "layer-peeled": lambda sizes, loss: nc.LayerPeeled(sizes, 2.0, 1.5, loss=loss),
    "unconstrained": lambda sizes, loss: nc.UnconstrainedFeatures(sizes, 0.01, 0.01, loss=loss),
    "biased": lambda sizes, loss: nc.UnconstrainedFeatures(sizes, 0.01, 0.01, 0.02, loss=loss),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    # Each kind and each loss with two of the others.
    [
        ("layer-peeled", "cross-entropy"),
        ("layer-peeled", "mean-squared-error"),
        ("unconstrained", "mean-squared-error"),
        ("unconstrained", "temperatures"),
        ("biased", "temperatures"),
        ("biased", "cross-entropy"),
    ],
)
def test_the_bound_holds_anywhere(kind, name):
    model = MODELS[kind](SIZES, LOSSES[name])
    best = nc.solve(model, nc.ReducedInteriorPoint(tolerance=1e-13))
    rng = np.random.default_rng(0)
    look = jax.jit(lambda point, norm, cut: dual_bound(model, point, norm, cut))
    for length in (1.0, 1e-1, 1e-3):
        way = jnp.asarray(rng.normal(size=(7, 7)))
        moved = best.between + length * way * jnp.linalg.norm(best.between) / 7
        norm = jnp.sum(jnp.linalg.svd(moved, compute_uv=False))
        if kind == "layer-peeled":
            moved, norm = moved * model.nuclear_radius / norm, model.nuclear_radius
        cut = jnp.asarray(FIRST_CUT)
        for _ in range(4):
            value, bound = look(GroupLogits(best.within, moved, best.group_bias), norm, cut)
            assert float(bound.value) <= float(best.objective) + 1e-12 <= float(value) + 2e-12
            cut = bound.cut


@pytest.mark.parametrize("name", ["cross-entropy", "label-smoothing", "temperatures"])
def test_a_cut_gradient_proves_more_than_a_gradient(name):
    rng = np.random.default_rng(5)
    sizes = np.concatenate([SIZES, np.exp(rng.uniform(0, 4, 33))])
    numbers = {"cross-entropy": nc.CrossEntropy(), "label-smoothing": nc.LabelSmoothing(0.1)}
    loss = numbers.get(name) or nc.class_temperatures(sizes, 0.2)
    model = nc.LayerPeeled(sizes, 1.5, 1.5, loss=loss)
    early = nc.FactoredQuasiNewton(tolerance=1e-5, max_iterations=400)
    solution = nc.solve(model, early)
    plain = certify(model, GroupLogits(solution.within, solution.between)).gap
    assert solution.gap <= 1e-5 and plain > 5 * solution.gap


# Three groups of three, two and one class: a fixed structure compiles once.
CLUSTERS = np.array([0, 0, 0, 1, 1, 2])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("layer-peeled", "cross-entropy"),
        ("layer-peeled", "label-smoothing"),
        ("unconstrained", "cross-entropy"),
        ("unconstrained", "mean-squared-error"),
    ],
)
@given(seed=st.integers(0, 10**6), tolerance=st.sampled_from([0.01, 0.05, 0.2, 0.5]))
@settings(max_examples=6, deadline=None)
def test_gaps_of_merged_sizes_hold_for_the_classes_as_they_are(kind, name, seed, tolerance):
    rng = np.random.default_rng(seed)
    smallest = np.cumprod(rng.uniform(2, 6, 3))[::-1]
    sizes = -np.sort(-smallest[CLUSTERS] * (1 + tolerance * rng.uniform(0, 1, 6)))
    merged = nc.merge_sizes(sizes, tolerance)
    assert merged.membership == tuple(CLUSTERS)
    made = nc.solve(MODELS[kind](merged, LOSSES[name]))
    true = MODELS[kind](sizes, LOSSES[name])
    exact = nc.solve(true)
    assert exact.gap < 1e-8
    above = float(made.objective - exact.objective)
    assert -1e-9 <= above <= float(made.gap) + 1e-9
    # The objective is that of the merged classes' own logits among the true classes.
    if kind == "layer-peeled":
        np.testing.assert_allclose(
            true.objective(made.logits), made.objective, rtol=1e-10, atol=1e-15
        )


def test_merging_costs_the_square_of_the_spread():
    sizes = nc.long_tailed(60, 3.0).group_sizes
    gaps = [
        float(nc.solve(nc.LayerPeeled(nc.merge_sizes(sizes, tolerance), 2.0, 2.0)).gap)
        for tolerance in (0.3, 0.1)
    ]
    assert gaps[1] < gaps[0] / 5


def test_sizes_are_merged_from_the_largest_and_keep_their_classes():
    sizes = np.array([1.0, 100.0, 1.0, 98.0, 5.0, 1.01])
    merged = nc.merge_sizes(sizes, 0.05)
    assert merged.membership == (2, 0, 2, 0, 1, 2)
    np.testing.assert_allclose(merged.group_sizes, [99, 5, 3.01 / 3])
    np.testing.assert_allclose(merged.smallest, [98, 5, 1])
    np.testing.assert_allclose(merged.largest, [100, 5, 1.01])
    assert not nc.merge_sizes(sizes, 0.0).merged
    np.testing.assert_allclose(nc.merge_sizes(sizes, 0.0).class_sizes, sizes)


@pytest.mark.parametrize(
    ("sizes", "tolerance", "text"),
    [
        ([1.0, -1.0], 0.1, "sizes"),
        ([1.0, float("nan")], 0.1, "sizes"),
        ([[1.0, 2.0]], 0.1, "sizes"),
        ([1.0, 2.0], -0.1, "tolerance"),
        ([1.0, 2.0], float("nan"), "tolerance"),
    ],
)
def test_bad_merges_are_named(sizes, tolerance, text):
    with pytest.raises(ValueError, match=text):
        nc.merge_sizes(sizes, tolerance)


def test_merged_sizes_need_a_certificate():
    sizes = nc.merge_sizes([10.0, 9.9, 1.0, 2.0], 0.1)
    with pytest.raises(ValueError, match="without a bias"):
        nc.solve(nc.UnconstrainedFeatures(sizes, 0.01, 0.01, 0.01), nc.ReducedInteriorPoint())
    assert isinstance(choose_solver(nc.LayerPeeled(sizes)), nc.ReducedInteriorPoint)
    with pytest.raises(ValueError, match="merged"):
        nc.solve(nc.LayerPeeled(nc.merge_sizes([10.0, 9.9, 1.0], 0.1)), nc.TwoGroupRoot())


def vocabulary(classes, samples):
    counts = samples / (np.arange(classes) + 2.7)
    return np.maximum(1, np.round(counts / counts.sum() * classes * 20))


@pytest.mark.parametrize("shuffled", [False, True])
def test_starts_from_a_smaller_program_reach_the_same_optimum(shuffled):
    counts = vocabulary(2000, 1.0)
    order = np.random.default_rng(0).permutation(2000) if shuffled else np.arange(2000)
    model = nc.LayerPeeled(counts[order], 1.0, 1.0)
    groups = model.sizes.num_groups
    assert groups > 130
    solver = choose_solver(model)
    assert np.all(np.diff(np.asarray(model.sizes.group_sizes)[list(solver.order)]) < 0)
    assert coarsened(model, solver.order) is not None
    solution = nc.solve(model, nc.FactoredQuasiNewton(tolerance=1e-7, order=solver.order))
    assert solution.status == nc.Status.CONVERGED and solution.gap < 1e-7
    few = nc.solve(nc.LayerPeeled(nc.merge_sizes(counts, 0.02), 1.0, 1.0))
    assert abs(few.objective - solution.objective) <= few.gap + 1e-7


def test_factors_by_groups_are_those_of_the_classes():
    model = nc.UnconstrainedFeatures([9.0, 5.0, 5.0, 5.0, 1.0, 1.0], 0.01, 0.02)
    solution = nc.solve(model)
    found, member = solution.group_factors(), np.asarray(model.sizes.membership)
    counts = model.sizes.counts[member]
    own = np.eye(6) - (member[:, None] == member[None]) / counts[:, None]
    for rows, means, parts in (
        (solution.classifiers, found.classifier_means, found.classifier_parts),
        (solution.features, found.feature_means, found.feature_parts),
    ):
        written = np.hstack([np.asarray(means)[member], np.asarray(parts)[member][:, None] * own])
        np.testing.assert_allclose(written @ written.T, rows @ rows.T, atol=1e-10)


def test_a_vocabulary_is_solved_by_groups_and_never_written_out():
    counts = vocabulary(20_000, 1.0)
    sizes = nc.merge_sizes(counts, 0.1)
    assert sizes.num_groups < 128
    model = nc.LayerPeeled(sizes, 0.05, 0.05)
    solution = nc.solve(model, nc.FactoredQuasiNewton(tolerance=1e-6))
    assert solution.gap < 0.1 and solution.classifier_norms.shape == (sizes.num_groups,)
    with pytest.raises(ValueError, match="group_factors"):
        _ = solution.logits


def test_wide_lanes_of_a_batch_are_those_alone():
    rng = np.random.default_rng(1)
    batch = nc.LayerPeeled(np.exp(rng.uniform(0, 3, (3, 50))), 1.0, 2.0)
    solved = nc.solve_batch(batch, nc.FactoredQuasiNewton(tolerance=1e-9))
    assert (solved.gap <= 1e-9).all()
    for lane in range(3):
        one = nc.LayerPeeled(batch.sizes.group_sizes[lane], 1.0, 2.0)
        alone = nc.solve(one, nc.FactoredQuasiNewton(tolerance=1e-9))
        np.testing.assert_allclose(solved.objective[lane], alone.objective, atol=2e-9)


def test_large_penalties_with_a_bias_converge():
    # The optimum has a norm of a twentieth of its bound; factors on balls of that radius stalled.
    sizes = np.array([888, 601, 415, 398, 248, 167, 118, 33, 28, 26, 21, 15.0])
    model = nc.UnconstrainedFeatures(sizes, 0.0728, 6.95e-4, lambda_b=3.21e-4)
    found = nc.solve(model, nc.FactoredQuasiNewton())
    best = nc.solve(model, nc.ReducedInteriorPoint())
    assert found.status == nc.Status.CONVERGED
    np.testing.assert_allclose(found.objective, best.objective, rtol=1e-9)


def test_lanes_side_by_side_are_solved_as_alone():
    sizes = jnp.exp(jax.random.uniform(jax.random.key(0), (5, 6), maxval=5.0))
    energies = jnp.geomspace(0.1, 30.0, 5)
    solver = nc.FactoredQuasiNewton()
    # As on an accelerator; on a CPU solve_batch solves one lane after another.
    batch = jax.jit(jax.vmap(lambda n, e: solver(nc.LayerPeeled(n, feature_energy=e))))(
        sizes, energies
    )
    assert len(set(np.asarray(batch.iterations).tolist())) > 1
    for lane in range(5):
        alone = nc.solve(nc.LayerPeeled(sizes[lane], feature_energy=energies[lane]), solver)
        np.testing.assert_allclose(batch.objective[lane], alone.objective, rtol=1e-10)
        assert batch.status[lane] == alone.status == nc.Status.CONVERGED
