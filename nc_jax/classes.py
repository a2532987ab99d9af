"""One number for each class, with classes of equal numbers in one group.

The grouping decides the symmetry of a program, so it is static: it is known when
a program is compiled, even if the numbers themselves are traced.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import float_array, is_concrete, require_count, taken
from nc_jax.immutable import immutable, set_fields


def groups_of(numbers: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """The first class [G] of each group of equal columns of [..., K], and the membership [K].

    Groups are numbered by first appearance, so that their order follows that of the classes.
    """
    columns = np.asarray(numbers).reshape(-1, numbers.shape[-1])
    _, first, inverse = np.unique(columns, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)
    return first[order], tuple(int(rank[group]) for group in np.ravel(inverse))


def common_groups(*memberships: tuple[int, ...]) -> tuple[int, ...]:
    """The coarsest grouping that is finer than all of the given ones."""
    return groups_of(np.stack([np.asarray(membership) for membership in memberships]))[1]


def _require_finite(name: str, array: Array) -> None:
    """ValueError for a single concrete vector that is not finite; a batch may have bad lanes."""
    if array.ndim == 1 and is_concrete(array) and not np.isfinite(np.asarray(array)).all():
        raise ValueError(f"{name} must be finite, got {np.asarray(array).tolist()}")


@immutable(static=("membership",), axes={"group_values": 1})
class ClassNumbers:
    """One number for each of K classes, stored once for each group of equal ones.

    Attributes:
        group_values: [..., G] traced, any leading batch axes.
        membership: the group of each class, K integers 0…G−1; static.
    """

    group_values: Array
    membership: tuple[int, ...]

    def __init__(self, group_values: Any, membership: tuple[int, ...]):
        set_fields(self, group_values=group_values, membership=tuple(membership))

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.membership)

    @property
    def values(self) -> Array:
        """[..., K] the number of each class."""
        return self.group_values[..., np.asarray(self.membership)]

    def at(self, classes: Any) -> "ClassNumbers":
        """The numbers of the given classes, an integer array [C], each a group of its own."""
        groups = jnp.asarray(np.asarray(self.membership))[classes]
        return ClassNumbers(self.group_values[..., groups], tuple(range(groups.shape[0])))

    def __repr__(self) -> str:
        return f"ClassNumbers({self.group_values!r}, {self.membership})"


def class_numbers(name: str, numbers: Any, dtype: Any = None) -> ClassNumbers:
    """One finite number for each class; equal ones share a group.

    Args:
        name: the argument's name, for the error.
        numbers: a :class:`ClassNumbers`, or [..., K] with K ≥ 2. Equal numbers are grouped
            if the array is concrete (in a batch: classes that are equal in every lane);
            if it is traced, every class is its own group.
        dtype: of the result; by default that of ``numbers``.

    Raises:
        TypeError, ValueError: not numeric, not a vector, K < 2, or not finite.
    """
    if isinstance(numbers, ClassNumbers):
        values = float_array(name, numbers.group_values, dtype)
        _require_finite(name, values)
        return ClassNumbers(values, numbers.membership)
    array = float_array(name, numbers, dtype)
    if array.ndim == 0:
        raise ValueError(f"{name} must be a vector [K], one number for each class, got {numbers}")
    require_count(f"number of classes (length of {name})", array.shape[-1], 2)
    if not is_concrete(array):
        return ClassNumbers(array, tuple(range(array.shape[-1])))
    _require_finite(name, array)
    first, membership = groups_of(np.asarray(array))
    return ClassNumbers(taken(array, first), membership)
