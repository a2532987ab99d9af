"""Chunk sizes and times of the blocks of a plan, from timed samples."""

import dataclasses
from typing import Any

import numpy as np

from nc_jax.sweeps.chunks import measured_chunk
from nc_jax.sweeps.engine import Build
from nc_jax.sweeps.plan import Block

# Choices that hardly matter for the time of a point: how the classes are split.
SPLITS = ("majority", "minority")


class Estimates:
    """Times a sample of each kind of block once.

    Blocks are of one kind if their points take about equally long: they have the same number of
    points and the same choices, except for how the classes are split.
    """

    def __init__(self, build: Build):
        """Nothing is timed until it is needed.

        Args:
            build: makes the function of a block from its choices.
        """
        self._build = build
        self._known: dict[Any, tuple[int, float]] = {}

    def chunk(self, block: Block) -> int:
        """The number of points in a chunk."""
        return self._sample(block)[0]

    def seconds(self, block: Block) -> float:
        """The time that all points of a block take."""
        return self._sample(block)[1] * len(block.grid)

    def _sample(self, block: Block) -> tuple[int, float]:
        """Points per chunk and seconds per point."""
        kept = {name: value for name, value in block.choices.items() if name not in SPLITS}
        kind = (*sorted(kept.items()), len(block.grid))
        if kind not in self._known:

            def columns(count: int) -> dict[str, np.ndarray]:
                return dataclasses.replace(block, chunk=count).columns(0)

            size = len(block.grid)
            self._known[kind] = measured_chunk(self._build, block.choices, columns, size)
        return self._known[kind]
