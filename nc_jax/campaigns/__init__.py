"""The trainings of a study: from their list to a table of measures and predictions."""

from nc_jax.campaigns.campaign import Campaign, Training, measure_collapse, train_all
from nc_jax.campaigns.chains import train_chains
from nc_jax.campaigns.layers import measure_rows
from nc_jax.campaigns.options import (
    TrainingOptions,
    check_options,
    chosen_for,
    decays_of,
    pairs_of,
    recipe_of,
)
from nc_jax.campaigns.plans import Plan, Splits, digests_of, load_splits, train_plans
from nc_jax.campaigns.predicted import ends_of, predict_minority
from nc_jax.campaigns.subsets import (
    balanced_training,
    check_majority,
    majority_size_of,
    step_training,
)
from nc_jax.campaigns.texts import as_row, kept, train_text
from nc_jax.campaigns.together import fastest_trainer

__all__ = [
    "Campaign",
    "Plan",
    "Splits",
    "Training",
    "TrainingOptions",
    "as_row",
    "balanced_training",
    "check_majority",
    "check_options",
    "chosen_for",
    "decays_of",
    "digests_of",
    "ends_of",
    "fastest_trainer",
    "kept",
    "load_splits",
    "majority_size_of",
    "measure_collapse",
    "measure_rows",
    "pairs_of",
    "predict_minority",
    "recipe_of",
    "step_training",
    "train_all",
    "train_chains",
    "train_plans",
    "train_text",
]
