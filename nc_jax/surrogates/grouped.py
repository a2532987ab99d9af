"""A Layer-Peeled Model over groups of equal classes: its symmetric logits.

A convex program keeps an optimum that is invariant under permutations inside
each group. Such logits are, for class k of group g and class l of group g',

    Z_kl = α_g (1[k=l] − 1/K_g) [g = g'] + M_gg' / √(K_g K_g'),

with one number α_g a group and a G×G matrix M. The singular values of Z are
|α_g|, K_g − 1 times each, and those of M, so that ‖Z‖_* = Σ (K_g−1)|α_g| + ‖M‖_*.
The size of the program does not depend on K. (A group of one class has no α.)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses import Loss
from nc_jax.surrogates.layer_peeled import LayerPeeled


class GroupLogits(NamedTuple):
    """The group numbers of symmetric logits, or anything in their space.

    Attributes:
        within: α [..., G]; zero for a group of one class.
        between: M [..., G, G].
    """

    within: Array
    between: Array


def block_sizes(counts: np.ndarray, dtype: Any) -> tuple[Array, Array]:
    """Multiplicities K_g − 1 of the within-group numbers [G], and √K_g [G]."""
    return jnp.asarray(counts - 1, dtype), jnp.asarray(np.sqrt(counts), dtype)


def row_loss(loss: Loss, counts: np.ndarray, row: Array, group: Array) -> Array:
    """Loss of one class of ``group``; ``row`` [1 + G] is (α_g, M_g1 … M_gG)."""
    _, root = block_sizes(counts, row.dtype)
    count = jnp.asarray(counts, row.dtype)
    own_group = jnp.arange(len(counts)) == group
    means = row[1:] / (root[group] * root)
    alpha = jnp.where(count[group] > 1, row[0], 0)
    others = means - jnp.where(own_group, alpha / count[group], 0)
    own = others[group] + alpha
    logits = jnp.concatenate([own[None], others])
    multiplicity = jnp.concatenate([jnp.ones(1, row.dtype), count - own_group.astype(row.dtype)])
    return loss(logits, 0, multiplicity)


def _rows(point: GroupLogits) -> Array:
    """[G, 1 + G] the variables that each row of logits depends on."""
    return jnp.concatenate([point.within[:, None], point.between], axis=1)


def objective(model: LayerPeeled, point: GroupLogits) -> Array:
    """Objective of a single model at group numbers."""
    counts = model.sizes.counts

    def one(row: Array, group: Array) -> Array:
        return row_loss(model.loss, counts, row, group)

    return jnp.sum(model.sizes.group_weights * jax.vmap(one)(_rows(point), jnp.arange(len(counts))))


def value_and_gradient(model: LayerPeeled, point: GroupLogits) -> tuple[Array, GroupLogits]:
    """Objective and its gradient in the group numbers, of a single model."""
    counts, weights = model.sizes.counts, model.sizes.group_weights

    def one(row: Array, group: Array) -> Array:
        return row_loss(model.loss, counts, row, group)

    groups = jnp.arange(len(counts))
    values, slopes = jax.vmap(jax.value_and_grad(one))(_rows(point), groups)
    slopes = weights[:, None] * slopes
    return jnp.sum(weights * values), GroupLogits(slopes[:, 0], slopes[:, 1:])


def row_hessians(model: LayerPeeled, point: GroupLogits) -> Array:
    """[G, 1+G, 1+G] weighted Hessian of each row; rows do not interact."""
    counts, weights = model.sizes.counts, model.sizes.group_weights

    def one(row: Array, group: Array) -> Array:
        return row_loss(model.loss, counts, row, group)

    groups = jnp.arange(len(counts))
    return weights[:, None, None] * jax.vmap(jax.hessian(one))(_rows(point), groups)


def expand(counts: np.ndarray, membership: tuple[int, ...], point: GroupLogits) -> Array:
    """The [..., K, K] matrix that group numbers [..., G], [..., G, G] stand for."""
    member = np.asarray(membership)
    count = counts[member]
    scale = jnp.asarray(1 / np.sqrt(count[:, None] * count[None, :]), point.between.dtype)
    between = point.between[..., member[:, None], member[None, :]] * scale
    same = member[:, None] == member[None, :]
    centring = np.eye(len(member)) - same / count[:, None]
    alpha = jnp.where(jnp.asarray(counts > 1), point.within, 0)[..., member]
    return between + alpha[..., :, None] * jnp.asarray(centring, alpha.dtype)
