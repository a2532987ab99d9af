"""The imbalance ratios at which two-group cross-entropy models change phase.

For the Layer-Peeled Model with K_A majority and K_B minority classes and
budget τ = K E, minority classifiers coincide (collapse) if and only if R ≥ R0 and
are zero (vanish) if and only if R ≥ R1; Fang et al. 2021 observe the first in
Fig. 3. The conditions are derived for this project from the optimality
conditions of the program; this project's solvers and independent convex solvers agree with them.

At R0 the gradient of the minority rows within the group equals the multiplier while
the within-group logit is still zero. In terms of the angle φ of the coupling
(tan φ = (c √K_A)/(b √K_B)) and of x ≥ 0 with sin φ = √(K_A/K)/(1 + x), everything is
explicit in x, and the budget

    s(x) + (K_A − 1) α(x) = τ,   s(x) = K_B (1 + x) ln(1 + x K/K_B),

is one increasing equation for x.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import arrays_for, common_dtype, float_array, is_concrete, require_positive
from nc_jax.theory.roots import root_between


class _Collapse(NamedTuple):
    """The coupling s, within-majority logit α and cos φ at the threshold of collapse."""

    coupling: Array
    within: Array
    cosine: Array


def _edge(x: Array, major: Array, minor: Array) -> _Collapse:
    """Group numbers at the threshold of collapse; accurate also for very small x."""
    total = major + minor
    coupling = minor * (1 + x) * jnp.log1p(x * total / minor)
    bend = major / minor * x * (2 + x) / (1 + x) ** 2
    root = jnp.sqrt(1 + bend)
    log_ratio = jnp.log1p(-total / major * bend / (root * (1 + root)))
    cosine = jnp.sqrt(minor / total) * root
    within = jnp.where(major > 1, coupling * root - major * log_ratio, 0)
    return _Collapse(coupling, within, cosine)


def log_collapse_ratio(majority: Any, minority: Any, budget: Any) -> Array:
    """Logarithm of R0, for budgets so large that R0 itself would overflow.

    Arguments, shapes and errors as in :func:`collapse_ratio`.
    """
    majority, minority, budget = _arguments(majority, minority, budget)
    return _log_collapse(majority, minority, budget)


def collapse_ratio(majority: Any, minority: Any, budget: Any) -> Array:
    """R0: minority classifiers coincide if and only if n_A/n_B ≥ R0.

    Differentiable in the budget (by the implicit function theorem), jit- and
    vmap-able.

    Args:
        majority: K_A ≥ 1, number of majority classes; a number or an array.
        minority: K_B ≥ 1, number of minority classes.
        budget: E = √(E_W E_H) > 0. All three broadcast to [...].

    Returns:
        R0 ≥ 1, [...]; infinity if K_B = 1 (never) and if R0 exceeds the
        largest float (see :func:`log_collapse_ratio`); NaN for traced
        arguments out of range.

    Raises:
        TypeError, ValueError: naming the invalid argument, outside of transformations.
    """
    return _collapse(*_arguments(majority, minority, budget))


@jax.jit
def _collapse(major: Array, minor: Array, budget: Array) -> Array:
    """R0."""
    return jnp.exp(_log_collapse(major, minor, budget))


@jax.jit
@jnp.vectorize
def _log_collapse(major: Array, minority: Array, budget: Array) -> Array:
    """Logarithm of R0."""
    # A single minority class cannot coincide with another; a substitute value keeps
    # the equation, and therefore its derivative, well defined.
    minor = jnp.where(minority > 1, minority, 2)
    total = major + minor
    radius = total * budget

    def excess(log_x: Array) -> Array:
        edge = _edge(jnp.exp(log_x), major, minor)
        return jnp.log((edge.coupling + (major - 1) * edge.within) / radius)

    # For x ≥ 2, s ≥ K_B (1 + x), so the root lies below the upper end; below
    # the lower end both terms are at most linear with slope 2 K³.
    upper = jnp.log(jnp.maximum(radius / minor, 2.0))
    lower = jnp.log(jnp.minimum(radius, 1.0)) - 4 * jnp.log(total) - 2
    log_x = root_between(excess, lower, upper)
    edge = _edge(jnp.exp(log_x), major, minor)
    b = -edge.coupling * edge.cosine / jnp.sqrt(total * minor)
    to_minor = b - edge.within + (edge.within + minor * b) / major
    missing = (major - 1) * jnp.exp(-edge.within) + minor * jnp.exp(to_minor)
    log_p3 = to_minor - jnp.log1p(missing)
    log_ratio = jnp.log(edge.cosine) - 0.5 * jnp.log(total * minor) - log_p3
    return jnp.where(minority > 1, log_ratio, jnp.inf)


def vanish_ratio(majority: Any, minority: Any, budget: Any) -> Array:
    """R1: every minority classifier is exactly zero if and only if n_A/n_B ≥ R1.

    Beyond R1 the mean cosine of the minority classifiers, the published measure of
    collapse, is 0/0. Closed form; differentiable in the budget.

    Args:
        majority: K_A ≥ 1; a number or an array.
        minority: K_B ≥ 1.
        budget: E = √(E_W E_H) > 0. All three broadcast to [...].

    Returns:
        R1 [...]; infinity if minority classifiers never vanish (K_A = 1, or
        a budget of at least :func:`vanish_budget`).

    Raises:
        TypeError, ValueError: naming the invalid argument, outside of transformations.
    """
    return _vanish(*_arguments(majority, minority, budget))


@jax.jit
def _vanish(major: Array, minor: Array, budget: Array) -> Array:
    """R1."""
    total = major + minor
    alpha = total * budget / jnp.maximum(major - 1, 1)
    # Probabilities relative to that of a minority class: p₂/p₃ and p₁/p₃.
    log_p2, log_p1 = -alpha / major, alpha * (major - 1) / major
    shrunk = major * jnp.exp(log_p2) + minor
    radicand = shrunk**2 - total * minor
    exists = (major > 1) & (radicand > 0)
    safe = jnp.where(exists, radicand, 1)
    log_total = jnp.logaddexp(log_p1, jnp.log((major - 1) * jnp.exp(log_p2) + minor))
    log_ratio = 0.5 * (jnp.log(major / total) - jnp.log(safe)) + log_total
    return jnp.where(exists, jnp.exp(log_ratio), jnp.inf)


def vanish_budget(majority: Any, minority: Any) -> Array:
    """The budget E from which on minority classifiers do not vanish at any imbalance ratio.

    K_A (K_A−1) ln(K_A/(√(K K_B) − K_B)) / K; zero for K_A = 1.

    Args:
        majority: K_A ≥ 1; a number or an array.
        minority: K_B ≥ 1; they broadcast to [...].

    Raises:
        TypeError, ValueError: naming the invalid argument, outside of transformations.
    """
    major, minor, _ = _arguments(majority, minority, 1.0)
    return _vanish_budget(major, minor)


@jax.jit
def _vanish_budget(major: Array, minor: Array) -> Array:
    """The budget E at which R1 becomes infinite."""
    total = major + minor
    return major * (major - 1) / total * jnp.log(major / (jnp.sqrt(total * minor) - minor))


def _arguments(majority: Any, minority: Any, budget: Any) -> tuple[Array, Array, Array]:
    """The checked arguments, with a common dtype and shape."""
    dtype = common_dtype(budget, majority, minority)
    arrays = []
    for name, value in (("majority", majority), ("minority", minority)):
        array = float_array(name, value, dtype)
        if is_concrete(array) and not np.all(
            (np.asarray(array) >= 1) & (np.asarray(array) % 1 == 0)
        ):
            raise ValueError(f"{name} must be a whole number of classes, at least 1; got {value}")
        arrays.append(array)
    budget_array = float_array("budget", budget, dtype)
    require_positive("budget", budget_array, lanes=budget_array.ndim > 0)
    major, minor, energy = arrays_for(*arrays, budget_array).broadcast_arrays(*arrays, budget_array)
    return major, minor, energy
