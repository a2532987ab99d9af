"""Prediction of a network's last layers from what is known before training."""

from nc_jax.prediction.branches import follow_branches, lines_of
from nc_jax.prediction.compare import Agreement, agreement, cosines_of, pair_mean
from nc_jax.prediction.league import LEAGUE, MATRICES, predict_runs
from nc_jax.prediction.lines import closed_lines, followed_lines, foretold
from nc_jax.prediction.measured import measure_last_layer
from nc_jax.prediction.rest import STATES, Rest, has_converged, measure_rest, state_of
from nc_jax.prediction.surrogate import Penalties, model_of, penalties_of, surrogate_of
from nc_jax.prediction.tables import league_of, states_of

__all__ = [
    "LEAGUE",
    "MATRICES",
    "STATES",
    "Agreement",
    "Penalties",
    "Rest",
    "agreement",
    "closed_lines",
    "cosines_of",
    "follow_branches",
    "followed_lines",
    "foretold",
    "has_converged",
    "league_of",
    "lines_of",
    "measure_last_layer",
    "measure_rest",
    "model_of",
    "pair_mean",
    "penalties_of",
    "predict_runs",
    "state_of",
    "states_of",
    "surrogate_of",
]
