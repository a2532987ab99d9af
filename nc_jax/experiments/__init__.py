"""Experiments: the functions that a sweep evaluates on its grid, by name or from functions."""

from nc_jax.experiments.descent import descent_rows
from nc_jax.experiments.experiment import Experiment, experiment_from
from nc_jax.experiments.outputs import OUTPUTS
from nc_jax.experiments.solved import solved

__all__ = ["OUTPUTS", "Experiment", "descent_rows", "experiment_from", "solved"]
