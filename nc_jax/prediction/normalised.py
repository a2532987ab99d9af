r"""Free contexts with a layer normalisation: a surrogate that keeps the network's normalisation.

Minimise over directions x_j, the normalisation's gain γ and offset β, and the head W

    Σ_j q_j CE(W h_j, y_j) + (λ/2)(‖W‖² + ‖γ‖² + ‖β‖²),    h_j = γ∘x̂_j + β,

x̂_j = √p · x_j/‖x_j‖ after centring its coordinates, y_j the distribution of the token after
cluster j and q_j its share of the text. Only the body of the network is replaced: every
cluster may choose its direction freely.

The cost of features. Drop β and require ‖x̂_j‖² = p only on average. For given features
H (rows √q_j h_j) the smallest ‖γ‖² in a rotated feature space is ‖H‖_*²/p: with m_c = Σ_j q_j h_jc²
the condition is Σ_c m_c/γ_c² = p, so γ_c² = √m_c Σ_d √m_d / p and ‖γ‖² = (Σ_c √m_c)²/p; Σ_c √m_c is
concave in the diagonal m of HᵀH and therefore smallest in its eigenbasis. Hence

    (λ/2)‖γ‖² ≥ (λ/2p) ‖H‖_*²,    which is between (λ/2p)‖H‖² and (λ/2)‖H‖²:

features of rank r can cost as little as r/p of their cost after a batch normalisation, and
the more weight decay lowers the rank, the cheaper they become. Unconstrained features with
λ_H = λ/N have the full cost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from nc_jax.datasets.contexts import ContextRows
from nc_jax.solvers.quasi_newton import Settings, minimise_lanes

# Residuals, relative to the objective, at which a solve stops.
RELATIVE = 3e-6
PAIRS = 6


class NormalisedHead(NamedTuple):
    """A stationary point of the model.

    Attributes:
        rows: W [V, p].
        features: h_j [J, p].
        gain: γ [p].
        offset: β [p].
        loss: the mean loss.
        objective: the mean loss with the penalties.
        residual: ‖gradient‖·‖parameters‖; the model is not convex and has no gap.
    """

    rows: np.ndarray
    features: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    loss: float
    objective: float
    residual: float


def solve_normalised(
    contexts: ContextRows, width: int, weight_decay: float, iterations: int, seed: int = 0
) -> NormalisedHead:
    """Minimises the objective from a random start with L-BFGS.

    Args:
        contexts: J clusters and their targets.
        width: p ≥ 2.
        weight_decay: λ > 0.
        iterations: largest number of iterations.
        seed: seed of the start.

    Raises:
        ValueError: naming the invalid argument.
    """
    if width < 2 or iterations < 1:
        raise ValueError("width must be at least 2, and iterations at least 1")
    if not weight_decay > 0:
        raise ValueError(f"weight_decay must be positive, got {weight_decay}")
    targets = jnp.asarray(contexts.targets)
    share = jnp.asarray(contexts.counts / contexts.counts.sum(), targets.dtype)
    data = (share, targets, jnp.asarray(weight_decay, targets.dtype))
    clusters, vocabulary = targets.shape
    shapes = {"x": (clusters, width), "rows": (vocabulary, width)}
    shapes |= {"gain": (width,), "offset": (width,)}
    zero = {name: jnp.zeros(shape, targets.dtype) for name, shape in shapes.items()}
    _, unravel = ravel_pytree(zero)

    def start(_: Any, key: Array) -> Array:
        first, second = jax.random.split(key)
        point = {
            "x": jax.random.normal(first, shapes["x"], targets.dtype),
            "rows": jax.random.normal(second, shapes["rows"], targets.dtype) / width,
            "gain": jnp.ones(width, targets.dtype),
            "offset": jnp.zeros(width, targets.dtype),
        }
        return ravel_pytree(point)[0]

    def objective(data: Any, point: Array) -> Array:
        return _cost(data, unravel(point))

    settings = Settings(RELATIVE, RELATIVE * 1e-3, iterations, PAIRS, 1)
    keys = jax.random.split(jax.random.key(seed), 1)
    lane = jax.tree.map(lambda leaf: leaf[None], data)
    minima = jax.jit(lambda lane: minimise_lanes(objective, start, lane, keys, settings))(lane)
    point = unravel(minima.point[0])
    features = _features(point)
    loss = float(_loss(data, features, point["rows"]))
    return NormalisedHead(
        rows=np.asarray(point["rows"]),
        features=np.asarray(features),
        gain=np.asarray(point["gain"]),
        offset=np.asarray(point["offset"]),
        loss=loss,
        objective=float(minima.value[0]),
        residual=float(minima.residual[0]),
    )


def _features(point: dict[str, Array]) -> Array:
    """h_j [J, p]."""
    x = point["x"] - jnp.mean(point["x"], axis=1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.mean(x**2, axis=1, keepdims=True))
    return point["gain"] * x + point["offset"]


def _loss(data: Any, features: Array, rows: Array) -> Array:
    share, targets, _ = data
    logits = jnp.matmul(features, rows.T, precision="highest")
    each = jax.nn.logsumexp(logits, axis=1) - jnp.sum(targets * logits, axis=1)
    return jnp.sum(share * each)


def _cost(data: Any, point: dict[str, Array]) -> Array:
    decayed = (point["rows"], point["gain"], point["offset"])
    squares = sum(jnp.sum(array**2) for array in decayed)
    return _loss(data, _features(point), point["rows"]) + 0.5 * data[2] * squares
