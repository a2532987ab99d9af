"""The console command ``nc-jax``.

Nothing here imports JAX or a package of an extra before it is needed, so that ``--help``
and the list of studies answer at once, in any installation.
"""

from nc_jax.command.entry import main

__all__ = ["main"]
