"""What the Layer-Peeled Model predicts at the measured class sizes and budgets.

The class sizes are varied as n_k^s: s = 0 is balanced, s = 1 are the data, and the ratio
max n / min n grows with s. Minority collapse is a loss of rank. It begins at the first s at
which the classifiers span fewer than K − 1 directions; from there on the smallest classes
point in the same direction, exactly if they have the same size and nearly if they do not.
The ratio at this s is R0 for arbitrary class sizes; for two groups it is the R0 of the theory.

As the budget E = √(E_W E_H) tends to zero, the loss becomes linear in the logits. The optimal
logits are then proportional to E, and ln R0 is too, both up to a relative error of O(E). The
differences between the classes are of order E² and get lost in rounding, so a budget below
SMALLEST is replaced by SMALLEST, and the solution is scaled back.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from nc_jax.batches import lane
from nc_jax.geometry import ClassSizes, class_sizes
from nc_jax.solvers import Solution, solve_batch
from nc_jax.solvers.certificates import certify
from nc_jax.solvers.duals import merged_bound
from nc_jax.solvers.solution import certified
from nc_jax.surrogates import LayerPeeled
from nc_jax.surrogates.grouped import GroupLogits

# Number of points on the path; the first collapsed point is refined at least, and at most, this
# many times, and its exponent until it is known up to this relative error.
POINTS = 17
ROUNDS, MOST_ROUNDS = 5, 9
PRECISION = 1e-4
# Smaller budgets are replaced by this one.
SMALLEST = 1e-3
# The path ends at this logarithm of the ratio.
FARTHEST = np.log(1e12)
# A direction is lost if its singular value is below this share of the largest.
LOST = 1e-4
# Classifiers count as merged if their cosine is above this.
MERGED = 0.95
# Sizes that differ by less than this share are made equal.
ALIKE = 0.05
# The largest number of different sizes; with more the program becomes large.
GROUPS = 12


class Predicted(NamedTuple):
    """The prediction of the Layer-Peeled Model for a data set.

    Attributes:
        sizes: [K] the sizes given to the model, in which similar sizes are equal.
        ratio: the data's max n / min n.
        rank: of the classifiers; K − 1 if no direction is lost.
        merged: if a direction is lost, the groups of classes whose classifiers have
            cosines above MERGED.
        vanished: the classes whose classifier is zero.
        cosines: [K, K] of the model's classifiers; NaN if one of the two is zero.
        collapse_ratio: R0 along the path; infinite if no direction is lost up to a ratio of 10¹².
        path: [P, 2] ratios and the cosine of the classifiers of the two smallest classes,
            from balanced classes to ten times the larger of the data's ratio and R0.
        oversampling: [K] how often to repeat the samples of each class so that no direction
            is lost: the smallest sufficient correction, all ones if none is lost.
        gap: upper bound on the distance of the model's objective from its optimum.
    """

    sizes: np.ndarray
    ratio: float
    rank: int
    merged: list[list[int]]
    vanished: list[int]
    cosines: np.ndarray
    collapse_ratio: float
    path: np.ndarray
    oversampling: np.ndarray
    gap: float


def predict_collapse(counts: np.ndarray, weight_energy: float, feature_energy: float) -> Predicted:
    """Solves the Layer-Peeled Model at the class sizes of a data set and at measured budgets.

    Args:
        counts: [K] samples of each class, positive.
        weight_energy: E_W.
        feature_energy: E_H.

    Raises:
        ValueError: a count or a budget that is not positive.
    """
    counts = np.asarray(counts, float)
    grouped = grouped_sizes(counts)
    ratio = float(grouped.max() / grouped.min())
    *energies, scale = solvable_energies(weight_energy, feature_energy)
    sizes = class_sizes(grouped)
    solution, path, exponent = _Profile(sizes, *energies).explore()
    exponent *= scale
    own = LayerPeeled(sizes, weight_energy, feature_energy)
    _, gap = certified_at(own, solution, scale)
    angles, zero = _angles(np.asarray(solution.classifiers))
    # Exactly at the threshold, rounding would decide: stay a little below it.
    target = min(1.0, 0.999 * exponent)
    rank = int(ranks(solution))
    return Predicted(
        grouped,
        ratio,
        rank,
        clusters(angles, MERGED) if rank < len(counts) - 1 else [],
        np.flatnonzero(zero).tolist(),
        angles,
        float(ratio**exponent) if np.isfinite(exponent) else np.inf,
        path,
        (grouped.max() / grouped) ** (1 - target),
        gap,
    )


def solvable_energies(weight_energy: float, feature_energy: float) -> tuple[float, float, float]:
    """Energies whose budget is at least SMALLEST, and the true budget relative to theirs.

    Both energies are raised by the same factor; the optimal logits and ln R0 at the true
    energies are those at the raised ones times the returned scale ≤ 1, up to a relative error
    of O(SMALLEST).
    """
    scale = min(1.0, math.sqrt(weight_energy) * math.sqrt(feature_energy) / SMALLEST)
    return weight_energy / scale, feature_energy / scale, scale


def certified_at(model: LayerPeeled, solution: Solution, scale: float) -> tuple[float, float]:
    """Objective and gap of a solution at raised energies, at the true ones of a model.

    Args:
        model: with the true energies.
        solution: of the model with the energies of :func:`solvable_energies`.
        scale: the third number of that function.
    """
    if scale == 1:
        return float(solution.objective), float(solution.gap)
    point = GroupLogits(scale * solution.within, scale * solution.between)
    certificate = certify(model, point)
    if not model.sizes.merged:
        return float(certificate.objective), float(certificate.gap)
    bound = merged_bound(model, point, certificate.nuclear_norm)
    return float(certificate.objective), max(float(certificate.objective - bound), 0.0)


def clusters(angles: np.ndarray, least: float) -> list[list[int]]:
    """Groups of two or more classes that are connected by cosines [K, K] above ``least``."""
    count, names = connected_components(np.nan_to_num(angles, nan=-1) > least, directed=False)
    groups = [np.flatnonzero(names == name).tolist() for name in range(count)]
    return [group for group in groups if len(group) > 1]


def ranks(solution: Solution) -> np.ndarray:
    """The number of directions [...] that the classifiers of solved models span.

    It is found from the numbers of the groups, so that thousands of classes in a dozen groups
    cost no more than a dozen classes.
    """
    others = np.asarray(solution.model.sizes.counts) - 1
    within = np.sqrt(np.abs(np.asarray(solution.within))) * (others > 0)
    between = np.sqrt(np.linalg.svd(np.asarray(solution.between), compute_uv=False))
    least = LOST * np.maximum(within.max(axis=-1), between[..., 0])[..., None]
    return (within > least) @ others + np.sum(between > least, axis=-1)


def _angles(classifiers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines [K, K], NaN if a classifier is zero, and which classifiers [K] are zero."""
    lengths = np.linalg.norm(classifiers, axis=-1)
    zero = lengths <= LOST * lengths.max()
    unit = classifiers / np.where(zero, np.nan, lengths)[:, None]
    return np.clip(unit @ unit.T, -1, 1), zero


def grouped_sizes(counts: np.ndarray) -> np.ndarray:
    """Sizes of at most GROUPS different values, in which similar sizes are made equal."""
    if not (counts > 0).all() or not np.isfinite(counts).all():
        raise ValueError(f"counts must be positive and finite, got {counts.tolist()}")
    order, alike = np.argsort(counts), ALIKE
    while True:
        grouped, start = np.empty(len(counts)), 0
        for place in range(1, len(counts) + 1):
            if place == len(counts) or counts[order[place]] > counts[order[start]] * (1 + alike):
                own = order[start:place]
                grouped[own] = np.exp(np.mean(np.log(counts[own])))
                start = place
        if len(np.unique(grouped)) <= GROUPS:
            return grouped
        alike *= 2


class _Profile:
    """The models at the class sizes n_k^s, s ≥ 0."""

    def __init__(self, here: ClassSizes, weight_energy: float, feature_energy: float):
        self._membership = here.membership
        sizes = np.asarray(here.group_sizes)
        self._relative = np.log(sizes / sizes.max())
        self._budgets = weight_energy, feature_energy
        order = np.argsort(np.asarray(here.class_sizes), kind="stable")
        self._smallest = np.asarray(here.membership)[order[:2]]

    def explore(self) -> tuple[Solution, np.ndarray, float]:
        """The solution at s = 1, the path, and the first s at which a direction is lost."""
        spread = -self._relative.min()
        low, high = 0.0, FARTHEST / spread if spread > 0 else 1.0
        exponents = np.sort(np.append(np.linspace(low, high, POINTS - 1), 1.0))
        batch = self._solved(exponents)
        place = int(np.searchsorted(exponents, 1.0))
        solution = lane(batch, place)
        if spread == 0:
            return solution, np.empty((0, 2)), np.inf
        full, first = len(self._membership) - 1, np.inf
        path = [self._points(exponents, batch)]
        for number in range(MOST_ROUNDS):
            lost = ranks(batch) < full
            if not lost.any():
                break
            place = int(np.argmax(lost))
            first, before = float(exponents[place]), float(exponents[max(place - 1, 0)])
            if number >= ROUNDS and first - before <= PRECISION * first:
                break
            exponents = np.linspace(before, first, POINTS)
            batch = self._solved(exponents)
            path.append(self._points(exponents, batch))
        reach = max(1.0, first if np.isfinite(first) else 0.0) + np.log(10) / spread
        exponents = np.linspace(0, min(high, reach), POINTS)
        path.append(self._points(exponents, self._solved(exponents)))
        points = np.concatenate(path)
        # A ratio that was solved twice has cosines that differ by rounding.
        points = points[np.unique(points[:, 0], return_index=True)[1]]
        return solution, points[points[:, 0] <= path[-1][-1, 0]], first

    def _solved(self, exponents: np.ndarray) -> Solution:
        sizes = ClassSizes(np.exp(exponents[:, None] * self._relative), self._membership)
        weight_energy, feature_energy = (np.full(POINTS, budget) for budget in self._budgets)
        return certified(solve_batch(LayerPeeled(sizes, weight_energy, feature_energy)))

    def _points(self, exponents: np.ndarray, batch: Solution) -> np.ndarray:
        """Ratios and cosines [P, 2] of the two smallest classes; NaN if a classifier is zero."""
        lengths = np.asarray(batch.classifier_norms)
        zero = lengths <= LOST * lengths.max(axis=-1, keepdims=True)
        first, second = self._smallest
        cosines = np.asarray(batch.between_cosines)[:, first, second]
        cosines = np.where(zero[:, self._smallest].any(axis=-1), np.nan, cosines)
        return np.stack([np.exp(-exponents * self._relative.min()), cosines], axis=1)
