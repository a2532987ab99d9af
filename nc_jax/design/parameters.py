"""The class-dependent numbers of a loss that are best for a target, by gradient descent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax import Array

from nc_jax.checks import require_count
from nc_jax.classes import ClassNumbers
from nc_jax.design.cures import Curable, cured, require_full_dimension, with_changes
from nc_jax.design.targets import Price, price_of, require_target
from nc_jax.losses import ClassWeights, VectorScaling
from nc_jax.solvers import Solution, solve
from nc_jax.solvers.solution import certified


class Fit(NamedTuple):
    """Parameters found by a gradient method.

    Attributes:
        parameters: one number for each class: offsets, scales or weights.
        model: the model with these parameters.
        solution: its certified optimum.
        distance_before, distance: distance from the target, without and with the parameters.
        price: the changes of losses and margins.
    """

    parameters: ClassNumbers
    model: Curable
    solution: Solution
    distance_before: float
    distance: float
    price: Price


def _weights(model: Curable, values: Array) -> ClassWeights:
    """Positive weights of mean one over the samples."""
    raw = jnp.exp(values)
    total = jnp.sum(model.sizes.group_weights * raw)
    return ClassWeights(ClassNumbers(raw / total, model.sizes.membership), model.loss)


# From a model and one free number for each group to a loss. A scale that all classes share
# would have the same effect as another budget.
FAMILIES: dict[str, Callable[[Curable, Array], Any]] = {
    "offsets": lambda model, values: VectorScaling(ClassNumbers(values, model.sizes.membership)),
    "scales": lambda model, values: VectorScaling(
        scales=ClassNumbers(jnp.exp(values - values[0]), model.sizes.membership)
    ),
    "weights": _weights,
}


def closest(model: Curable, family: str, target: str = "simplex-etf", iterations: int = 30) -> Fit:
    """The class-dependent numbers that bring the optimum's geometry closest to a target.

    Uses L-BFGS on the gradient through the certified optimum. If the optimum at the start
    lacks some directions, their derivative is zero: use a cure first (:func:`least_strength`).
    Weights start at the values that compensate the imbalance.

    Args:
        model: a single model under cross-entropy.
        family: 'offsets', 'scales' or 'weights', one for each group of equal classes.
        target: 'simplex-etf' of the classifiers or 'equal-margins' of the logits.
        iterations: largest number of L-BFGS iterations.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    cured(model, "class-weights", 0.0)
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    require_count("iterations", iterations, 1)
    make, distance = FAMILIES[family], require_target(target)

    @jax.jit
    @jax.value_and_grad
    def off(values: Array) -> Array:
        made = require_full_dimension(with_changes(model, make(model, values)))
        return distance(certified(solve(made)))

    sizes = model.sizes.group_sizes
    start = jnp.log(jnp.max(sizes)) - jnp.log(sizes) if family == "weights" else 0 * sizes
    found = scipy.optimize.minimize(
        lambda x: tuple(np.asarray(part, np.float64) for part in off(jnp.asarray(x, sizes.dtype))),
        np.asarray(start, np.float64),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-12, 12)] * len(start),
        options={"maxiter": iterations},
    )
    loss = make(model, jnp.asarray(found.x, sizes.dtype))
    made = with_changes(model, loss)
    before, after = certified(solve(model)), certified(solve(made))
    numbers = loss.weights if family == "weights" else loss.offsets or loss.scales
    ends = float(distance(before)), float(distance(after))
    return Fit(numbers, made, after, *ends, price_of(before, after))
