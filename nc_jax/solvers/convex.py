"""Which programs are convex in the logits, which solver suits them, and their relaxation.

With p below the full dimension the rank of the logits is constrained, and the program
is not convex. The same program without that constraint, its relaxation, still is.
The certified optimum of the relaxation is a lower bound; it is the exact optimum if its
rank is at most p, for example after enough classes have merged or vanished.
"""

import dataclasses
from typing import Any

import numpy as np

from nc_jax.checks import is_concrete
from nc_jax.geometry import ClassSizes
from nc_jax.losses import CrossEntropy, SoftTargets, SupervisedContrastive
from nc_jax.losses.floors import floor_of
from nc_jax.solvers.bounds import convex_form
from nc_jax.solvers.general import FactoredQuasiNewton
from nc_jax.solvers.reduced import ReducedInteriorPoint
from nc_jax.solvers.two_groups import TwoGroupRoot
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.layers import FactoredProgram
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures

ConvexSolver = TwoGroupRoot | ReducedInteriorPoint | FactoredQuasiNewton

# Beyond this many groups the dense Newton system of the reduced program costs
# more than matrix products over all classes (benchmarks/layer_peeled.py).
MAX_REDUCED_GROUPS = 16


def convex_solver(model: FactoredProgram) -> ConvexSolver | None:
    """The certifying solver over group numbers that suits a model; None if there is none."""
    if not isinstance(model, LayerPeeled | UnconstrainedFeatures) or not _is_convex(model):
        return None
    groups = model.sizes.num_groups
    two_groups = isinstance(model, LayerPeeled) and groups == 2 and not model.sizes.merged
    if two_groups and isinstance(model.loss, CrossEntropy):
        return TwoGroupRoot()
    if groups <= MAX_REDUCED_GROUPS:
        return ReducedInteriorPoint()
    return FactoredQuasiNewton(order=_order_of(model.sizes))


def _order_of(sizes: ClassSizes) -> tuple[int, ...] | None:
    """Groups by size, if the solver cannot determine the order at run time; otherwise None."""
    counts, values = sizes.counts, sizes.group_sizes
    if values.ndim > 1 or not is_concrete(values) or (counts == counts[0]).all():
        return None
    return tuple(np.argsort(-np.asarray(values), kind="stable").tolist())


def _is_convex(model: LayerPeeled | UnconstrainedFeatures) -> bool:
    """Whether the solvers over group numbers accept the model."""
    if model.dimension < model.full_dimension:
        return False
    if not model.loss.convex or isinstance(model.loss, SoftTargets):
        return False
    if isinstance(model, LayerPeeled):
        return model.feature_power is None
    if model.nonnegative:
        return False
    return model.lambda_b is None or floor_of(model.loss, model.lambda_w.dtype) is not None


def relaxation(model: FactoredProgram) -> Any:
    """The model with as many dimensions as its convex form needs.

    None for a model that already has them, or that has no convex form.
    """
    if isinstance(model, LayerPeeled | UnconstrainedFeatures):
        power = getattr(model, "feature_power", None)
        bounded = model.loss.convex or isinstance(model.loss, SupervisedContrastive)
        if not bounded or power is not None or model.dimension >= model.full_dimension:
            return None
        return dataclasses.replace(model, dimension=None)
    convex = convex_form(model, model.sizes)
    # Among the deep models only those with a single layer have a convex form.
    width = getattr(model, "widths", (0,))[0]
    return convex if convex is not None and width < convex.full_dimension else None
