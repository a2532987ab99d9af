"""The output of a study: tables, figures and provenance."""

import lazy_loader

from nc_jax.files import prepare_folder as prepare_folder
from nc_jax.files import write_atomically as write_atomically

# Imported when first used: a study without a diagnosis does not wait for that.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["prepare_folder", "write_atomically"]
