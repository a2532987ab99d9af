"""The targets of cures: distances of an optimum from them, and losses and margins."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.design.cures import margins_of
from nc_jax.losses import CrossEntropy
from nc_jax.solvers import Solution
from nc_jax.solvers.solution import require_one


class Price(NamedTuple):
    """Losses and margins of every class before and after, under plain cross-entropy.

    Attributes:
        losses_before, losses_after: [K] training losses, without weights and margins.
        margins_before, margins_after: [K] z_kk − max_j≠k z_kj.
    """

    losses_before: Array
    losses_after: Array
    margins_before: Array
    margins_after: Array


def price_of(before: Solution, after: Solution) -> Price:
    """The losses and margins of each class before and after a cure."""
    return _price(before.logits, after.logits)


@jax.jit
def _price(*logits: Array) -> Price:
    classes = jnp.arange(logits[0].shape[-1])
    losses = [CrossEntropy()(own, classes) for own in logits]
    return Price(*losses, *(margins_of(own) for own in logits))


def frame_distance(solution: Solution) -> Array:
    """1 − cos² of the angle between the Gram matrices of the classifiers and of a simplex ETF.

    It is found from the numbers of the groups: a Gram matrix of a thousand classes in a dozen
    groups would take longer than the solve. It equals d²(1 − d²/4) for the distance d of
    :func:`nc_jax.metrics.etf_distance`, which has no gradient at the frame itself.

    Raises:
        TypeError, ValueError: not a solution over group numbers, or a batch.
    """
    require_one(solution)
    counts = jnp.asarray(solution.model.sizes.counts, solution.within.dtype)
    squares, products, across = solution.group_gram()
    pairs = counts * (counts - 1)
    between = across - jnp.diag(jnp.diagonal(across))
    of_all = jnp.sum(pairs * products) + jnp.sum(jnp.outer(counts, counts) * between)
    total = jnp.sum(counts * squares**2) + jnp.sum(pairs * products**2)
    total = total + jnp.sum(jnp.outer(counts, counts) * between**2)
    # The simplex is I − 11ᵀ/K, whose squared length is K − 1.
    size = solution.model.num_classes
    trace = jnp.sum(counts * squares)
    inner = trace - (trace + of_all) / size
    return 1 - inner**2 / (total * (size - 1))


def margin_distance(solution: Solution) -> Array:
    """Variance of the classes' margins over their mean square."""
    require_one(solution)
    margins = margins_of(solution.logits)
    return jnp.var(margins) / jnp.mean(margins**2)


TARGETS: dict[str, Callable[[Solution], Array]] = {
    "simplex-etf": frame_distance,
    "equal-margins": margin_distance,
}


def require_target(target: str) -> Callable[[Solution], Array]:
    """The distance from a target by name; ValueError for an unknown one."""
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    return TARGETS[target]
