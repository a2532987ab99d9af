"""Data for networks and for models that start from data."""

from nc_jax.training.data import (
    DATA_SETS,
    ImageData,
    balanced_features,
    gaussian_classes,
    load_images,
)

__all__ = ["DATA_SETS", "ImageData", "balanced_features", "gaussian_classes", "load_images"]
