"""What the Layer-Peeled Model predicts at measured sizes and budgets.

Class sizes are moved along n_k^s: s = 0 is balanced, s = 1 the data, and the largest
ratio max n / min n grows with s. Minority collapse is a loss of rank: from the first s
on at which the classifiers span fewer than K − 1 directions the smallest classes point
the same way, exactly where they are equally large, nearly where they are not. The
ratio there is R0 for any class sizes; for two groups it is that of the theory.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from nc_jax.geometry import ClassSizes, class_sizes
from nc_jax.solvers import solve_batch
from nc_jax.surrogates import LayerPeeled

# Points of the path, of which the first collapsed one is refined this often.
POINTS = 33
ROUNDS = 5
# How far beyond the data the path goes: log-ratios up to this.
FARTHEST = np.log(1e12)
# Share of the largest singular value below which a direction is lost.
LOST = 1e-4
# Cosine from which on classifiers count as one.
MERGED = 0.95
# Sizes that differ by less than this share are taken as one.
ALIKE = 0.05
# Different sizes at most; more make the program large.
GROUPS = 12


class Predicted(NamedTuple):
    """The model's word on a data set.

    Attributes:
        sizes: [K] as the model was given them: alike ones made equal.
        ratio: the data's max n / min n.
        rank: of the classifiers; K − 1 where no direction is lost.
        merged: where a direction is lost, groups of classes whose classifiers have
            cosines above MERGED.
        vanished: classes whose classifier is zero.
        cosines: [K, K] of the model's classifiers, NaN where one is zero.
        collapse_ratio: R0 along the path, infinite where nothing happens up to 10¹².
        path: [P, 2] ratios and the cosine of the two smallest classes' classifiers.
        oversampling: [K] how often to repeat a class's samples so that no direction is
            lost: the least imbalance taken off, ones where none is.
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


def predict_collapse(counts: np.ndarray, weight_energy: float, feature_energy: float) -> Predicted:
    """The Layer-Peeled Model at a data set's sizes and at measured budgets.

    Args:
        counts: [K] samples of each class, positive.
        weight_energy: E_W.
        feature_energy: E_H.

    Raises:
        ValueError: a count or a budget that is not positive.
    """
    counts = np.asarray(counts, float)
    grouped = _grouped(counts)
    ratio = float(grouped.max() / grouped.min())
    here = class_sizes(grouped)
    solution = solve_batch(
        LayerPeeled(
            ClassSizes(np.asarray(here.group_sizes)[None], here.membership),
            np.array([weight_energy]),
            np.array([feature_energy]),
        )
    )
    classifiers = np.asarray(solution.classifiers)
    angles, zero = _angles(classifiers)
    budgets = weight_energy, feature_energy
    path, exponent = _path(here, budgets) if ratio > 1 else (np.empty((0, 2)), np.inf)
    # Without a step back from the threshold rounding would decide.
    target = min(1.0, 0.999 * exponent)
    rank = int(_ranks(classifiers)[0])
    return Predicted(
        grouped,
        ratio,
        rank,
        clusters(angles[0], MERGED) if rank < len(counts) - 1 else [],
        np.flatnonzero(zero[0]).tolist(),
        angles[0],
        float(ratio**exponent) if np.isfinite(exponent) else np.inf,
        path,
        (grouped.max() / grouped) ** (1 - target),
    )


def clusters(angles: np.ndarray, least: float) -> list[list[int]]:
    """Groups of two and more classes that are joined by cosines [K, K] above a least."""
    count, names = connected_components(np.nan_to_num(angles, nan=-1) > least, directed=False)
    groups = [np.flatnonzero(names == name).tolist() for name in range(count)]
    return [group for group in groups if len(group) > 1]


def _ranks(classifiers: np.ndarray) -> np.ndarray:
    """Directions [P] that classifiers [P, K, p] span."""
    values = np.linalg.svd(classifiers, compute_uv=False)
    return np.sum(values > LOST * values[:, :1], axis=1)


def _angles(classifiers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines [P, K, K], NaN where a classifier is zero, and which [P, K] are."""
    lengths = np.linalg.norm(classifiers, axis=-1)
    zero = lengths <= LOST * lengths.max(axis=-1, keepdims=True)
    unit = classifiers / np.where(zero, np.nan, lengths)[..., None]
    return np.clip(unit @ unit.swapaxes(-1, -2), -1, 1), zero


def _grouped(counts: np.ndarray) -> np.ndarray:
    """Sizes in which alike ones are equal, of at most GROUPS values."""
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


def _path(here: ClassSizes, budgets: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Ratios and cosines along n_k^s, and the first s at which a direction is lost."""
    sizes = np.asarray(here.group_sizes)
    relative = np.log(sizes / sizes.max())
    smallest = np.argsort(np.asarray(here.class_sizes), kind="stable")[:2]
    low, high = 0.0, FARTHEST / -relative.min()
    path, first = np.empty((0, 2)), np.inf
    for turn in range(ROUNDS):
        exponents = np.linspace(low, high, POINTS)
        lanes = ClassSizes(np.exp(exponents[:, None] * relative), here.membership)
        weight, feature = (np.full(POINTS, value) for value in budgets)
        solution = solve_batch(LayerPeeled(lanes, weight, feature))
        classifiers = np.asarray(solution.classifiers)
        lost = _ranks(classifiers) < here.num_classes - 1
        cosine = _angles(classifiers)[0][:, smallest[0], smallest[1]]
        points = np.stack([np.exp(-exponents * relative.min()), cosine], axis=1)
        path = np.unique(np.concatenate([path, points]), axis=0)
        if not lost.any():
            return path, np.inf if turn == 0 else high
        place = int(np.argmax(lost))
        first = exponents[place]
        low, high = exponents[max(place - 1, 0)], first
    return path, float(first)
