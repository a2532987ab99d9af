"""A page on this machine that solves phase maps and single models as controls move.

Started by ``python -m nc_jax.explorer`` or ``nc-jax explore``. Listens on 127.0.0.1 only.
"""
