"""Branches of a deep model's stationary points, followed over the imbalance ratio.

With three or more decayed factors (weights and features) the state in which a class is not
learnt is a strict local minimum for every weight decay. The model then has two branches, one
that is reached from balanced data and one from the collapsed state, and jumps between
them, if at all, at different ratios.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree

from nc_jax.geometry import two_groups
from nc_jax.losses import Loss
from nc_jax.metrics.minority import mean_cosine
from nc_jax.prediction.rest import COLLAPSED
from nc_jax.solvers import FactoredMultiStart, solve_batch
from nc_jax.solvers.factored import unravelled
from nc_jax.solvers.parametrisations import parametrised
from nc_jax.solvers.quasi_newton import Settings, minimise_lanes
from nc_jax.surrogates import DeepUnconstrainedFeatures
from nc_jax.surrogates.layers import logits_of

# Perturbation of the last point, so that the next solve does not stay at a saddle.
NUDGE = 1e-2
SETTINGS = Settings(1e-9, 1e-12, 3000, 8, 64)
# A small class counts as learnt from this share of the large classes' logit gap on; and
# the smallest gap of a large class.
LEARNT = 0.05


def follow_branches(
    majority: int,
    minority: int,
    majority_size: int,
    ratios: Sequence[float] | np.ndarray,
    weight_decays: Sequence[float] | np.ndarray,
    layers: int,
    loss: Loss | None = None,
    activation: str = "relu",
    biased: bool = True,
) -> pd.DataFrame:
    """Both branches of a deep model after batch normalisation, λ_H = λ/N.

    Args:
        majority: K_A.
        minority: K_B.
        majority_size: n_A.
        ratios: R, increasing; the first one so small that all classes are learnt.
        weight_decays: λ of weights, features and biases.
        layers: M, the number of weight matrices.
        loss: cross-entropy by default.
        activation: between the layers; with 'relu' the features are also nonnegative.
        biased: whether the layers have biases.

    Returns:
        One row for each branch ('up' from the first ratio on, 'down' from the last), λ and R:
        ``objective``, ``residual`` (‖gradient‖·‖parameters‖), ``minority_cosine`` (NaN
        if classifiers vanish), ``learnt`` (whether the smallest gap between the own and the
        largest other logit of a small class exceeds 0.05 of that of a large one).
    """
    decays = jnp.asarray(weight_decays, float)

    def models(ratio: float) -> Any:
        small = majority_size / ratio
        count = majority * majority_size + minority * small
        sizes = two_groups(majority, minority, jnp.full(decays.shape, ratio), small)
        bias = decays if biased else None
        penalties = decays, decays / count, bias
        rectified = activation == "relu"
        return DeepUnconstrainedFeatures(
            sizes, layers, *penalties, loss, activation, nonnegative=rectified
        )

    rising = np.sort(np.asarray(ratios, float))
    tables = []
    for branch, path in (("up", rising), ("down", rising[::-1])):
        points = _start(models(path[0]), branch)
        for ratio in path:
            points, rows = _settle(models(ratio), points)
            own = {name: np.asarray(values) for name, values in rows.items()}
            own |= {"branch": branch, "layers": layers, "ratio": ratio}
            tables.append(pd.DataFrame(own | {"weight_decay": np.asarray(decays)}))
    return pd.concat(tables, ignore_index=True)


def _start(models: Any, branch: str) -> Any:
    """Parameters [L, d]: the best of several starts, or a state with small classes unlearnt."""
    key = jax.random.key(0)
    if branch == "up":
        solved = solve_batch(models, FactoredMultiStart(restarts=8))
        return _parameters_of(models, solved.layers)
    lanes = models.batch_shape[0]
    lone = jax.tree.map(lambda leaf: leaf[0], models)
    start = parametrised(lone).start(key)
    features, *weights = start["matrices"]
    small = np.asarray(lone.sizes.membership) == 1
    features = jnp.where(small[:, None], 1e-3 * features, features)
    last = jnp.where(small[:, None], 1e-3 * weights[-1], weights[-1])
    matrices = (features, *weights[:-1], last)
    flat = ravel_pytree(start | {"matrices": matrices})[0]
    return jnp.broadcast_to(flat, (lanes, len(flat)))


def _parameters_of(models: Any, layers: Any) -> Any:
    """Parameters [L, d] of the layers of all models."""
    return jax.vmap(lambda model, own: ravel_pytree(parametrised(model).parameters(own))[0])(
        models, layers
    )


@jax.jit
def _settle(models: Any, points: Any) -> tuple[Any, dict[str, Any]]:
    """The minima reached from points [L, d], and their properties."""
    single = jax.tree.map(lambda leaf: leaf[0], models)
    unravel = unravelled(single)

    def objective(data: Any, point: Any) -> Any:
        return data[0].cost(parametrised(data[0]).layers(unravel(point)))

    def start(data: Any, key: Any) -> Any:
        noise = jax.random.normal(key, data[1].shape, data[1].dtype)
        return data[1] + NUDGE * noise * jnp.sqrt(jnp.mean(data[1] ** 2))

    keys = jax.random.split(jax.random.key(1), points.shape[0])
    minima = minimise_lanes(objective, start, (models, points), keys, SETTINGS)

    def look(model: Any, point: Any) -> tuple[Any, Any]:
        layers = parametrised(model).layers(unravel(point))
        small = np.flatnonzero(np.asarray(model.sizes.membership) == 1)
        own = layers.weights[-1][small]
        lengths = jnp.linalg.norm(layers.weights[-1], axis=-1)
        gone = jnp.any(lengths[small] < 1e-4 * jnp.max(lengths))
        return jnp.where(gone, jnp.nan, mean_cosine(own)), _gaps(model, layers, small)

    cosine, gaps = jax.vmap(look)(models, minima.point)
    rows = {"objective": minima.value, "residual": minima.residual}
    learnt = (gaps[0] > LEARNT * gaps[1]) & (gaps[1] > LEARNT)
    rows |= {"minority_cosine": cosine, "learnt": learnt}
    return minima.point, rows


def _gaps(model: Any, layers: Any, small: np.ndarray) -> tuple[Any, Any]:
    """Own minus largest other logit: smallest of the small classes, largest of the large ones."""
    logits = logits_of(layers, model.activation)
    others = jnp.where(jnp.eye(logits.shape[0], dtype=bool), -jnp.inf, logits)
    gaps = jnp.diagonal(logits) - jnp.max(others, axis=-1)
    large = np.setdiff1d(np.arange(logits.shape[0]), small)
    return jnp.min(gaps[small]), jnp.max(gaps[large])


def lines_of(branches: pd.DataFrame) -> pd.DataFrame:
    """The two lines for every λ and M: up to which R the learnt state exists, and is optimal.

    Args:
        branches: the result of :func:`follow_branches`.

    Returns:
        ``layers``, ``weight_decay``, ``existence`` (the largest R at which the branch
        from balanced data still has all classes learnt and separate) and ``equality`` (the
        largest R at which its objective is the lower of the two, or both are equal);
        NaN if none of the ratios has this property.
    """
    rows = []
    groups: Any = branches.groupby(["layers", "weight_decay"])
    for (layers, decay), part in groups:
        up, down = (part[part["branch"] == name].set_index("ratio") for name in ("up", "down"))
        apart = up["learnt"] & ~(up["minority_cosine"] > COLLAPSED)
        down = down.loc[up.index]
        better = apart & (up["objective"] <= down["objective"] * (1 + 1e-7))
        rows.append(
            {
                "layers": layers,
                "weight_decay": decay,
                "existence": up.index[apart].max() if apart.any() else np.nan,
                "equality": up.index[better].max() if better.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)
