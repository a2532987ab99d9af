"""How programs are compiled and run on a CPU, where their arguments are not traced.

Compiling a program takes seconds, running it for one model takes milliseconds. So it is
compiled with fewer optimisations. A program for a batch gets vectors as wide as the
processor's registers. Both change the numbers by rounding only.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import jax
from threadpoolctl import ThreadpoolController

from nc_jax.xla import batch_options, fast_options

# Up to this many lanes of small models take hundredths of a second, and their program seconds to
# compile.
FEW_LANES = 256


@cache
def quickly(
    function: Callable[..., Any],
    optimised: bool,
    static: tuple[str, ...] = (),
    whole_sums: bool = True,
) -> Callable[..., Any]:
    """The function compiled for a CPU in less time; its arguments must not be traced.

    Args:
        function: to be compiled.
        optimised: whether running times matter beside that of the compilation.
        static: names of its static arguments.
        whole_sums: see :func:`.fast_options`; False for long sums in float32.
    """
    options = fast_options(optimised, whole_sums)
    return jax.jit(function, static_argnames=static, compiler_options=options)


@cache
def widely(
    function: Callable[..., Any], library: bool, static: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """The function compiled for a CPU and for many lanes; its arguments must not be traced.

    Args:
        function: to be compiled.
        library: see :func:`.batch_options`.
        static: names of its static arguments.
    """
    options = batch_options(library)
    return jax.jit(function, static_argnames=static, compiler_options=options)


def _libraries() -> ThreadpoolController:
    """The libraries that are loaded; SciPy's LAPACK only is after JAX has first called it."""
    return _controller("scipy.linalg" in sys.modules)


@cache
def _controller(_lapack_is_loaded: bool) -> ThreadpoolController:
    return ThreadpoolController()


class _OneThread:
    """How many callers want LAPACK to use one thread, and what was used before each of them."""

    def __init__(self) -> None:
        self.lock, self.callers = Lock(), 0
        self.before: list[Any] = []

    def enter(self) -> None:
        with self.lock:
            self.callers += 1
            self.before.append(_libraries().limit(limits=1))

    def leave(self) -> None:
        with self.lock:
            self.callers -= 1
            while self.callers == 0 and self.before:
                self.before.pop().restore_original_limits()


_one_thread = _OneThread()


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which LAPACK uses one thread.

    Its threads wait actively for each other, longer than operations on small matrices take, and
    take the cores from parts of a batch that run at the same time. LAPACK has its threads back when
    the last of several callers, each in a thread of its own, leaves the context.
    """
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()
