"""A batched, pure function over a named grid, on every device, into one table."""

from nc_jax.sweeps.engine import Outcome, measured_chunk, run_sweep, usable_devices
from nc_jax.sweeps.grid import (
    Grid,
    Product,
    Random,
    Sobol,
    Values,
    Zip,
    linspace,
    logspace,
    point_ids,
)
from nc_jax.sweeps.plan import Block, Plan
from nc_jax.sweeps.store import Store

__all__ = [
    "Block",
    "Grid",
    "Outcome",
    "Plan",
    "Product",
    "Random",
    "Sobol",
    "Store",
    "Values",
    "Zip",
    "linspace",
    "logspace",
    "measured_chunk",
    "point_ids",
    "run_sweep",
    "usable_devices",
]
