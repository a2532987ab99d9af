"""Two passes over samples on the host: the class means, then all that is measured about them.

Features arrive in blocks that fit in memory. Products are BLAS calls on whole blocks in
float32, sums over blocks are float64. The second pass works with each sample minus the mean of
its class, so that no difference of large squares is formed; what rounding has left in the means
of the first pass is measured there and removed, as in :mod:`nc_jax.metrics.moments`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_matrix

from nc_jax.metrics import ClassMoments
from nc_jax.metrics.moments import Batch, checked


class Judged(NamedTuple):
    """What the classifiers and the nearest class means say about the samples.

    Attributes:
        right: [K] samples of each class that are classified correctly, by the classifiers or
            else by the nearest class mean.
        differ: number of samples on which the two choose different classes.
        least: the smallest number in the features.
    """

    right: np.ndarray
    differ: int
    least: float


class _First(NamedTuple):
    counts: np.ndarray
    means: np.ndarray


def measure_samples(
    batches: Callable[[], Iterable[Batch]],
    num_classes: int,
    classifiers: np.ndarray | None,
    bias: np.ndarray | None,
) -> tuple[ClassMoments, Judged]:
    """Moments of :func:`nc_jax.metrics.class_moments` with weighting 'class', and decisions.

    Args:
        batches: a function that returns a fresh iterable of (features [n, p] float32, labels [n])
            each time; it is called twice and must give the same samples.
        num_classes: K ≥ 2.
        classifiers: [K, p], or None.
        bias: [K], or None.

    Returns:
        Moments in float32, and what the samples are taken for.

    Raises:
        TypeError, ValueError: naming the invalid argument (a wrong shape, a label out of
            range, a class without a sample, no batch).
    """
    first = _class_means(batches(), num_classes)
    second = _SecondPass(first, classifiers, bias)
    for features, labels in batches():
        second.add(*checked(features, labels, num_classes))
    return second.moments(), Judged(second.right, second.differ, second.least)


def _class_means(batches: Iterable[Batch], num_classes: int) -> _First:
    """Counts [K] and class means [K, p] in float64."""
    counts, sums = np.zeros(num_classes, np.int64), None
    for features, labels in batches:
        features, labels = checked(features, labels, num_classes)
        if sums is None:
            sums = np.zeros((num_classes, features.shape[1]))
        if features.shape[1] != sums.shape[1]:
            raise ValueError(f"features must have equal width in all batches, got {features.shape}")
        counts += np.bincount(labels, minlength=num_classes)
        sums += _class_sums(features, labels, num_classes)
    if sums is None:
        raise ValueError("batches must hold at least one batch")
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise ValueError(
            f"labels must contain every class at least once, missing: {empty.tolist()}"
        )
    return _First(counts, sums / counts[:, None])


def _class_sums(rows: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Sums [K, p] of the rows [n, p] of each class."""
    place = (labels, np.arange(len(labels)))
    member = csr_matrix((np.ones(len(labels), rows.dtype), place), (num_classes, len(labels)))
    return member @ rows


class _SecondPass:
    """Sums over the samples about the class means of the first pass.

    Samples of a class are weighted by √(n_least/n_k), which turns the sum of their covariances
    into one symmetric product, for which BLAS computes one triangle.
    """

    def __init__(
        self, first: _First, classifiers: np.ndarray | None, bias: np.ndarray | None
    ) -> None:
        self.counts, self.classifiers, self.bias = first.counts, classifiers, bias
        self.means = first.means.astype(np.float32)
        size, width = self.means.shape
        self.roots = np.sqrt(self.counts.min() / self.counts).astype(np.float32)[:, None]
        # ‖x − m_k‖² = ‖c‖² + 2 c·(m_y − m_k) + ‖m_y − m_k‖² for c = x − m_y: the class of a
        # sample is that of the largest c·m_k − ‖m_y − m_k‖²/2.
        moved = first.means - first.means.mean(axis=0)
        squares = np.sum(moved**2, axis=1)
        half = 0.5 * (squares[:, None] + squares) - moved @ moved.T
        self.moved, self.half = moved.astype(np.float32), half.astype(np.float32)
        self.scatter, self.drift = np.zeros((width, width)), np.zeros((size, width))
        self.squares, self.right = np.zeros(size), np.zeros(size, np.int64)
        self.differ, self.least = 0, np.inf
        # Memory that is used again for each block.
        self.product = np.empty((width, width), np.float32)
        self.centred = np.empty((0, width), np.float32)

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Adds a block of samples."""
        size = len(self.counts)
        self.least = min(self.least, float(rows.min(initial=np.inf)))
        if len(self.centred) < len(rows):
            self.centred = np.empty_like(rows)
        centred = self.centred[: len(rows)]
        # Without 'clip' NumPy gathers into a copy first; labels are in range.
        np.take(self.means, labels, axis=0, out=centred, mode="clip")
        np.subtract(rows, centred, out=centred)
        self._judge(rows, centred, labels)
        self.drift += _class_sums(centred, labels, size)
        self.squares += np.bincount(labels, np.einsum("np,np->n", centred, centred), size)
        centred *= self.roots[labels]
        np.matmul(centred.T, centred, out=self.product)
        self.scatter += self.product

    def _judge(self, rows: np.ndarray, centred: np.ndarray, labels: np.ndarray) -> None:
        nearest = np.argmax(centred @ self.moved.T - self.half[labels], axis=1)
        chosen = nearest
        if self.classifiers is not None:
            logits = rows @ self.classifiers.T
            chosen = np.argmax(logits if self.bias is None else logits + self.bias, axis=1)
        self.right += np.bincount(labels[chosen == labels], minlength=len(self.counts))
        self.differ += int(np.sum(chosen != nearest))

    def moments(self) -> ClassMoments:
        """The moments about the exact means: Σ (x−m̂)(x−m̂)ᵀ − n (m−m̂)(m−m̂)ᵀ."""
        size, counts = len(self.counts), self.counts.astype(np.float64)
        drift = self.drift / counts[:, None]
        variances = self.squares / counts - np.sum(drift**2, axis=1)
        scatter = self.scatter / (size * counts.min()) - drift.T @ drift / size
        return ClassMoments(
            jnp.asarray(self.counts.astype(np.int32)),
            jnp.asarray((self.means + drift).astype(np.float32)),
            jnp.asarray(scatter.astype(np.float32)),
            jnp.asarray(np.maximum(variances, 0).astype(np.float32)),
        )
