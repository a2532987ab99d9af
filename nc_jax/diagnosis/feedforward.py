"""Progressive feedforward collapse of a network's layers, compared with predictions.

Two predictions of Wang, Gai, Zhang (2024): the layers lie on the straight line from the
first to the last (geodesic); and the last layer is the optimum of the multilayer
unconstrained feature model that starts from the first layer, with the λ_H (the price of
moving the features) at which the PFC1 of both agree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from nc_jax.metrics.feedforward import (
    FeedforwardMetrics,
    feedforward_metrics,
    layer_positions,
    moment_metrics,
)
from nc_jax.metrics.geodesic import Geodesic, geodesic, geodesic_metrics
from nc_jax.solvers import EliminatedMultiStart, solve, solve_batch
from nc_jax.surrogates import MultilayerUnconstrainedFeatures

# The values of λ_H that are tried, for features of mean squared length one.
PRICES = np.geomspace(1e-8, 1e4, 37)
SOLVER = EliminatedMultiStart(restarts=4)


class LayerPath(NamedTuple):
    """The layers of a network that have the same width.

    Attributes:
        positions: [L+1] from 0 to 1, by the distance covered.
        seen: PFC1–PFC3 [L+1] of the layers.
        line: the same on the straight line between the first and the last layer.
        traces: of the two ends; they determine whether PFC1 decreases along the line.
        straightness: ‖H^L − H^0‖ / Σ_l ‖H^l − H^{l−1}‖, at most 1.
        transport: L Σ_l ‖H^l − H^{l−1}‖² / ‖H^L − H^0‖², the cost relative to the
            smallest possible: at least 1, and 1 for equal steps on a straight line.
    """

    positions: np.ndarray
    seen: FeedforwardMetrics
    line: FeedforwardMetrics
    traces: Geodesic
    straightness: float
    transport: float


class PriceFit(NamedTuple):
    """The multilayer unconstrained feature model that starts from a network's first layer.

    Attributes:
        lambda_h: the λ_H at which its last layer has the PFC1 of the network, in the units
            of the features.
        lambda_w: λ_W, likewise.
        gap: duality gap of its optimum.
        predicted: PFC1–PFC3 at the given positions.
        alignment: cosine ⟨H*, H^L⟩/(‖H*‖‖H^L‖) of the predicted and the measured last layer.
    """

    lambda_h: float
    lambda_w: float
    gap: float
    predicted: FeedforwardMetrics
    alignment: float


def layer_path(layers: Sequence[np.ndarray], labels: np.ndarray, num_classes: int) -> LayerPath:
    """Measures layers of one width, and predicts the inner layers from the first and the last.

    Args:
        layers: features [N, p] of at least two layers, in order.
        labels: [N] integers 0…K−1.
        num_classes: K.

    Raises:
        TypeError, ValueError: naming the invalid argument; all layers are the same.
    """
    positions = np.asarray(layer_positions(layers))
    if not np.isfinite(positions).all():
        raise ValueError("layers must be finite and not all the same")
    steps = np.array([np.linalg.norm(b - a) for a, b in zip(layers, layers[1:], strict=False)])
    direct = float(np.linalg.norm(layers[-1] - layers[0]))
    first, last = _coordinates(layers[0], layers[-1])
    return LayerPath(
        positions,
        feedforward_metrics([_coordinates(x)[0] for x in layers], labels, num_classes),
        geodesic_metrics(first, last, labels, num_classes, np.minimum(positions, 1).tolist()),
        geodesic(first, last, labels, num_classes),
        direct / float(steps.sum()),
        len(steps) * float(np.sum(steps**2)) / direct**2 if direct > 0 else float("inf"),
    )


def _coordinates(*layers: np.ndarray) -> list[np.ndarray]:
    """The same points in a basis of the space that they span, if it has fewer dimensions.

    Distances and inner products are preserved, and covariance matrices become small.
    """
    rows = [np.asarray(layer, float) for layer in layers]
    total = sum(map(len, rows))
    if rows[0].shape[1] <= total:
        return rows
    triangle = np.asarray(np.linalg.qr(np.concatenate(rows).T, mode="r"))
    return np.split(triangle.T, np.cumsum([len(x) for x in rows])[:-1])


def fit_price(
    first: np.ndarray,
    last: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    weight_decay: float,
    positions: np.ndarray,
) -> PriceFit:
    """Fits λ_H to a network, and predicts its layers.

    Args:
        first: features [N, p] of the first layer, the input data of the model.
        last: features [N, p] of the last layer.
        labels: [N] integers 0…K−1.
        num_classes: K.
        weight_decay: λ_W > 0 of the network, in the units of its features.
        positions: where to predict PFC1–PFC3, from 0 to 1.

    Returns:
        The model at the smallest λ_H at which its last layer has the PFC1 of the network; at
        the first or last λ_H tried if there is none between.

    Raises:
        TypeError, ValueError: naming what is wrong.
    """
    first, last = (np.asarray(x, float) for x in (first, last))
    scale = np.sqrt(np.mean(np.sum(first**2, axis=1)))
    if not 0 < scale < np.inf:
        raise ValueError("first must be finite and not all zero")
    # The model depends only on the inner products of the samples, so the directions that they
    # span are sufficient.
    left, values, directions = np.linalg.svd(first / scale, full_matrices=False)
    rank = int(np.sum(values > 1e-9 * values[0]))
    inputs, directions = left[:, :rank] * values[:rank], directions[:rank]
    decay = weight_decay / scale**2
    batch = MultilayerUnconstrainedFeatures(inputs, labels, decay, PRICES, num_classes=num_classes)
    solutions = solve_batch(batch, SOLVER)
    ends = [solutions.lane(lane).moments_at(1.0) for lane in range(len(PRICES))]
    seen = feedforward_metrics([last], labels, num_classes).pfc1[0]
    collapse = np.array([float(moment_metrics(moments)[0]) for moments in ends])
    price = _price_at(collapse, float(seen))
    model = MultilayerUnconstrainedFeatures(inputs, labels, decay, price, num_classes=num_classes)
    solution = solve(model, SOLVER)
    end = np.asarray(solution.sample_features)
    inner = np.sum((end @ directions) * last)
    return PriceFit(
        price / scale**2,
        weight_decay,
        float(solution.gap),
        geodesic_metrics(jnp.asarray(inputs), end, labels, num_classes, positions.tolist()),
        float(inner / (np.linalg.norm(end) * np.linalg.norm(last))),
    )


def _price_at(collapse: np.ndarray, wanted: float) -> float:
    """The smallest λ_H with the wanted PFC1, interpolated; PFC1 usually increases with λ_H."""
    above = np.flatnonzero(collapse >= wanted)
    place = int(above[0]) if len(above) else len(PRICES) - 1
    if place == 0 or not len(above) or collapse[place - 1] <= 0 or wanted <= 0:
        return float(PRICES[place])
    low, high = np.log(collapse[place - 1 : place + 1])
    share = (np.log(wanted) - low) / (high - low)
    return float(PRICES[place - 1] * (PRICES[place] / PRICES[place - 1]) ** share)
