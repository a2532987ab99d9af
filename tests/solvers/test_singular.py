"""Singular values of small matrices without LAPACK, and what they make possible."""

import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.solvers.singular import (
    SMALL,
    singular_triples,
    singular_values,
    symmetric_eigenvalues,
)


def matrices(groups, lanes=40):
    """Random ones, and ones with equal, zero and widely spread singular values."""
    rng = np.random.default_rng(groups)
    general = rng.normal(size=(lanes, groups, groups))
    left, _, right = np.linalg.svd(general)
    spread = left @ (10.0 ** -np.arange(0, 9 * groups, 9)[:, None] * right)
    rank_one = general[:, :, :1] @ general[:, :1]
    special = np.stack([np.zeros((groups, groups)), np.eye(groups), -3 * np.eye(groups)])
    return np.concatenate([general, spread, rank_one, special])


@pytest.mark.parametrize("groups", range(1, SMALL + 2))
def test_triples_are_those_of_lapack(groups):
    given = matrices(groups)
    triples = jax.jit(jax.vmap(singular_triples))(given)
    left, singular, right = map(np.asarray, triples)
    expected = np.linalg.svd(given, compute_uv=False)
    found = np.sort(singular, axis=1)[:, ::-1]
    scale = expected[:, :1] + 1e-300
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-14)
    product = left @ (singular[:, :, None] * right)
    np.testing.assert_allclose(product, given, atol=3e-14)
    eye = np.broadcast_to(np.eye(groups), given.shape)
    np.testing.assert_allclose(left @ left.swapaxes(1, 2), eye, atol=1e-13)
    np.testing.assert_allclose(right @ right.swapaxes(1, 2), eye, atol=1e-13)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_a_batch_equals_single_matrices_in_float32_too(groups):
    given = jnp.asarray(matrices(groups, 3), jnp.float32)
    batch = jax.jit(jax.vmap(singular_values))(given)
    assert batch.dtype == jnp.float32
    alone = jax.jit(singular_values)
    single = np.stack([alone(matrix) for matrix in given])
    # Their order is not fixed, and differs between LAPACK and Jacobi's method.
    np.testing.assert_allclose(np.sort(batch), np.sort(single), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("groups", range(2, SMALL + 1))
def test_factors_stay_orthogonal_where_squares_underflow(groups):
    # Near a multiple of the identity, and near convergence, a rotation divides tiny numbers.
    given = np.random.default_rng(0).normal(size=(4096, groups, groups))
    given[1::2] = np.eye(groups) + 1e-3 * given[1::2]
    given[2::4] *= np.geomspace(1e-200, 1e100, len(given[2::4]))[:, None, None]
    left, singular, right = map(np.asarray, jax.vmap(singular_triples)(given))
    for factor in (left, right):
        square = factor.swapaxes(1, 2) @ factor
        np.testing.assert_allclose(square, np.broadcast_to(np.eye(groups), given.shape), atol=1e-12)
    largest = np.max(np.abs(given), axis=(1, 2), keepdims=True)
    restored = left * singular[:, None] @ right
    np.testing.assert_allclose(restored / largest, given / largest, atol=1e-12)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_slopes_are_those_of_differences(groups):
    rng = np.random.default_rng(1)
    matrix, change = jnp.asarray(rng.normal(size=(2, groups, groups)))

    @jax.jit
    def norm(step):
        return jnp.sum(singular_values(matrix + step * change))

    difference = (norm(1e-6) - norm(-1e-6)) / 2e-6
    np.testing.assert_allclose(jax.jit(jax.grad(norm))(0.0), difference, rtol=1e-7)


of_a_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="programs of a CPU")


def matrices_of_lapack(model, solver):
    """The shapes of the matrices for which the program of a batch calls LAPACK."""
    # Two programs that call LAPACK for a batch at the same time can wait for each other forever.
    program = jax.jit(lambda own: nc.solve_batch(own, solver)).lower(model).as_text()
    calls = re.findall(r"custom_call @lapack\w*\(.*: \(tensor<([\dx]+)xf64>", program)
    assert len(calls) == program.count("@lapack")
    return {tuple(int(size) for size in call.split("x")) for call in calls}


@of_a_cpu
@pytest.mark.parametrize("bias", [None, 1e-2], ids=["no bias", "bias"])
@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_batches_on_several_threads_call_lapack_for_one_matrix_at_a_time(groups, bias):
    sizes = np.repeat(np.arange(1.0, groups + 1), 2)
    model = nc.UnconstrainedFeatures(sizes, np.full(64, 1e-3), 1e-3, bias)
    solver = nc.ReducedInteriorPoint()
    assert solver.batching(model, 10**6).parts == (os.cpu_count() or 1)
    called = matrices_of_lapack(model, solver)
    assert bool(called) == solver.calls_lapack(model) == (groups > SMALL)
    assert all(len(shape) == 2 for shape in called)


SIZES, SOFT = [4.0, 4.0, 2.0, 1.0], np.full((4, 3), 1 / 3)
MANY = np.full(4, 1e-2)
QUEUED = {
    "unconstrained": nc.UnconstrainedFeatures(SIZES, MANY, 1e-3),
    "nonnegative": nc.UnconstrainedFeatures(SIZES, MANY, 1e-3, nonnegative=True),
    "soft targets": nc.UnconstrainedFeatures(SIZES, MANY, 1e-3, loss=nc.SoftTargets(SOFT)),
    "contrastive": nc.LayerPeeled(SIZES, 1.0, MANY, nc.SupervisedContrastive(1.0)),
    "deep": nc.DeepLayerPeeled(SIZES, 2, MANY, 1.0),
    "few dimensions": nc.LayerPeeled(SIZES, MANY, 1.0, dimension=2),
    "few of many": nc.LayerPeeled(np.arange(1.0, 7), MANY, 1.0, dimension=2),
}


@of_a_cpu
@pytest.mark.parametrize("name", QUEUED)
def test_queues_on_several_threads_call_lapack_for_one_matrix_at_a_time(name):
    model, solver = QUEUED[name], nc.FactoredMultiStart(restarts=1)
    assert solver.batching(model, 10**6).parts == (os.cpu_count() or 1)
    assert all(len(shape) == 2 for shape in matrices_of_lapack(model, solver))


def test_eigenvalues_of_a_batch_are_those_of_its_matrices():
    matrices = np.random.default_rng(2).normal(size=(2, 3, 5, 5))
    matrices += matrices.swapaxes(-1, -2)
    found = jax.jit(jax.vmap(jax.vmap(symmetric_eigenvalues)))(matrices)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(matrices), atol=1e-12)
