"""The interior-point solver of programs over group numbers."""

from nc_jax.solvers.reduced.interior_point import ReducedInteriorPoint

__all__ = ["ReducedInteriorPoint"]
