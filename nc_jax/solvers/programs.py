"""How programs are compiled and run on a CPU, where their arguments are not traced.

Compiling a program takes seconds, running it for one model takes milliseconds. So it is
compiled with fewer optimisations. A program for a batch gets vectors as wide as the
processor's registers. Both change the numbers by rounding only.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import jax
from threadpoolctl import ThreadpoolController

# Options of XLA with which programs compile several times as fast. Without optimisation by LLVM
# their loops take up to five times as long, at the level 1 as long as usual.
FAST = {
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
LEVEL = "xla_backend_optimization_level"
# XLA's own choice is half of this. With wider vectors programs with a bias take 0.7 of the time;
# no other batch that was timed differed by more than the machine's own variation.
WIDE = {"xla_cpu_prefer_vector_width": 512}


@cache
def quickly(function: Callable[..., Any], optimised: bool) -> Callable[..., Any]:
    """The function compiled for a CPU in less time; its arguments must not be traced.

    Args:
        function: to be compiled.
        optimised: whether running times matter beside that of the compilation.
    """
    return jax.jit(function, compiler_options=_known({**FAST, LEVEL: int(optimised)}))


@cache
def widely(function: Callable[..., Any], static: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The function compiled for a CPU and for many lanes; its arguments must not be traced.

    Args:
        function: to be compiled.
        static: names of its static arguments.
    """
    return jax.jit(function, static_argnames=static, compiler_options=_known(WIDE))


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """Those options that the installed XLA knows; it refuses all others."""
    if _compiles(options):
        return options
    return {name: value for name, value in options.items() if _compiles({name: value})}


def _compiles(options: dict[str, Any]) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """A context in which LAPACK uses one thread.

    Its threads wait actively for each other, longer than operations on small matrices take, and
    take the cores from parts of a batch that run at the same time.
    """
    return _libraries().limit(limits=1)
