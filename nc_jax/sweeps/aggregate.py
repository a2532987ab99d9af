"""Aggregates of a stored sweep over the cells of a coarse map, without loading its table.

The parts are read one after another. What is held is one batch of rows and three numbers for each
cell, so that a hundred million rows take no more memory than a million.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nc_jax.sweeps.grid import Grid, Values, Zip, factors_of
from nc_jax.sweeps.plan import Plan
from nc_jax.sweeps.store import Store

# Rows that are in memory at a time.
BATCH = 2**17


class Cells(NamedTuple):
    """The cells of one axis.

    Attributes:
        edges: [C + 1] increasing; the last cell includes its upper edge.
        centres: [C] the values for which the cells stand in a table.
    """

    edges: np.ndarray
    centres: np.ndarray

    def place(self, values: np.ndarray) -> np.ndarray:
        """The cell [n] of each value [n], −1 for those outside."""
        found = np.searchsorted(self.edges, values, side="right") - 1
        found = np.where(values == self.edges[-1], len(self.centres) - 1, found)
        return np.where(found < len(self.centres), found, -1)


def even_cells(low: float, high: float, number: int, logarithmic: bool = False) -> Cells:
    """Cells of equal width, or of equal ratio, between two values.

    Raises:
        ValueError: not low < high, no cell, or low ≤ 0 for logarithmic cells.
    """
    if not low < high or number < 1 or (logarithmic and low <= 0):
        raise ValueError(
            f"cells must be at least one between low < high, got {number} in [{low}, {high}]"
        )
    # The centre of a cell is every second of twice as many edges.
    fine = (np.geomspace if logarithmic else np.linspace)(low, high, 2 * number + 1)
    fine[0], fine[-1] = low, high
    return Cells(fine[::2], fine[1::2])


def cells_of(plan: Plan, name: str, number: int) -> Cells:
    """Cells for an axis of a plan, over its whole range.

    Args:
        plan: the plan of a store.
        name: of an axis of numbers, or of a choice that is a number.
        number: of cells; an axis with at most as many different values has one for each.

    Returns:
        Cells of equal ratio for an axis that is even in the logarithm, else of equal width.

    Raises:
        ValueError: no axis of this name, values that are not numbers, or number < 1.
    """
    values: set[float] = set()
    ends: list[float] = []
    logarithmic = False
    for block in plan.blocks:
        if name in block.choices:
            values.add(block.choices[name])
            continue
        axis = _axis(block.grid, name)
        if axis is None:
            raise ValueError(f"{name!r} is no axis of the sweep")
        if isinstance(axis, Values):
            values.update(axis.values.tolist())
            logarithmic = logarithmic or "logspace" in axis.spec()
        else:
            low, high, *kind = axis.ranges[name]
            ends += [low, high]
            logarithmic = logarithmic or bool(kind)
    if not all(isinstance(value, int | float) for value in values):
        raise ValueError(f"axis {name!r} must be numbers to be divided into cells")
    if not ends and len(values) <= number:
        return _one_for_each(np.array(sorted(values), float))
    ends += list(values)
    return even_cells(min(ends), max(ends), number, logarithmic)


def aggregate(
    store: Store, cells: Mapping[str, Cells], outputs: Sequence[str], batch: int = BATCH
) -> Any:
    """Number of points, and mean, least and largest value of outputs, for each cell.

    Args:
        store: a store; parts that are not there yet are left out.
        cells: the axes of the map, see :func:`cells_of`; all other axes are averaged over.
        outputs: names of columns of numbers.
        batch: rows that are in memory at a time.

    Returns:
        A pandas table with one row for each cell: the centres under the names of the axes,
        ``points``, and for each output ``NAME_known`` (the number of its finite values),
        ``NAME_mean``, ``NAME_min``, ``NAME_max``; NaN where there is no finite value.

    Raises:
        FileNotFoundError: the store is empty.
        ValueError: a name that is not a column, or no axis.
    """
    import pandas as pd

    dataset = store.dataset()
    columns = [*dict.fromkeys([*cells, *outputs])]
    unknown = [name for name in columns if name not in dataset.schema.names]
    if unknown or not cells:
        raise ValueError(f"columns must be of {', '.join(dataset.schema.names)}, got {unknown}")
    shape = tuple(len(axis.centres) for axis in cells.values())
    points = np.zeros(np.prod(shape), np.int64)
    sums = {name: _Sums(len(points)) for name in outputs}
    for rows in _batches(dataset, columns, batch):
        places = [axis.place(rows[name]) for name, axis in cells.items()]
        inside = np.all([place >= 0 for place in places], axis=0)
        where = np.ravel_multi_index([place[inside] for place in places], shape)
        points += np.bincount(where, minlength=len(points))
        for name, total in sums.items():
            total.add(where, rows[name][inside])
    centres = np.meshgrid(*(axis.centres for axis in cells.values()), indexing="ij")
    table = {name: centre.ravel() for name, centre in zip(cells, centres, strict=True)}
    table["points"] = points
    for name, total in sums.items():
        table |= total.columns(name)
    return pd.DataFrame(table)


class _Sums:
    """Number, sum, least and largest of the finite values in each cell."""

    def __init__(self, size: int):
        self.known, self.sum = np.zeros(size, np.int64), np.zeros(size)
        self.least, self.largest = np.full(size, np.inf), np.full(size, -np.inf)

    def add(self, where: np.ndarray, values: np.ndarray) -> None:
        """Adds values [n] in the cells [n]."""
        finite = np.isfinite(values)
        if not finite.all():
            where, values = where[finite], values[finite]
        values = values.astype(np.float64, copy=False)
        self.known += np.bincount(where, minlength=len(self.known))
        self.sum += np.bincount(where, values, len(self.sum))
        np.minimum.at(self.least, where, values)
        np.maximum.at(self.largest, where, values)

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """The columns of the table."""
        some = self.known > 0
        return {
            f"{name}_known": self.known,
            f"{name}_mean": np.where(some, self.sum, np.nan) / np.where(some, self.known, 1),
            f"{name}_min": np.where(some, self.least, np.nan),
            f"{name}_max": np.where(some, self.largest, np.nan),
        }


def _batches(dataset: Any, columns: list[str], batch: int) -> Iterator[dict[str, np.ndarray]]:
    # Part by part: a scan of the whole reads ahead without bound if it is faster than the sums.
    for part in dataset.get_fragments():
        for rows in part.to_batches(columns=columns, batch_size=batch):
            yield {name: rows.column(name).to_numpy(zero_copy_only=False) for name in columns}


def _axis(grid: Grid, name: str) -> Any:
    """The axis or the design of a grid that has the name."""
    for factor in factors_of(grid):
        for part in factor.factors if isinstance(factor, Zip) else (factor,):
            if name in part.names:
                return part
    return None


def _one_for_each(values: np.ndarray) -> Cells:
    """A cell around each value, with edges half-way between them."""
    middle = (values[1:] + values[:-1]) / 2
    return Cells(np.concatenate([[-np.inf], middle, [np.inf]]), values)
