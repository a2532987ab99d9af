"""How XLA divides a program for a CPU into kernels.

On a CPU, XLA computes cheap operations again in every kernel that needs them, so a chain of small
steps costs a multiple of its operations, and it drops optimisation barriers before it decides. But
it never looks into a call that it must not inline. Starting a kernel takes longer than an operation
on a hundred numbers; a loop that is one kernel saves that, and its numbers stay in the nearest
cache.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata

Function = TypeVar("Function", bound=Callable[..., Any])

# Up to this many lanes, loops over a few hundred numbers of each stay in one thread. Inside a
# kernel XLA cannot divide a loop between threads, but it tries to if a loop is long. The tests
# compile kernels of more than twice as many lanes.
MOST_LANES = 96
# Up to so many groups, the steps of a batch on a CPU are one kernel, if the loss is known in closed
# form; loops of more groups would be too long for that.
MOST_GROUPS = 3


def stored(function: Function) -> Function:
    """The function, whose results are computed once and stored, not again by all who need them.

    On other devices than a CPU an optimisation barrier asks for the same.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jax.default_backend() != "cpu":
            return lax.optimization_barrier(function(*args, **kwargs))
        return _called(lambda: function(*args, **kwargs), {"inlineable": "false"})()

    return call  # pyright: ignore[reportReturnType]


def one_kernel(function: Function, uses_all: bool = False) -> Function:
    """The function, compiled into one kernel.

    All traced values that it uses must be its arguments, with at most :data:`MOST_LANES` lanes. It
    must consist of operations for which XLA emits loops: no calls of libraries, no sorting, no
    random numbers. An argument that a kernel does not use would end the process, so the arguments
    are copied into one, unless the function uses all of them.
    """

    @wraps(function)
    def call(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args)
        attributes = {"inlineable": "false", "xla_cpu_small_call": "true"}
        if uses_all:
            return _called(function, attributes)(*args)
        leaves, structure = jax.tree.flatten(args)
        shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]

        def unpacked(packed: dict[str, Array]) -> Any:
            return function(*jax.tree.unflatten(structure, _unpacked(packed, shapes)))

        return _called(unpacked, attributes)(_packed(leaves))

    return call  # pyright: ignore[reportReturnType]


def _packed(leaves: list[Array]) -> dict[str, Array]:
    """One array for each dtype."""
    packed: dict[str, list[Array]] = {}
    for leaf in leaves:
        packed.setdefault(str(leaf.dtype), []).append(leaf.reshape(-1))
    return {dtype: jnp.concatenate(parts) for dtype, parts in packed.items()}


def _unpacked(packed: dict[str, Array], shapes: list[tuple[tuple[int, ...], Any]]) -> list[Array]:
    leaves, first = [], dict.fromkeys(packed, 0)
    for shape, dtype in shapes:
        start = first[str(dtype)]
        first[str(dtype)] = end = start + int(np.prod(shape))
        leaves.append(packed[str(dtype)][start:end].reshape(shape))
    return leaves


def _called(function: Callable[..., Any], attributes: dict[str, str]) -> Callable[..., Any]:
    """A call with attributes, which the operations that it consists of do not have."""

    def inner(*args: Any) -> Any:
        with set_xla_metadata(**dict.fromkeys(attributes)):
            return function(*args)

    def call(*args: Any) -> Any:
        with set_xla_metadata(**attributes):
            return jax.jit(inner)(*args)

    return call
