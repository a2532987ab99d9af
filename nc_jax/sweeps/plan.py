"""The plan of a sweep: settings, and blocks of points divided into chunks.

A block is a lazy grid with fixed choices, for instance the number of classes, which
is a shape. If axis values are appended, the new points form further blocks.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from nc_jax.sweeps.grid import (
    Columns,
    Grid,
    Product,
    factors_of,
    from_spec,
    require_distinct,
    rows_of,
    subset,
)
from nc_jax.sweeps.identifiers import mix, total_words

Choices = Mapping[str, Any]
# The key of a plan's settings that holds a digest of code.
CODE = "code"


@dataclasses.dataclass(frozen=True)
class Block:
    """The points of one grid with fixed choices.

    Attributes:
        choices: from name to number or string, the same for all points.
        grid: the remaining values of the points.
        chunk: number of points in a chunk; zero if it is still to be measured.
    """

    choices: Choices
    grid: Grid
    chunk: int

    def __post_init__(self):
        require_distinct(self.grid)
        if self.chunk < 0:
            raise ValueError(f"chunk must be at least one point, got {self.chunk}")

    @property
    def num_chunks(self) -> int:
        """Number of chunks; the last one may be incomplete."""
        return -(-len(self.grid) // self.chunk)

    def columns(self, chunk: int) -> Columns:
        """Choices and values of the points of one chunk, and ``point``, their ids."""
        first = chunk * self.chunk
        indices = np.arange(first, min(first + self.chunk, len(self.grid)))
        values = self.grid.at(indices)
        same = {name: np.full(1, value) for name, value in self.choices.items()}
        point = mix(total_words(same) + total_words(values))
        chosen = {name: np.broadcast_to(value, indices.shape) for name, value in same.items()}
        return {"point": point} | chosen | values

    def spec(self) -> dict[str, Any]:
        """The block as JSON."""
        return {"choices": dict(self.choices), "grid": self.grid.spec(), "chunk": self.chunk}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Blocks, and everything else that determines the numbers.

    Attributes:
        settings: JSON; which function is mapped over the points, and how. Under the key
            ``code`` they hold its :func:`nc_jax.sweeps.code_of`, as those of an
            :class:`nc_jax.experiments.Experiment` do; without it, stored rows are reused
            although the function may have changed.
        blocks: in the order of the table.
    """

    settings: Any
    blocks: tuple[Block, ...]

    @property
    def code(self) -> str:
        """The digest of code in the settings; empty if they have none."""
        return self.settings.get(CODE, "") if isinstance(self.settings, Mapping) else ""

    def with_code(self, code: str) -> "Plan":
        """The same plan with another digest of code; with none if it is empty."""
        if code == self.code or not isinstance(self.settings, Mapping):
            return self
        kept = {name: value for name, value in self.settings.items() if name != CODE}
        return dataclasses.replace(self, settings=kept | ({CODE: code} if code else {}))

    @property
    def num_points(self) -> int:
        """Number of points in all blocks."""
        return sum(len(block.grid) for block in self.blocks)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """(block, chunk) in the order of the table."""
        for place, block in enumerate(self.blocks):
            for chunk in range(block.num_chunks):
                yield place, chunk

    @property
    def num_chunks(self) -> int:
        """Number of chunks in all blocks."""
        return sum(block.num_chunks for block in self.blocks)

    def points_of(self, share: tuple[int, int]) -> int:
        """Number of points in the chunks of one of n processes, see :func:`run_sweep`."""
        mine = itertools.islice(self.chunks(), share[0], None, share[1])
        return sum(self.size(*key) for key in mine)

    def size(self, place: int, chunk: int) -> int:
        """Number of points in one chunk."""
        block = self.blocks[place]
        return min(block.chunk, len(block.grid) - chunk * block.chunk)

    @cached_property
    def fingerprints(self) -> list[str]:
        """Twelve hexadecimal digits for each block, from its points and the settings."""
        return [
            hashlib.sha256(canonical([self.settings, block.spec()]).encode()).hexdigest()[:12]
            for block in self.blocks
        ]

    def spec(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {"settings": self.settings, "blocks": [block.spec() for block in self.blocks]}


def compiled_choices(plan: Plan, build: Any) -> list[tuple[tuple[str, Any], ...]]:
    """The choices that are compiled into the program of each block.

    Blocks that differ only in choices that the function can take as columns share a program. A
    block that is alone has a program of its own, which is faster.

    Args:
        plan: the plan.
        build: makes the function of a block, see :func:`nc_jax.sweeps.run_sweep`.
    """
    traceable = getattr(build, "traceable", None)
    every = [tuple(block.choices.items()) for block in plan.blocks]
    if traceable is None:
        return every
    kept, users = [], {}
    for block, whole in zip(plan.blocks, every, strict=True):
        free = traceable(block.choices, block.grid.names)
        kept.append(tuple(pair for pair in whole if pair[0] not in free))
        users.setdefault(kept[-1], set()).add(whole)
    pairs = zip(kept, every, strict=True)
    return [own if len(users[own]) > 1 else whole for own, whole in pairs]


def plan_from_spec(spec: Any) -> Plan:
    """The plan that has the given ``spec()``.

    Raises:
        ValueError: the spec is not that of a plan.
    """
    try:
        blocks = tuple(
            Block(block["choices"], from_spec(block["grid"]), int(block["chunk"]))
            for block in spec["blocks"]
        )
        return Plan(spec["settings"], blocks)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the spec of a plan: {error!r}") from error


def canonical(value: Any) -> str:
    """JSON in which equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def extended(old: Plan, new: Plan) -> Plan:
    """The old blocks, and blocks with those points of the new plan that they lack.

    Raises:
        ValueError: the settings differ, or points of the old plan are missing in the new one.
    """
    if canonical(old.settings) != canonical(new.settings):
        raise ValueError(f"settings changed: {_difference(old.settings, new.settings)}")
    blocks = list(old.blocks)
    for block in new.blocks:
        known = [mine for mine in old.blocks if dict(mine.choices) == dict(block.choices)]
        blocks += [Block(block.choices, grid, block.chunk) for grid in _missing(known, block.grid)]
    total = sum(len(block.grid) for block in blocks)
    if total != new.num_points:
        raise ValueError(
            f"points of the old spec are not in the new one: {old.num_points} old and "
            f"{new.num_points} new points would leave {total} rows"
        )
    return Plan(old.settings, tuple(blocks))


def _missing(known: list[Block], grid: Grid) -> list[Grid]:
    """Products that together hold the points that no known block of the same choices has."""
    if not known:
        return [grid]
    factors = factors_of(grid)
    names = [factor.names for factor in factors]
    if any([factor.names for factor in factors_of(block.grid)] != names for block in known):
        raise ValueError(f"axes changed: {known[0].grid.names} before, {grid.names} now")
    # Appended blocks tile a box, so their values of each factor are sufficient.
    new, old = [], []
    for place, factor in enumerate(factors):
        # An unchanged factor is not listed: a design may have a billion points.
        specs = [canonical(factors_of(block.grid)[place].spec()) for block in known]
        if canonical(factor.spec()) in specs:
            old.append(factor)
            new.append(None)
            continue
        have = set().union(*(rows_of(factors_of(block.grid)[place]) for block in known))
        fresh = np.array([row not in have for row in rows_of(factor)])
        old.append(subset(factor, ~fresh))
        new.append(subset(factor, fresh))
    parts = []
    for place in range(len(factors)):
        chosen = [*old[:place], new[place], *factors[place + 1 :]]
        if all(factor is not None for factor in chosen):
            parts.append(chosen[0] if len(chosen) == 1 else Product(*chosen))
    return parts


def _difference(old: Any, new: Any) -> str:
    """Describes which keys differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return f"{old!r} before, {new!r} now"
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in keys)
