"""A program with fewer groups, whose optimum is a good start for the full program.

Groups of almost equal classes have almost equal rows. Groups of neighbouring sizes are merged
into one group of their mean size. The optimum of that smaller program is assigned to all groups
that were merged; its error is of the order of the square of their spread.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import ClassSizes
from nc_jax.immutable import with_fields
from nc_jax.losses import at_classes
from nc_jax.surrogates.grouped import GroupedProgram

# Number of groups merged into one, and number up to which no smaller program is used.
TOGETHER = 8
FEWEST = 128
# Lower limit on the roots of singular values, as a share of the root of their mean.
FLOOR = 0.1


class Factors(NamedTuple):
    """One factor of X: a [G], A_M [G, G] and the extra coordinate of its sphere."""

    within: Array
    between: Array
    slack: Array


class Level(NamedTuple):
    """A smaller program and the groups that it merges.

    Attributes:
        model: over the merged groups.
        order: [G] the groups of the larger program, with neighbours in size adjacent.
        parents: [G] the merged group of each, in this order (concrete).
        counts: [G] number of classes of each, in this order (concrete).
    """

    model: GroupedProgram
    order: Array
    parents: np.ndarray
    counts: np.ndarray


def coarsened(model: GroupedProgram, order: tuple[int, ...] | None) -> Level | None:
    """The next smaller program; None if there are already few groups.

    Args:
        model: a single model of G groups.
        order: [G] groups by size, needed only if they differ in the number of their
            classes; it must be known when the program is compiled.
    """
    sizes = model.sizes
    counts, groups = sizes.counts, sizes.num_groups
    if groups <= FEWEST:
        return None
    parents = np.arange(groups) // TOGETHER
    if (counts == counts[0]).all():
        by_size = jnp.argsort(-sizes.group_sizes)
        classes = by_size if counts[0] == 1 else jnp.asarray(sizes.representatives)[by_size]
        membership = np.repeat(parents, counts[0])
        loss = at_classes(model.loss, jnp.repeat(classes, int(counts[0])))
    else:
        static = np.arange(groups) if order is None else np.asarray(order)
        by_size, counts = jnp.asarray(static), counts[static]
        rank = np.argsort(static)
        membership, loss = parents[rank[np.asarray(sizes.membership)]], model.loss
    totals = np.bincount(parents, counts)
    weights = jnp.asarray(counts / totals[parents], sizes.group_sizes.dtype)
    means = (
        jnp.zeros(len(totals), weights.dtype).at[parents].add(weights * sizes.group_sizes[by_size])
    )
    merged = ClassSizes(means, tuple(int(g) for g in membership))
    small: Any = with_fields(model, sizes=merged, loss=loss)
    return Level(small, by_size, parents, counts)


def spread(level: Level, means: Factors, weights: Factors) -> tuple[Factors, Factors]:
    """The balanced factors of the smaller program, assigned to the groups of the larger one."""
    totals = np.bincount(level.parents, level.counts)
    copies = jnp.asarray(np.maximum(totals - 1, 1), means.within.dtype)
    product = jnp.matmul(means.between, weights.between.T, precision="highest")
    left, singular, right = jnp.linalg.svd(product)
    products = means.within * weights.within
    within = jnp.sqrt(jnp.abs(products) / copies)
    # A direction that is zero in both factors has zero gradient and would stay zero.
    least = FLOOR * jnp.sqrt(jnp.sum(singular) / len(totals))
    root = jnp.maximum(jnp.sqrt(singular), least)
    within = jnp.where(jnp.asarray(totals > 1), jnp.maximum(within, least), 0)
    signed = jnp.where(products < 0, -within, within)
    first = _spread(level, Factors(within, left * root, means.slack))
    return first, _spread(level, Factors(signed, right.T * root, weights.slack))


def _spread(level: Level, factors: Factors) -> Factors:
    """One of the two factors; ``within`` refers to a single class here."""
    parents, counts = level.parents, jnp.asarray(level.counts, factors.within.dtype)
    whole = jnp.asarray(np.bincount(parents, level.counts), counts.dtype)
    own, root, every = factors.within, jnp.sqrt(counts), jnp.sqrt(whole)
    mean = factors.between / (every[:, None] * every)
    same = jnp.asarray(parents[:, None] == parents[None, :])
    between = mean[parents][:, parents] - jnp.where(same, (own / whole)[parents][:, None], 0)
    between = between * (root[:, None] * root) + jnp.diag(own[parents])
    within = own[parents] * jnp.sqrt(jnp.maximum(counts - 1, 0))
    back = jnp.argsort(level.order)
    return Factors(within[back], between[back][:, back], factors.slack)


def spread_bias(level: Level, bias: Array | None) -> Array | None:
    """The same for a bias."""
    return None if bias is None else bias[level.parents][jnp.argsort(level.order)]
