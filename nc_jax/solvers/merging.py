"""What it costs a bound that classes of almost equal sizes were taken as equal.

Let a group's classes have sizes n_k = t_k n̄ with mean one of t. A point that treats
them alike has the same objective as in the merged program, as loss and norm are linear
in n_k. A lower bound is Σ_k π_k h(s_k y) − τ max(0, ‖Y‖_op − λ), where y is the slope of one
sample's loss in the merged program, h(y) = min_z L(z) − ⟨y, z⟩, which is concave, and s_k is
chosen so that the matrix Y of all slopes in X stays as it is, 1/t_k with row scale one and
1/√t_k where it is n_k^(−½), or less where no logits have such a slope: smaller rows make
no larger norm. With a chord of h below it, Σ_k t_k h(s_k y) is at least linear in
Σ_k t_k s_k, so that the smallest and the largest t suffice. What it costs is of second order
in t − 1 for classes that are learnt, and of first order for those that are not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.losses import at_classes
from nc_jax.surrogates.grouped import GroupedProgram, GroupLogits, group_loss
from nc_jax.surrogates.layer_peeled import LayerPeeled


def _copies(model: GroupedProgram, group: Array, dtype: Any) -> Array:
    """How many classes each of the 1 + G logits of a row stands for."""
    own = (jnp.arange(model.sizes.num_groups) == group).astype(dtype)
    return jnp.concatenate([jnp.ones(1, dtype), jnp.asarray(model.sizes.counts, dtype) - own])


def sample_slopes(model: GroupedProgram, slopes: GroupLogits) -> Array:
    """Slopes [G, 1 + G] of one sample's loss in its logits, from a matrix of slopes in X.

    Args:
        model: single.
        slopes: the numbers of that matrix; for a gradient the within-group ones are
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
    """Logits [G, 1 + G], bias included, at which each row has the given slopes."""
    sizes = model.sizes
    classes = jnp.asarray(sizes.representatives)

    def row(slope: Array, group: Array) -> Array:
        loss: Any = at_classes(model.loss, jnp.concatenate([classes[group][None], classes]))
        return loss.at_slope(slope, 0, _copies(model, group, slope.dtype))

    return jax.vmap(row)(slopes, jnp.arange(sizes.num_groups))


def merging_cost(model: GroupedProgram, point: GroupLogits, gradient: GroupLogits) -> Array:
    """By how much a tangent's bound must fall to hold for the classes as they are.

    Args:
        model: single, without bias, of merged sizes.
        point: where the tangent touches.
        gradient: of the mean loss there.
    """
    sizes = model.sizes
    assert sizes.smallest is not None and sizes.largest is not None
    counts = jnp.asarray(sizes.counts, point.within.dtype)
    several = jnp.maximum(counts - 1, 1)
    slopes = sample_slopes(model, GroupLogits(gradient.within / several, gradient.between))
    low, high = sizes.smallest / sizes.group_sizes, sizes.largest / sizes.group_sizes
    power = 1.0 if isinstance(model, LayerPeeled) else 0.5
    cap = _largest_factors(model, slopes)

    def factor(t: Array) -> Array:
        return jnp.minimum(t**-power, cap)

    # t s is a concave function of t, and one at most: its mean is on the chord at least.
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
    """Factor [G] up to which a row's slopes can be those of a loss.

    No slope in the label's logit is steeper than where that logit is far below the others.
    """
    far = -jnp.sqrt(jnp.finfo(slopes.dtype).max ** 0.25)

    def row(group: Array) -> Array:
        logits = jnp.zeros(slopes.shape[1], slopes.dtype).at[0].set(far)
        return jax.grad(lambda own: group_loss(model, group, own))(logits)[0]

    steepest = jax.vmap(row)(jnp.arange(model.sizes.num_groups))
    falls = slopes[:, 0] < 0
    return jnp.where(falls, steepest / jnp.where(falls, slopes[:, 0], 1), jnp.inf)


def _conjugates(model: GroupedProgram, factor: Array, slopes: Array, low: Array) -> Array:
    """A bound [G] below h(s y) of each row, for logits that the optimum can have."""
    logits = at_slopes(model, factor[:, None] * slopes)
    groups = jnp.arange(model.sizes.num_groups)
    reach = model.nuclear_radius * model.row_scale / jnp.sqrt(low)

    def row(group: Array, z: Array, wanted: Array, largest: Array) -> Array:
        value, slope = jax.value_and_grad(lambda own: group_loss(model, group, own))(z)
        # The slopes of a row count every class that a logit stands for.
        copies = _copies(model, group, z.dtype)
        missed = jnp.sum(jnp.abs(slope - copies * wanted)) * largest
        return value - jnp.sum(slope * z) - missed

    return jax.vmap(row)(groups, logits, factor[:, None] * slopes, reach)
