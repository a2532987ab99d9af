"""Chunks of points through one compiled function, over all local devices, into a store.

While the devices work on a chunk, the host makes the next one's points and writes
the one before. A chunk's last, ragged part is padded with its last point, so that
all chunks of a block share a program. The devices of a mesh run on their own, each
its share of the points, and none waits for another's loops.
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

from nc_jax.sweeps.grid import Columns
from nc_jax.sweeps.plan import Plan
from nc_jax.sweeps.store import Store

# Columns [n] of points and a key for each point [n], to output columns [n].
Batched = Callable[[dict[str, jax.Array], jax.Array], Mapping[str, jax.Array]]
# The function for one block's choices, which are static.
Build = Callable[[Mapping[str, Any]], Batched]


@dataclasses.dataclass
class Outcome:
    """What a run did.

    Attributes:
        points: computed and stored now.
        chunks: stored now.
        found: chunks that were done before.
        failed: one line for each chunk whose function raised.
        damaged: files of chunks that were truncated or altered, computed again.
        foreign: files that belong to no block, left alone.
        seconds: of the run.
        interrupted: whether it was asked to stop before its end.
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
    """All local devices, but of a CPU's virtual ones no more than half its threads.

    Programs on virtual devices share one pool of threads, and some (batches of
    singular value decompositions) wait in it for others: with a program on every
    thread they would wait for ever. The variable NPROC, set before JAX starts, makes
    the pool larger.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return devices
    given = os.environ.get("NPROC", "")
    threads = int(given) if given.isdigit() else os.cpu_count() or 1
    return devices[: max(1, max(threads, len(devices)) // 2)]


def use_every_core() -> None:
    """A virtual device for every core of a CPU, and threads for them.

    A program of many small steps runs on one core alone; two devices run two. To be
    called before JAX starts; afterwards, or where ``XLA_FLAGS`` sets devices, only the
    variable NPROC is set for what has not started.
    """
    found = re.findall(r"device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    count = int(found[-1]) if found else os.cpu_count() or 1
    if count > 1:
        os.environ.setdefault("NPROC", str(max(os.cpu_count() or 1, 2 * count)))
    if not found:
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)


class ChunkSolver:
    """One block's function, compiled for chunks of one length on the given devices."""

    def __init__(
        self, build: Build, choices: Mapping[str, Any], length: int, seed: int, devices: Any = None
    ):
        """Nothing is compiled before the first chunk.

        Args:
            build: makes the block's function.
            choices: the block's.
            length: points of a chunk.
            seed: of the points' keys.
            devices: :func:`usable_devices` by default.
        """
        self.choices, self.seed = choices, seed
        devices = np.array(usable_devices() if devices is None else devices)
        # Every device gets as many points; the last of them may be padding.
        self.length = -(-length // len(devices)) * len(devices)
        mesh = Mesh(devices, ("points",))
        spec = PartitionSpec("points")
        self.sharding = NamedSharding(mesh, spec)
        self.names: list[str] = []
        function = build(choices)

        def work(columns: dict[str, jax.Array], words: jax.Array) -> dict[str, jax.Array]:
            base = jax.random.key(seed)

            def key(word: jax.Array) -> jax.Array:
                return jax.random.fold_in(jax.random.fold_in(base, word[0]), word[1])

            outputs = dict(function(columns, jax.vmap(key)(words)))
            # A compiled program sorts its names.
            self.names = list(outputs)
            return outputs

        self.work = jax.jit(
            jax.shard_map(work, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)
        )

    def inputs(self, columns: Columns) -> tuple[dict[str, Any], Any]:
        """Padded and laid out over the devices."""
        count = len(columns["point"])
        words = columns["point"].view(np.uint32).reshape(count, 2)
        numbers = {
            name: column
            for name, column in columns.items()
            if name != "point" and name not in self.choices
        }
        padding = self.length - count

        def place(column: np.ndarray) -> jax.Array:
            padded = np.concatenate([column, np.repeat(column[-1:], padding, axis=0)])
            return jax.device_put(padded, self.sharding)

        return {name: place(column) for name, column in numbers.items()}, place(words)

    def __call__(self, columns: Columns) -> dict[str, jax.Array]:
        """Starts a chunk; its outputs are padded, and may not be ready yet."""
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
    """A :class:`ChunkSolver`, the same one for the same arguments: it compiles but once."""
    return ChunkSolver(build, dict(choices), length, seed, devices)


def finished_table(columns: Columns, outputs: Mapping[str, Any]) -> Columns:
    """Points and outputs without the padding; waits for the devices.

    Raises:
        ValueError: an output that is not one number a point.
    """
    count = len(columns["point"])
    table = columns | {name: np.asarray(out)[:count] for name, out in outputs.items()}
    other = [name for name, column in table.items() if column.shape != (count,)]
    if other:
        raise ValueError(f"outputs must be [n] columns, got others: {', '.join(other)}")
    return table


def error_line(error: Exception) -> str:
    """What went wrong, in one line; of an error inside a compiled program, its cause."""
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
        plan: as :meth:`Store.prepare` gave it.
        build: makes a block's function from its choices.
        store: where the parts go.
        seed: of the points' keys, folded with the points' ids.
        share: (i, n), to do every n-th chunk alone.
        devices: :func:`usable_devices` by default.
        stop: set, to end after the chunks in flight.
        progress: called with points and failed chunks as they come.
        elsewhere: does the chunks in place of the local devices; called with
            (block, chunk) pairs, the outcome to fill in, stop and progress.

    Raises:
        OSError: the store cannot be written; all chunks written so far are whole.
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


def _solvers(
    plan: Plan, build: Build, seed: int, devices: Any, todo: Iterable[tuple[int, int]]
) -> Iterable[tuple[int, int, Any]]:
    """Each chunk to do with its block's solver, or with what building it raised."""
    current, solver = None, None
    devices = None if devices is None else tuple(devices)
    for place, chunk in todo:
        if place != current:
            block = plan.blocks[place]
            length = min(block.chunk, len(block.grid))
            try:
                choices = tuple(block.choices.items())
                solver = chunk_solver(build, choices, length, seed, devices)
            except Exception as error:  # noqa: BLE001 (a user's function may raise anything)
                solver = error
            current = place
        yield place, chunk, solver


class _Run:
    """Two chunks in flight: one on the devices, one being written."""

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
        """Waits for the outputs and writes them; errors of the store go up."""
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


def measured_chunk(
    build: Build,
    choices: Mapping[str, Any],
    columns: Callable[[int], Columns],
    num_points: int,
    devices: Any = None,
    largest: int = 2**16,
    memory: float = 2.0**30,
    seconds: float = 10.0,
) -> tuple[int, float]:
    """Points of a chunk, by running the function on few points and then on more.

    Args:
        build: makes the function.
        choices: of the block.
        columns: the first n points' columns, for any n.
        num_points: of the block.
        devices: :func:`usable_devices` by default.
        largest: points a device at most.
        memory: bytes that a chunk may take while it is computed, on all devices.
        seconds: what a chunk should take at most.

    Returns:
        The chunk's points, a power of two for each device, and seconds a point as
        measured on the last trial.
    """
    cores = len(usable_devices() if devices is None else devices)
    top = min(largest, -(-num_points // cores))
    trial = min(8, top)
    while True:
        points = columns(min(trial * cores, num_points))
        solver = ChunkSolver(build, choices, trial * cores, 0, devices)
        arguments = solver.inputs(points)
        compiled = solver.work.lower(*arguments).compile()
        jax.block_until_ready(compiled(*arguments))
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        elapsed = time.perf_counter() - start
        analysis = compiled.memory_analysis()
        # A backend may keep no account of its memory.
        used = analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else 0
        fits = int(trial * min(seconds / elapsed, memory / cores / max(used, 1)))
        size = top if fits >= top else min(_power(max(fits, 1)), top)
        # Few points cost more each than many do: trusted where they say all fits.
        if size == top or size <= 4 * trial:
            return size * cores, elapsed / (trial * cores)
        trial = min(16 * trial, size)


def _power(count: int) -> int:
    """The largest power of two that is at most the count."""
    return 1 << (max(count, 1).bit_length() - 1)
