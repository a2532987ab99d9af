"""Measured last layers of trained networks, for the comparison with surrogates."""

from typing import Any

import numpy as np

from nc_jax.campaigns.campaign import Training
from nc_jax.prediction import measure_last_layer
from nc_jax.training.images import Images
from nc_jax.training.loop import Progress, Trainer


def measure_rows(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row of :func:`nc_jax.prediction.measure_last_layer`."""
    minority = np.asarray(training.minority, int)
    row = measure_last_layer(trainer, state.fetch(), training.subset, test, minority, training.run)
    return [row]
