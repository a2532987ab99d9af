"""Class sizes, the simplex equiangular tight frame, Gram matrices and cosines.

Axis letters, here and everywhere: K classes, G groups of equal class sizes,
p feature dimensions, N samples. Each row of an array is a sample or a class.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nc_jax.checks import (
    arrays_for,
    common_dtype,
    float_array,
    is_concrete,
    require_array,
    require_count,
    require_positive,
    taken,
)
from nc_jax.classes import common_groups, groups_of
from nc_jax.immutable import immutable, set_fields


@immutable(static=("membership",), axes={"group_sizes": 1, "smallest": 1, "largest": 1})
class ClassSizes:
    """Sizes of K classes in G groups of equally large classes.

    Attributes:
        group_sizes: [..., G] samples in each class of a group; positive,
            traced, any leading batch axes. Only ratios matter to the
            Layer-Peeled Model.
        membership: the group of each class, K integers 0…G−1; static, so that
            the symmetry of a program is known when it is compiled.
        smallest: [..., G] size of the smallest class of a group if unequal classes
            were merged (:func:`merge_sizes`) and ``group_sizes`` are means; else None.
        largest: [..., G] size of the largest class of a group, likewise.
    """

    group_sizes: Array
    membership: tuple[int, ...]
    smallest: Array | None
    largest: Array | None

    def __init__(
        self,
        group_sizes: Any,
        membership: tuple[int, ...],
        smallest: Any = None,
        largest: Any = None,
    ):
        sizes = float_array("group_sizes", group_sizes)
        require_positive("group_sizes", sizes, lanes=sizes.ndim > 1)
        membership = tuple(int(g) for g in membership)
        require_count("number of classes", len(membership), 2)
        groups = sizes.shape[-1] if sizes.ndim else 0
        if sorted(set(membership)) != list(range(groups)):
            raise ValueError(
                f"membership must name each of the {groups} groups of group_sizes "
                f"at least once, as 0…{groups - 1}; got {sorted(set(membership))}"
            )
        ends = {"smallest": smallest, "largest": largest}
        for name, end in ends.items():
            ends[name] = None if end is None else float_array(name, end, sizes.dtype)
        if len({end is None for end in ends.values()}) > 1:
            raise ValueError("smallest and largest must be given together")
        set_fields(self, group_sizes=sizes, membership=membership, **ends)

    def astype(self, dtype: Any) -> "ClassSizes":
        """The same sizes, with another floating-point dtype."""
        ends = [end if end is None else end.astype(dtype) for end in (self.smallest, self.largest)]
        return ClassSizes(self.group_sizes.astype(dtype), self.membership, *ends)

    @property
    def merged(self) -> bool:
        """Whether groups hold classes of unequal sizes."""
        return self.smallest is not None

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.membership)

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.counts)

    @property
    def counts(self) -> np.ndarray:
        """[G] how many classes each group holds (concrete integers)."""
        return _counts_of(self.membership)

    @property
    def several(self) -> np.ndarray:
        """Indices of the groups that have several classes (concrete integers)."""
        return _several_of(self.membership)

    @property
    def representatives(self) -> np.ndarray:
        """[G] the first class of each group (concrete integers)."""
        return _first_of(self.membership)

    def split(self, *memberships: tuple[int, ...]) -> "ClassSizes":
        """The same sizes, in groups that are also groups of the given memberships."""
        split = common_groups(self.membership, *memberships)
        first = np.asarray(self.membership)[np.unique(split, return_index=True)[1]]
        numbers = (self.group_sizes, self.smallest, self.largest)
        chosen = (part if part is None else taken(part, first) for part in numbers)
        sizes, *ends = chosen
        return ClassSizes(sizes, split, *ends)

    @property
    def class_sizes(self) -> Array:
        """[..., K] samples of each class."""
        return self.group_sizes[..., np.asarray(self.membership)]

    @property
    def group_weights(self) -> Array:
        """[..., G] share of all samples that belongs to a whole group; sums to 1."""
        # Divide by the largest first: sizes of 1e300 must not overflow.
        relative = self.group_sizes / jnp.max(self.group_sizes, axis=-1, keepdims=True)
        totals = relative * jnp.asarray(self.counts, relative.dtype)
        return totals / jnp.sum(totals, axis=-1, keepdims=True)

    @property
    def class_weights(self) -> Array:
        """π_k = n_k/N [..., K]; sums to 1."""
        counts = jnp.asarray(self.counts, self.group_sizes.dtype)
        return (self.group_weights / counts)[..., np.asarray(self.membership)]


@lru_cache(maxsize=64)
def _counts_of(membership: tuple[int, ...]) -> np.ndarray:
    """Number of classes of each group; cached, because a vocabulary is slow to count."""
    return _read_only(np.bincount(membership))


@lru_cache(maxsize=64)
def _several_of(membership: tuple[int, ...]) -> np.ndarray:
    return _read_only(np.flatnonzero(_counts_of(membership) > 1))


@lru_cache(maxsize=64)
def _first_of(membership: tuple[int, ...]) -> np.ndarray:
    return _read_only(np.unique(membership, return_index=True)[1])


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def require_broadcast(
    sizes: ClassSizes, numbers: dict[str, Array], loss_shapes: list[tuple[int, ...]]
) -> tuple[int, ...]:
    """The common batch shape; ValueError if leading axes do not broadcast."""
    shapes = {"sizes": sizes.group_sizes.shape[:-1]}
    shapes |= {name: value.shape for name, value in numbers.items()}
    shapes |= {f"loss's numbers {place}": shape for place, shape in enumerate(loss_shapes)}
    try:
        return jnp.broadcast_shapes(*shapes.values())
    except ValueError:
        raise ValueError(f"leading (batch) axes must broadcast, got {shapes}") from None


def two_groups(majority: int, minority: int, ratio: Any, minority_size: Any = 1.0) -> ClassSizes:
    """Majority classes of one size and minority classes of another.

    Args:
        majority: K_A ≥ 1, how many classes have ``ratio * minority_size`` samples.
        minority: K_B ≥ 1, how many classes have ``minority_size`` samples.
        ratio: R = n_A / n_B > 0, a number or an array [...]. A value below 1
            is allowed: then the first group has the smaller classes.
        minority_size: n_B > 0, a number or an array that broadcasts with ratio.

    Returns:
        Class sizes with the majority classes first; group sizes [..., 2].

    Raises:
        TypeError, ValueError: a count or a size is invalid.
    """
    majority = require_count("majority", majority, 1)
    minority = require_count("minority", minority, 1)
    dtype = common_dtype(ratio, minority_size)
    ratio = float_array("ratio", ratio, dtype)
    size = float_array("minority_size", minority_size, dtype)
    require_positive("ratio", ratio, lanes=ratio.ndim > 0)
    require_positive("minority_size", size, lanes=size.ndim > 0)
    xp = arrays_for(ratio, size)
    ratio, size = xp.broadcast_arrays(ratio, size)
    sizes = xp.stack([ratio * size, size], axis=-1)
    return ClassSizes(sizes, (0,) * majority + (1,) * minority)


def long_tailed(num_classes: int, ratio: Any, largest: Any = 1.0) -> ClassSizes:
    """Class sizes that decrease exponentially, n_k = largest · ratio^(−k/(K−1)).

    Args:
        num_classes: K ≥ 2.
        ratio: R = n_0 / n_{K−1} > 0, a number or an array [...].
        largest: n_0 > 0, a number or an array that broadcasts with ratio.

    Returns:
        Class sizes, every class a group of its own; group sizes [..., K].

    Raises:
        TypeError, ValueError: a count or a size is invalid.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    dtype = common_dtype(ratio, largest)
    ratio = float_array("ratio", ratio, dtype)
    largest = float_array("largest", largest, dtype)
    require_positive("ratio", ratio, lanes=ratio.ndim > 0)
    require_positive("largest", largest, lanes=largest.ndim > 0)
    xp = arrays_for(ratio, largest)
    ratio, largest = xp.broadcast_arrays(ratio, largest)
    position = np.arange(num_classes, dtype=dtype) / np.asarray(num_classes - 1, dtype)
    sizes = largest[..., None] * xp.exp(-xp.log(ratio)[..., None] * position)
    return ClassSizes(sizes, tuple(range(num_classes)))


def class_sizes(sizes: Any) -> ClassSizes:
    """Class sizes from a vector; classes of equal size share a group.

    Args:
        sizes: [K] positive numbers, K ≥ 2, or a batch [..., K]. Equal sizes are
            grouped if the vector is concrete and not batched; if it is traced or
            batched, every class is its own group.

    Raises:
        TypeError, ValueError: not numeric, K < 2, or a size that is not
            positive and finite.
    """
    if isinstance(sizes, ClassSizes):
        return sizes
    array = float_array("sizes", sizes)
    if array.ndim == 0:
        raise ValueError(f"sizes must be a vector [K] of class sizes, got the number {sizes}")
    require_count("number of classes (length of sizes)", array.shape[-1], 2)
    require_positive("sizes", array, lanes=array.ndim > 1)
    if array.ndim > 1 or not is_concrete(array):
        return ClassSizes(array, tuple(range(array.shape[-1])))
    first, membership = groups_of(np.asarray(array))
    return ClassSizes(np.asarray(array)[first], membership)


def merge_sizes(sizes: Any, tolerance: float = 0.01) -> ClassSizes:
    """Class sizes with almost equal classes merged into groups of their mean size.

    A vocabulary has many thousands of classes but only some hundreds of sizes that are worth
    distinguishing. Solutions still certify the original classes: their gap includes the error
    from merging, which is of the order of the squared tolerance for classes that are learnt,
    and of the tolerance times their share of the samples for those that are not. Their status
    tells how well the merged program was solved.

    Args:
        sizes: [K] positive numbers.
        tolerance: largest relative difference between the largest and the smallest size of
            a group; 0 merges equal sizes only.

    Returns:
        Class sizes; groups are numbered from the largest classes to the smallest.

    Raises:
        TypeError, ValueError: an invalid argument (named), or traced or batched sizes.
    """
    array = np.asarray(class_sizes(sizes).class_sizes, float)
    if array.ndim != 1:
        raise ValueError(f"sizes must be one vector [K], got shape {array.shape}")
    if not 0 <= float(tolerance) < np.inf:
        raise ValueError(f"tolerance must be zero or positive and finite, got {tolerance}")
    values, inverse, counts = np.unique(-array, return_inverse=True, return_counts=True)
    values, group, start = -values, np.zeros(len(values), int), 0
    for place in range(1, len(values)):
        if values[start] > values[place] * (1 + tolerance):
            start = place
        group[place] = group[place - 1] + (start == place)
    totals = np.bincount(group, counts)
    means = np.bincount(group, counts * values) / totals
    membership = tuple(group[inverse].tolist())
    if len(means) == len(values):
        return ClassSizes(values, membership)
    smallest, largest = np.full(len(means), np.inf), np.zeros(len(means))
    np.minimum.at(smallest, group, values)
    np.maximum.at(largest, group, values)
    return ClassSizes(means, membership, smallest, largest)


def zero_sum_basis(num_classes: int, dtype: Any = None) -> Array:
    """Orthonormal basis [K, K−1] of the vectors that sum to zero (Helmert)."""
    k = np.arange(1, num_classes)
    basis = np.where(np.arange(num_classes)[:, None] < k, 1.0, 0.0)
    basis[k, k - 1] = -k
    return jnp.asarray(basis / np.sqrt(k * (k + 1)), dtype or jnp.result_type(float))


def simplex_etf(num_classes: int, dimension: int | None = None, dtype: Any = None) -> Array:
    """Simplex equiangular tight frame: K unit rows, all cosines −1/(K−1).

    Definition 1 of Fang et al. 2021, with classes in rows; exists for any
    dimension of at least K−1.

    Args:
        num_classes: K ≥ 2.
        dimension: p ≥ K−1; K by default.
        dtype: by default JAX's default float.

    Returns:
        [K, p] frame. Its rows sum to zero.

    Raises:
        ValueError: K < 2 or p < K−1.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    dimension = num_classes if dimension is None else dimension
    dimension = require_count("dimension", dimension, num_classes - 1)
    basis = zero_sum_basis(num_classes, dtype)
    frame = jnp.sqrt(jnp.asarray(num_classes / (num_classes - 1), basis.dtype)) * basis
    return jnp.pad(frame, ((0, 0), (0, dimension - num_classes + 1)))


def gram(vectors: Array) -> Array:
    """Inner products [..., K, K] of the rows of [..., K, p]; TypeError for no array."""
    require_array("vectors", vectors, "[..., K, p]")
    return _gram(vectors)


@jax.jit
def _gram(vectors: Array) -> Array:
    return jnp.matmul(vectors, jnp.swapaxes(vectors, -1, -2), precision=lax.Precision.HIGHEST)


def cosines(gram_matrix: Array) -> Array:
    """Cosines [..., K, K] from a Gram matrix [..., K, K].

    A vector of length zero has no direction: its cosines are NaN.

    Raises:
        TypeError: not an array, for instance a solution instead of its ``classifier_gram``.
    """
    require_array("gram_matrix", gram_matrix, "[..., K, K]")
    return _cosines(gram_matrix)


@jax.jit
def _cosines(gram_matrix: Array) -> Array:
    squares = jnp.diagonal(gram_matrix, axis1=-2, axis2=-1)
    lengths = jnp.sqrt(jnp.where(squares > 0, squares, jnp.nan))
    return gram_matrix / (lengths[..., :, None] * lengths[..., None, :])
