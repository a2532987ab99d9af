"""The error of a lower bound that treats classes of almost equal sizes as equal.

Let a group's classes have sizes n_k = t_k n̄ with t of mean one. A point that treats
them equally has the same objective as in the merged program, because loss and norm are linear
in n_k. A lower bound is Σ_k π_k h(s_k y) − τ max(0, ‖Y‖_op − λ), where y is the slope of one
sample's loss in the merged program, and h(y) = min_z L(z) − ⟨y, z⟩ is concave. The s_k are
chosen so that the matrix Y of all slopes in X does not change: 1/t_k with row scale one and
1/√t_k with row scale n_k^(−½), or less if no logits have such a slope (smaller rows do not
increase the norm). With a chord below h, Σ_k t_k h(s_k y) is bounded by a linear function of
Σ_k t_k s_k, so the smallest and the largest t are sufficient. The error is of second order
in t − 1 for classes that are learnt, and of first order for those that are not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.losses import at_classes
from nc_jax.surrogates.grouped import GroupedProgram, GroupLogits, group_loss


def _copies(model: GroupedProgram, group: Array, dtype: Any) -> Array:
    """How many classes each of the 1 + G logits of a row represents."""
    own = (jnp.arange(model.sizes.num_groups) == group).astype(dtype)
    return jnp.concatenate([jnp.ones(1, dtype), jnp.asarray(model.sizes.counts, dtype) - own])


def sample_slopes(model: GroupedProgram, slopes: GroupLogits) -> Array:
    """Slopes [G, 1 + G] of one sample's loss in its logits, from a matrix of slopes in X.

    Args:
        model: a single model.
        slopes: the group numbers of that matrix; for a gradient the within-group ones are
            divided by their multiplicities.
    """
    sizes, dtype = model.sizes, slopes.within.dtype
    counts = jnp.asarray(sizes.counts, dtype)
    root = jnp.sqrt(counts)
    alpha = jnp.where(counts > 1, slopes.within, 0)
    eye = jnp.eye(sizes.num_groups, dtype=bool)
    others = slopes.between / (root[:, None] * root) - jnp.where(eye, (alpha / counts)[:, None], 0)
    own = jnp.diagonal(others) + alpha
    share = model.row_scale * sizes.group_weights / counts
    return jnp.concatenate([own[:, None], others], axis=1) / share[:, None]


def at_slopes(model: GroupedProgram, slopes: Array) -> Array:
    """Logits [G, 1 + G], including the bias, at which each row has the given slopes."""
    sizes = model.sizes
    classes = jnp.asarray(sizes.representatives)

    def row(slope: Array, group: Array) -> Array:
        loss: Any = at_classes(model.loss, jnp.concatenate([classes[group][None], classes]))
        return loss.at_slope(slope, 0, _copies(model, group, slope.dtype))

    return jax.vmap(row)(slopes, jnp.arange(sizes.num_groups))


def merging_cost(model: GroupedProgram, point: GroupLogits, gradient: GroupLogits) -> Array:
    """By how much the bound from a tangent must be lowered to hold for the original classes.

    Args:
        model: a single model with merged sizes, without bias.
        point: the point of tangency.
        gradient: of the mean loss at that point.
    """
    sizes = model.sizes
    assert sizes.smallest is not None and sizes.largest is not None
    counts = jnp.asarray(sizes.counts, point.within.dtype)
    several = jnp.maximum(counts - 1, 1)
    slopes = sample_slopes(model, GroupLogits(gradient.within / several, gradient.between))
    low, high = sizes.smallest / sizes.group_sizes, sizes.largest / sizes.group_sizes
    power = 1 - model.row_power
    cap = _largest_factors(model, slopes)

    def factor(t: Array) -> Array:
        return jnp.minimum(t**-power, cap)

    # t s is a concave function of t and at most one: its mean is at least that of the chord.
    ends = low * factor(low), high * factor(high)
    width = jnp.where(high > low, high - low, 1)
    least = jnp.where(high > low, (ends[0] * (high - 1) + ends[1] * (1 - low)) / width, 1)
    first, second, middle = (
        _conjugates(model, own, slopes, low)
        for own in (factor(high), factor(low), jnp.ones_like(low))
    )
    width = factor(low) - factor(high)
    rise = jnp.where(width > 0, (second - first) / jnp.where(width > 0, width, 1), 0)
    foot = first - rise * factor(high)
    bound = foot + jnp.minimum(rise, rise * least)
    return jnp.sum(sizes.group_weights * jnp.maximum(middle - bound, 0))


def _largest_factors(model: GroupedProgram, slopes: Array) -> Array:
    """Factor [G] up to which a row's slopes are attainable slopes of the loss.

    The slope in the label's logit is steepest when that logit is far below the others.
    """
    far = -jnp.sqrt(jnp.finfo(slopes.dtype).max ** 0.25)

    def row(group: Array) -> Array:
        logits = jnp.zeros(slopes.shape[1], slopes.dtype).at[0].set(far)
        return jax.grad(lambda own: group_loss(model, group, own))(logits)[0]

    steepest = jax.vmap(row)(jnp.arange(model.sizes.num_groups))
    falls = slopes[:, 0] < 0
    return jnp.where(falls, steepest / jnp.where(falls, slopes[:, 0], 1), jnp.inf)


def _conjugates(model: GroupedProgram, factor: Array, slopes: Array, low: Array) -> Array:
    """A lower bound [G] on h(s y) of each row, for logits that the optimum can have."""
    logits = at_slopes(model, factor[:, None] * slopes)
    groups = jnp.arange(model.sizes.num_groups)
    reach = model.nuclear_radius * model.row_scale / jnp.sqrt(low)

    def row(group: Array, z: Array, wanted: Array, largest: Array) -> Array:
        value, slope = jax.value_and_grad(lambda own: group_loss(model, group, own))(z)
        # The slopes of a row count every class that a logit represents.
        copies = _copies(model, group, z.dtype)
        missed = jnp.sum(jnp.abs(slope - copies * wanted)) * largest
        return value - jnp.sum(slope * z) - missed

    return jax.vmap(row)(groups, logits, factor[:, None] * slopes, reach)
