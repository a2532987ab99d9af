"""Where a certified family of models changes its phase."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.checks import float_array
from nc_jax.design.separation import separation
from nc_jax.solvers import Solution, Status, choose_solver
from nc_jax.theory import search_change


class Threshold(NamedTuple):
    """A change of phase inside a bracket.

    Attributes:
        value: [] the threshold; NaN if both ends are in the same phase.
        low, high: [] the ends of the last bracket.
        at_low, at_high: [] :func:`separation` at these ends; of opposite signs.
        gap: [] the larger of the duality gaps at these ends.
        certified: [] whether every solve converged.
    """

    value: Array
    low: Array
    high: Array
    at_low: Array
    at_high: Array
    gap: Array
    certified: Array


def find_threshold(
    family: Callable[..., Any],
    low: Any,
    high: Any,
    *parameters: Any,
    logarithmic: bool = False,
    tolerance: Any = None,
    steps: int = 80,
    solver: Any = None,
) -> Threshold:
    """The strength at which a family of models gains or loses a direction between classes.

    Uses :func:`nc_jax.theory.search_change` on :func:`separation` of certified optima. Pure and
    jit-able; ``value`` is differentiable in ``parameters`` by the implicit function theorem, from
    the side on which a direction is missing.

    Args:
        family: a function of (strength, *parameters) that returns a single model over group
            numbers, such as ``lambda r, e: nc.LayerPeeled(nc.two_groups(5, 5, r), e, e)``.
        low: one end of the search; the phases at both ends must differ.
        high: the other end, low < high.
        parameters: numbers or arrays with respect to which ``value`` is differentiable.
        logarithmic: whether to search on a logarithmic scale; then 0 < low.
        tolerance: relative width of the last bracket; by default 1e−12 in float64.
        steps: largest number of solves in addition to the two ends.
        solver: by default the best one for the model.

    Raises:
        TypeError: the family's models have no certificate over group numbers.
    """
    dtype = jnp.result_type(float)
    low, high = float_array("low", low, dtype), float_array("high", high, dtype)
    low, high = (jnp.log(low), jnp.log(high)) if logarithmic else (low, high)
    tolerance = 16 * jnp.finfo(dtype).eps if tolerance is None else tolerance

    def solved(x: Array, own: tuple[Any, ...]) -> tuple[Array, Solution]:
        model = family(jnp.exp(x) if logarithmic else x, *own)
        solution = (solver or choose_solver(model))(model)
        if not isinstance(solution, Solution):
            raise TypeError(
                f"family must return models that are certified over group numbers, got {model!r}"
            )
        return separation(solution), solution

    held = jax.lax.stop_gradient(parameters)

    def evaluated(x: Array) -> tuple[Array, Any]:
        value, solution = solved(x, held)
        return value, (solution.gap, solution.status == Status.CONVERGED)

    def kept(before: Any, own: Any) -> Any:
        return jnp.maximum(before[0], own[0]), before[1] & own[1]

    start = (jnp.zeros((), dtype), jnp.asarray(True))
    last = search_change(evaluated, low, high, start, kept, tolerance, not logarithmic, steps)
    gap, certified = last.kept
    end = jnp.where(last.at_low < 0, last.low, last.high)
    value = _moved(lambda x, own: solved(x, own)[0], end, parameters)
    value = jnp.where(last.opposite, value, jnp.nan)
    value, least, most = (jnp.exp(x) if logarithmic else x for x in (value, last.low, last.high))
    return Threshold(value, least, most, last.at_low, last.at_high, gap, certified)


def _moved(condition: Callable[..., Array], at: Array, parameters: tuple[Any, ...]) -> Array:
    """The root itself, with derivative −∂_θ condition / ∂_x condition."""

    @jax.custom_jvp
    def root(at: Array, parameters: tuple[Any, ...]) -> Array:
        return at

    @root.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
        (x, own), (_, changes) = primals, tangents
        slope = jax.grad(condition)(x, jax.lax.stop_gradient(own))
        _, change = jax.jvp(lambda p: condition(x, p), (own,), (changes,))
        return x, -change / jax.lax.stop_gradient(slope)

    return root(jax.lax.stop_gradient(at), parameters) if parameters else at
