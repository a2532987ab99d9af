"""The least strength of a cure, the best parameters of a loss, and what they cost."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax import Array

from nc_jax.checks import require_count
from nc_jax.classes import ClassNumbers
from nc_jax.design.cures import CURES, Curable, cured, margins_of, with_changes
from nc_jax.design.separation import separation
from nc_jax.design.thresholds import Threshold, find_threshold
from nc_jax.geometry import zero_sum_basis
from nc_jax.losses import ClassWeights, CrossEntropy, VectorScaling
from nc_jax.solvers import Solution, solve

# A design is this much stronger than its threshold, where a class only just parts.
SURPLUS = 1.01
# Relative width of the bracket around it.
PRECISION = 1e-4


class Design(NamedTuple):
    """What the designer says about a cure.

    Attributes:
        cure: its name.
        strength: the least that leaves no class merged or vanished, plus one per cent; 0
            where nothing needs mending, NaN where no strength mends it.
        threshold: the certified change of phase below it; None without one.
        model: of the cured training; the plain one where no strength mends it.
        solution: its certified optimum.
        price: what it costs.
    """

    cure: str
    strength: float
    threshold: Threshold | None
    model: Curable
    solution: Solution
    price: "Price"


class Price(NamedTuple):
    """Losses and margins of every class before and after, under plain cross-entropy.

    Attributes:
        losses_before, losses_after: [K] training losses, without weights and margins.
        margins_before, margins_after: [K] z_kk − max_j≠k z_kj.
    """

    losses_before: Array
    losses_after: Array
    margins_before: Array
    margins_after: Array


def price_of(before: Solution, after: Solution) -> Price:
    """What a cure changes for each class."""
    classes = jnp.arange(before.model.num_classes)
    losses = [CrossEntropy()(solution.logits, classes) for solution in (before, after)]
    return Price(*losses, *(margins_of(solution.logits) for solution in (before, after)))


def least_strength(
    model: Curable, cure: str, strongest: float | None = None, points: int = 13
) -> Design:
    """The least strength of a cure at which no class is merged with another or vanishes.

    A class is, where the logits have fewer than K−1 independent directions
    (:func:`nc_jax.design.separation`). The strengths from 0 to ``strongest`` are scanned,
    since too much of a cure can merge the large classes; the first change is refined.

    Args:
        model: of the plain training; a single model under cross-entropy.
        cure: of :data:`nc_jax.design.CURES`.
        strongest: end of the scan; by default the cure's own.
        points: of the scan.

    Raises:
        TypeError, ValueError: what :func:`nc_jax.design.cured` says; too few points.
    """
    require_count("points", points, 2)
    cured(model, cure, 0.0)
    strongest = CURES[cure][1] if strongest is None else float(strongest)
    if not strongest > 0:
        raise ValueError(f"strongest must be positive, got {strongest}")
    before = solve(model)
    plain = Design(cure, 0.0, None, model, before, price_of(before, before))
    if separation(before) > 0:
        return plain
    family = partial(_cured, cure=cure)
    signed = jax.jit(lambda own, x: separation(solve(family(x, own))))
    low = 0.0
    for high in np.linspace(0, strongest, points)[1:]:
        if signed(model, high) > 0:
            break
        low = high
    else:
        return plain._replace(strength=float("nan"))
    found = jax.jit(lambda own: find_threshold(family, low, high, own, tolerance=PRECISION))(model)
    strength = SURPLUS * float(found.value)
    made = cured(model, cure, strength)
    after = solve(made)
    return Design(cure, strength, found, made, after, price_of(before, after))


def _cured(strength: Array, model: Curable, cure: str) -> Curable:
    return cured(model, cure, strength)


class Fit(NamedTuple):
    """Parameters found by gradient.

    Attributes:
        parameters: one number a class: offsets, scales or weights.
        model: with them.
        solution: its certified optimum.
        distance_before, distance: from the target, without and with them.
        price: what they cost.
    """

    parameters: ClassNumbers
    model: Curable
    solution: Solution
    distance_before: float
    distance: float
    price: Price


def frame_distance(solution: Solution) -> Array:
    """1 − cos² of the angle between the Gram matrices of the classifiers and of a simplex ETF."""
    gram = solution.classifier_gram
    basis = zero_sum_basis(gram.shape[-1], gram.dtype)
    frame = jnp.matmul(basis, basis.T, precision="highest")
    inner = jnp.sum(gram * frame) ** 2
    return 1 - inner / (jnp.sum(gram**2) * jnp.sum(frame**2))


def margin_distance(solution: Solution) -> Array:
    """Variance of the classes' margins over their mean square."""
    margins = margins_of(solution.logits)
    return jnp.var(margins) / jnp.mean(margins**2)


TARGETS: dict[str, Callable[[Solution], Array]] = {
    "simplex-etf": frame_distance,
    "equal-margins": margin_distance,
}


def _weights(model: Curable, values: Array) -> ClassWeights:
    """Positive weights of mean one over the samples."""
    raw = jnp.exp(values)
    total = jnp.sum(model.sizes.group_weights * raw)
    return ClassWeights(ClassNumbers(raw / total, model.sizes.membership), model.loss)


# From a model and one free number a group to a loss. A scale that all classes share would
# only be another budget.
FAMILIES: dict[str, Callable[[Curable, Array], Any]] = {
    "offsets": lambda model, values: VectorScaling(ClassNumbers(values, model.sizes.membership)),
    "scales": lambda model, values: VectorScaling(
        scales=ClassNumbers(jnp.exp(values - values[0]), model.sizes.membership)
    ),
    "weights": _weights,
}


def closest(model: Curable, family: str, target: str = "simplex-etf", iterations: int = 30) -> Fit:
    """The class-dependent numbers that bring the optimum's geometry closest to a target.

    By L-BFGS on the gradient through the certified optimum. Where the optimum at the start
    has lost directions, their derivative is zero: cure it first (:func:`least_strength`);
    weights start at those that undo the imbalance.

    Args:
        model: a single model under cross-entropy.
        family: 'offsets', 'scales' or 'weights', one for each group of equal classes.
        target: 'simplex-etf' of the classifiers or 'equal-margins' of the logits.
        iterations: of L-BFGS at most.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    cured(model, "class-weights", 0.0)
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    require_count("iterations", iterations, 1)
    make, distance = FAMILIES[family], TARGETS[target]

    @jax.jit
    @jax.value_and_grad
    def off(values: Array) -> Array:
        return distance(solve(with_changes(model, make(model, values))))

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
    before, after = solve(model), solve(made)
    numbers = loss.weights if family == "weights" else loss.offsets or loss.scales
    ends = float(distance(before)), float(distance(after))
    return Fit(numbers, made, after, *ends, price_of(before, after))
