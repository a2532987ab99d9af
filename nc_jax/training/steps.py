"""One step of stochastic gradient descent, as in PyTorch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from nc_jax.losses import Loss
from nc_jax.training.recipe import Recipe

# Parameters, running statistics and velocity.
Weights = tuple[Any, Any, Any]


def sgd_step(graph: Any, recipe: Recipe) -> Callable[..., tuple[Any, Any, Any, Array]]:
    """A pure function from weights, a batch and its numbers to new weights and the loss.

    Args:
        graph: the network's structure (``nnx.split``).
        recipe: provides momentum, precision and the decayed parameters.

    Returns:
        A function of (weights, x [B, …], labels [B], shares [B] of the samples, which sum
        to one, learning rate, weight decay, factors [B] of the samples' losses, loss of
        logits and label). The loss is the mean weighted by shares times factors, like
        class weights in PyTorch.
    """
    dtype = jnp.dtype(recipe.precision)

    def loss_of(
        params: Any, stats: Any, x: Array, labels: Array, shares: Array, factors: Array, loss: Loss
    ) -> Any:
        network = nnx.merge(graph, params, stats, copy=True)
        logits, _ = network(x.astype(dtype), True, shares)
        losses = loss(logits.astype(jnp.float32), labels)
        own = shares * factors
        # Padding has share zero, and its loss may be NaN.
        mean = jnp.sum(jnp.where(shares > 0, own * losses, 0)) / jnp.sum(own)
        return mean, nnx.state(network, nnx.BatchStat)

    def step(
        weights: Weights,
        x: Array,
        labels: Array,
        shares: Array,
        rate: Any,
        decay: Any,
        factors: Array,
        loss: Loss,
    ) -> tuple[Any, Any, Any, Array]:
        params, stats, velocity = weights
        slope = jax.value_and_grad(loss_of, has_aux=True)
        (mean, stats), slopes = slope(params, stats, x, labels, shares, factors, loss)
        shrinking = optax.add_decayed_weights(decay, mask=_decayed(recipe, params))
        slopes, _ = shrinking.update(slopes, shrinking.init(params), params)
        velocity, _ = optax.trace(recipe.momentum).update(slopes, optax.TraceState(velocity))
        params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
        return params, stats, velocity, mean

    return step


def _decayed(recipe: Recipe, params: Any) -> Any:
    """The mask of parameters that weight decay acts on."""
    if recipe.decayed == "all":
        return None
    if recipe.decayed == "kernels":
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    own = {"scale", "offset"}
    paths = [_names(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    if not any(own & names for names in paths):
        return None
    return jax.tree_util.tree_map_with_path(
        lambda path, _: bool((own | {"classifier"}) & _names(path)), params
    )


def _names(path: tuple[Any, ...]) -> set[str]:
    """The parts of a parameter's path."""
    return {str(getattr(part, "key", getattr(part, "name", ""))) for part in path}
