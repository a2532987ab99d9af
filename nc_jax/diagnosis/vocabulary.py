"""Many thousands of classes of skewed sizes: which keep a direction of their own, at what budget.

Classes of alike size share a group, so that a vocabulary costs as much as a hundred
classes. A class keeps a direction of its own where no other has the same classifier up
to scale. The convex optimum is the model's own in p dimensions if and only if its rank
is at most p, so that the rank over budgets says which p holds all the classes.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from nc_jax.diagnosis.predicted import LOST, MERGED, ranks
from nc_jax.geometry import ClassSizes, merge_sizes
from nc_jax.solvers import FactoredQuasiNewton, Solution, solve
from nc_jax.surrogates import LayerPeeled


class Profile(NamedTuple):
    """Class sizes that fall from a largest to a smallest: a shape, not a data set's own counts.

    Attributes:
        classes: K.
        largest: count of the first class.
        smallest: count of the last.
        power: α of the Pareto law n_k = smallest + c ((k/K)^(−1/α) − 1), k = 1, …, K;
            None for sizes that fall exponentially.
    """

    classes: int
    largest: float
    smallest: float
    power: float | None

    def counts(self) -> np.ndarray:
        """Whole counts [K], largest first."""
        place = np.arange(1, self.classes + 1)
        if self.power is None:
            falls = (place - 1) / (self.classes - 1)
            sizes = self.largest * (self.smallest / self.largest) ** falls
        else:
            tail = (place / self.classes) ** (-1 / self.power) - 1
            sizes = self.smallest + (self.largest - self.smallest) * tail / tail[0]
        return np.round(sizes)


# Ends as published by Cao et al. 2019 (CIFAR), Liu et al. 2019 (ImageNet and Places, α = 6)
# and Van Horn et al. 2018, for which the same law gives the right mean.
PROFILES = {
    "CIFAR-100-LT": Profile(100, 500, 5, None),
    "Places-LT": Profile(365, 4980, 5, 6.0),
    "ImageNet-LT": Profile(1000, 1280, 5, 6.0),
    "iNaturalist 2018": Profile(8142, 1000, 2, 6.0),
}


def zipf_counts(tokens: int, total: float, exponent: float, shift: float = 2.7) -> np.ndarray:
    """Whole counts [K] of the Zipf–Mandelbrot law n_k ∝ (k + q)^(−s), at least one each.

    Args:
        tokens: K.
        total: N, their sum before rounding.
        exponent: s.
        shift: q ≥ 0.
    """
    weights = (np.arange(1, tokens + 1) + shift) ** -float(exponent)
    return np.maximum(1.0, np.round(total * weights / weights.sum()))


def own_directions(solution: Solution) -> int:
    """How many classes keep a direction of their own, in one solved model.

    A group of several classes keeps them all where its within-group number is not zero,
    and none otherwise. The class of a group of one keeps its direction where its
    classifier is not zero and has a cosine of at most MERGED with that of any other group.
    """
    counts = np.asarray(solution.model.sizes.counts)
    norms = np.asarray(solution.classifier_norms)
    within = np.sqrt(np.abs(np.asarray(solution.within))) * (counts > 1)
    largest = np.linalg.norm(np.asarray(solution.between), 2) ** 0.5
    kept = within > LOST * max(within.max(), largest)
    cosines = np.array(solution.between_cosines)
    np.fill_diagonal(cosines, -1)
    nearest = np.max(np.nan_to_num(cosines, nan=-1.0), axis=1)
    single = (counts == 1) & (norms > LOST * norms.max()) & (nearest <= MERGED)
    return int(counts[kept].sum() + single.sum())


def budget_rows(sizes: ClassSizes, budgets: Iterable[float], tolerance: float = 1e-6) -> list[dict]:
    """The Layer-Peeled Model at every budget E = E_W = E_H: a row each.

    Args:
        sizes: one vector, see :func:`nc_jax.merge_sizes`; compiles once for all budgets.
        budgets: E, positive.
        tolerance: gap at which the merged program counts as solved.

    Returns:
        The rank; classes with a direction of their own and the others; the cosine of two
        classes of the smallest size and their length over that of the largest; objective
        and gap, in which merging sizes is included; whether the merged program was solved.
        NaN where a classifier is zero.
    """
    return [_row(sizes, float(budget), tolerance) for budget in budgets]


def _row(sizes: ClassSizes, budget: float, tolerance: float) -> dict[str, Any]:
    model = LayerPeeled(sizes, budget, budget)
    solver = FactoredQuasiNewton(tolerance=tolerance)
    solution = jax.block_until_ready(solve(model, solver))
    lengths, kept = np.asarray(solution.classifier_norms), own_directions(solution)
    order = np.argsort(np.asarray(sizes.group_sizes))
    last, first = order[0], order[-1]
    other = last if sizes.counts[last] > 1 else order[1]
    zero = lengths[[last, other]].min() <= LOST * lengths.max()
    cosine = np.nan if zero else float(np.asarray(solution.between_cosines)[last, other])
    return {
        "E": budget,
        "rank": int(ranks(solution)),
        "own": kept,
        "collapsed": sizes.num_classes - kept,
        "smallest_cosine": cosine,
        "smallest_length": float(lengths[last] / lengths[first]),
        "objective": float(solution.objective),
        "gap": float(solution.gap),
        "solved": int(solution.iterations) < solver.max_iterations,
    }


def vocabulary_rows(
    counts: np.ndarray, budgets: Iterable[float], merge_tolerance: float
) -> list[dict[str, Any]]:
    """:func:`budget_rows` of counts whose alike ones are merged, with their numbers.

    Args:
        counts: [K], positive.
        budgets: E, positive.
        merge_tolerance: of :func:`nc_jax.merge_sizes`.
    """
    sizes = merge_sizes(counts, merge_tolerance)
    about = {
        "classes": len(counts),
        "samples": float(np.sum(counts)),
        "largest": float(np.max(counts)),
        "smallest": float(np.min(counts)),
        "groups": sizes.num_groups,
    }
    return [about | row for row in budget_rows(sizes, budgets)]
