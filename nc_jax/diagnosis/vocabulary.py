"""Many thousands of classes of unequal sizes: which keep their own direction at which budget.

Classes of similar size share a group, so that a vocabulary costs as much as a hundred
classes. A class keeps its own direction if no other class has the same classifier up to
scale. The convex optimum is the optimum of the model in p dimensions if and only if its rank
is at most p; the rank at each budget therefore tells how many dimensions are sufficient.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from nc_jax.diagnosis.predicted import LOST, MERGED, ranks
from nc_jax.geometry import ClassSizes, merge_sizes
from nc_jax.solvers import FactoredQuasiNewton, Solution, solve
from nc_jax.solvers.solution import require_one
from nc_jax.surrogates import LayerPeeled


class Profile(NamedTuple):
    """Class sizes that decrease from the largest to the smallest by a law, not those of a data set.

    Attributes:
        classes: K.
        largest: size of the first class.
        smallest: size of the last class.
        power: α of the Pareto law n_k = smallest + c ((k/K)^(−1/α) − 1), k = 1, …, K;
            None for sizes that decrease exponentially.
    """

    classes: int
    largest: float
    smallest: float
    power: float | None

    def counts(self) -> np.ndarray:
        """Integer sizes [K], the largest first."""
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
    """Integer counts [K] by the Zipf–Mandelbrot law n_k ∝ (k + q)^(−s), at least one each.

    Args:
        tokens: K.
        total: N, their sum before rounding.
        exponent: s.
        shift: q ≥ 0.
    """
    weights = (np.arange(1, tokens + 1) + shift) ** -float(exponent)
    return np.maximum(1.0, np.round(total * weights / weights.sum()))


def own_directions(solution: Solution) -> int:
    """The number of classes that keep their own direction in one solved model.

    In a group of several classes, all keep their direction if the within-group number is not
    zero, and none otherwise. The class of a group of one keeps its direction if its
    classifier is not zero and its cosine to the classifier of every other group is at most
    MERGED.

    Raises:
        TypeError: not a solution over group numbers, for example with too few dimensions.
        ValueError: a batch.
    """
    require_one(solution)
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
    """Solves the Layer-Peeled Model at every budget E = E_W = E_H; one row per budget.

    Args:
        sizes: class sizes, see :func:`nc_jax.merge_sizes`; one compilation for all budgets.
        budgets: E, positive.
        tolerance: gap at which the program of the merged sizes counts as solved.

    Returns:
        The rank; the numbers of classes with and without their own direction; the cosine of
        two classes of the smallest size, and their length relative to that of the largest
        class; the objective and the gap, which includes the merging of sizes; whether the
        program of the merged sizes was solved. The cosine is NaN if a classifier is zero.
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
    """:func:`budget_rows` for counts of which similar ones are merged, with facts on the counts.

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
