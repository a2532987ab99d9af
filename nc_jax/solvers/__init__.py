"""How a surrogate is solved, and the certificate of how well."""

from nc_jax.solvers.general import FactoredQuasiNewton
from nc_jax.solvers.reduced import ReducedInteriorPoint
from nc_jax.solvers.select import choose_solver, solve, solve_batch
from nc_jax.solvers.solution import Phase, Solution, Status, phase, phase_codes
from nc_jax.solvers.two_groups import TwoGroupRoot

__all__ = [
    "FactoredQuasiNewton",
    "Phase",
    "ReducedInteriorPoint",
    "Solution",
    "Status",
    "TwoGroupRoot",
    "choose_solver",
    "phase",
    "phase_codes",
    "solve",
    "solve_batch",
]
