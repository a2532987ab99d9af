"""Experiments by name: the functions that a sweep evaluates on its grid."""

from nc_jax.experiments.experiment import Experiment, experiment_from
from nc_jax.experiments.outputs import OUTPUTS

__all__ = ["OUTPUTS", "Experiment", "experiment_from"]
