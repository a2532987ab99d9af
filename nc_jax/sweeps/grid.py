"""Named grids that are never stored in full: axes, designs, products and zips.

A grid knows its number of points and returns the values at any indices. The last
factor of a product varies fastest.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from nc_jax.sweeps.identifiers import mix

Columns = dict[str, np.ndarray]


class Grid(Protocol):
    """The interface of all grids."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        ...

    def __len__(self) -> int: ...

    def at(self, indices: np.ndarray) -> Columns:
        """The columns [n] at integer indices [n] from 0 to len − 1."""
        ...

    def spec(self) -> Any:
        """JSON from which :func:`from_spec` rebuilds the grid."""
        ...


class Values:
    """An axis given by a list of values."""

    def __init__(self, name: str, values: Any):
        """Takes numbers, or strings for choices.

        Raises:
            ValueError: no values, or values that contain NaN or are not one-dimensional.
        """
        array = np.asarray(values)
        if array.ndim != 1 or not array.size:
            raise ValueError(f"axis {name!r} must be a list of at least one value, got {values!r}")
        if array.dtype.kind not in "iufUb":
            raise ValueError(f"axis {name!r} must be numbers or strings, got {values!r}")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"axis {name!r} must not hold NaN")
        self.name, self.values = name, array

    @property
    def names(self) -> tuple[str, ...]:
        """The axis's own name."""
        return (self.name,)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, indices: np.ndarray) -> Columns:
        """See :class:`Grid`."""
        return {self.name: self.values[indices]}

    def spec(self) -> Any:
        """See :class:`Grid`."""
        return {"values": {self.name: self.values.tolist()}}


class _Spaced(Values):
    """Values determined by their ends and their number."""

    def __init__(self, kind: str, name: str, start: float, stop: float, num: int):
        space = {"linspace": np.linspace, "logspace": np.geomspace}[kind]
        super().__init__(name, space(start, stop, _count(name, num)))
        self._spec = {kind: {"name": name, "start": start, "stop": stop, "num": int(num)}}

    def spec(self) -> Any:
        """See :class:`Grid`."""
        return self._spec


def linspace(name: str, start: float, stop: float, num: int) -> Values:
    """An axis of evenly spaced numbers, both ends included."""
    return _Spaced("linspace", name, start, stop, num)


def logspace(name: str, start: float, stop: float, num: int) -> Values:
    """An axis evenly spaced in the logarithm, both ends included.

    Raises:
        ValueError: an end that is not positive.
    """
    if not (0 < start < math.inf and 0 < stop < math.inf):
        raise ValueError(f"axis {name!r} must have positive ends for logspace, got {start}, {stop}")
    return _Spaced("logspace", name, start, stop, num)


class _Design(abc.ABC):
    """Points in a box, uniform in each coordinate or in its logarithm."""

    kind = ""

    def __init__(self, ranges: Mapping[str, Sequence[Any]], num: int, seed: int = 0):
        """Takes ranges by name: (low, high), or (low, high, 'log').

        Raises:
            ValueError: an invalid range, no names, or num < 1.
        """
        if not ranges:
            raise ValueError(f"a {self.kind} design must name at least one axis")
        for name, given in ranges.items():
            low, high = given[:2]
            log = len(given) == 3 and given[2] == "log"
            if len(given) != 2 and not log:
                raise ValueError(f"axis {name!r} must be [low, high] or [low, high, 'log']")
            if not -math.inf < low < high < math.inf or (log and low <= 0):
                raise ValueError(f"axis {name!r} must be a finite range low < high, got {given!r}")
        self.ranges = {name: tuple(given) for name, given in ranges.items()}
        self.num, self.seed = _count(self.kind, num), int(seed)

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each coordinate."""
        return tuple(self.ranges)

    def __len__(self) -> int:
        return self.num

    def at(self, indices: np.ndarray) -> Columns:
        """See :class:`Grid`."""
        columns = {}
        units = self.units(np.asarray(indices))
        for (name, given), unit in zip(self.ranges.items(), units, strict=True):
            low, high = given[:2]
            if len(given) == 3:
                columns[name] = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
            else:
                columns[name] = low + unit * (high - low)
        return columns

    def spec(self) -> Any:
        """See :class:`Grid`."""
        ranges = {name: list(given) for name, given in self.ranges.items()}
        return {self.kind: {"ranges": ranges, "num": self.num, "seed": self.seed}}

    @abc.abstractmethod
    def units(self, indices: np.ndarray) -> list[np.ndarray]:
        """Coordinates in [0, 1), one array [n] for each axis."""


class Random(_Design):
    """Independent uniform points; a point depends only on its index and the seed."""

    kind = "random"

    def units(self, indices: np.ndarray) -> list[np.ndarray]:
        """See :class:`Grid`."""
        streams = mix(np.uint64(self.seed) + mix(np.arange(len(self.ranges), dtype=np.uint64)))
        bits = [mix(mix(indices.astype(np.uint64)) ^ stream) for stream in streams]
        return [(b >> np.uint64(11)) * 2.0**-53 for b in bits]


class Sobol(_Design):
    """A scrambled Sobol sequence; a longer sequence starts with the points of a shorter one.

    The sequence is linear in the bits of the Gray code of the index, so any point can be
    computed without the points before it.
    """

    kind = "sobol"
    BITS = 30

    def __init__(self, ranges: Mapping[str, Sequence[Any]], num: int, seed: int = 0):
        super().__init__(ranges, num, seed)
        if num > 2**self.BITS:
            raise ValueError(f"a sobol design has at most 2^{self.BITS} points, got {num}")

    def units(self, indices: np.ndarray) -> list[np.ndarray]:
        """See :class:`Grid`."""
        from scipy.stats import qmc

        def points(start: int) -> np.ndarray:
            engine = qmc.Sobol(len(self.ranges), rng=self.seed, bits=self.BITS)
            if start:
                engine.fast_forward(start)
            return (engine.random(1)[0] * 2.0**self.BITS).astype(np.uint64)

        if not hasattr(self, "_directions"):
            width = max(self.num - 1, 1).bit_length()
            first = points(0)
            # The Gray code of 2^j has bits j and j − 1.
            self._first, directions = first, []
            previous = np.zeros_like(first)
            for bit in range(width):
                previous = points(2**bit) ^ first ^ previous
                directions.append(previous)
            self._directions = directions
        gray = indices.astype(np.uint64)
        gray = gray ^ (gray >> np.uint64(1))
        found = np.broadcast_to(self._first, (len(gray), len(self._first))).copy()
        for bit, direction in enumerate(self._directions):
            on = (gray >> np.uint64(bit)) & np.uint64(1)
            found ^= on[:, None] * direction
        return list(found.T * 2.0**-self.BITS)


class _Combined(abc.ABC):
    """Several grids whose names differ."""

    kind = ""

    def __init__(self, *factors: Grid):
        names = [name for factor in factors for name in factor.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not factors:
            raise ValueError(f"a {self.kind} must have at least one factor")
        if twice:
            raise ValueError(f"axis names must differ, got {', '.join(twice)} more than once")
        self.factors = factors

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all factors."""
        return tuple(name for factor in self.factors for name in factor.names)

    @abc.abstractmethod
    def places(self, indices: np.ndarray) -> list[np.ndarray]:
        """The indices [n] of each factor."""

    def at(self, indices: np.ndarray) -> Columns:
        """See :class:`Grid`."""
        pairs = zip(self.factors, self.places(indices), strict=True)
        parts = [factor.at(own) for factor, own in pairs]
        return {name: column for part in parts for name, column in part.items()}

    def spec(self) -> Any:
        """See :class:`Grid`."""
        return {self.kind: [factor.spec() for factor in self.factors]}


class Product(_Combined):
    """Every combination; the last factor varies fastest."""

    kind = "product"

    def __len__(self) -> int:
        return math.prod(len(factor) for factor in self.factors)

    def places(self, indices: np.ndarray) -> list[np.ndarray]:
        """The digits of each index; the last one is least significant."""
        rest = np.asarray(indices, np.int64)
        found = []
        for factor in reversed(self.factors):
            # Faster than np.divmod, which does not use the vectors of the processor.
            above = rest // len(factor)
            found.append(rest - above * len(factor))
            rest = above
        return found[::-1]


class Zip(_Combined):
    """Grids of equal length, whose points are paired."""

    kind = "zip"

    def __init__(self, *factors: Grid):
        super().__init__(*factors)
        lengths = {factor.names: len(factor) for factor in factors}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"zipped axes must have equal lengths, got {lengths}")

    def __len__(self) -> int:
        return len(self.factors[0])

    def places(self, indices: np.ndarray) -> list[np.ndarray]:
        """The same for all factors."""
        return [indices] * len(self.factors)


def from_spec(spec: Any) -> Grid:
    """The grid that has the given ``spec()``.

    Raises:
        ValueError: the spec is not that of a grid.
    """
    if not isinstance(spec, dict) or len(spec) != 1:
        raise ValueError(f"a grid's spec must have one key, got {spec!r}")
    ((kind, inside),) = spec.items()
    if kind == "values":
        ((name, values),) = inside.items()
        return Values(name, values)
    if kind in ("product", "zip"):
        return {"product": Product, "zip": Zip}[kind](*map(from_spec, inside))
    makers = {"linspace": linspace, "logspace": logspace, "random": Random, "sobol": Sobol}
    if kind not in makers:
        known = ", ".join(["values", *makers, "product", "zip"])
        raise ValueError(f"a grid must be one of {known}, got {kind!r}")
    return makers[kind](**inside)


def factors_of(grid: Grid) -> tuple[Grid, ...]:
    """The factors of a product; any other grid is its own single factor."""
    return grid.factors if isinstance(grid, Product) else (grid,)


def subset(grid: Grid, chosen: np.ndarray) -> Grid | None:
    """The chosen points of a grid, listed; None for none of them."""
    if chosen.all():
        return grid
    if not chosen.any():
        return None
    columns = grid.at(np.flatnonzero(chosen))
    axes = [Values(name, column) for name, column in columns.items()]
    return axes[0] if len(axes) == 1 else Zip(*axes)


def rows_of(grid: Grid) -> list[tuple]:
    """Every point as a tuple of its values; only for small grids, such as factors."""
    columns = grid.at(np.arange(len(grid)))
    return list(zip(*(column.tolist() for column in columns.values()), strict=True))


def require_distinct(grid: Grid) -> None:
    """Raises ValueError if a factor that lists its values repeats one."""
    for factor in factors_of(grid):
        parts = factor.factors if isinstance(factor, Zip) else (factor,)
        if all(isinstance(part, Values) for part in parts):
            rows = rows_of(factor)
            if len(set(rows)) != len(rows):
                raise ValueError(f"axis {', '.join(factor.names)} must not repeat a value")


def _count(name: str, num: int) -> int:
    if not isinstance(num, int | np.integer) or isinstance(num, bool) or num < 1:
        raise ValueError(f"axis {name!r} must have num ≥ 1, an integer, got {num!r}")
    return int(num)
