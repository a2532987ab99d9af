"""Solvers of the surrogates, each with a certificate of its accuracy."""

from nc_jax.solvers.codes import SphericalCode, spherical_code
from nc_jax.solvers.curvature import Curvature, least_curvature
from nc_jax.solvers.descent import GradientDescent, Trajectory
from nc_jax.solvers.factored import FactoredMultiStart
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.general import FactoredQuasiNewton
from nc_jax.solvers.multilayer import EliminatedMultiStart, LayerwiseMultiStart
from nc_jax.solvers.multilayer_solution import MultilayerSolution
from nc_jax.solvers.phases import Phase, phase, phase_codes
from nc_jax.solvers.reduced import ReducedInteriorPoint
from nc_jax.solvers.select import choose_solver, solve, solve_batch
from nc_jax.solvers.solution import Solution, Status
from nc_jax.solvers.two_groups import TwoGroupRoot

__all__ = [
    "Curvature",
    "EliminatedMultiStart",
    "FactoredMultiStart",
    "FactoredQuasiNewton",
    "FactoredSolution",
    "GradientDescent",
    "LayerwiseMultiStart",
    "MultilayerSolution",
    "Phase",
    "ReducedInteriorPoint",
    "Solution",
    "SphericalCode",
    "Status",
    "Trajectory",
    "TwoGroupRoot",
    "choose_solver",
    "least_curvature",
    "phase",
    "phase_codes",
    "solve",
    "solve_batch",
    "spherical_code",
]
