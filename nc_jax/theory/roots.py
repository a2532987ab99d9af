"""Roots in a bracket inside compiled programs: of cheap functions, and of expensive ones.

For a condition that is evaluated on the host, or on many points at once, see
:mod:`nc_jax.theory.brackets`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Halves any interval of the thresholds to its last bit, in float64.
HALVINGS = 90


def root_between(function: Callable[[Array], Array], lower: Array, upper: Array) -> Array:
    """The root of a monotone function of one number, by bisection.

    Differentiable in everything that the function depends on, by the implicit function
    theorem; jit- and vmap-able. It calls nothing on the host, so its program can be kept.

    Args:
        function: maps a number [] to a number []; it rises or falls between the ends.
        lower: [] where the function has the other sign than at the upper end.
        upper: [].

    Returns:
        [] the root.
    """

    def bisect(function: Callable[[Array], Array], _: Array) -> Array:
        rises = function(upper) > 0

        def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = 0.5 * (low + high)
            above = (function(middle) > 0) == rises
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        low, high = jax.lax.fori_loop(0, HALVINGS, halve, (lower, upper))
        return 0.5 * (low + high)

    def solve_tangent(linear: Callable[[Array], Array], right: Array) -> Array:
        return right / linear(jnp.ones_like(right))

    return jax.lax.custom_root(function, 0.5 * (lower + upper), bisect, solve_tangent)


class Search(NamedTuple):
    """The state of a search for a change of sign: ends, values at them, and what was kept.

    Attributes:
        low, high: [] the ends of the bracket.
        at_low, at_high: [] the function at these ends.
        halved_low, halved_high: [] the same, halved whenever only the other end moves.
        steps: [] number of evaluations besides the two ends.
        opposite: [] whether the values at the first two ends have opposite signs; inside, a value
            may be exactly zero.
        kept: what the evaluations have told besides their values.
    """

    low: Array
    high: Array
    at_low: Array
    at_high: Array
    halved_low: Array
    halved_high: Array
    steps: Array
    opposite: Array
    kept: Any


def search_change(
    function: Callable[[Array], tuple[Array, Any]],
    low: Array,
    high: Array,
    start: Any,
    merge: Callable[[Any, Any], Any],
    tolerance: Any,
    relative: bool,
    steps: int,
) -> Search:
    """Where an expensive function of one number changes its sign, with few evaluations.

    Regula falsi (Illinois), with a bisection in every third step; jit-able. The derivative is
    left to the caller.

    Args:
        function: maps a number [] to a number [] and to what else there is to keep.
        low: [] one end of the search.
        high: [] the other end, low < high.
        start: what is kept before the first evaluation.
        merge: from what was kept and what an evaluation adds to what is kept.
        tolerance: width of the last bracket.
        relative: whether ``tolerance`` is relative to |high|.
        steps: largest number of evaluations besides the two ends.
    """
    unknown = jnp.full_like(low, jnp.nan)
    # The loop also evaluates the two ends: the function is then compiled once, not three times.
    state = Search(
        low,
        high,
        *[unknown] * 4,
        steps=jnp.asarray(-2, jnp.int32),
        opposite=jnp.asarray(False),
        kept=start,
    )

    def unfinished(state: Search) -> Array:
        width = jnp.abs(state.high - state.low)
        least = tolerance * (jnp.maximum(jnp.abs(state.high), 1e-12) if relative else 1)
        return (state.steps < 0) | (state.opposite & (width > least) & (state.steps < steps))

    def narrowed(state: Search) -> Search:
        end = jnp.where(state.steps == -2, state.low, state.high)
        x = jnp.where(state.steps < 0, end, _guess(state))
        value, own = function(x)
        return _narrowed(state, x, value, merge(state.kept, own))

    return jax.lax.while_loop(unfinished, narrowed, state)


def _guess(state: Search) -> Array:
    """The next point: from the secant, or every third time the middle."""
    middle = 0.5 * (state.low + state.high)
    share = state.halved_low / (state.halved_low - state.halved_high)
    secant = state.low + share * (state.high - state.low)
    inside = jnp.isfinite(secant) & (secant > state.low) & (secant < state.high)
    return jnp.where(inside & (state.steps % 3 < 2), secant, middle)


def _narrowed(state: Search, x: Array, value: Array, kept: Any) -> Search:
    """The half of the bracket with the change of sign; the value at the kept end is halved.

    The first two values are those of the ends themselves.
    """
    first, second = state.steps == -2, state.steps == -1
    to_low = first | (~second & (value * state.at_low > 0))
    to_high = second | ~(first | to_low)
    inner = ~(first | second)

    def halved(old: Array, moved: Array, other: Array) -> Array:
        return jnp.where(moved, value, jnp.where(inner & other, 0.5 * old, old))

    return Search(
        jnp.where(to_low, x, state.low),
        jnp.where(to_high, x, state.high),
        jnp.where(to_low, value, state.at_low),
        jnp.where(to_high, value, state.at_high),
        halved(state.halved_low, to_low, to_high),
        halved(state.halved_high, to_high, to_low),
        state.steps + 1,
        jnp.where(second, value * state.at_low < 0, state.opposite),
        kept,
    )
