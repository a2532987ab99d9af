"""Measured layers of trained networks, for the comparison with surrogates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax.campaigns.campaign import Training, measure_collapse
from nc_jax.diagnosis import fit_price, layer_path
from nc_jax.losses import CentredSquaredError
from nc_jax.metrics import NetworkLayer, QuasiInterpolation, quasi_interpolation
from nc_jax.prediction import measure_last_layer
from nc_jax.training.images import Images
from nc_jax.training.loop import Progress, Trainer

# The columns of :func:`measure_layers` that a run that broke down lacks.
LAYER_COLUMNS = tuple(
    kind + name for kind in ("", "line_", "model_") for name in ("pfc1", "pfc2", "pfc3")
)
# The columns of :func:`measure_identities` that a run that broke down may lack.
IDENTITY_COLUMNS = (
    *QuasiInterpolation._fields,
    *("nc1_quotient", "nc2_etf", "nc3_difference", "nc4", "layer_norm_spread"),
)
# Samples per class on which layers are measured, and samples of the multilayer model.
MEASURED, MODELLED = 200, 400
# λ_W of the multilayer model if the network has no weight decay.
LEAST_DECAY = 1e-6


def measure_rows(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row of :func:`nc_jax.prediction.measure_last_layer`."""
    minority = np.asarray(training.minority, int)
    row = measure_last_layer(trainer, state.fetch(), training.subset, test, minority, training.run)
    return [row]


def measure_layers(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row for each layer of the last stage of a residual network trained on equal classes.

    The columns of :func:`measure_collapse`, and PFC1–PFC3 of the layer, of the straight line from
    the first to the last layer (``line_``) and, after training, of the multilayer model whose λ_H
    is fitted to the last layer (``model_``). A run that broke down, or that weight decay has
    driven to zero, has one row without them.
    """
    (row,) = measure_collapse(trainer, state, training, test)
    if not np.isfinite(state.loss):
        return [row]
    classes, size = trainer.num_classes, training.about["per_class"]
    subset = training.subset.reshape(classes, size)[:, :MEASURED]
    weights, names = state.fetch(), trainer.last_stage()
    _, layers, labels = trainer.layers(weights, trainer.images, subset.ravel(), names)
    ends = [np.linalg.norm(layers[0]), np.linalg.norm(layers[-1] - layers[0])]
    if not np.isfinite(ends).all() or min(ends) == 0:
        # Weight decay has driven this network to zero.
        return [row]
    path = layer_path(layers, labels, classes)
    row |= {"straightness": path.straightness, "transport": path.transport}
    row |= {"line_falls": bool(path.traces.decreasing)}
    row |= {"line_cross": float(path.traces.between_cross)}
    kinds = {"": path.seen, "line_": path.line}
    if state.epoch == training.run.recipe.epochs:
        few = np.arange(subset.size).reshape(subset.shape)[:, : max(MODELLED // classes, 2)].ravel()
        decay = max(training.run.recipe.weight_decay, LEAST_DECAY)
        first, last, own = layers[0][few], layers[-1][few], labels[few]
        fit = fit_price(first, last, own, classes, decay, np.minimum(path.positions, 1))
        row |= {"lambda_h": fit.lambda_h, "model_gap": fit.gap, "alignment": fit.alignment}
        kinds |= {"model_": fit.predicted}
    rows = []
    for place, name in enumerate(names):
        own = {"layer": place, "name": name, "position": float(path.positions[place])}
        for kind, metrics in kinds.items():
            own |= {kind + key: float(values[place]) for key, values in metrics._asdict().items()}
        rows.append(row | own)
    return rows


def measure_identities(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row with NC1–NC4 of the last layer, and the identities that hold at stationary points."""
    (row,) = measure_collapse(trainer, state, training, test)
    weights = state.fetch()
    _, features, labels = trainer.outputs(weights, trainer.images, training.subset)
    kernel, bias = trainer.classifier(weights)
    if not np.isfinite(features).all():
        return [row]
    # In float64, because differences of nearly equal numbers are evaluated.
    wide: Any = [None if x is None else jnp.asarray(x, float) for x in (features, kernel, bias)]
    layer = NetworkLayer(wide[0], jnp.asarray(labels), wide[1], wide[2])
    centred = isinstance(training.run.recipe.loss, CentredSquaredError)
    decay = training.run.recipe.weight_decay
    own = quasi_interpolation(layer, decay, centred)
    row |= {name: float(value) for name, value in own._asdict().items()}
    kernels = [leaf for leaf in jax.tree.leaves(weights[0]) if leaf.ndim > 1]
    squares = np.array([float(np.sum(np.asarray(leaf, float) ** 2)) for leaf in kernels])
    # At a stationary point with λ > 0 homogeneous layers have equal norms.
    return [row | {"layer_norm_spread": float(np.std(squares) / np.mean(squares))}]
