"""Evaluates a batched, pure function over a named grid, on all devices, into one table."""

from nc_jax.sweeps.aggregate import Cells, aggregate, cells_of, even_cells
from nc_jax.sweeps.chunks import measured_chunk
from nc_jax.sweeps.engine import (
    Batched,
    Build,
    Outcome,
    code_of,
    run_sweep,
    usable_devices,
    use_every_core,
)
from nc_jax.sweeps.estimates import Estimates
from nc_jax.sweeps.grid import (
    Grid,
    Product,
    Random,
    Sobol,
    Values,
    Zip,
    linspace,
    logspace,
)
from nc_jax.sweeps.identifiers import point_ids
from nc_jax.sweeps.overview import planned_rows, stored_rows
from nc_jax.sweeps.plan import Block, Plan
from nc_jax.sweeps.stopping import stop_on_signals
from nc_jax.sweeps.store import Store
from nc_jax.sweeps.table import forget, tabulate

__all__ = [
    "Batched",
    "Block",
    "Build",
    "Cells",
    "Estimates",
    "Grid",
    "Outcome",
    "Plan",
    "Product",
    "Random",
    "Sobol",
    "Store",
    "Values",
    "Zip",
    "aggregate",
    "cells_of",
    "code_of",
    "even_cells",
    "forget",
    "linspace",
    "logspace",
    "measured_chunk",
    "planned_rows",
    "point_ids",
    "run_sweep",
    "stop_on_signals",
    "stored_rows",
    "tabulate",
    "usable_devices",
    "use_every_core",
]
