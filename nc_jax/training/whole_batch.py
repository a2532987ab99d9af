"""Small dense networks trained to a stationary point, with all samples in every step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses import Loss
from nc_jax.metrics import NetworkLayer


def train_dense(
    inputs: Any,
    labels: np.ndarray,
    loss: Loss,
    weight_decay: float,
    depth: int,
    biased: bool = False,
    activation: Callable[[Array], Array] = jax.nn.relu,
    width: int = 32,
    rate: float = 0.3,
    steps: int = 60_000,
) -> tuple[NetworkLayer, list[Array]]:
    """A homogeneous network after gradient descent with momentum 0.9.

    Minimises the mean loss + (λ/2) Σ ‖W_l‖² over the kernels, from Gaussian kernels of seed 0.

    Args:
        inputs: [N, d].
        labels: [N], integers from 0 to C − 1, all of which occur.
        loss: of the outputs [N, C].
        weight_decay: λ ≥ 0, on every kernel.
        depth: L ≥ 1, the number of kernels.
        biased: whether the last layer has a bias, without weight decay.
        activation: between the layers; homogeneous.
        width: of the hidden layers.
        rate: step size.
        steps: number of steps.

    Returns:
        The last layer with its features [N, p], and the kernels [out, in] of all layers.
    """
    inputs, classes = jnp.asarray(inputs), int(np.max(labels)) + 1
    rng = np.random.default_rng(0)
    sizes = [inputs.shape[1], *[width] * (depth - 1), classes]
    pairs = zip(sizes, sizes[1:], strict=False)
    kernels = [jnp.asarray(rng.normal(size=(b, a)) / np.sqrt(a)) for a, b in pairs]

    def features(kernels: list[Any]) -> Any:
        x = inputs
        for kernel in kernels[:-1]:
            x = activation(x @ kernel.T)
        return x

    def objective(parameters: Any) -> Any:
        kernels, bias = parameters
        outputs = features(kernels) @ kernels[-1].T + (bias if biased else 0)
        squares = sum(jnp.sum(kernel**2) for kernel in kernels)
        return jnp.mean(loss(outputs, labels)) + 0.5 * weight_decay * squares

    def step(_: Any, state: Any) -> Any:
        slopes = jax.grad(objective)(state[0])
        velocity = jax.tree.map(lambda v, g: 0.9 * v - rate * g, state[1], slopes)
        return jax.tree.map(jnp.add, state[0], velocity), velocity

    @jax.jit
    def descend(start: Any) -> Any:
        still = jax.tree.map(jnp.zeros_like, start)
        return jax.lax.fori_loop(0, steps, step, (start, still))[0]

    kernels, bias = descend((kernels, jnp.zeros(classes)))
    own = bias if biased else None
    return NetworkLayer(features(kernels), jnp.asarray(labels), kernels[-1], own), kernels
