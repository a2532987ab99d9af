"""Class means and covariances of features, in O(K p + p² + batch) memory.

There are two passes over the data: the first gives the means, the second the sum of
(x − m̂)(x − m̂)ᵀ about them; the rounding error of m̂ is removed at the end. Thus no
difference of large squares is ever formed, and a pass may be made in batches.

Compared with the PyTorch package ``neural-collapse`` (0.x, by its source): its pooled
covariance is ``weighting='sample'`` here; its pseudo-inverse is not cut at a rank, and
in some releases it inverts the within-class instead of the between-class covariance;
its global mean is by default that of the class means; its
nearest-centre decision omits the bias. Its simplex and alignment errors are
``etf_distance`` and ``duality_product``.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import is_concrete, require_count
from nc_jax.immutable import immutable

Batch = tuple[Any, Any]

# Number of rows processed at a time inside a jitted pass, which bounds the temporaries.
ROWS = 8192


@immutable()
class ClassMoments:
    """First and second moments of N features in K classes.

    Attributes:
        counts: [K] number of samples of each class.
        means: [K, p] class means; zero for an empty class.
        scatter: [p, p] Σ_k c_k Σ_i (h_{k,i} − h_k)(·)ᵀ, with c_k by the weighting.
        variances: [K] v_k, mean squared distance of a class to its mean.
    """

    counts: Array
    means: Array
    scatter: Array
    variances: Array

    @property
    def num_classes(self) -> int:
        """K."""
        return self.counts.shape[-1]


class _First(NamedTuple):
    counts: Array
    sums: Array


class _Second(NamedTuple):
    drift: Array
    scatter: Array
    squares: Array


def class_moments(
    features: Any, labels: Any, num_classes: int, weighting: str = "class"
) -> ClassMoments:
    """Moments of features in memory; jit-able with the last two arguments static.

    Args:
        features: [N, p], any float dtype; the result has the same.
        labels: [N] integers 0…K−1.
        num_classes: K ≥ 2.
        weighting: 'class' (every class has the same weight, Σ_W = (1/K) Σ_k Cov_k) or
            'sample' (every sample has, Σ_W = (1/N) Σ_k n_k Cov_k).

    Raises:
        TypeError, ValueError: naming the invalid argument (a wrong shape, a label out of
            range, an empty class, NaN), if the values are not traced.
    """
    features, labels = checked(features, labels, num_classes)
    return stream_class_moments(lambda: row_batches(features, labels), num_classes, weighting)


def stream_class_moments(
    batches: Callable[[], Iterable[Batch]], num_classes: int, weighting: str = "class"
) -> ClassMoments:
    """Moments of features that are given in batches.

    Args:
        batches: a function that returns a fresh iterable of (features [n, p],
            labels [n]) each time; it is called twice.
        num_classes: K ≥ 2.
        weighting: see :func:`class_moments`.

    Raises:
        TypeError, ValueError: as :func:`class_moments`.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    if weighting not in ("class", "sample"):
        raise ValueError(f"weighting must be 'class' or 'sample', got {weighting!r}")
    if not callable(batches):
        raise TypeError("batches must be a function returning an iterable of (features, labels)")
    first = _fold(_first_pass, batches(), num_classes)
    if is_concrete(first.counts) and np.any(np.asarray(first.counts) == 0):
        empty = np.flatnonzero(np.asarray(first.counts) == 0)
        raise ValueError(
            f"labels must contain every class at least once, missing: {empty.tolist()}"
        )
    guess, share = _guessed(first, weighting)
    second = _fold(_second_pass, batches(), num_classes, guess, share)
    return _about_the_means(first.counts, guess, share, second)


def batch_moments(features: Any, labels: Any, num_classes: int) -> ClassMoments:
    """Sample-weighted moments of one batch, in which classes may be missing (count 0)."""
    first = _first_pass(features, labels, num_classes)
    counts = jnp.maximum(first.counts, 1).astype(first.sums.dtype)
    guess = first.sums / counts[:, None]
    share = jnp.full_like(counts, 1 / features.shape[0])
    second = _second_pass(features, labels, num_classes, guess, share)
    return _about_the_means(first.counts, guess, share, second)


@partial(jax.jit, static_argnums=1)
def _guessed(first: _First, weighting: str) -> tuple[Array, Array]:
    """The class means [K, p] up to rounding, and the weight [K] of a sample of each class."""
    counts = jnp.maximum(first.counts, 1).astype(first.sums.dtype)
    share = jnp.ones_like(counts) / jnp.sum(counts)
    if weighting == "class":
        share = 1 / (len(counts) * counts)
    return first.sums / counts[:, None], share


@jax.jit
def _about_the_means(counts: Array, guess: Array, share: Array, second: _Second) -> ClassMoments:
    """Σ (x−m̂)(x−m̂)ᵀ = Σ (x−m)(x−m)ᵀ + n (m−m̂)(m−m̂)ᵀ, solved for the first term."""
    numbers = jnp.maximum(counts, 1).astype(guess.dtype)
    drift = second.drift / numbers[:, None]
    excess = jnp.matmul((share * numbers * drift.T), drift, precision="highest")
    variances = second.squares / numbers - jnp.sum(drift**2, axis=-1)
    return ClassMoments(counts, guess + drift, second.scatter - excess, jnp.maximum(variances, 0))


def _fold(one_pass: Any, batches: Iterable[Batch], num_classes: int, *guess: Array) -> Any:
    """Sums a pass over all batches."""
    total = None
    for features, labels in batches:
        features, labels = checked(features, labels, num_classes)
        part = one_pass(features, labels, num_classes, *guess)
        if total is not None and jax.tree.map(jnp.shape, total) != jax.tree.map(jnp.shape, part):
            raise ValueError(f"features must have equal width in all batches, got {features.shape}")
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    if total is None:
        raise ValueError("batches must hold at least one batch")
    return total


def checked(features: Any, labels: Any, num_classes: int) -> tuple[Any, Any]:
    """Features [N, p] and labels [N] as arrays; errors name the invalid argument.

    NumPy arrays are not copied to a device, because they may be large.
    """
    features = features if isinstance(features, np.ndarray) else jnp.asarray(features)
    labels = labels if isinstance(labels, np.ndarray) else jnp.asarray(labels)
    if features.ndim != 2 or not jnp.issubdtype(features.dtype, jnp.floating):
        raise ValueError(
            f"features must be floats [N, p], got {features.dtype} of shape {features.shape}"
        )
    if labels.shape != features.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be {features.shape[0]} integers, one for each row of features, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if is_concrete(labels) and labels.size:
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most >= num_classes:
            raise ValueError(f"labels must be 0…{num_classes - 1}, got {least}…{most}")
    return features, labels


def row_batches(features: Any, labels: Any) -> Iterable[Batch]:
    """Slices of NumPy arrays; other arrays in one piece."""
    if not isinstance(features, np.ndarray):
        yield features, labels
        return
    for first in range(0, max(len(features), 1), ROWS):
        yield features[first : first + ROWS], labels[first : first + ROWS]


def fold_rows(add: Any, start: Any, features: Array, labels: Array) -> Any:
    """``add(total, rows, labels)`` over slices of the rows, without copying them all."""
    whole = features.shape[0] // ROWS

    def body(i: Array, total: Any) -> Any:
        rows = jax.lax.dynamic_slice_in_dim(features, i * ROWS, ROWS)
        return add(total, rows, jax.lax.dynamic_slice_in_dim(labels, i * ROWS, ROWS))

    total = jax.lax.fori_loop(0, whole, body, start) if whole else start
    return add(total, features[whole * ROWS :], labels[whole * ROWS :])


def _one_hot(labels: Array, num_classes: int, dtype: Any) -> Array:
    return (labels[:, None] == jnp.arange(num_classes, dtype=labels.dtype)).astype(dtype)


@partial(jax.jit, static_argnums=2)
def _first_pass(features: Array, labels: Array, num_classes: int) -> _First:
    """Counts and sums of the classes."""

    def add(total: _First, x: Array, y: Array) -> _First:
        member = _one_hot(y, num_classes, x.dtype)
        counts = total.counts + jnp.sum(member, axis=0).astype(jnp.int32)
        return _First(counts, total.sums + jnp.matmul(member.T, x, precision="highest"))

    zero = jnp.zeros((num_classes, features.shape[1]), features.dtype)
    start = _First(jnp.zeros(num_classes, jnp.int32), zero)
    return fold_rows(add, start, features, labels)


@partial(jax.jit, static_argnums=2)
def _second_pass(
    features: Array, labels: Array, num_classes: int, guess: Array, share: Array
) -> _Second:
    """Σ (x − m̂), Σ share (x − m̂)(x − m̂)ᵀ and Σ ‖x − m̂‖² about the guessed means."""

    def add(total: _Second, x: Array, y: Array) -> _Second:
        member = _one_hot(y, num_classes, x.dtype)
        centred = x - guess[y]
        weighted = centred * share[y][:, None]
        return _Second(
            total.drift + jnp.matmul(member.T, centred, precision="highest"),
            total.scatter + jnp.matmul(weighted.T, centred, precision="highest"),
            total.squares + jnp.matmul(member.T, jnp.sum(centred**2, -1), precision="highest"),
        )

    width = features.shape[1]
    start = _Second(
        jnp.zeros((num_classes, width), features.dtype),
        jnp.zeros((width, width), features.dtype),
        jnp.zeros(num_classes, features.dtype),
    )
    return fold_rows(add, start, features, labels)
