"""Data sets: labelled images, imbalanced subsets, input features, and text."""

from nc_jax.datasets.contexts import ContextRows, context_rows
from nc_jax.datasets.files import Source
from nc_jax.datasets.given import GivenImages, ImageArchive
from nc_jax.datasets.images import DataSet, ImageData, digest_of, normalisation_of
from nc_jax.datasets.inputs import balanced_features, gaussian_classes
from nc_jax.datasets.known import DATA_SETS, find_data_set, load_images
from nc_jax.datasets.official import OfficialImages
from nc_jax.datasets.subsets import choose_subset, long_tailed_sizes, oversampled, step_sizes
from nc_jax.datasets.text import Text, load_text

__all__ = [
    "DATA_SETS",
    "ContextRows",
    "DataSet",
    "GivenImages",
    "ImageArchive",
    "ImageData",
    "OfficialImages",
    "Source",
    "Text",
    "balanced_features",
    "choose_subset",
    "context_rows",
    "digest_of",
    "find_data_set",
    "gaussian_classes",
    "load_images",
    "load_text",
    "long_tailed_sizes",
    "normalisation_of",
    "oversampled",
    "step_sizes",
]
