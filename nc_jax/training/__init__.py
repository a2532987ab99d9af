"""Training of networks: data, recipes, and the training loops."""

from nc_jax.training.cures import RUN_CURES, cured_run, repeated_to
from nc_jax.training.data import DATA_SETS, DataSet, ImageData, digest_of, load_images, resized
from nc_jax.training.inputs import balanced_features, gaussian_classes
from nc_jax.training.recipe import Recipe
from nc_jax.training.subsets import choose_subset, long_tailed_sizes, oversampled, step_sizes

__all__ = [
    "DATA_SETS",
    "RUN_CURES",
    "DataSet",
    "ImageData",
    "Recipe",
    "balanced_features",
    "choose_subset",
    "cured_run",
    "digest_of",
    "gaussian_classes",
    "load_images",
    "long_tailed_sizes",
    "oversampled",
    "repeated_to",
    "resized",
    "step_sizes",
]
