"""Two models under plain gradient descent: free features, and features that start from data."""

from typing import Any

import jax
import numpy as np

from nc_jax.losses import MeanSquaredError
from nc_jax.metrics import FeedforwardMetrics, feedforward_metrics
from nc_jax.solvers import EliminatedMultiStart, GradientDescent, solve
from nc_jax.surrogates import MultilayerUnconstrainedFeatures, UnconstrainedFeatures

MEASURES = ("pfc1", "pfc2", "pfc3")


def descent_rows(
    inputs: np.ndarray,
    labels: np.ndarray,
    lambda_w: float,
    lambda_h: float,
    descent: GradientDescent,
    optimum: EliminatedMultiStart,
    key: jax.Array,
) -> list[dict[str, Any]]:
    """Features that start free and features that start from the data, under plain descent.

    Args:
        inputs: [N, d] the data X, with the same number of samples in each class.
        labels: [N].
        lambda_w: λ_W, the weight decay of the classifiers.
        lambda_h: λ_H, of the features, or on moving them away from the data.
        descent: gradient descent.
        optimum: the solver of the multilayer model.
        key: of the random starts.

    Returns:
        Rows with ``model`` ('data', 'UFM' or 'MUFM'), ``iteration``, ``kind`` ('data',
        'descent' or 'optimum'), PFC1–PFC3 of the last layer, and ``objective``.
    """
    size = int(np.max(labels)) + 1
    samples = len(inputs) // size
    # The unconstrained features have the penalty λ_H/N per sample, as in the multilayer model.
    free = UnconstrainedFeatures(
        [float(samples)] * size,
        lambda_w,
        lambda_h / len(inputs),
        loss=MeanSquaredError(),
        dimension=max(inputs.shape[1], size),
        samples=samples,
    )
    moving = MultilayerUnconstrainedFeatures(inputs, labels, lambda_w, lambda_h)
    best = solve(moving, optimum, key)
    certified = solve(free)
    ends = {"UFM": certified.features[labels], "MUFM": best.sample_features}
    values = {"UFM": float(certified.objective), "MUFM": float(best.objective)}
    data = feedforward_metrics([inputs], labels, size)
    rows: list[dict[str, Any]] = [
        {"model": "data", "iteration": 0, "kind": "data", **_columns(data, 0)}
    ]
    for name, model in (("UFM", free), ("MUFM", moving)):
        path = jax.jit(descent)(model, key)
        states = list(np.asarray(path.features))
        metrics = feedforward_metrics([*states, ends[name]], labels, size)
        for place, iteration in enumerate(np.asarray(path.iterations)):
            row = {"model": name, "iteration": int(iteration), "kind": "descent"}
            row["objective"] = float(path.objectives[place])
            rows.append(row | _columns(metrics, place))
        row = {"model": name, "kind": "optimum", "objective": values[name]}
        rows.append(row | _columns(metrics, -1))
    return rows


def _columns(metrics: FeedforwardMetrics, place: int) -> dict[str, float]:
    """PFC1–PFC3 of one layer as columns of a row."""
    return {name: float(getattr(metrics, name)[place]) for name in MEASURES}
