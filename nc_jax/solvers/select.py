"""The main entry points: solve one model or a batch with a suitable solver."""

import dataclasses
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.batches import lanes_of
from nc_jax.checks import is_concrete, require_count
from nc_jax.solvers.acceptance import Batching, Solver, is_brief, refusal_of, require_accepted
from nc_jax.solvers.convex import convex_solver, relaxation
from nc_jax.solvers.factored import FactoredMultiStart
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.multilayer import EliminatedMultiStart, LayerwiseMultiStart
from nc_jax.solvers.multilayer_solution import MultilayerSolution
from nc_jax.solvers.programs import FEW_LANES, one_thread, quickly, widely
from nc_jax.solvers.solution import Solution
from nc_jax.surrogates.grouped import GroupedProgram
from nc_jax.surrogates.layers import FactoredProgram
from nc_jax.surrogates.multilayer import MultilayerUnconstrainedFeatures

Model = TypeVar("Model")
Found = TypeVar("Found")

# Restarts if there are too few dimensions for the convex form, which means many local minima.
SHORT_RESTARTS = 16

# Numbers that a batch holds at a time (one gigabyte in float64), and number of lanes beyond
# which larger chunks bring no gain.
WORKING_FLOATS = 2**27
MAX_LANES = 2**16


def choose_solver(model: Any) -> Solver[Any, Any]:
    """The solver that :func:`solve` uses: a static choice, by what model and loss declare.

    Programs convex in the logits are solved over group numbers, with
    a certificate; multilayer models by elimination of the features
    if that is possible; all others, including those with fewer dimensions than the convex
    form needs, by :class:`FactoredMultiStart`.

    Raises:
        TypeError: not a model, or one that needs a solver of its own.
    """
    _check(model, None)
    certifying = convex_solver(model)
    if certifying is not None:
        return certifying
    multilayer: tuple[Any, ...] = (EliminatedMultiStart(), LayerwiseMultiStart())
    for solver in (*multilayer, FactoredMultiStart()):
        if refusal_of(solver, model) is None:
            short = isinstance(solver, FactoredMultiStart) and relaxation(model) is not None
            return FactoredMultiStart(restarts=SHORT_RESTARTS) if short else solver
    raise TypeError(
        f"model must offer the members of GroupedProgram or FactoredProgram, or solver= must be "
        f"given; got {type(model).__name__}"
    )


@overload
def solve(model: Model, solver: Solver[Model, Found], key: Array | None = None) -> Found: ...
@overload
def solve(
    model: MultilayerUnconstrainedFeatures, solver: None = None, key: Array | None = None
) -> MultilayerSolution: ...
@overload
def solve(
    model: GroupedProgram | FactoredProgram, solver: None = None, key: Array | None = None
) -> Solution | FactoredSolution: ...


def solve(model: Any, solver: Any = None, key: Array | None = None) -> Any:
    """Solves a surrogate, with a certificate if the program is convex in the logits.

    Pure, jit- and vmap-able. A batched model is passed on to :func:`solve_batch`.

    Args:
        model: the surrogate to solve: one of :mod:`nc_jax.surrogates`, or any object that
            offers what :class:`.Surrogate` asks for.
        solver: by default the best one for the model (:func:`choose_solver`); any object that
            offers what :class:`.Solver` asks for.
        key: PRNG key for solvers with random starts; others ignore it.

    Returns:
        What the solver returns: a :class:`Solution` with its duality gap, or, from the
        factored solver, a :class:`FactoredSolution` with its residual and restarts. Check
        ``status`` (or :func:`nc_jax.phase`) before using the numbers.

    Raises:
        TypeError, ValueError: not a model, or a model that the solver does not accept.
    """
    _check(model, solver)
    solver = solver or choose_solver(model)
    if model.batch_shape or getattr(solver, "takes_batches", False):
        return solve_batch(model, solver, key)
    require_accepted(solver, model)
    return _solve_one(model, solver, key)


@overload
def solve_batch(
    model: Model,
    solver: Solver[Model, Found],
    key: Array | None = None,
    batch_size: int | None = None,
) -> Found: ...
@overload
def solve_batch(
    model: MultilayerUnconstrainedFeatures,
    solver: None = None,
    key: Array | None = None,
    batch_size: int | None = None,
) -> MultilayerSolution: ...
@overload
def solve_batch(
    model: GroupedProgram | FactoredProgram,
    solver: None = None,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Solution | FactoredSolution: ...


def solve_batch(
    model: Any, solver: Any = None, key: Array | None = None, batch_size: int | None = None
) -> Any:
    """Solves every lane of a batched model; a bad lane does not affect the others.

    Args:
        model: leading axes of sizes and energies broadcast to the batch [...].
        solver: as in :func:`solve`.
        key: one key, split over the lanes, or one for each lane [...].
        batch_size: number of lanes processed at a time, which bounds memory; by default
            as many as need about a gigabyte (solvers with restarts have ``slots``).

    Returns:
        A solution whose leaves have the batch axes in front; ``status`` for each lane.

    Raises:
        TypeError, ValueError: not a model, a model that the solver does not accept, or a batch
            without lanes.
    """
    _check(model, solver)
    if batch_size is not None:
        require_count("batch_size", batch_size, 1)
    solver = solver or choose_solver(model)
    require_accepted(solver, model)
    shape = model.batch_shape
    if math.prod(shape) == 0:
        raise ValueError(f"model must have at least one lane, got batch shape {shape}")
    keys = None if key is None else _lane_keys(key, shape)
    if getattr(solver, "takes_batches", False):
        typed = key is not None and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim
        return _solve_one(model, solver, keys if typed else key)
    lanes = lanes_of(model)
    models = lanes.rebuild(lanes.numbers)
    count = math.prod(shape)
    if hasattr(solver, "solve_lanes"):
        keys = jax.random.split(jax.random.key(0), count) if keys is None else keys
        division = _batching(solver, model, count)
        solved = _in_parts(lambda own, key: _solve_queue(own, solver, key), models, keys, division)
    elif batch_size is not None:
        solved = _solve_lanes(models, solver, keys, min(batch_size, count))
    else:
        division = _batching(solver, model, count)
        size = division.at_a_time
        size = None if size is None else max(1, min(size, count, _most_lanes(solver, model)))
        solved = _in_parts(
            lambda own, key: _solve_lanes(own, solver, key, size), models, keys, division
        )
    return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), solved)


def _batching(solver: Any, model: Any, lanes: int) -> Batching:
    """How the solver wants its batch to be divided; side by side by default."""
    declared = getattr(solver, "batching", None)
    return Batching(1, lanes) if declared is None else declared(model, lanes)


def _most_lanes(solver: Any, model: Any) -> int:
    """Number of lanes that fit into the memory allowed."""
    return min(MAX_LANES, max(1, WORKING_FLOATS // max(1, solver.floats_per_lane(model))))


def _lane_keys(key: Array, shape: tuple[int, ...]) -> Array:
    """A key for each lane, in the order of the flattened batch."""
    if key.ndim == 0 or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jax.random.split(key, math.prod(shape))
    if key.shape != shape:
        raise ValueError(f"key must be a single key or have shape {shape}, got {key.shape}")
    return key.reshape(-1)


def _solve_one(model: Any, solver: Any, key: Array | None) -> Any:
    needed = _needed(model, solver)
    if not _runs_on_cpu(needed, solver, key):
        solution = jax.jit(_call)(needed, solver, key)
    elif not is_brief(solver, model):
        exact = all(jnp.result_type(leaf) != jnp.float32 for leaf in jax.tree.leaves(needed))
        solution = quickly(_call, optimised=True, whole_sums=exact)(needed, solver, key)
    else:
        with one_thread():
            solution = quickly(_call, optimised=False)(needed, solver, key)
            solution = jax.block_until_ready(solution)
    return solution if needed is model else _with_model(solution, model)


def _needed(model: Any, solver: Any) -> Any:
    """What the solver reads of a model or of lanes of models."""
    own = getattr(solver, "needed", None)
    return model if own is None else own(model)


def _with_model(solution: Any, model: Any) -> Any:
    """The solution of a model of which the solver was given what it needs."""
    return dataclasses.replace(solution, model=model) if hasattr(solution, "model") else solution


def _runs_on_cpu(*numbers: Any) -> bool:
    """Whether a call of a compiled function runs now, and on a CPU."""
    concrete = all(is_concrete(leaf) for leaf in jax.tree.leaves(numbers))
    return concrete and jax.default_backend() == "cpu"


def _call(model: Any, solver: Any, key: Array | None) -> Any:
    return solver(model, key=key)


def _solve_queue(models: Any, solver: Any, keys: Array) -> Any:
    if _runs_on_cpu(models, solver, keys):
        return widely(_queue, library=True)(models, solver, keys)
    return jax.jit(_queue)(models, solver, keys)


def _queue(models: Any, solver: Any, keys: Array) -> Any:
    return solver.solve_lanes(models, keys)


def _solve_lanes(models: Any, solver: Any, keys: Array | None, batch_size: int | None) -> Any:
    static, needed = ("batch_size",), models
    if not _runs_on_cpu(models, solver, keys):
        compiled = jax.jit(_lanes, static_argnames=static)
    elif len(jax.tree.leaves(models)[0]) <= FEW_LANES and is_brief(solver, models):
        compiled = quickly(_lanes, optimised=False, static=static)
        # More lanes are solved up to 1.5 times as fast by a program of their own.
        needed = _needed(models, solver)
    else:
        # Lanes with long vectors are solved one after another.
        compiled = widely(_lanes, batch_size is None, static)
    solution = compiled(needed, solver, keys, batch_size=batch_size)
    return solution if needed is models else _with_model(solution, models)


def _lanes(models: Any, solver: Any, keys: Array | None, batch_size: int | None) -> Any:
    def lane(model_and_key: tuple[Any, Array | None]) -> Any:
        return solver(model_and_key[0], key=model_and_key[1])

    if batch_size is None:
        return jax.lax.map(lane, (models, keys))
    count = jax.tree.leaves(models)[0].shape[0]
    batches = -(-count // batch_size)
    # Batches of equal size, filled by first lanes: a shorter one would be compiled separately.
    size = -(-count // batches)
    more = batches * size - count
    filled = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:more]]), (models, keys))
    solved = jax.lax.map(lane, filled, batch_size=size)
    return jax.tree.map(lambda leaf: leaf[:count], solved)


def _in_parts(solved_by: Callable[..., Any], models: Any, keys: Any, division: Batching) -> Any:
    """Lanes in equal parts, one per core, if possible: on a CPU, for concrete numbers."""
    lanes = jax.tree.leaves((models, keys))[0].shape[0]
    parts = division.parts
    if not _runs_on_cpu(models, keys) or (parts < 2 and not division.one_thread):
        return solved_by(models, keys)
    # Equal parts share one compiled program; copies of the last lane fill the last part.
    size = -(-lanes // parts)
    shares = []
    for first in range(0, lanes, size):
        index = np.minimum(np.arange(first, first + size), lanes - 1)
        shares.append(jax.tree.map(lambda leaf, index=index: leaf[index], (models, keys)))

    def solve_part(part: tuple[Any, Any]) -> Any:
        return jax.block_until_ready(solved_by(*part))

    with one_thread(), ThreadPoolExecutor(parts) as pool:
        solved = list(pool.map(solve_part, shares))
    return jax.tree.map(lambda *own: jnp.concatenate(own)[:lanes], *solved)


def _check(model: Any, solver: Any) -> None:
    """Raises TypeError unless the arguments are a model and a solver (or None)."""
    kind = type(model)
    # Looked up in the class, so that no property is computed.
    own = getattr(model, "__dict__", {})
    names = ("loss", "batch_shape", "valid")
    if isinstance(model, type) or not all(name in own or hasattr(kind, name) for name in names):
        raise TypeError(
            "model must be a surrogate such as LayerPeeled or UnconstrainedFeatures (with loss, "
            f"batch_shape and valid), got {kind.__name__}"
        )
    if solver is not None and (
        isinstance(solver, type) or not callable(solver) or not hasattr(solver, "floats_per_lane")
    ):
        raise TypeError(
            "solver must be a solver such as ReducedInteriorPoint(), an instance with "
            f"floats_per_lane, got {solver!r}"
        )
