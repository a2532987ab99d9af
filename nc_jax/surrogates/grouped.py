"""Programs over groups of equal classes, written in terms of their symmetric logits.

For a loss convex in the logits and p at least the full dimension, the Layer-Peeled
Model and the unconstrained feature model have the same form:

    minimise Σ_k π_k L(Z_k + b, k) + (λ_b/2)‖b‖² + λ‖X‖_*   subject to  ‖X‖_* ≤ τ,

with X = D^½ Z. In the former the row scale D is 1 and λ = 0; in the latter D holds the
class sizes, and τ is not a constraint but a bound that the optimum
satisfies. A convex program has an optimum that is invariant under permutations
inside each group. Such X are, for class k of group g and class l of group g',

    X_kl = α_g (1[k=l] − 1/K_g) [g = g'] + M_gg' / √(K_g K_g'),

with one number α_g for each group and a G×G matrix M. The singular values of X are
|α_g|, K_g − 1 times each, and those of M, so that ‖X‖_* = Σ (K_g−1)|α_g| + ‖M‖_*.
The size of the program does not depend on K. (A group of one class has no α.)
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import ClassSizes
from nc_jax.losses import Loss, at_classes
from nc_jax.losses.forms import family_of

# Largest number of classes for which logits and classifiers are written out one by one.
MAX_EXPANDED = 16384


class GroupedProgram(Protocol):
    """What a surrogate must provide to be solved over group numbers; batch axes lead.

    It may also offer ``obstacle``: the name of a setting with which it is no convex program
    of this form, or None.
    """

    @property
    def sizes(self) -> ClassSizes:
        """Class sizes; G groups over K classes."""
        ...

    @property
    def loss(self) -> Loss:
        """A loss of logits and label."""
        ...

    @property
    def dimension(self) -> int:
        """The dimension p of the features, static."""
        ...

    @property
    def full_dimension(self) -> int:
        """The smallest p at which the program is convex, static."""
        ...

    @property
    def num_classes(self) -> int:
        """K."""
        ...

    @property
    def row_scale(self) -> Array:
        """D^{−½} [..., G]: the factor from rows of X to rows of Z."""
        ...

    @property
    def row_power(self) -> float:
        """a, static, in D^{−½} ∝ n^{−a}: 0 for a Layer-Peeled Model."""
        ...

    @property
    def penalty(self) -> Array:
        """[...] λ, the penalty on ‖X‖_*; zero if ‖X‖_* is constrained instead."""
        ...

    @property
    def nuclear_radius(self) -> Array:
        """[...] τ, a bound on ‖X‖_*: the constraint, or a bound that the optimum satisfies."""
        ...

    @property
    def bias_penalty(self) -> Array | None:
        """[...] λ_b ≥ 0; None for a model without bias."""
        ...

    @property
    def classifier_scale(self) -> Array:
        """[...] the factor from (XᵀX)^½ to W Wᵀ."""
        ...

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model."""
        ...

    @property
    def valid(self) -> Array:
        """[...] whether all numbers of a lane are valid."""
        ...


class GroupLogits(NamedTuple):
    """The group numbers of symmetric logits, or of any matrix with the same symmetry.

    Attributes:
        within: α [..., G]; zero for a group of one class.
        between: M [..., G, G].
        bias: b [..., G], the same for all classes of a group; None for a model without bias.
    """

    within: Array
    between: Array
    bias: Array | None = None


def block_sizes(counts: np.ndarray | Array, dtype: Any) -> tuple[Array, Array]:
    """Multiplicities K_g − 1 of the within-group numbers [G], and √K_g [G]."""
    return jnp.asarray(counts - 1, dtype), jnp.sqrt(jnp.asarray(counts, dtype))


def group_loss(model: GroupedProgram, group: Array, logits: Array) -> Array:
    """Loss of one class of ``group`` from its own logit and those of all groups [1 + G]."""
    own = (jnp.arange(model.sizes.num_groups) == group).astype(logits.dtype)
    others = jnp.asarray(model.sizes.counts, logits.dtype) - own
    classes = jnp.asarray(model.sizes.representatives)
    loss = at_classes(model.loss, jnp.concatenate([classes[group][None], classes]))
    return loss(logits, 0, jnp.concatenate([jnp.ones(1, logits.dtype), others]))


def _row_loss(model: GroupedProgram, row: Array, group: Array) -> Array:
    """Loss of one class of ``group``; ``row`` is (α_g, M_g1 … M_gG, b_1 … b_G)."""
    counts = model.sizes.counts
    groups = len(counts)
    _, root = block_sizes(counts, row.dtype)
    count = jnp.asarray(counts, row.dtype)
    own_group = jnp.arange(groups) == group
    means = row[1 : 1 + groups] / (root[group] * root)
    alpha = jnp.where(count[group] > 1, row[0], 0)
    scale = model.row_scale[group]
    others = scale * (means - jnp.where(own_group, alpha / count[group], 0))
    if model.bias_penalty is not None:
        others = others + row[1 + groups :]
    own = others[group] + scale * alpha
    return group_loss(model, group, jnp.concatenate([own[None], others]))


def _rows(point: GroupLogits) -> Array:
    """[G, 1 + G (+ G)] the variables that each row of logits depends on."""
    parts = [point.within[:, None], point.between]
    if point.bias is not None:
        parts.append(jnp.broadcast_to(point.bias, point.between.shape))
    return jnp.concatenate(parts, axis=1)


# Compiled by itself so that a solver, which calls it several times, traces it once.
@jax.jit
def data_loss(model: GroupedProgram, point: GroupLogits) -> Array:
    """Σ_k π_k L(Z_k + b, k) of a single model at group numbers."""
    groups = jnp.arange(model.sizes.num_groups)
    losses = jax.vmap(lambda row, group: _row_loss(model, row, group))(_rows(point), groups)
    return jnp.sum(model.sizes.group_weights * losses)


# As above.
@jax.jit
def value_and_gradient(model: GroupedProgram, point: GroupLogits) -> tuple[Array, GroupLogits]:
    """:func:`data_loss` and its gradient in the group numbers."""
    weights, groups = model.sizes.group_weights, model.sizes.num_groups

    def one(row: Array, group: Array) -> Array:
        return _row_loss(model, row, group)

    values, slopes = jax.vmap(jax.value_and_grad(one))(_rows(point), jnp.arange(groups))
    slopes = weights[:, None] * slopes
    in_bias = None if point.bias is None else jnp.sum(slopes[:, 1 + groups :], axis=0)
    gradient = GroupLogits(slopes[:, 0], slopes[:, 1 : 1 + groups], in_bias)
    return jnp.sum(weights * values), gradient


def bias_cost(model: GroupedProgram, point: GroupLogits) -> Array:
    """(λ_b/2)‖b‖² over all K classes; zero without a bias."""
    if point.bias is None or model.bias_penalty is None:
        return jnp.zeros((), point.within.dtype)
    counts = jnp.asarray(model.sizes.counts, point.bias.dtype)
    return 0.5 * model.bias_penalty * jnp.sum(counts * point.bias**2)


def start_bias(model: GroupedProgram) -> Array | None:
    """A bias [G] to start from, close to the best one at zero logits."""
    if model.bias_penalty is None:
        return None
    counts = jnp.asarray(model.sizes.counts, model.sizes.group_sizes.dtype)
    shares = model.sizes.group_weights / counts
    if family_of(model.loss) == "squared":
        return shares / (1 + model.bias_penalty)
    relative = jnp.log(shares) - jnp.sum(counts * jnp.log(shares)) / model.num_classes
    return relative / (1 + model.num_classes * model.bias_penalty)


def expand(counts: np.ndarray, membership: tuple[int, ...], point: GroupLogits) -> Array:
    """The [..., K, K] matrix X that group numbers [..., G], [..., G, G] represent.

    Raises:
        ValueError: K is above MAX_EXPANDED, so the matrix would fill the memory.
    """
    member = np.asarray(membership)
    if len(member) > MAX_EXPANDED:
        raise ValueError(
            f"a matrix of {len(member):,} × {len(member):,} is too large; for more than "
            f"{MAX_EXPANDED:,} classes use group_factors(), classifier_norms, within_cosines "
            "and between_cosines, which are given by groups"
        )
    count = counts[member]
    scale = jnp.asarray(1 / np.sqrt(count[:, None] * count[None, :]), point.between.dtype)
    between = point.between[..., member[:, None], member[None, :]] * scale
    same = member[:, None] == member[None, :]
    centring = np.eye(len(member)) - same / count[:, None]
    alpha = jnp.where(jnp.asarray(counts > 1), point.within, 0)[..., member]
    return between + alpha[..., :, None] * jnp.asarray(centring, alpha.dtype)
