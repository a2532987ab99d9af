"""A network that is the unconstrained features model: the prediction is exact.

The features leave a batch normalisation without a nonlinearity; decay acts on its scale
and offset, on the classifiers and their bias; full batches, float64, to stationarity.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import nc_jax as nc
from nc_jax.networks import MLP
from nc_jax.prediction import surrogate_of
from nc_jax.training import Recipe

DECAY = 0.01


def trained(sizes, seed, rectify, loss=None, weights=None, steps=12_000, rate=0.2):
    """Scale γ, offset β, features, classifiers and objective at the end of training."""
    labels = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes))
    loss = nc.CrossEntropy() if loss is None else loss
    shares = jnp.ones(len(sizes)) if weights is None else jnp.asarray(weights)
    shares = shares[labels] / jnp.sum(shares[labels])
    total, rng = len(labels), np.random.default_rng(seed)
    inputs = jnp.asarray(rng.normal(size=(total, total + 8)))
    network = MLP(total + 8, [24], len(sizes), jax.random.key(seed), normalise=True,
                  rectify_last=rectify)  # fmt: skip
    graph, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
    params, stats = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (params, stats))
    paths = jax.tree_util.tree_leaves_with_path(params)
    decayed = ["layers" not in jax.tree_util.keystr(path) for path, _ in paths]

    def outputs(params):
        network = nnx.merge(graph, params, stats, copy=True)
        logits, features = network(inputs, True)
        return logits, features["layer1"]

    def objective(params):
        losses = loss(outputs(params)[0], labels)
        leaves = jax.tree.leaves(params)
        squares = sum(jnp.sum(p**2) for p, own in zip(leaves, decayed, strict=True) if own)
        return jnp.sum(shares * losses) + 0.5 * DECAY * squares

    @jax.jit
    def descend(params):
        def step(_, state):
            params, velocity = state
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, jax.grad(objective)(params))
            return jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity

        start = params, jax.tree.map(jnp.zeros_like, params)
        return jax.lax.fori_loop(0, steps, step, start)[0]

    @jax.jit
    def looked_at(params):
        return objective(params), jax.grad(objective)(params), outputs(params)[1]

    end = descend(params)
    value, slope, features = looked_at(end)
    leaves = zip(jax.tree.leaves(slope), jax.tree.leaves(end), decayed, strict=True)
    # What is decayed must be at rest; the direction of the layer before it is as well.
    rest = max(float(jnp.linalg.norm(g)) for g, _, own in leaves if own)
    network = nnx.merge(graph, end, stats, copy=True)
    norm, head = network.norms[0], network.classifier
    return {
        "objective": float(value),
        "rest": rest,
        "features": np.asarray(features),
        "labels": np.asarray(labels),
        "classifiers": np.asarray(head.kernel[...].T),
        "squares": float(jnp.sum(norm.scale[...] ** 2) + jnp.sum(norm.offset[...] ** 2)),
    }


@pytest.mark.parametrize(
    ("sizes", "seed"),
    [((8, 8, 8, 8), 0), ((20, 20, 4, 4), 0), ((20, 20, 4, 4), 1), ((24, 9, 2), 2)],
)
def test_the_network_settles_at_the_optimum_of_its_surrogate(sizes, seed):
    seen = trained(sizes, seed, rectify=False)
    recipe = Recipe(weight_decay=DECAY, decayed="effective")
    model = surrogate_of("mlp-norm-linear", sizes, recipe)
    told = nc.solve(model)
    assert seen["rest"] < 1e-5
    # Σ‖h_i‖² = N(‖γ‖² + ‖β‖²), but for the ε in the normalisation.
    total = sum(sizes)
    np.testing.assert_allclose(np.sum(seen["features"] ** 2), total * seen["squares"], rtol=1e-3)
    np.testing.assert_allclose(seen["objective"], told.objective, rtol=1e-3)
    norms = np.linalg.norm(seen["classifiers"], axis=1)
    lengths = np.linalg.norm(np.asarray(told.classifiers), axis=1)
    np.testing.assert_allclose(norms, lengths, rtol=1e-3)
    cosines = nc.cosines(nc.gram(jnp.asarray(seen["classifiers"])))
    np.testing.assert_allclose(cosines, nc.cosines(nc.gram(told.classifiers)), atol=1e-3)
    means = np.array([seen["features"][seen["labels"] == k].mean(0) for k in range(len(sizes))])
    lengths = np.linalg.norm(np.asarray(told.features), axis=1)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), lengths, rtol=2e-3)


@pytest.mark.parametrize("cure", ["class weights", "logit adjustment", "temperatures"])
def test_so_it_does_under_a_loss_for_imbalance(cure):
    sizes = (20, 20, 4, 4)
    weights = [0.5, 1.0, 2.0, 2.0] if cure == "class weights" else None
    loss = {
        "class weights": nc.CrossEntropy(),
        "logit adjustment": nc.logit_adjustment(sizes, 0.8),
        "temperatures": nc.class_temperatures(sizes, 0.2),
    }[cure]
    seen = trained(sizes, 0, False, loss, weights)
    recipe = Recipe(weight_decay=DECAY, decayed="effective", loss=loss)
    told = nc.solve(surrogate_of("mlp-norm-linear", sizes, recipe, class_weights=weights))
    assert told.status == nc.Status.CONVERGED and seen["rest"] < 1e-5
    np.testing.assert_allclose(seen["objective"], told.objective, rtol=1e-3)
    cosines = nc.cosines(nc.gram(jnp.asarray(seen["classifiers"])))
    np.testing.assert_allclose(cosines, nc.cosines(told.classifier_gram), atol=1e-3)


def test_behind_a_relu_the_network_settles_at_the_nonnegative_optimum():
    sizes = (20, 20, 4, 4)
    seen = trained(sizes, 0, rectify=True)
    told = nc.solve(surrogate_of("mlp-norm", sizes, Recipe(weight_decay=DECAY)))
    plain = nc.solve(surrogate_of("mlp-norm-linear", sizes, Recipe(weight_decay=DECAY)))
    # No feature is cheaper than nonnegative ones, and none is much dearer.
    assert plain.objective < told.objective - 1e-3
    assert told.objective - told.gap - 1e-6 < seen["objective"] < told.objective * 1.02
    cosines = nc.cosines(nc.gram(jnp.asarray(seen["classifiers"])))
    np.testing.assert_allclose(cosines, nc.cosines(told.classifier_gram), atol=0.03)
