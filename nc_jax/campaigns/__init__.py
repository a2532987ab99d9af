"""The trainings of a study, from their list to a table of measures."""

from nc_jax.campaigns.campaign import Campaign, Training, train_all
from nc_jax.campaigns.together import fastest_trainer

__all__ = ["Campaign", "Training", "fastest_trainer", "train_all"]
