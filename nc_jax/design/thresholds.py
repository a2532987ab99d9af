"""Where a certified family of models changes its phase."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.checks import float_array
from nc_jax.design.separation import separation
from nc_jax.solvers import Solution, Status, choose_solver


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


class _Bracket(NamedTuple):
    """State of the search: ends, values at them (possibly halved), steps, certificates.

    ``opposite`` refers to the two ends; inside, a value may be exactly zero.
    """

    low: Array
    high: Array
    at_low: Array
    at_high: Array
    halved_low: Array
    halved_high: Array
    steps: Array
    opposite: Array
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

    Uses regula falsi (Illinois) on :func:`separation` of certified optima, with a bisection in
    every third step. Pure and jit-able; ``value`` is differentiable in ``parameters`` by the
    implicit function theorem, from the side on which a direction is missing.

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
    ends = [float_array(name, value, dtype) for name, value in (("low", low), ("high", high))]
    ends = [jnp.log(end) for end in ends] if logarithmic else ends
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
    unknown = jnp.full((), jnp.nan, dtype)
    # The loop also solves the two ends: the solver is then compiled once, not three times.
    bracket = _Bracket(
        low=ends[0],
        high=ends[1],
        at_low=unknown,
        at_high=unknown,
        halved_low=unknown,
        halved_high=unknown,
        steps=jnp.asarray(-2, jnp.int32),
        opposite=jnp.asarray(False),
        gap=jnp.zeros((), dtype),
        certified=jnp.asarray(True),
    )

    def unfinished(state: _Bracket) -> Array:
        width = jnp.abs(state.high - state.low)
        least = tolerance * (1 if logarithmic else jnp.maximum(jnp.abs(state.high), 1e-12))
        return (state.steps < 0) | (state.opposite & (width > least) & (state.steps < steps))

    def narrowed(state: _Bracket) -> _Bracket:
        end = jnp.where(state.steps == -2, state.low, state.high)
        x = jnp.where(state.steps < 0, end, _guess(state))
        value, solution = solved(x, held)
        return _narrowed(state, x, value, solution)

    last = jax.lax.while_loop(unfinished, narrowed, bracket)
    end = jnp.where(last.at_low < 0, last.low, last.high)
    value = _moved(lambda x, own: solved(x, own)[0], end, parameters)
    value = jnp.where(last.opposite, value, jnp.nan)
    value, least, most = (jnp.exp(x) if logarithmic else x for x in (value, last.low, last.high))
    return Threshold(value, least, most, last.at_low, last.at_high, last.gap, last.certified)


def _guess(state: _Bracket) -> Array:
    """The next point: from the secant, or every third time the middle."""
    middle = 0.5 * (state.low + state.high)
    share = state.halved_low / (state.halved_low - state.halved_high)
    secant = state.low + share * (state.high - state.low)
    inside = jnp.isfinite(secant) & (secant > state.low) & (secant < state.high)
    return jnp.where(inside & (state.steps % 3 < 2), secant, middle)


def _narrowed(state: _Bracket, x: Array, value: Array, solution: Solution) -> _Bracket:
    """The half of the bracket with the change of sign; the value at the kept end is halved.

    The first two values are those of the ends themselves.
    """
    first, second = state.steps == -2, state.steps == -1
    to_low = first | (~second & (value * state.at_low > 0))
    to_high = second | ~(first | to_low)
    inner = ~(first | second)

    def halved(old: Array, moved: Array, other: Array) -> Array:
        return jnp.where(moved, value, jnp.where(inner & other, 0.5 * old, old))

    return _Bracket(
        jnp.where(to_low, x, state.low),
        jnp.where(to_high, x, state.high),
        jnp.where(to_low, value, state.at_low),
        jnp.where(to_high, value, state.at_high),
        halved(state.halved_low, to_low, to_high),
        halved(state.halved_high, to_high, to_low),
        state.steps + 1,
        jnp.where(second, value * state.at_low < 0, state.opposite),
        jnp.maximum(state.gap, solution.gap),
        state.certified & (solution.status == Status.CONVERGED),
    )


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
