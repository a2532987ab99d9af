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
from nc_jax.losses import acts_on
from nc_jax.solvers.acceptance import why_not_convex
from nc_jax.solvers.bounds import convex_form
from nc_jax.solvers.general import FactoredQuasiNewton
from nc_jax.solvers.reduced import ReducedInteriorPoint
from nc_jax.solvers.two_groups import TwoGroupRoot
from nc_jax.surrogates.layers import FactoredProgram

ConvexSolver = TwoGroupRoot | ReducedInteriorPoint | FactoredQuasiNewton

# Beyond this many groups the dense Newton system of the reduced program costs
# more than matrix products over all classes (benchmarks/layer_peeled.py).
MAX_REDUCED_GROUPS = 16


def convex_solver(model: Any) -> ConvexSolver | None:
    """The certifying solver over group numbers that suits a model; None if there is none."""
    if why_not_convex(model) is not None:
        return None
    exact = TwoGroupRoot()
    if exact.refusal(model) is None:
        return exact
    if model.sizes.num_groups <= MAX_REDUCED_GROUPS:
        return ReducedInteriorPoint()
    return FactoredQuasiNewton(order=_order_of(model.sizes))


def _order_of(sizes: ClassSizes) -> tuple[int, ...] | None:
    """Groups by size, if the solver cannot determine the order at run time; otherwise None."""
    counts, values = sizes.counts, sizes.group_sizes
    if values.ndim > 1 or not is_concrete(values) or (counts == counts[0]).all():
        return None
    return tuple(np.argsort(-np.asarray(values), kind="stable").tolist())


def relaxation(model: FactoredProgram) -> Any:
    """The model with as many dimensions as its convex form needs.

    None for a model that already has them, or that has no convex form.
    """
    width = model.shapes.features[1]
    if acts_on(model.loss) == "features":
        # The loss is convex in the inner products of features of any dimension.
        full: Any = model
        ball = getattr(model.constraint, "feature_power", None) is None
        short = width < getattr(full, "full_dimension", 0) and ball
        return dataclasses.replace(full, dimension=None) if short else None
    convex = convex_form(model, model.sizes)
    return convex if convex is not None and width < convex.full_dimension else None
