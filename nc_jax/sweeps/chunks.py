"""How many points are computed and stored together, from short trial runs."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from nc_jax.sweeps.engine import Build, ChunkSolver, usable_devices
from nc_jax.sweeps.grid import Columns

# A block is divided into so many chunks, unless fewer than so many points a device remain.
MANY_CHUNKS, MANY_POINTS = 16, 2**14


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
    """Number of points of a chunk, from runs with few and then more points.

    Args:
        build: makes the function of a block.
        choices: the choices of the block.
        columns: the columns of the first n points, for any n.
        num_points: number of points of the block.
        devices: :func:`usable_devices` by default.
        largest: largest number of points per device.
        memory: bytes that a chunk may use on all devices while it is computed.
        seconds: longest duration of a chunk.

    Returns:
        The number of points in a chunk, at most a power of two for each device (see
        ``balanced``), and the seconds per point that the last trial took.
    """
    cores = len(usable_devices() if devices is None else devices)
    # While the first chunk is prepared and the last one written, the cores have little else to do.
    parted = max(-(-num_points // (MANY_CHUNKS * cores)), MANY_POINTS)
    top = min(largest, parted, -(-num_points // cores))
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
        # Some backends do not report their memory.
        used = analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else 0
        fits = int(trial * min(seconds / elapsed, memory / cores / max(used, 1)))
        size = top if fits >= top else min(_power(max(fits, 1)), top)
        # A point costs more in small trials, so they are trusted if all points fit by them.
        if size == top or size <= 4 * trial:
            return balanced(size, num_points, cores), elapsed / (trial * cores)
        trial = min(16 * trial, size)


def balanced(size: int, num_points: int, devices: int = 1) -> int:
    """The number of points in a chunk if all chunks are to be about equally long.

    The last chunk is padded: of sixteen chunks of 65,536, for a million points, it would waste
    5 % of the time.

    Args:
        size: largest number of points of a chunk on one device.
        num_points: number of points of the block.
        devices: number of devices that share a chunk.

    Returns:
        A multiple of ``devices``, of at most ``size * devices``; of vectors of 512 points as well
        where chunks are long.
    """
    chunks = -(-num_points // (size * devices))
    unit = devices * (512 if size >= 8192 else 1)
    return min(size * devices, -(-num_points // (chunks * unit)) * unit)


def _power(count: int) -> int:
    """The largest power of two that does not exceed the count."""
    return 1 << (max(count, 1).bit_length() - 1)
