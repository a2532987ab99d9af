"""The strength of a cure: the smallest that separates all classes, the best for a target."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.batches import lane
from nc_jax.checks import require_count
from nc_jax.design.cures import CURES, Curable, cured
from nc_jax.design.separation import separation
from nc_jax.design.targets import TARGETS, Price, price_of, require_target
from nc_jax.design.thresholds import Threshold
from nc_jax.immutable import with_fields
from nc_jax.solvers import Solution, Status, solve
from nc_jax.solvers.programs import quickly
from nc_jax.solvers.solution import certified
from nc_jax.theory import Bracket, bracket, narrow

# The designed strength exceeds the threshold by this factor; at it, classes barely separate.
SURPLUS = 1.01
# Relative width of the bracket around the threshold.
PRECISION = 1e-4
# Number of times the neighbourhood of the best strength is scanned again, six times finer.
ROUNDS = 3
# Distances that differ by less than this count as equal.
ALIKE = 1e-9


class Along(NamedTuple):
    """A cure at several strengths.

    Attributes:
        strengths: [S] the strengths.
        solution: certified optima, a batch of S.
        separation: [S], see :func:`nc_jax.design.separation`.
        distances: [S] for each target in :data:`nc_jax.design.TARGETS`, by name.
    """

    strengths: np.ndarray
    solution: Solution
    separation: np.ndarray
    distances: dict[str, np.ndarray]


def along(model: Curable, cure: str, strengths: Any) -> Along:
    """The certified optima of a cure at the given strengths.

    Args:
        model: the model of the plain training; a single one, under cross-entropy.
        cure: a name in :data:`nc_jax.design.CURES`.
        strengths: [S], zero or positive.

    Raises:
        TypeError, ValueError: see :func:`nc_jax.design.cured`; strengths that are not a
            vector of finite numbers, or not possible for the cure.
    """
    strengths = np.atleast_1d(np.asarray(strengths, float))
    if strengths.ndim != 1 or not len(strengths) or not np.isfinite(strengths).all():
        raise ValueError(f"strengths must be a vector of finite numbers, got {strengths}")
    cured(model, cure, 0.0)
    # One after another: the program of a single model compiles in half the time of that of a
    # batch, and solves take milliseconds.
    solved = [certified(solve(_cured_at(model, cure, strength))) for strength in strengths]
    measured = quickly(_measured, optimised=False)
    found = [(own, *measured(own)) for own in solved]
    solution, parted, distances = jax.tree.map(lambda *own: jnp.stack(own), *found)
    distances = {name: np.asarray(own) for name, own in distances.items()}
    return Along(strengths, solution, np.asarray(parted), distances)


def _cured_at(model: Curable, cure: str, strength: float) -> Curable:
    """The cured model; an error is one of the strength, as the model is valid without a cure."""
    try:
        return cured(model, cure, strength)
    except ValueError as error:
        message = f"strengths must be possible for {cure}, got {strength:g}: {error}"
        raise ValueError(message) from error


def _measured(solution: Solution) -> tuple[Array, dict[str, Array]]:
    distances = {name: distance(solution) for name, distance in TARGETS.items()}
    return separation(solution), distances


class Design(NamedTuple):
    """The smallest sufficient strength of a cure.

    Attributes:
        cure: its name.
        strength: the smallest at which no class is merged or vanishes, plus one per cent; 0
            if no cure is needed, NaN if no strength is sufficient.
        threshold: the certified change of phase below it; None if there is none.
        model: the model of the training with the cure; without it if none is sufficient.
        solution: its certified optimum.
        price: the changes of losses and margins.
    """

    cure: str
    strength: float
    threshold: Threshold | None
    model: Curable
    solution: Solution
    price: Price


def least_strength(
    model: Curable, cure: str, strongest: float | None = None, points: int = 13
) -> Design:
    """The smallest strength of a cure at which no class is merged with another or vanishes.

    A class is merged or vanishes if the logits have fewer than K−1 independent directions
    (:func:`nc_jax.design.separation`). The strengths from 0 to ``strongest`` are scanned,
    because too strong a cure can merge the large classes; the first change is refined.

    Args:
        model: the model of the plain training; a single one, under cross-entropy.
        cure: a name in :data:`nc_jax.design.CURES`.
        strongest: end of the scan; by default the one of the cure.
        points: number of strengths in the scan.

    Raises:
        TypeError, ValueError: see :func:`nc_jax.design.cured`; too few points.
    """
    require_count("points", points, 2)
    cured(model, cure, 0.0)
    strengths = np.linspace(0, _strongest(cure, strongest), points)
    without = along(model, cure, strengths[:1])
    before = with_fields(lane(without.solution, 0), model=model)
    plain = Design(cure, 0.0, None, model, before, price_of(before, before))
    if without.separation[0] > 0:
        return plain
    parted = along(model, cure, strengths[1:]).separation > 0
    if not parted.any():
        return plain._replace(strength=float("nan"))
    found = _narrowed(model, cure, bracket(strengths, [False, *parted], first=True))
    strength = SURPLUS * float(found.value)
    made = cured(model, cure, strength)
    after = lane(along(model, cure, [strength]).solution, 0)
    return Design(cure, strength, found, made, after, price_of(before, after))


def _narrowed(model: Curable, cure: str, pair: Bracket) -> Threshold:
    """The threshold between a strength at which a direction is missing and one with all."""
    converged: list[bool] = []

    def optima(strengths: Any) -> Along:
        found = along(model, cure, strengths)
        converged.append(bool(jnp.all(found.solution.status == Status.CONVERGED)))
        return found

    ends = narrow(pair, lambda own: optima(own).separation > 0, width=PRECISION, relative=True)
    found = optima(ends)
    (low, high), (at_low, at_high) = jnp.asarray(found.strengths), jnp.asarray(found.separation)
    gap = jnp.max(found.solution.gap)
    return Threshold(low, low, high, at_low, at_high, gap, jnp.asarray(all(converged)))


class Choice(NamedTuple):
    """The strength of a cure that is best for a target.

    Attributes:
        cure: its name.
        strength: the smallest of the best, within a thousandth of the strongest one scanned.
        model: the model of the training with the cure.
        solution: its certified optimum.
        distance_before, distance: distance from the target, without and with the cure.
        at_end: whether the strongest one scanned is the best.
        price: the changes of losses and margins.
    """

    cure: str
    strength: float
    model: Curable
    solution: Solution
    distance_before: float
    distance: float
    at_end: bool
    price: Price


def best_strength(
    model: Curable,
    cure: str,
    target: str = "simplex-etf",
    strongest: float | None = None,
    points: int = 13,
) -> Choice:
    """The strength of a cure at which the optimum's geometry is closest to a target.

    The strengths from 0 to ``strongest`` are scanned, and then the neighbourhood of the
    best one, more finely each time.

    Args:
        model: the model of the plain training; a single one, under cross-entropy.
        cure: a name in :data:`nc_jax.design.CURES`.
        target: 'simplex-etf' of the classifiers or 'equal-margins' of the logits.
        strongest: end of the scan; by default the one of the cure.
        points: number of strengths in each scan.

    Raises:
        TypeError, ValueError: see :func:`nc_jax.design.cured`; or naming the invalid argument.
    """
    require_count("points", points, 5)
    require_target(target)
    cured(model, cure, 0.0)
    strongest = _strongest(cure, strongest)
    found = first = along(model, cure, np.linspace(0, strongest, points))
    place = _place_of_best(found.distances[target])
    for _ in range(ROUNDS):
        low, high = found.strengths[[max(place - 1, 0), min(place + 1, points - 1)]]
        found = along(model, cure, np.linspace(low, high, points))
        place = _place_of_best(found.distances[target])
    before, after = lane(first.solution, 0), lane(found.solution, place)
    strength, off = float(found.strengths[place]), found.distances[target][place]
    return Choice(
        cure,
        strength,
        cured(model, cure, strength),
        after,
        float(first.distances[target][0]),
        float(off),
        strength == strongest,
        price_of(before, after),
    )


def _place_of_best(distances: np.ndarray) -> int:
    """The first of those that are equally good; under label smoothing there are many."""
    known = np.where(np.isfinite(distances), distances, np.inf)
    return int(np.argmax(known <= known.min() + ALIKE))


def _strongest(cure: str, strongest: float | None) -> float:
    strongest = CURES[cure][1] if strongest is None else float(strongest)
    if not 0 < strongest < np.inf:
        raise ValueError(f"strongest must be positive and finite, got {strongest}")
    return strongest
