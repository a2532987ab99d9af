"""Runs chunks of points through one compiled function, on all local devices, into a store.

While the devices compute a chunk, the host prepares the points of the next one and writes
the previous one. The last, incomplete part of a chunk is padded with its last point, so that
all chunks of a block share a program. The devices of a mesh run independently, each on
its share of the points, and no device waits for the loops of another.
"""

import contextlib
import dataclasses
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nc_jax.source import code_digest
from nc_jax.sweeps.grid import Columns
from nc_jax.sweeps.plan import Plan, compiled_choices
from nc_jax.sweeps.store import Store
from nc_jax.xla import batch_options

# From columns [n] of points and a key for each point [n] to output columns [n].
Batched = Callable[[dict[str, jax.Array], jax.Array], Mapping[str, jax.Array]]
# The function for one block's choices, which are static. Its ``traceable(choices, names)``, if any,
# tells which of them it can take as columns too, beside columns of these names.
Build = Callable[[Mapping[str, Any]], Batched]


@dataclasses.dataclass
class Outcome:
    """The outcome of a run.

    Attributes:
        points: number of points computed and stored in this run.
        chunks: number of chunks stored in this run.
        found: number of chunks that were stored before.
        failed: one line for each chunk whose function raised an error.
        damaged: chunk files that were truncated or altered; they are computed again.
        foreign: files that belong to no block; they are left unchanged.
        seconds: duration of the run.
        interrupted: whether the run was stopped before its end.
    """

    points: int = 0
    chunks: int = 0
    found: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)
    foreign: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


def usable_devices() -> list[Any]:
    """All local devices; of a CPU's virtual devices at most half as many as its threads.

    Programs on virtual devices share one pool of threads, and some operations (batches of
    singular value decompositions) wait in it for others: with a program on every
    thread they would wait forever. The variable NPROC, set before JAX starts, makes
    the pool larger.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return devices
    given = os.environ.get("NPROC", "")
    threads = int(given) if given.isdigit() else os.cpu_count() or 1
    return devices[: max(1, max(threads, len(devices)) // 2)]


def use_every_core(devices: bool = True) -> None:
    """Creates a virtual device for every core of a CPU, and enough threads for them.

    A program of many small steps uses only one core; two devices run two programs. Call this
    before JAX starts; afterwards, or if ``XLA_FLAGS`` already sets devices, only the
    variable NPROC is set, for the parts of JAX that have not started.

    Args:
        devices: False for a process with threads of its own: it needs threads of JAX alone.
    """
    found = re.findall(r"device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    count = int(found[-1]) if found else os.cpu_count() or 1
    if count > 1:
        os.environ.setdefault("NPROC", str(max(os.cpu_count() or 1, 2 * count)))
    if devices and not found:
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)


class ChunkSolver:
    """One block's function, compiled for chunks of one length on the given devices."""

    def __init__(
        self, build: Build, choices: Mapping[str, Any], length: int, seed: int, devices: Any = None
    ):
        """Nothing is compiled until the first chunk is computed.

        Args:
            build: makes the function of a block.
            choices: the choices of the block.
            length: number of points in a chunk.
            seed: seed of the keys of the points.
            devices: :func:`usable_devices` by default.
        """
        self.choices, self.seed = choices, seed
        devices = np.array(usable_devices() if devices is None else devices)
        # Every device gets equally many points; the last of them may be padding.
        self.length = -(-length // len(devices)) * len(devices)
        mesh, spec = Mesh(devices, ("points",)), PartitionSpec("points")
        self.sharding = NamedSharding(mesh, spec)
        self.names: list[str] = []
        function = build(choices)

        def work(columns: dict[str, jax.Array], words: jax.Array) -> dict[str, jax.Array]:
            base = jax.random.key(seed)

            def key(word: jax.Array) -> jax.Array:
                return jax.random.fold_in(jax.random.fold_in(base, word[0]), word[1])

            outputs = dict(function(columns, jax.vmap(key)(words)))
            # A compiled program sorts its outputs by name.
            self.names = list(outputs)
            return outputs

        shared = jax.shard_map(work, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
        self.work = jax.jit(shared, compiler_options=batch_options(library=False))

    def inputs(self, columns: Columns) -> tuple[dict[str, Any], Any]:
        """The columns, padded and distributed over the devices."""
        count = len(columns["point"])
        words = columns["point"].view(np.uint32).reshape(count, 2)
        numbers = {
            name: column
            for name, column in columns.items()
            if name != "point" and name not in self.choices
        }
        padding = self.length - count

        if padding:
            numbers, words = jax.tree.map(
                lambda column: np.concatenate([column, np.repeat(column[-1:], padding, axis=0)]),
                (numbers, words),
            )
        return jax.device_put((numbers, words), self.sharding)

    def __call__(self, columns: Columns) -> dict[str, jax.Array]:
        """Starts a chunk; the outputs are padded and may not be ready yet."""
        outputs = self.work(*self.inputs(columns))
        return {name: outputs[name] for name in self.names}


@lru_cache(maxsize=16)
def chunk_solver(
    build: Build,
    choices: tuple[tuple[str, Any], ...],
    length: int,
    seed: int,
    devices: tuple | None = None,
) -> ChunkSolver:
    """A cached :class:`ChunkSolver`: equal arguments are compiled only once."""
    return ChunkSolver(build, dict(choices), length, seed, devices)


def finished_table(columns: Columns, outputs: Mapping[str, Any]) -> Columns:
    """Points and outputs without the padding; waits for the devices to finish.

    Raises:
        ValueError: an output that is not one number per point.
    """
    count = len(columns["point"])
    table = columns | {name: np.asarray(out)[:count] for name, out in outputs.items()}
    other = [name for name, column in table.items() if column.shape != (count,)]
    if other:
        raise ValueError(f"outputs must be [n] columns, got others: {', '.join(other)}")
    return table


def error_line(error: Exception) -> str:
    """The error in one line; for an error inside a compiled program, its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    line = causes[-1] if causes else (lines or [""])[0]
    return line if causes else f"{type(error).__name__}: {line}"


def run_sweep(
    plan: Plan,
    build: Build,
    store: Store,
    seed: int = 0,
    share: tuple[int, int] = (0, 1),
    devices: Any = None,
    stop: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
    elsewhere: Callable[..., None] | None = None,
) -> Outcome:
    """Computes every chunk that the store lacks.

    Args:
        plan: the plan that :meth:`Store.prepare` returned.
        build: makes the function of a block from its choices.
        store: where the parts are written.
        seed: seed of the keys of the points, combined with the points' ids.
        share: (i, n), to compute only every n-th chunk.
        devices: :func:`usable_devices` by default.
        stop: an event; if it is set, the run ends after the chunks that are in progress.
        progress: called with the numbers of new points and failed chunks.
        elsewhere: computes the chunks instead of the local devices; called with
            (block, chunk) pairs, the outcome to fill in, stop and progress.

    Raises:
        OSError: the store cannot be written; all chunks written so far are complete.
    """
    begin, outcome = time.perf_counter(), Outcome()
    scan = store.scan(plan)
    outcome.damaged, outcome.foreign = scan.damaged, scan.foreign
    store.discard(scan.damaged)
    mine = [key for order, key in enumerate(plan.chunks()) if order % share[1] == share[0]]
    todo = [key for key in mine if key not in scan.parts]
    outcome.found = len(mine) - len(todo)
    report = progress or (lambda points, failures: None)
    report(sum(plan.size(*key) for key in mine if key in scan.parts), 0)
    stop = stop or threading.Event()
    try:
        if elsewhere is not None:
            elsewhere(todo, outcome, stop, report)
            todo = []
        failed = {(note["block"], note["chunk"]) for note in store.failures()}
        run = _Run(plan, store, outcome, report, failed)
        run.work(_solvers(plan, build, seed, devices, todo), stop)
    finally:
        outcome.seconds = time.perf_counter() - begin
    outcome.interrupted = stop.is_set() and outcome.found + outcome.chunks < len(mine)
    return outcome


def code_of(build: Build) -> str:
    """A digest of the code that the rows of a sweep depend on: its function and the engine.

    Args:
        build: makes the function of a block; it is defined in a file.

    Raises:
        ValueError: it is not defined in a file.
    """
    return code_digest(build, run_sweep)


def _solvers(
    plan: Plan, build: Build, seed: int, devices: Any, todo: Iterable[tuple[int, int]]
) -> Iterable[tuple[int, int, Any]]:
    """Each remaining chunk with its block's solver, or with the error from building it."""
    current, solver = None, None
    devices = None if devices is None else tuple(devices)
    todo, compiled = list(todo), compiled_choices(plan, build)
    # Blocks with the same choices share a program: padding is cheaper than compiling.
    lengths: dict[tuple, int] = {}
    for place in dict.fromkeys(place for place, _ in todo):
        choices, block = compiled[place], plan.blocks[place]
        lengths[choices] = max(lengths.get(choices, 0), min(block.chunk, len(block.grid)))
    for place, chunk in todo:
        if place != current:
            choices = compiled[place]
            try:
                solver = chunk_solver(build, choices, lengths[choices], seed, devices)
            except Exception as error:  # noqa: BLE001 (a user's function may raise anything)
                solver = error
            current = place
        yield place, chunk, solver


class _Run:
    """Two chunks in progress: one on the devices, one being written."""

    def __init__(self, plan: Plan, store: Store, outcome: Outcome, report: Any, failed: Any):
        self.plan, self.store, self.outcome, self.report = plan, store, outcome, report
        self.failed = failed

    def work(self, chunks: Iterable[tuple[int, int, Any]], stop: threading.Event) -> None:
        with ThreadPoolExecutor(1) as writer:
            flying: deque[Future] = deque()
            for place, chunk, solver in chunks:
                if stop.is_set():
                    break
                try:
                    if isinstance(solver, Exception):
                        raise solver
                    columns = self.plan.blocks[place].columns(chunk)
                    outputs = solver(columns)
                except Exception as error:  # noqa: BLE001
                    self._fail(place, chunk, error)
                    continue
                flying.append(writer.submit(self._finish, place, chunk, columns, outputs))
                while len(flying) > 2:
                    flying.popleft().result()
            for future in flying:
                future.result()

    def _finish(self, place: int, chunk: int, columns: Columns, outputs: Any) -> None:
        """Waits for the outputs and writes them; errors of the store are raised."""
        count = len(columns["point"])
        try:
            table = finished_table(columns, outputs)
        except Exception as error:  # noqa: BLE001
            self._fail(place, chunk, error)
            return
        self.store.write(self.plan, place, chunk, table)
        if (place, chunk) in self.failed:
            self.store.forget_failure(self.plan, place, chunk)
        self.outcome.points += count
        self.outcome.chunks += 1
        self.report(count, 0)

    def _fail(self, place: int, chunk: int, error: Exception) -> None:
        line = error_line(error)
        self.store.record_failure(self.plan, place, chunk, line)
        choices = dict(self.plan.blocks[place].choices)
        self.outcome.failed.append(f"chunk {chunk} of {choices or 'the grid'}: {line}")
        self.report(0, 1)
