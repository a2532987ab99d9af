"""The smallest curvature at a stationary point of a factored program: is it a minimum?

The residual of a solution is also zero at saddle points. The Hessian of the objective along all
directions that keep the constraints distinguishes them: budgets that are used up stay used up,
other budgets are free to change. The Hessian acts on the parameters that
a :class:`.Parametrisation` turns into feasible layers, with features and weights in units of
their balls (or of their penalties), so that curvatures of different layers can be compared.
Rotations of feature space leave the objective unchanged, so at a minimum other than zero the
smallest curvature is zero up to rounding; it is negative at a saddle point.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from nc_jax.checks import require_count
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.parametrisations import parametrised


class Curvature(NamedTuple):
    """Extreme eigenvalues of the Hessian along feasible directions.

    Attributes:
        least: [...] the smallest.
        largest: [...] the largest.
    """

    least: Array
    largest: Array

    @property
    def relative(self) -> Array:
        """[...] least, divided by the larger absolute value of both; dimensionless, ≥ −1."""
        scale = jnp.maximum(jnp.abs(self.least), jnp.abs(self.largest))
        return self.least / jnp.where(scale > 0, scale, 1)


def least_curvature(
    solution: FactoredSolution, steps: int = 100, key: Array | None = None
) -> Curvature:
    """Extreme eigenvalues of the Hessian at a solution, by Lanczos.

    Exact if there are at most ``steps`` parameters; otherwise the estimates approach the
    extreme eigenvalues from inside the spectrum. A relative value below about −1e−6 in
    float64 means a direction of descent.

    Args:
        solution: of a single model or of a batch.
        steps: number of Hessian products, each about three evaluations of the objective.
        key: PRNG key of the first direction; a fixed one by default.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    if not isinstance(solution, FactoredSolution):
        raise TypeError(f"solution must be a FactoredSolution, got {type(solution).__name__}")
    steps = require_count("steps", steps, 1)
    key = jax.random.key(0) if key is None else key

    def single(model: Any, layers: Any) -> Curvature:
        objective, point = feasible_objective(model, layers)
        return _extremes(objective, point, min(steps, point.size), key)

    for _ in range(solution.objective.ndim):
        single = jax.vmap(single)
    return jax.jit(single)(solution.model, solution.layers)


def feasible_objective(model: Any, layers: Any) -> tuple[Any, Array]:
    """The objective as a function of free parameters [d], and the point of the layers.

    The slacks of the balls are kept: a direction can leave a sphere only from its interior.
    """
    maps = parametrised(model)
    parameters = dict(maps.parameters(layers))
    fixed = {"slacks": parameters.pop("slacks")} if "slacks" in parameters else {}
    point, unravel = ravel_pytree(parameters)

    def objective(flat: Array) -> Array:
        return model.cost(maps.layers(unravel(flat) | fixed))

    return objective, point


def _extremes(objective: Any, point: Array, steps: int, key: Array) -> Curvature:
    """Smallest and largest Ritz values of the Hessian, with full reorthogonalisation."""
    gradient = jax.grad(objective)

    def product(direction: Array) -> Array:
        return jax.jvp(gradient, (point,), (direction,))[1]

    def normalised(vector: Array) -> tuple[Array, Array]:
        length = jnp.linalg.norm(vector)
        return vector / jnp.where(length > 0, length, 1), length

    def step(state: tuple[Array, Array], place: Array) -> tuple[Any, tuple[Array, Array]]:
        basis, current = state
        basis = basis.at[place].set(current)
        image = product(current)
        diagonal = jnp.dot(current, image, precision="highest")
        # Twice is enough (Parlett): the result is then orthogonal up to rounding.
        for _ in range(2):
            along = jnp.matmul(basis, image, precision="highest")
            image = image - jnp.matmul(along, basis, precision="highest")
        following, beside = normalised(image)
        return (basis, following), (diagonal, beside)

    first, _ = normalised(jax.random.normal(key, point.shape, point.dtype))
    basis = jnp.zeros((steps, point.size), point.dtype)
    _, (diagonal, beside) = jax.lax.scan(step, (basis, first), jnp.arange(steps))
    tridiagonal = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    values = jnp.linalg.eigvalsh(tridiagonal)
    return Curvature(values[0], values[-1])
