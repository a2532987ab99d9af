"""Cosines of arbitrary class sizes against their imbalance.

The class sizes are varied as n_k^t with the same total: t = 0 is balanced, t = 1 are the given
sizes, and the ratio R = max n / min n grows with t. One program is compiled for each number of
different sizes; how many classes have each size, the sizes and the strength are traced.
"""

import threading
from typing import Any

import jax
import numpy as np

import nc_jax as nc
from nc_jax.explorer.plain import plain_numbers
from nc_jax.explorer.programs import solve_sizes
from nc_jax.explorer.settings import MAX_RATIO, Family, SizesSettings
from nc_jax.surrogates import CountedSizes
from nc_jax.xla import fast_options

# Points of the path; the one nearest to the given sizes is moved onto them.
POINTS = 33
# With more different sizes, a solver takes seconds for every point.
MAX_GROUPS = 16
# The path ends at ten times the ratio of the given sizes, but not before this ratio.
BEYOND, LEAST_END = 10, 100
LINES = ("two largest classes", "two smallest classes")


class Paths:
    """The compiled programs of a server, by family and number of different sizes."""

    def __init__(self):
        self._compiled: dict[tuple[Family, int], Any] = {}
        self._lock = threading.Lock()

    def solve(
        self, family: Family, counts: np.ndarray, sizes: np.ndarray, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solves the models of one path.

        Args:
            family: surrogate, loss and bias.
            counts: [G] classes of each size.
            sizes: [POINTS, G].
            strength: E or λ.

        Returns:
            Duality gaps [POINTS] and cosines [POINTS, G, G] of classifiers of the groups.
        """
        with self._lock:
            key = family, len(counts)
            if key not in self._compiled:
                self._compiled[key] = _compile(family, len(counts))
        gaps, cosines = self._compiled[key](counts, sizes, np.asarray(strength, float))
        return np.asarray(gaps), np.asarray(cosines)


def describe_path(paths: Paths, settings: SizesSettings) -> dict[str, Any]:
    """The curve of cosines against R through typed class sizes.

    Args:
        paths: the compiled programs.
        settings: the sizes and the budget or weight decay.

    Returns:
        Numbers that JSON can hold: ``curve`` and ``ratio`` as in
        :func:`nc_jax.explorer.points.describe_point`; or only a ``reason`` why there is none.
    """
    values, counts = np.unique(settings.sizes, return_counts=True)
    values, counts = values[::-1], counts[::-1]
    if len(values) == 1:
        return {"reason": "All classes have the same size, so there is no imbalance to vary."}
    if len(values) > MAX_GROUPS:
        return {
            "reason": f"The curve is solved for at most {MAX_GROUPS} different sizes; "
            f"these are {len(values):,}."
        }
    exponents = exponents_of(values)
    sizes = path_of(values, counts, exponents)
    gaps, cosines = paths.solve(settings.family, counts, sizes, settings.strength)
    pairs = [(0, 0 if counts[0] > 1 else 1), (-1, -1 if counts[-1] > 1 else -2)]
    large, small = (cosines[:, first, second] for first, second in pairs)
    collapse, vanish = _thresholds(settings, counts)
    curve = {
        "ratio": sizes[:, 0] / sizes[:, -1],
        "large": large,
        "small": small,
        "collapse": collapse,
        "vanish": vanish,
        "worst_gap": float(gaps.max()),
        "lines": list(LINES),
    }
    return plain_numbers({"curve": curve, "ratio": float(values[0] / values[-1])})


def exponents_of(values: np.ndarray) -> np.ndarray:
    """Exponents t [POINTS] from 0 to beyond 1, which is one of them, for different sizes [G]."""
    ratio = values.max() / values.min()
    end = max(ratio, min(MAX_RATIO, max(BEYOND * ratio, LEAST_END)))
    exponents = np.linspace(0, np.log(end) / np.log(ratio), POINTS)
    exponents[max(1, int(np.argmin(np.abs(exponents - 1))))] = 1
    return exponents


def path_of(values: np.ndarray, counts: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Sizes [P, G] n^t of G groups, with the same number of samples in total."""
    powers = (values / values.max()) ** exponents[:, None]
    return powers * (values @ counts) / (powers @ counts)[:, None]


def _compile(family: Family, groups: int) -> Any:
    def lane(counts: Any, sizes: Any, strength: Any) -> Any:
        solution = solve_sizes(family, CountedSizes(counts, sizes), strength)
        return solution.gap, solution.between_cosines

    shapes = [(groups,), (POINTS, groups), ()]
    given = [jax.ShapeDtypeStruct(s, t) for s, t in zip(shapes, (int, float, float), strict=True)]
    lowered = jax.jit(jax.vmap(lane, in_axes=(None, 0, None))).lower(*given)
    return lowered.compile(compiler_options=fast_options(optimised=False))


def _thresholds(settings: SizesSettings, counts: np.ndarray) -> tuple[float, float]:
    """R0 and R1 along the path, which are known for two sizes and given budgets; else NaN."""
    family = settings.family
    known = family.surrogate == "layer-peeled" and family.loss == "cross-entropy"
    if not known or len(counts) != 2:
        return np.nan, np.nan
    given = int(counts[0]), int(counts[1]), settings.strength
    return float(nc.theory.collapse_ratio(*given)), float(nc.theory.vanish_ratio(*given))
