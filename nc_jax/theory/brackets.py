"""Where a condition begins to hold along an axis: its bracket, narrowed on finer grids.

Bisection is the special case of grids with one inner point. With more of them fewer rounds are
needed, which pays off if all points of a grid are computed together. For the root of a function
inside a compiled program see :mod:`nc_jax.theory.roots`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nc_jax.checks import require_count

Key = TypeVar("Key")


class Bracket(NamedTuple):
    """Two neighbouring points between which a condition begins to hold.

    Attributes:
        low: the last point at which it does not hold; −∞ if it holds at the first point.
        high: the first point at which it holds; ∞ if it does not hold at the last point.
    """

    low: float
    high: float


def bracket(points: Any, holds: Any, first: bool = False) -> Bracket:
    """The points between which a condition begins to hold, and holds up to the last point.

    Args:
        points: [P] increasing.
        holds: [P] whether the condition holds at each of them.
        first: whether the condition may fail again at larger points.

    Raises:
        ValueError: different numbers of points and of conditions.
    """
    points, holds = np.asarray(points, float), np.asarray(holds, bool)
    if points.ndim != 1 or points.shape != holds.shape:
        raise ValueError(f"holds must have one value for each of {len(points)} points")
    fails = np.flatnonzero(~holds)
    place = len(points) if not holds.any() else int(np.argmax(holds))
    if not first:
        place = int(fails[-1]) + 1 if len(fails) else 0
    ends = [-np.inf, *points.tolist(), np.inf]
    return Bracket(ends[place], ends[place + 1])


def narrow_all(
    brackets: Mapping[Key, Bracket],
    holds: Callable[[dict[Key, np.ndarray]], Mapping[Key, Any]],
    inner: int = 1,
    rounds: int = 60,
    width: float = 0.0,
    logarithmic: bool = False,
    first: bool = False,
    relative: bool = False,
) -> dict[Key, Bracket]:
    """Narrows several brackets at the same time; each round divides a width by ``inner`` + 1.

    Args:
        brackets: by key; one with an infinite end stays as it is.
        holds: from inner points [P] by key to whether the condition holds at each of them; at the
            ends of a bracket it is known.
        inner: P, the number of inner points in each round: one for bisection; with none,
            nothing is narrowed.
        rounds: largest number of rounds.
        width: width from which on a bracket is not narrowed further; if ``logarithmic``,
            relative to its lower end.
        logarithmic: whether the points of a round have equal ratios instead of equal distances.
        first: see :func:`bracket`.
        relative: whether ``width`` is relative to the upper end, which is positive.

    Raises:
        TypeError, ValueError: ``inner`` is not a whole number, at least zero.
    """
    require_count("inner", inner, 0)
    spaced = np.geomspace if logarithmic else np.linspace

    def wide(pair: Bracket) -> bool:
        unit = pair.high if relative else pair.low if logarithmic else 1.0
        return bool(np.isfinite(pair).all()) and pair.high - pair.low > width * unit

    found = dict(brackets)
    for _ in range(rounds if inner else 0):
        grids = {key: spaced(*pair, inner + 2) for key, pair in found.items() if wide(pair)}
        if not grids:
            break
        inside = holds({key: grid[1:-1] for key, grid in grids.items()})
        for key, grid in grids.items():
            found[key] = bracket(grid, [False, *np.asarray(inside[key], bool), True], first)
    return found


def narrow(pair: Bracket, holds: Callable[[np.ndarray], Any], **options: Any) -> Bracket:
    """Narrows one bracket; ``holds`` maps inner points [P] to conditions [P].

    Options, and errors, as in :func:`narrow_all`.
    """
    return narrow_all({0: pair}, lambda grids: {0: holds(grids[0])}, **options)[0]
