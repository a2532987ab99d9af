"""Options of XLA for programs of a CPU; they change the numbers by rounding only."""

from functools import cache
from typing import Any

import jax

# Options with which programs compile several times as fast. Without optimisation by LLVM
# their loops take up to five times as long, at the level 1 as long as usual.
_FAST = {"xla_llvm_disable_expensive_passes": True, "xla_cpu_use_fusion_emitters": False}
# XLA divides sums of more than 32 numbers into sums of sums, whose loops take up to a third of the
# time of a compilation. Only long sums in float32 need that.
_WHOLE_SUMS = {"xla_disable_hlo_passes": "tree_reduction_rewriter"}
# Parts in which LLVM compiles a program, side by side on the cores. Each part costs a little; where
# LLVM optimises it takes most of the time.
_PARTS = "xla_cpu_parallel_codegen_split_count"
_LEVEL = "xla_backend_optimization_level"
# XLA's own choice is half of this. With wider vectors programs with a bias take 0.7 of the time;
# no other batch that was timed differed by more than the machine's own variation.
_WIDE = {"xla_cpu_prefer_vector_width": 512}
# XLA leaves sums and products to a library (YNNPACK). Without it programs of two groups are solved
# 1.1 to 1.2 times as fast, those with matrices of a hundred rows 0.94 times; queues of random
# starts take the same time.
_NO_LIBRARY = {"xla_cpu_experimental_ynn_fusion_type": ""}


@cache
def fast_options(optimised: bool, whole_sums: bool = True) -> dict[str, Any]:
    """For programs whose compilation takes longer than they will run.

    Args:
        optimised: whether running times matter beside that of the compilation.
        whole_sums: whether numbers are added one after another.
    """
    sums = _WHOLE_SUMS if whole_sums else {}
    return _for_a_cpu({**_FAST, **sums, _LEVEL: int(optimised), _PARTS: 4 if optimised else 1})


@cache
def batch_options(library: bool) -> dict[str, Any]:
    """For batches of many lanes: vectors as wide as the processor's registers.

    Args:
        library: whether matrices have so many rows that a library computes sums faster.
    """
    return _for_a_cpu(_WIDE if library else {**_WIDE, **_NO_LIBRARY})


def _for_a_cpu(options: dict[str, Any]) -> dict[str, Any]:
    """Those that the installed XLA knows; none where programs run on another device."""
    return _known(options) if jax.default_backend() == "cpu" else {}


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
