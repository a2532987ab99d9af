"""The trainings of a study: from their list to a table of measures and predictions."""

from nc_jax.campaigns.campaign import Campaign, Training, measure_collapse, train_all
from nc_jax.campaigns.chains import train_chains
from nc_jax.campaigns.cures import PLACE, cured_plans, design_cures, strengths_of
from nc_jax.campaigns.layers import (
    IDENTITY_COLUMNS,
    LAYER_COLUMNS,
    measure_identities,
    measure_layers,
    measure_rows,
)
from nc_jax.campaigns.options import (
    PUBLISHED,
    ConvergingOptions,
    TrainingOptions,
    check_options,
    chosen_for,
    decays_of,
    pairs_of,
    recipe_of,
    require_data_set,
)
from nc_jax.campaigns.plans import (
    Plan,
    Splits,
    Trained,
    digests_of,
    load_splits,
    train_networks,
    train_plans,
)
from nc_jax.campaigns.predicted import ends_of, predict_minority, predict_rates, with_states
from nc_jax.campaigns.subsets import (
    balanced_pixels,
    balanced_training,
    check_majority,
    converging_training,
    majority_size_of,
    mean_energy,
    step_training,
)
from nc_jax.campaigns.text_options import TextOptions, check_text_options, read_text, text_runs_of
from nc_jax.campaigns.text_runs import TextRun, optimisers_of, predict_texts, train_texts
from nc_jax.campaigns.texts import as_row, kept, train_text
from nc_jax.campaigns.together import fastest_trainer

__all__ = [
    "IDENTITY_COLUMNS",
    "LAYER_COLUMNS",
    "PLACE",
    "PUBLISHED",
    "Campaign",
    "ConvergingOptions",
    "Plan",
    "Splits",
    "TextOptions",
    "TextRun",
    "Trained",
    "Training",
    "TrainingOptions",
    "as_row",
    "balanced_pixels",
    "balanced_training",
    "check_majority",
    "check_options",
    "check_text_options",
    "chosen_for",
    "converging_training",
    "cured_plans",
    "decays_of",
    "design_cures",
    "digests_of",
    "ends_of",
    "fastest_trainer",
    "kept",
    "load_splits",
    "majority_size_of",
    "mean_energy",
    "measure_collapse",
    "measure_identities",
    "measure_layers",
    "measure_rows",
    "optimisers_of",
    "pairs_of",
    "predict_minority",
    "predict_rates",
    "predict_texts",
    "read_text",
    "recipe_of",
    "require_data_set",
    "step_training",
    "strengths_of",
    "text_runs_of",
    "train_all",
    "train_chains",
    "train_networks",
    "train_plans",
    "train_text",
    "train_texts",
    "with_states",
]
