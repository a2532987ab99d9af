"""The targets of cures: distances of an optimum from them, and losses and margins."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.design.cures import margins_of
from nc_jax.geometry import zero_sum_basis
from nc_jax.losses import CrossEntropy
from nc_jax.solvers import Solution


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
    classes = jnp.arange(before.model.num_classes)
    losses = [CrossEntropy()(solution.logits, classes) for solution in (before, after)]
    return Price(*losses, *(margins_of(solution.logits) for solution in (before, after)))


def frame_distance(solution: Solution) -> Array:
    """1 − cos² of the angle between the Gram matrices of the classifiers and of a simplex ETF."""
    gram = solution.classifier_gram
    basis = zero_sum_basis(gram.shape[-1], gram.dtype)
    frame = jnp.matmul(basis, basis.T, precision="highest")
    inner = jnp.sum(gram * frame) ** 2
    return 1 - inner / (jnp.sum(gram**2) * jnp.sum(frame**2))


def margin_distance(solution: Solution) -> Array:
    """Variance of the classes' margins over their mean square."""
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
