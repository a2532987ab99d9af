"""The parts of the interior point with the lanes last, and whole batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.losses.forms import family_of
from nc_jax.solvers.alignment import Basis, aligned
from nc_jax.solvers.lanes import diagonal, diagonal_matrix, product, rotated
from nc_jax.solvers.reduced import factorisation
from nc_jax.solvers.reduced.factorisation import Factorisation, _full, solved
from nc_jax.solvers.reduced.newton import NewtonMatrix, newton_matrix
from nc_jax.solvers.reduced.rows import (
    Slots,
    _differentiated,
    chain_of,
    curvature_of,
    group_counts,
    numbers_of,
    row_losses,
    slope_of,
    slots_of,
)
from nc_jax.surrogates.grouped import GroupLogits, data_loss

COUNTS = (3, 1, 2)
PER_CLASS = np.repeat([0.5, 0.2, 0.7], COUNTS)
LOSSES = {
    "cross-entropy": nc.CrossEntropy(),
    "squared": nc.MeanSquaredError(),
    "centred squared": nc.CentredSquaredError(),
    "smoothing": nc.LabelSmoothing(0.1),
    "margins": nc.LabelMargins(PER_CLASS),
    "offsets": nc.VectorScaling(offsets=PER_CLASS),
    "scales": nc.VectorScaling(PER_CLASS, 1 + PER_CLASS),
    "weights": nc.ClassWeights(1 + PER_CLASS, nc.LabelSmoothing(0.2)),
}


def some_models(loss, lanes=4, counts=COUNTS, seed=0, bias=False):
    """A batch of unconstrained feature models in which every leaf has the lanes in front."""
    rng = np.random.default_rng(seed)
    membership = tuple(np.repeat(np.arange(len(counts)), counts).tolist())
    sizes = nc.ClassSizes(np.exp(rng.uniform(0, 8, (lanes, len(counts)))), membership)
    penalty = np.exp(rng.uniform(-12, -4, lanes))
    decay = np.exp(rng.uniform(-9, -3, lanes)) if bias else None
    return nc.UnconstrainedFeatures(sizes, penalty, penalty / 50, decay, loss)


def with_lanes(models, lanes=4):
    def lead(path, leaf):
        own = 1 if path[0].name == "sizes" or path[-1].name == "group_values" else 0
        return np.broadcast_to(leaf, (lanes, *leaf.shape[leaf.ndim - own :]))

    return jax.tree_util.tree_map_with_path(lead, models)


@jax.jit
def rows_both_ways(models, slots):
    numbers = numbers_of(models)
    closed = row_losses(models)(group_counts(models), numbers, slots)
    if numbers.loss.weights is not None:
        # The loss itself applies its class weights.
        numbers = numbers._replace(shares=numbers.shares / numbers.loss.weights)
    return closed, _differentiated(models, numbers, slots)


@pytest.mark.parametrize("loss", LOSSES)
def test_closed_forms_of_the_rows_agree_with_differentiation(loss):
    models = with_lanes(some_models(LOSSES[loss]))
    rng = np.random.default_rng(1)
    own, others = rng.normal(size=(3, 4)), rng.normal(size=(3, 3, 4))
    assert family_of(models.loss) is not None
    closed, reference = rows_both_ways(models, Slots(4 * own, 4 * others))
    for ours, theirs in zip(jax.tree.leaves(closed), jax.tree.leaves(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


@pytest.mark.parametrize("loss", ["cross-entropy", "scales", "squared"])
def test_the_newton_matrix_is_the_hessian(loss):
    models = with_lanes(some_models(LOSSES[loss], lanes=1, bias=True), lanes=1)
    rng = np.random.default_rng(2)
    within, between, bias = rng.normal(size=2), rng.normal(size=(3, 3)), rng.normal(size=3)
    left, right = np.linalg.qr(rng.normal(size=(2, 3, 3)))[0]
    several = np.array([0, 2])

    def last(array):
        return array[..., None]

    # One program: operation by operation, each would be compiled alone.
    @jax.jit
    def parts(models, alpha, between, bias):
        numbers = numbers_of(models)
        chain = chain_of(group_counts(models), numbers.row_scale)
        rows = row_losses(models)(
            group_counts(models), numbers, slots_of(chain, alpha, between, bias)
        )
        matrix = newton_matrix(
            chain,
            curvature_of(chain, rows),
            Basis(last(jnp.asarray(left)), last(jnp.asarray(right))),
            several,
            (jnp.zeros((2, 1)), jnp.zeros((3, 3, 1)), jnp.zeros((3, 3, 1))),
            jnp.zeros((3, 3, 1)),
        )
        return rows, _full(matrix, 14), slope_of(chain, rows)

    alpha = last(np.array([within[0], 0, within[1]]))
    rows, full, slope = parts(models, alpha, last(between), last(bias))
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), models)

    def loss_at(z):
        alpha = jnp.zeros(3).at[several].set(z[:2])
        means = left @ z[2:11].reshape(3, 3) @ right.T
        return data_loss(single, GroupLogits(alpha, means, z[11:]))

    z = np.concatenate([within, (left.T @ between @ right).ravel(), bias])
    value, gradient = jax.jit(jax.value_and_grad(loss_at))(z)
    np.testing.assert_allclose(rows.value[0], value, rtol=1e-13)
    np.testing.assert_allclose(full[..., 0], jax.jit(jax.hessian(loss_at))(z), atol=1e-14)
    slope = jax.tree.map(np.asarray, slope)
    means = (left.T @ slope.between[..., 0] @ right).ravel()
    ours = np.concatenate([slope.within[several, 0], means, slope.bias[:, 0]])
    np.testing.assert_allclose(ours, gradient, atol=1e-14)


@pytest.mark.parametrize("bias", [False, True])
def test_all_factorisations_solve_the_same_systems(bias):
    rng = np.random.default_rng(3)
    parts = {"within": 2, "between": 4, "bias": 2 if bias else 0}
    size = sum(parts.values())
    root = rng.normal(size=(5, size, size))
    full = np.moveaxis(root @ root.transpose(0, 2, 1) + np.eye(size), 0, -1)
    full[0, 1] = full[1, 0] = 0
    matrix = NewtonMatrix(
        diagonal(full)[:2],
        full[:2, 2:6],
        full[2:6, 2:6],
        full[:2, 6:] if bias else None,
        full[2:6, 6:] if bias else None,
        full[6:, 6:] if bias else None,
    )
    right, other = rng.normal(size=(size, 2, 5)), rng.normal(size=(size, 5))
    for how in Factorisation:

        @jax.jit
        def both(matrix, right, how=how):
            found, again = solved(matrix, right, how)
            return product(full, found), product(full, again(other))

        first, second = both(matrix, right)
        np.testing.assert_allclose(first, right, atol=1e-11)
        expected = np.stack([other, right[:, 1]], axis=1)
        np.testing.assert_allclose(second, expected, atol=1e-11)


@pytest.mark.parametrize("groups", [2, 3, 4, 5, 8])
def test_rotations_find_the_singular_values(groups):
    rng = np.random.default_rng(groups)
    matrix = rng.normal(size=(groups, groups, 6))
    eye = np.broadcast_to(np.eye(groups)[:, :, None], matrix.shape)
    weights = rng.uniform(1, 2, (groups, 6))

    @jax.jit
    def turned(matrix, eye, weights):
        basis, mixed = aligned(matrix, Basis(eye, eye), weights, 8)
        values = rotated(basis.left, matrix, basis.right)
        own = diagonal(values)
        return values, own, diagonal_matrix(own), rotated(basis.left, eye, basis.left), mixed

    values, own, alone, unit, mixed = turned(matrix, eye, weights)
    np.testing.assert_allclose(values, alone, atol=1e-12)
    np.testing.assert_allclose(unit, eye, atol=1e-13)
    expected = np.linalg.svd(np.moveaxis(matrix, -1, 0), compute_uv=False)
    found = np.sort(np.abs(np.asarray(own)), axis=0)[::-1]
    np.testing.assert_allclose(found.T, expected, atol=1e-12)
    np.testing.assert_allclose(mixed.sum(axis=0), weights.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("counts", [(3, 7), (4,), (2, 1, 3, 1), (1,) * 6], ids=str)
def test_a_batch_of_several_chunks_solves_every_lane_as_alone(counts):
    lanes = 1100 if len(counts) < 3 else 150
    models = some_models(nc.CrossEntropy(), lanes, counts, seed=4, bias=True)
    batch = nc.solve_batch(models, nc.ReducedInteriorPoint())
    assert np.all(np.asarray(batch.status) == nc.Status.CONVERGED)
    assert float(jnp.max(batch.gap)) < 1e-11
    for lane in (0, lanes // 2, lanes - 1):
        index = jax.tree_util.tree_map_with_path(
            lambda path, leaf, lane=lane: leaf if path[0].name == "loss" else leaf[lane], models
        )
        alone = nc.solve(index, nc.ReducedInteriorPoint())
        np.testing.assert_allclose(batch.logits[lane], alone.logits, atol=1e-6)
        np.testing.assert_allclose(batch.objective[lane], alone.objective, rtol=1e-12)


def test_a_bad_lane_does_not_stop_the_others():
    sizes = np.full((40, 2), 5.0)
    sizes[7, 0], sizes[9, 1] = np.nan, 1e300
    models = nc.UnconstrainedFeatures(nc.ClassSizes(sizes, (0, 0, 1, 1, 1)), 1e-3, 1e-4)
    status = np.asarray(nc.solve_batch(models, nc.ReducedInteriorPoint()).status)
    assert status[7] == nc.Status.INVALID
    assert np.all(np.delete(status, [7, 9]) == nc.Status.CONVERGED)


def test_traced_counts_give_the_same_solutions():
    """One group has a single class, which is not known when the program is compiled."""
    ratios = np.geomspace(1, 300, 5)

    def traced(counts, ratio):
        sizes = nc.surrogates.CountedSizes(counts, 50 * jnp.stack([ratio, jnp.ones_like(ratio)]))
        model = nc.surrogates.CountedUnconstrained(
            sizes, jnp.asarray(1e-3), nc.CrossEntropy(), jnp.asarray(1e-2)
        )
        solution = nc.ReducedInteriorPoint()(model)
        return solution.within, solution.between, solution.gap

    found = jax.jit(jax.vmap(traced, in_axes=(None, 0)))(jnp.array([1, 4]), jnp.asarray(ratios))
    assert float(jnp.max(found[2])) < 1e-11
    for lane, ratio in enumerate(ratios):
        model = nc.UnconstrainedFeatures(nc.two_groups(1, 4, ratio, 50.0), 1e-3, 1e-3, 1e-2)
        alone = nc.solve(model, nc.ReducedInteriorPoint())
        np.testing.assert_allclose(found[0][lane], alone.within, atol=1e-5)
        np.testing.assert_allclose(found[1][lane], alone.between, atol=1e-5)


def test_programs_with_saturated_logits_or_singular_values_at_their_bounds_converge():
    membership = tuple(np.repeat([0, 1, 2], [3, 3, 4]).tolist())
    # Its logits end some hundred apart, where steps of a few units would take for ever.
    sizes = nc.ClassSizes([26328.278100142546, 324027.1640435434, 52.347652236653175], membership)
    features = nc.UnconstrainedFeatures(
        sizes, 0.0002537552306601504, 4.19279821385642e-10, 0.002421711706050554
    )
    models = [features]
    # Singular values reach their bounds to the last digit, long before the end.
    for energy, own in (
        (24.659643554466037, [68005.6872693078, 243339.8632292365, 166.56025147477013]),
        (64.04882171572591, [54.354184948297416, 264700.65466150007, 31952.853223826958]),
    ):
        sizes = nc.ClassSizes(own, membership)
        models.append(nc.LayerPeeled(sizes, 1.0, energy, nc.vector_scaling(sizes)))
    for model in models:
        solution = nc.solve(model, nc.ReducedInteriorPoint())
        assert solution.status == nc.Status.CONVERGED
        assert solution.gap < 1e-12
        assert solution.iterations <= 30


def test_steps_of_rounding_near_an_almost_singular_optimum_do_not_lead_away():
    # Most singular values vanish, and the matrix of the last steps is almost singular.
    for sizes, energy in ((np.geomspace(1000, 5, 12), 1.0), (np.geomspace(1000, 5, 16), 5.0)):
        solution = nc.solve(nc.LayerPeeled(sizes, 1.0, energy), nc.ReducedInteriorPoint())
        assert solution.status == nc.Status.CONVERGED and solution.iterations < 30
        assert solution.gap < 1e-11


def test_programs_whose_means_vanish_converge():
    # The singular vectors of a matrix that tends to zero tell nothing of those of the slopes.
    membership = (0, 1, 1, 2, 3, 4, 4)
    sizes = nc.ClassSizes([[4.6, 2.5, 7.0, 10.8, 17.3], [5, 2, 7, 11, 17]], membership)
    penalties = np.array([0.05745538723326791, 0.06])
    model = nc.UnconstrainedFeatures(sizes, penalties, penalties, penalties)
    solution = nc.solve_batch(model, nc.ReducedInteriorPoint())
    assert (solution.status == nc.Status.CONVERGED).all() and (solution.iterations < 40).all()
    assert (nc.phase(solution) == "vanished").all()
    # Only the budget of a model without penalties shows the same.
    sizes = nc.ClassSizes([325.75090067, 1.82662114, 2.89908431], (0, 0, 1, 1, 1, 2, 2, 2, 2))
    loss = nc.logit_adjustment(sizes, 1.0)
    model = nc.LayerPeeled(sizes, 1.0, 0.3135775773384835, loss)
    solution = nc.solve(model, nc.ReducedInteriorPoint())
    assert solution.status == nc.Status.CONVERGED and solution.gap < 1e-11


@pytest.mark.parametrize(
    ("counts", "weighted"),
    [((3, 7), False), ((3, 7), True), ((3, 3, 4), True), ((1, 1, 2, 3), False)],
)
def test_batches_in_float32_converge_to_the_optimum(counts, weighted):
    rng = np.random.default_rng(len(counts))
    membership = tuple(np.repeat(np.arange(len(counts)), counts).tolist())
    group_sizes = 50 * np.exp(rng.uniform(0, 9, (128, len(counts))))
    budgets = np.exp(rng.uniform(-6, 5, 128))

    def solved(dtype):
        sizes = nc.ClassSizes(group_sizes.astype(dtype), membership)
        weights = nc.size_weights(sizes) if weighted else None
        loss = nc.CrossEntropy()
        model = nc.LayerPeeled(sizes, dtype(1), budgets.astype(dtype), loss, class_weights=weights)
        return nc.solve_batch(model, nc.ReducedInteriorPoint())

    own, exact = solved(np.float32), solved(np.float64)
    assert own.gap.dtype == jnp.float32
    # The gap of a few in a thousand ends between one and two times the tolerance.
    converged = np.asarray(own.status) == nc.Status.CONVERGED
    assert np.mean(converged) > 0.98
    assert np.max(own.gap) < 3e-5
    np.testing.assert_allclose(own.objective, exact.objective, atol=2e-5)


@pytest.mark.parametrize("counts", [(1, 1), (3, 7), (2, 1, 4)])
def test_optima_far_out_on_the_tail_of_the_loss_converge_to_rounding(counts):
    # The loss is of order exp(−budget): complementarity must not run ahead of the slopes.
    rng = np.random.default_rng(1)
    membership = tuple(np.repeat(np.arange(len(counts)), counts).tolist())
    sizes = nc.ClassSizes(np.exp(rng.uniform(0, 7, (96, len(counts)))), membership)
    model = nc.LayerPeeled(sizes, 1.0, np.geomspace(10, 900, 96))
    solution = nc.solve_batch(model, nc.ReducedInteriorPoint())
    assert np.all(np.asarray(solution.status) == nc.Status.CONVERGED)
    # Far beyond, where the whole objective is less than rounding of one, few digits are left.
    gap = np.asarray(solution.gap) / np.asarray(solution.objective)
    assert np.max(gap) < 0.01
    assert np.max(gap[np.asarray(solution.objective) > 1e-20]) < 1e-9


def test_small_weight_decay_converges_in_float32():
    """Optima of logits far beyond the reach of one step, and far inside the bound on the norm."""
    rng = np.random.default_rng(0)
    group_sizes = 50 * np.exp(rng.uniform(0, np.log(1e4), (2048, 2)))
    weights = np.exp(rng.uniform(np.log(1e-6), np.log(1e-2), 2048))
    features = weights / group_sizes.max(1) * np.exp(rng.uniform(-1, 1, 2048))

    def solved(dtype):
        sizes = nc.ClassSizes(group_sizes.astype(dtype), (0,) * 3 + (1,) * 7)
        penalties = weights.astype(dtype), features.astype(dtype), dtype(1e-3)
        return nc.solve_batch(nc.UnconstrainedFeatures(sizes, *penalties))

    own, exact = solved(np.float32), solved(np.float64)
    assert (own.status == nc.Status.CONVERGED).all() and own.iterations.max() < 30
    np.testing.assert_allclose(own.objective, exact.objective, rtol=1e-5, atol=1e-7)
    assert (exact.status == nc.Status.CONVERGED).all() and exact.iterations.max() < 30


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="programs of a CPU")
def test_a_batch_of_many_lanes_agrees_with_one_that_lapack_solves(monkeypatch):
    sizes = nc.class_sizes([7.0, 7.0, 5.0, 5.0, 3.0, 3.0, 2.0, 2.0])
    model = nc.UnconstrainedFeatures(sizes, np.geomspace(1e-4, 1e-2, 5), 1e-3, 1e-2)
    solver = nc.ReducedInteriorPoint()

    def solved():
        lowered = jax.jit(lambda own: nc.solve_batch(own, solver)).lower(model)
        return "potrf" in lowered.as_text(), lowered.compile()(model)

    called, by_lapack = solved()
    assert called
    monkeypatch.setattr(factorisation, "FEW_LANES", 4)
    jax.clear_caches()
    called, in_blocks = solved()
    assert not called and (in_blocks.status == nc.Status.CONVERGED).all()
    np.testing.assert_allclose(in_blocks.objective, by_lapack.objective, rtol=1e-12)
    np.testing.assert_allclose(in_blocks.between, by_lapack.between, atol=1e-6)
    # Large matrices are left to LAPACK again, whatever the number of lanes.
    monkeypatch.setattr(factorisation, "MOST_IN_BLOCKS", 20)
    jax.clear_caches()
    called, large = solved()
    assert called
    np.testing.assert_allclose(large.objective, by_lapack.objective, rtol=1e-12)
