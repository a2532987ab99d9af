"""The public names, read by type checkers and, at run time, by nc_jax/training/__init__.py."""

from .cures import (
    RUN_CURES as RUN_CURES,
    cured_run as cured_run,
    repeated_to as repeated_to,
)
from .data import (
    DATA_SETS as DATA_SETS,
    DataSet as DataSet,
    ImageData as ImageData,
    digest_of as digest_of,
    load_images as load_images,
    resized as resized,
)
from .inputs import (
    balanced_features as balanced_features,
    gaussian_classes as gaussian_classes,
)
from .recipe import (
    Recipe as Recipe,
)
from .subsets import (
    choose_subset as choose_subset,
    long_tailed_sizes as long_tailed_sizes,
    oversampled as oversampled,
    step_sizes as step_sizes,
)
