"""Training of networks: recipes, the training loops, checkpoints and measures."""

import importlib
import warnings
from typing import Any

import lazy_loader

# Imported when first used: a study that only needs a recipe does not wait for flax.
_own, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# Names that were documented here before the data sets had a room of their own.
_MOVED = {"DATA_SETS", "ImageData", "balanced_features", "choose_subset", "digest_of"}
_MOVED |= {"gaussian_classes", "load_images", "long_tailed_sizes", "oversampled", "step_sizes"}


def __getattr__(name: str) -> Any:
    """A name of this room, imported when it is first used."""
    if name not in _MOVED:
        return _own(name)
    line = f"nc_jax.training.{name} is now nc_jax.datasets.{name}"
    warnings.warn(line, DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("nc_jax.datasets"), name)
