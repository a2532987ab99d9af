"""Loss, slope and curvature of the rows of symmetric logits, with the lanes last.

Row g holds the logits of one class of group g: its own one, and one for each group. They
depend on α_g, on row g of M and on the bias (:mod:`nc_jax.surrogates.grouped`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses.forms import LossNumbers, family_of, numbers_of_loss
from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import diagonal, is_diagonal, largest, total, transpose
from nc_jax.surrogates.grouped import GroupedProgram, group_loss


class Numbers(NamedTuple):
    """What the solver needs of a batch of models.

    Attributes:
        shares: [G, L] share of all samples in a group, times the loss's class weights.
        row_scale: [G, L].
        penalty, radius: λ and τ, [L].
        bias_penalty: λ_b [L], or None without a bias.
        loss: numbers of a loss that is known in closed form.
    """

    shares: Array
    row_scale: Array
    penalty: Array
    radius: Array
    bias_penalty: Array | None
    loss: LossNumbers


class Slots(NamedTuple):
    """Logits of each row: ``own`` [G, L] of its class, ``others`` [G, G, L] of the groups.

    Slopes have the same shape; those in ``others`` are summed over the classes of a group.
    """

    own: Array
    others: Array


class Rows(NamedTuple):
    """The mean loss and its derivatives in the logits, weighted by the rows' shares.

    Attributes:
        value: [L].
        slope: in the slots.
        own_curvature: [G, L] second derivative in the own logit.
        mixed: [G, G, L] in the own logit and those of the groups.
        curvature: [G, G, G, L] in those of the groups.
    """

    value: Array
    slope: Slots
    own_curvature: Array
    mixed: Array
    curvature: Array


# Counts [G, 1 or L], numbers and slots to the rows.
RowLosses = Callable[[Array, Numbers, Slots], Rows]


def numbers_of(models: GroupedProgram) -> Numbers:
    """The numbers of a batch of models with one leading axis."""

    def single(model: GroupedProgram) -> Numbers:
        sizes = model.sizes
        shares, loss = sizes.group_weights, LossNumbers()
        if family_of(model.loss) is not None:
            classes = jnp.asarray(sizes.representatives)
            loss = numbers_of_loss(model.loss, sizes.num_classes, shares.dtype, classes)
        if loss.weights is not None:
            shares = shares * loss.weights
        return Numbers(
            shares,
            model.row_scale,
            model.penalty,
            model.nuclear_radius,
            model.bias_penalty,
            loss,
        )

    return jax.vmap(single, out_axes=-1)(models)


def row_losses(models: GroupedProgram) -> RowLosses:
    """The function that evaluates the rows: closed forms if the loss has one."""
    family = family_of(models.loss)
    if family is None:
        return stored(lambda counts, numbers, slots: _differentiated(models, numbers, slots))
    closed = _softmax_rows if family == "softmax" else _squared_rows
    return stored(lambda counts, numbers, slots: closed(_others(counts), numbers, slots))


def group_counts(models: GroupedProgram) -> Array:
    """[G, 1] classes of each group, or [G, L] if they are traced and differ between lanes."""
    counts, dtype = models.sizes.counts, models.sizes.group_sizes.dtype
    if isinstance(counts, np.ndarray):
        return jnp.asarray(counts[:, None], dtype)
    return jnp.moveaxis(counts, -1, 0).astype(dtype)


def several_of(models: GroupedProgram) -> np.ndarray:
    """Indices [W] of the groups that have, or may have, several classes.

    The α of a single class changes no logit, so it stays zero.
    """
    return np.asarray(models.sizes.several)


def _others(counts: Array) -> Array:
    """[G, G, 1 or L] how many classes other than the row's own share a logit."""
    return counts[None] - jnp.asarray(np.eye(len(counts)), counts.dtype)[:, :, None]


def _softmax_rows(counts: Array, numbers: Numbers, slots: Slots) -> Rows:
    groups = counts.shape[0]
    loss, shares = numbers.loss, numbers.shares
    own, others = slots
    if loss.scales is not None:
        own, others = own * loss.scales, others * loss.scales
    if loss.offsets is not None:
        own, others = own + loss.offsets, others + loss.offsets
    if loss.margins is not None:
        own = own - loss.margins
    present = counts > 0
    margin = others - own[:, None]
    peak = largest([*jnp.swapaxes(jnp.where(present, margin, -jnp.inf), 0, 1), jnp.zeros_like(own)])
    terms = counts * jnp.exp(jnp.where(present, margin - peak[:, None], 0))
    missing = total(transpose(terms))
    own_term = jnp.exp(-peak)
    inverse = 1 / (own_term + missing)
    value = peak + jnp.log1p(jnp.expm1(-peak) + missing)
    probability, own_probability = terms * inverse[:, None], own_term * inverse
    slope = shares[:, None] * probability
    own_slope = -shares * missing * inverse
    own_curvature = shares * own_probability * missing * inverse
    mixed = -(shares * own_probability)[:, None] * probability
    curvature = -slope[:, :, None] * probability[:, None]
    curvature = curvature + _on_diagonal(slope)
    if loss.smoothing is not None:
        target = loss.smoothing / (1 + total(jnp.swapaxes(counts, 0, 1)))[:, None] * counts
        value = value - total(transpose(target * jnp.where(present, margin, 0)))
        slope = slope - shares[:, None] * target
        own_slope = own_slope + shares * total(transpose(target))
    if loss.scales is not None:
        scales = jnp.broadcast_to(loss.scales, (groups, *loss.scales.shape))
        own_slope, slope = own_slope * loss.scales, slope * scales
        own_curvature = own_curvature * loss.scales**2
        mixed = mixed * scales * loss.scales[:, None]
        curvature = curvature * scales[:, :, None] * scales[:, None]
    return Rows(total(shares * value), Slots(own_slope, slope), own_curvature, mixed, curvature)


def _squared_rows(counts: Array, numbers: Numbers, slots: Slots) -> Rows:
    shares, centring = numbers.shares, numbers.loss.centring
    own, others = slots
    if centring is not None:
        own, others = own + centring, others + centring
    missing = own - 1
    value = 0.5 * (missing**2 + total(transpose(counts * others**2)))
    weights = shares[:, None] * counts
    slope = Slots(shares * missing, weights * others)
    none = jnp.zeros_like(others)
    return Rows(total(shares * value), slope, shares, none, _on_diagonal(weights))


def _on_diagonal(values: Array) -> Array:
    """[G, N, N, L] with rows [G, N, L] on the diagonals."""
    return jnp.where(is_diagonal(values.shape[1]), values[:, :, None], 0)


def _differentiated(models: GroupedProgram, numbers: Numbers, slots: Slots) -> Rows:
    """The rows of a loss that is known only as a function."""
    groups = jnp.arange(models.sizes.num_groups)

    def single(model: GroupedProgram, own: Array, others: Array) -> tuple[Array, Array, Array]:
        def loss(logits: Array, group: Array) -> Array:
            return group_loss(model, group, logits)

        logits = jnp.concatenate([own[:, None], others], axis=1)
        value, slope = jax.vmap(jax.value_and_grad(loss))(logits, groups)
        return value, slope, jax.vmap(jax.hessian(loss))(logits, groups)

    value, slope, curvature = jax.vmap(single, in_axes=(0, -1, -1), out_axes=-1)(models, *slots)
    shares = numbers.shares
    slope, curvature = shares[:, None] * slope, shares[:, None, None] * curvature
    return Rows(
        total(shares * value),
        Slots(slope[:, 0], slope[:, 1:]),
        curvature[:, 0, 0],
        curvature[:, 0, 1:],
        curvature[:, 1:, 1:],
    )


class Chain(NamedTuple):
    """How the slots depend on the group numbers.

    Attributes:
        means: [G, G, L] slope of a group's logit in the entry of M.
        own, others: [G, L] slope in α_g of the own logit and of the logit of group g.
    """

    means: Array
    own: Array
    others: Array


def chain_of(counts: Array, row_scale: Array) -> Chain:
    """The constant slopes of the logits in the group numbers, for counts [G, 1 or L]."""
    root = jnp.sqrt(counts)
    means = row_scale[:, None] / (root[:, None] * root[None])
    return Chain(means, row_scale * (1 - 1 / counts), -row_scale / counts)


@stored
def slots_of(chain: Chain, within: Array, between: Array, bias: Array | None) -> Slots:
    """Logits at α [G, L] (zero for single classes), M [G, G, L] and b [G, L]."""
    means = chain.means * between
    if bias is not None:
        means = means + bias
    eye = is_diagonal(len(within))
    others = means + jnp.where(eye, (chain.others * within)[:, None], 0)
    return Slots(diagonal(means) + chain.own * within, others)


class Slope(NamedTuple):
    """Slope of the mean loss in α [G, L], M [G, G, L] and b [G, L]."""

    within: Array
    between: Array
    bias: Array


@stored
def slope_of(chain: Chain, rows: Rows) -> Slope:
    """The chain rule for the slope."""
    own, others = rows.slope
    means = others + jnp.where(is_diagonal(len(own)), own[:, None], 0)
    within = chain.own * own + chain.others * diagonal(others)
    return Slope(within, chain.means * means, total(means))


class Curvature(NamedTuple):
    """Second derivatives of the rows, in α_g, the entries of row g of M, and the bias.

    Attributes:
        within: [G, L] in α_g.
        mixed: [G, G, L] in α_g and the logits of the groups, as b changes them.
        means: [G, G, G, L] in these logits.
    """

    within: Array
    mixed: Array
    means: Array


@stored
def curvature_of(chain: Chain, rows: Rows) -> Curvature:
    """The chain rule for the curvature; in M it still lacks the factors of the chain."""
    groups = len(rows.own_curvature)
    eye = is_diagonal(groups)
    along_own = rows.own_curvature * chain.own + diagonal(rows.mixed) * chain.others
    columns = jnp.stack([rows.curvature[g, :, g] for g in range(groups)])
    along = rows.mixed * chain.own[:, None] + columns * chain.others[:, None]
    within = chain.own * along_own + chain.others * diagonal(along)
    mixed = along + jnp.where(eye, along_own[:, None], 0)
    first = jnp.asarray(np.eye(groups, dtype=bool)[:, :, None, None])
    second = jnp.asarray(np.eye(groups, dtype=bool)[:, None, :, None])
    means = rows.curvature + jnp.where(first, rows.mixed[:, None], 0)
    means = means + jnp.where(second, rows.mixed[:, :, None], 0)
    means = means + jnp.where(first & second, rows.own_curvature[:, None, None], 0)
    return Curvature(within, mixed, means)
