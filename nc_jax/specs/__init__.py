"""Sweeps that a TOML file describes: reading them, and computing them into a store."""

from nc_jax.specs.reading import Spec, parse_spec, read_spec
from nc_jax.specs.stored import Cluster, chosen_axes, coarse_table, compute, other_code

__all__ = [
    "Cluster",
    "Spec",
    "chosen_axes",
    "coarse_table",
    "compute",
    "other_code",
    "parse_spec",
    "read_spec",
]
