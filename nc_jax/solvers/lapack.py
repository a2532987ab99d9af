"""Calls of LAPACK on a CPU, for the matrix of one lane after another.

A call for a batch waits in XLA's pool of threads for its own parts, so that two programs that
run at the same time, each on a thread, may wait for each other forever. A call for one matrix
does not, and for dozens of rows it takes as long.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
from jax.custom_batching import sequential_vmap

Function = TypeVar("Function", bound=Callable[..., Any])


def in_turn(function: Function) -> Function:
    """The function of one lane's arrays; under vmap a CPU computes lane after lane."""
    sequential = sequential_vmap(function)

    @wraps(function)
    def call(*args: Any) -> Any:
        return (sequential if jax.default_backend() == "cpu" else function)(*args)

    return call  # pyright: ignore[reportReturnType]
