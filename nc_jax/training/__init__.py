"""Training of networks: data, recipes, and the training loops."""

import lazy_loader

# Imported when first used: studies that only need data do not wait for flax.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
