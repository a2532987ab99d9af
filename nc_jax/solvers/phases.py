"""The phase of a solution's geometry: separated, collapsed, vanished, or unresolved.

A phase tells which classifiers are distinct, not which frame they form. With as many
dimensions as the convex form needs, the equal classes of a group collapse all at once. With
fewer dimensions (p < K − 1), separated classifiers are distinct but cannot be a simplex ETF, and
a collapse may merge only some classes of a group. Unequal classes never coincide exactly unless
they vanish: with equal classifiers their features would be proportional, by the inverse ratio of
their sizes.
"""

import enum

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_kind
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.solution import Solution, Status

# Relative to the longest classifier: length below which a classifier counts as zero, distance
# below which two coincide, and distance above which they certainly differ. A first-order
# method approaches an exact zero slowly, hence the range between the two distances.
VANISHED_LENGTH = 1e-3
COLLAPSED_DISTANCE = 1e-3
SEPARATE_DISTANCE = 1e-2


class Phase(enum.IntEnum):
    """The geometry of an optimum: three phases, or unresolved."""

    SEPARATED = 0
    """No classifier is zero, and no two classifiers of equal classes coincide."""
    COLLAPSED = 1
    """The classifiers of at least two equal classes coincide."""
    VANISHED = 2
    """At least one classifier is zero: its direction, and any cosine, is undefined."""
    UNRESOLVED = 3
    """Not converged, or too close to a threshold for the certificate to decide."""


def phase_codes(solution: Solution | FactoredSolution) -> Array:
    """The :class:`Phase` of each lane as integers [...]; pure and jit-able.

    For a group solution, collapse is read from the group numbers, which solvers
    set to zero only if the certificate implies it, never from a cosine. For a
    factored solution, it is read from lengths and distances of classifiers: the closest
    two of each group.

    Raises:
        TypeError: of a multilayer model, for instance: each of its classes has data of its
            own, so that no two are equal.
    """
    expected = "a Solution or a FactoredSolution, whose model has groups of equal classes"
    require_kind("solution", solution, (Solution, FactoredSolution), expected)
    return _codes(solution.by_groups() if isinstance(solution, Solution) else solution)


@jax.jit
def _codes(solution: Solution | FactoredSolution) -> Array:
    if isinstance(solution, FactoredSolution):
        return _factored_codes(solution)
    counts = jnp.asarray(solution.model.sizes.counts)
    squares = solution.classifier_norms**2
    largest = jnp.max(squares, axis=-1, keepdims=True)
    floor = 1e-9 if squares.dtype == jnp.float64 else 1e-5
    vanished = jnp.any(squares <= floor * largest, axis=-1)
    collapsed = jnp.any((solution.within == 0) & (counts > 1), axis=-1)
    code = jnp.where(vanished, Phase.VANISHED, jnp.where(collapsed, Phase.COLLAPSED, 0))
    sure = solution.resolved & (solution.status == Status.CONVERGED)
    return jnp.where(sure, code, Phase.UNRESOLVED)


def _factored_codes(solution: FactoredSolution) -> Array:
    membership = np.asarray(solution.model.sizes.membership)
    classifiers = solution.classifiers
    lengths = jnp.linalg.norm(classifiers, axis=-1)
    largest = jnp.max(lengths, axis=-1)
    vanished = jnp.min(lengths, axis=-1) <= VANISHED_LENGTH * largest
    collapsed, doubtful = jnp.zeros_like(vanished), jnp.zeros_like(vanished)
    for group in range(membership.max() + 1):
        members = np.flatnonzero(membership == group)
        if len(members) > 1:
            closest = _least_distance(classifiers[..., members, :]) / largest
            collapsed = collapsed | (closest <= COLLAPSED_DISTANCE)
            between = (closest > COLLAPSED_DISTANCE) & (closest < SEPARATE_DISTANCE)
            doubtful = doubtful | between
    code = jnp.where(vanished, Phase.VANISHED, jnp.where(collapsed, Phase.COLLAPSED, 0))
    ended = (solution.status == Status.CONVERGED) | (solution.status == Status.STATIONARY)
    return jnp.where(ended & ~(doubtful & ~vanished), code, Phase.UNRESOLVED)


def _least_distance(points: Array) -> Array:
    """Smallest distance between two rows of [..., K, p]; its memory does not grow with p."""

    def add(squares: Array, column: Array) -> tuple[Array, None]:
        return squares + (column[..., :, None] - column[..., None, :]) ** 2, None

    size = points.shape[-2]
    start = jnp.broadcast_to(
        jnp.diag(jnp.full(size, jnp.inf, points.dtype)), points.shape[:-1] + (size,)
    )
    squares, _ = jax.lax.scan(add, start, jnp.moveaxis(points, -1, 0))
    return jnp.sqrt(jnp.min(squares, axis=(-2, -1)))


def phase(solution: Solution | FactoredSolution) -> str | np.ndarray:
    """The phase by name: 'separated', 'collapsed', 'vanished' or 'unresolved'.

    Args:
        solution: of a single model or of a batch.

    Returns:
        A string, or an array of strings in the shape of the batch. Inside
        ``jax.jit`` use :func:`phase_codes`.

    Raises:
        TypeError: see :func:`phase_codes`.
    """
    codes = np.asarray(phase_codes(solution))
    names = np.asarray([member.name.lower() for member in Phase])[codes]
    return str(names) if codes.ndim == 0 else names
