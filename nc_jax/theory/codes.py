"""Spherical codes: the smallest largest cosine of K unit vectors in p dimensions.

With few dimensions and a large budget the balanced classifiers are as far apart as
possible. The best possible largest cosine is known in these cases:

- K ≤ p + 1: the simplex, −1/(K − 1); p + 2 ≤ K ≤ 2p: zero (Rankin 1955);
- p = 2: the regular polygon, cos(2π/K);
- the sharp codes (Cohn and Kumar, J. AMS 2007, Table 1), which are also optimal for every
  completely monotone potential, and the 600-cell;
- the (10, 4) Petersen code (Bachoc and Vallentin 2009);
- p = 3, Tammes' problem: K = 7, 8, 9 (Schütte and van der Waerden 1951), 10, 11 (Danzer
  1986), 13, 14 (Musin and Tarasov 2012, 2015), 24 (Robinson 1961);
- otherwise the best angles found: for p = 4 those of Sloane's tables of spherical codes,
  and the 24-cell (not proved to be the best code; it is the best with kissing angle 60°).

Levenshtein (1992, Acta Applicandae Mathematicae 29) gives a lower bound on the largest
cosine, with equality for all sharp codes.
"""

from math import comb, cos, pi, radians, sqrt, tan
from typing import NamedTuple

import numpy as np

from nc_jax.checks import require_count
from nc_jax.theory.brackets import Bracket, narrow


class KnownCode(NamedTuple):
    """The best known code.

    Attributes:
        cosine: its largest cosine.
        name: of the code, or of the table.
        proved: whether it is proved that no code has a smaller largest cosine.
    """

    cosine: float
    name: str
    proved: bool


GOLDEN = (1 + sqrt(5)) / 2

# By (K, p).
PROVED = {
    (7, 3): (1 / (tan(radians(40)) * tan(radians(80))), "Tammes"),
    (8, 3): ((sqrt(8) - 1) / 7, "square antiprism"),
    (9, 3): (1 / 3, "Tammes"),
    (10, 3): (cos(radians(66.1468220)), "Tammes"),
    (11, 3): (1 / sqrt(5), "icosahedron less a vertex"),
    (12, 3): (1 / sqrt(5), "icosahedron"),
    (13, 3): (cos(radians(57.1367031)), "Tammes"),
    (14, 3): (cos(radians(55.6705700)), "Tammes"),
    (24, 3): (cos(radians(43.6907671)), "snub cube"),
    (10, 4): (1 / 6, "Petersen"),
    (120, 4): (GOLDEN / 2, "600-cell"),
    (16, 5): (1 / 5, "Clebsch"),
    (27, 6): (1 / 4, "Schläfli"),
    (56, 7): (1 / 3, "kissing of E8"),
    (240, 8): (1 / 2, "E8 roots"),
    (112, 21): (1 / 9, "isotropic subspaces"),
    (162, 21): (1 / 7, "strongly regular"),
    (100, 22): (1 / 11, "Higman–Sims"),
    (275, 22): (1 / 6, "McLaughlin"),
    (891, 22): (1 / 4, "isotropic subspaces"),
    (552, 23): (1 / 5, "equiangular lines"),
    (4600, 23): (1 / 3, "kissing of Leech"),
    (196560, 24): (1 / 2, "Leech"),
}
# Angles of Sloane's tables for p = 4, to a thousandth of a degree.
TABLED = {
    9: 80.676,
    11: 76.679,
    12: 75.522,
    14: 71.366,
    15: 69.452,
    16: 67.193,
}


def known_code(num_classes: int, dimension: int) -> KnownCode | None:
    """The smallest largest cosine known of K unit vectors in p dimensions, or None.

    Args:
        num_classes: K ≥ 2.
        dimension: p ≥ 1.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size, width = _checked(num_classes, dimension)
    if size <= width + 1:
        return KnownCode(-1 / (size - 1), "simplex", True)
    if width == 1:
        return KnownCode(1.0, "two points", True)
    if size <= 2 * width:
        return KnownCode(0.0, "orthoplex" if size == 2 * width else "Rankin", True)
    if width == 2:
        return KnownCode(cos(2 * pi / size), "regular polygon", True)
    if (size, width) in PROVED:
        return KnownCode(*PROVED[size, width], True)
    if (size, width) == (24, 4):
        return KnownCode(0.5, "24-cell", False)
    if width == 4 and size in TABLED:
        return KnownCode(cos(radians(TABLED[size])), "Sloane", False)
    return None


def least_largest_cosine(num_classes: int, dimension: int) -> float:
    """A lower bound on the largest cosine of K unit vectors in p dimensions.

    Levenshtein's bound: K ≤ L(p, s) for every code with largest cosine s; for p + 2 ≤ K ≤ 2p
    Rankin's bound, zero. Attained by all sharp codes.

    Args:
        num_classes: K ≥ 2.
        dimension: p ≥ 1.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size, width = _checked(num_classes, dimension)
    if size <= width + 1:
        return -1 / (size - 1)
    if width == 1:
        return 1.0
    if size <= 2 * width:
        return 0.0
    # The bound of each degree holds from the end of the previous one up to its own end.
    degree, low = 3, 0.0
    while _levenshtein(width, _largest_zero(width, degree), degree) < size:
        degree, low = degree + 1, _largest_zero(width, degree)
    ends = Bracket(low, _largest_zero(width, degree))

    def enough(cosines: np.ndarray) -> list[bool]:
        return [_levenshtein(width, cosine, degree) >= size for cosine in cosines.tolist()]

    return narrow(ends, enough).low


def _checked(num_classes: int, dimension: int) -> tuple[int, int]:
    size = require_count("num_classes", num_classes, 2)
    return size, require_count("dimension", dimension, 1)


def _largest_zero(width: int, degree: int) -> float:
    """The end of the Levenshtein bound of a degree: a zero of a Jacobi polynomial."""
    # Imported here, because it takes a sixth of the time of importing JAX.
    from scipy.special import roots_jacobi

    half = (width - 3) / 2
    return float(roots_jacobi((degree + 1) // 2, half + 1, half + 1 - degree % 2)[0].max())


def _gegenbauer(width: int, degree: int, s: float) -> float:
    """The zonal polynomial of a degree on the sphere, one at s = 1."""
    before, last = 1.0, s
    if degree == 0:
        return before
    for k in range(1, degree):
        step = ((2 * k + width - 2) * s * last - k * before) / (k + width - 2)
        before, last = last, step
    return last


def _levenshtein(width: int, s: float, degree: int) -> float:
    """L_degree(p, s), the largest number of points that Levenshtein's polynomial allows."""
    k = (degree + 1) // 2
    if degree % 2:
        now, below = _gegenbauer(width, k, s), _gegenbauer(width, k - 1, s)
        rest = (below - now) / ((1 - s) * now)
        return comb(k + width - 3, k - 1) * ((2 * k + width - 3) / (width - 1) - rest)
    now, above = _gegenbauer(width, k, s), _gegenbauer(width, k + 1, s)
    rest = (1 + s) * (now - above) / ((1 - s) * (now + above))
    return comb(k + width - 2, k) * ((2 * k + width - 1) / (width - 1) - rest)
