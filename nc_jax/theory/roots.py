"""The root of a monotone function, to the last digits, with its derivative."""

from collections.abc import Callable

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
