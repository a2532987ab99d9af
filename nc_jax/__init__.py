"""nc_jax: the geometry of a network's last layers, predicted with certificates."""

import lazy_loader

# Each name of __init__.pyi is imported when it is first used, so that the console command
# answers --help without JAX.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
