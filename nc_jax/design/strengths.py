"""The one number of a cure: the least that parts all classes, and the best for a target."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_count
from nc_jax.design.cures import CURES, Curable, cured
from nc_jax.design.separation import separation
from nc_jax.design.targets import TARGETS, Price, price_of, require_target
from nc_jax.design.thresholds import Threshold, find_threshold
from nc_jax.solvers import Solution, solve

# A design is this much stronger than its threshold, where a class only just parts.
SURPLUS = 1.01
# Relative width of the bracket around it.
PRECISION = 1e-4
# Strengths that are solved as one batch, so that all calls share a program.
TOGETHER = 13
# Groups beyond which strengths are solved one after another.
MANY = 48
# How often the neighbourhood of the best strength is scanned again, six times finer.
ROUNDS = 3
# Distances that differ by less are one.
ALIKE = 1e-9


class Along(NamedTuple):
    """A cure over its strengths.

    Attributes:
        strengths: [S].
        solution: certified optima, a batch of S.
        separation: [S] see :func:`nc_jax.design.separation`.
        distances: [S] from each of :data:`nc_jax.design.TARGETS`, by name.
    """

    strengths: np.ndarray
    solution: Solution
    separation: np.ndarray
    distances: dict[str, np.ndarray]


def along(model: Curable, cure: str, strengths: Any) -> Along:
    """The certified optima of a cure over its strengths.

    Args:
        model: of the plain training; a single model under cross-entropy.
        cure: of :data:`nc_jax.design.CURES`.
        strengths: [S] zero or positive.

    Raises:
        TypeError, ValueError: what :func:`nc_jax.design.cured` says; strengths that are no
            vector of finite numbers.
    """
    strengths = np.atleast_1d(np.asarray(strengths, float))
    if strengths.ndim != 1 or not len(strengths) or not np.isfinite(strengths).all():
        raise ValueError(f"strengths must be a vector of finite numbers, got {strengths}")
    cured(model, cure, 0.0)
    parts = []
    for first in range(0, len(strengths), TOGETHER):
        own = np.resize(strengths[first : first + TOGETHER], TOGETHER)
        parts.append(_solved(model, jnp.asarray(own, model.sizes.group_sizes.dtype), cure))
    whole = jax.tree.map(lambda *own: jnp.concatenate(own)[: len(strengths)], *parts)
    solution, parted, distances = whole
    distances = {name: np.asarray(own) for name, own in distances.items()}
    return Along(strengths, solution, np.asarray(parted), distances)


@partial(jax.jit, static_argnames="cure")
def _solved(model: Curable, strengths: Array, cure: str) -> tuple[Solution, Array, Any]:
    def one(strength: Array) -> tuple[Solution, Array, Any]:
        solution = solve(cured(model, cure, strength))
        off = {name: distance(solution) for name, distance in TARGETS.items()}
        return solution, separation(solution), off

    # Lanes of many groups would wait for the slowest and take every branch of a line search.
    many = model.sizes.num_groups > MANY
    return jax.lax.map(one, strengths) if many else jax.vmap(one)(strengths)


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
    price: Price


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
    strengths = np.linspace(0, _strongest(cure, strongest), points)
    before = solve(model)
    plain = Design(cure, 0.0, None, model, before, price_of(before, before))
    if separation(before) > 0:
        return plain
    parted = along(model, cure, strengths).separation > 0
    if not parted.any():
        return plain._replace(strength=float("nan"))
    place = max(int(np.argmax(parted)), 1)
    found = _threshold(model, strengths[place - 1], strengths[place], cure)
    strength = SURPLUS * float(found.value)
    made = cured(model, cure, strength)
    after = _lane(along(model, cure, [strength]).solution, 0)
    return Design(cure, strength, found, made, after, price_of(before, after))


@partial(jax.jit, static_argnames="cure")
def _threshold(model: Curable, low: Array, high: Array, cure: str) -> Threshold:
    return find_threshold(
        lambda strength, own: cured(own, cure, strength), low, high, model, tolerance=PRECISION
    )


class Choice(NamedTuple):
    """The strength of a cure that is best for a target.

    Attributes:
        cure: its name.
        strength: within a thousandth of the strongest scanned; the least of the best.
        model: of the cured training.
        solution: its certified optimum.
        distance_before, distance: from the target, without and with the cure.
        at_end: whether the strongest that was scanned is the best.
        price: what it costs.
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
    best one, each time finer.

    Args:
        model: of the plain training; a single model under cross-entropy.
        cure: of :data:`nc_jax.design.CURES`.
        target: 'simplex-etf' of the classifiers or 'equal-margins' of the logits.
        strongest: end of the scan; by default the cure's own.
        points: of each scan.

    Raises:
        TypeError, ValueError: what :func:`nc_jax.design.cured` says; naming the argument.
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
    before, after = _lane(first.solution, 0), _lane(found.solution, place)
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
    """The first of those that are equally good, as many are under label smoothing."""
    known = np.where(np.isfinite(distances), distances, np.inf)
    return int(np.argmax(known <= known.min() + ALIKE))


def _lane(batch: Solution, place: int) -> Solution:
    return jax.tree.map(lambda leaf: leaf[place], batch)


def _strongest(cure: str, strongest: float | None) -> float:
    strongest = CURES[cure][1] if strongest is None else float(strongest)
    if not 0 < strongest < np.inf:
        raise ValueError(f"strongest must be positive and finite, got {strongest}")
    return strongest
