"""How far an optimum is from losing, or from gaining, a direction between classes."""

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.solvers import Solution
from nc_jax.solvers.certificates import nuclear_norm, within_slopes
from nc_jax.solvers.solution import require_one
from nc_jax.surrogates.grouped import GroupLogits, value_and_gradient

# Singular values below this share of the norm are zero up to rounding; in float32 below so many
# units of rounding.
ROUNDING, UNITS = 1e-11, 100


def separation(solution: Solution) -> Array:
    """Signed distance of an optimum from the edge of the phase that keeps all K−1 directions.

    Classes merge or vanish if and only if the logits lose one of the K−1 directions that
    distinguish K classes: a group's number α_g, or a singular value of its means. A positive
    value is the smallest of these, relative to ‖X‖_*/K. A negative value is minus the slack
    1 − ‖∇f‖/μ of the missing direction that is farthest from being gained. Continuous, and
    zero at the threshold from both sides.

    Args:
        solution: of a single model over group numbers; use vmap for many.

    Raises:
        TypeError: not a solution over group numbers, for example with too few dimensions.
        ValueError: a batch.
    """
    require_one(solution)
    return _separation(solution)


@jax.jit
def _separation(solution: Solution) -> Array:
    model = solution.model
    counts = model.sizes.counts
    point = GroupLogits(solution.within, solution.between, solution.group_bias)
    _, gradient = value_and_gradient(model, point)
    norm = nuclear_norm(counts, point)
    unit = jnp.where(norm > 0, norm, 1) / model.num_classes
    multiplier = jnp.where(solution.multiplier > 0, solution.multiplier, 1)

    several = jnp.asarray(counts > 1)
    slack = 1 - within_slopes(counts, gradient) / multiplier
    own = jnp.where(solution.within != 0, jnp.abs(solution.within) / unit, -slack)
    within = jnp.min(jnp.where(several, own, jnp.inf))
    if len(counts) == 1:
        return within
    return jnp.minimum(within, _between(point, gradient, norm, unit, multiplier))


def _between(
    point: GroupLogits, gradient: GroupLogits, norm: Array, unit: Array, multiplier: Array
) -> Array:
    """The same for the means of G groups, which can have G−1 directions."""
    left, singular, right = jnp.linalg.svd(point.between)
    missing = singular <= max(ROUNDING, UNITS * float(jnp.finfo(norm.dtype).eps)) * norm
    pull = jnp.matmul(jnp.matmul(left.T, gradient.between, precision="highest"), right.T)
    pull = jnp.where(missing[:, None] & missing[None, :], pull, 0)
    pulls = jnp.linalg.svd(pull, compute_uv=False)
    # One direction, along which all logits are equal, is never needed: the last missing one.
    last = jnp.sum(missing) - 2
    slack = 1 - pulls[jnp.maximum(last, 0)] / multiplier
    return jnp.where(last < 0, singular[-2] / unit, -slack)
