"""A sweep as a TOML file: what to solve, over which axes, into which store.

    store = "results/sweep/ratio_budget"
    surrogate = "layer-peeled"      # classes, loss, solver, dtype, seed, outputs alike
    solver = {name = "FactoredMultiStart", restarts = 8}    # or its name alone, or none
    outputs = ["status", "phase", "gap", "minority_cosine"]

    [model]                         # the same at every point
    num_classes = 10

    [axes]                          # every combination; the last varies fastest
    majority = [1, 2, 3]
    ratio = {logspace = [1, 1e4, 401]}
    budget = {linspace = [0.25, 4, 201]}

    [designs.penalties]             # points in a box, one axis of the product
    sobol = 1024
    lambda_w = [1e-4, 1e-1, "log"]

An entry ``zip = [["ratio", "budget"]]`` varies axes of equal length together.
"""

import dataclasses
import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nc_jax.experiments import Experiment
from nc_jax.sweeps import Block, Grid, Plan, Product, Random, Sobol, Values, Zip
from nc_jax.sweeps import linspace as even
from nc_jax.sweeps import logspace as even_in_logarithm
from nc_jax.sweeps.plan import compiled_choices

NAMES = ("surrogate", "classes", "loss", "solver", "dtype", "outputs")
OTHERS = ("store", "seed", "chunk", "model", "axes", "designs", "zip")


@dataclasses.dataclass(frozen=True)
class Spec:
    """A sweep that was read and checked.

    Attributes:
        experiment: the function to evaluate.
        plan: its points; chunk sizes are zero if the file gives none.
        store: folder or address of the table.
        seed: of random starts.
        axes: names in the order of the table.
    """

    experiment: Experiment
    plan: Plan
    store: str
    seed: int
    axes: tuple[str, ...]


def read_spec(path: Any) -> Spec:
    """Reads a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not TOML, or :func:`parse_spec` rejects it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no spec at {path}")
    try:
        given = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    return parse_spec(given, default_store=f"results/sweep/{path.stem}")


def parse_spec(given: Mapping[str, Any], default_store: str = "results/sweep/spec") -> Spec:
    """Checks a spec and makes its plan.

    Raises:
        ValueError: one line that names the key and what was expected.
    """
    for key in given:
        if key not in NAMES + OTHERS:
            raise ValueError(f"{key}: unknown key; expected {', '.join(NAMES + OTHERS)}")
    model = _table(given, "model")
    named = {name: given[name] for name in NAMES if name in given}
    experiment = Experiment(fixed=model, **named)
    store, seed, chunk = (
        given.get(k, d) for k, d in (("store", default_store), ("seed", 0), ("chunk", 0))
    )
    if not isinstance(store, str) or not store:
        raise ValueError(f"store must be a folder or an address, got {store!r}")
    for key, value, least in (("seed", seed, 0), ("chunk", chunk, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{key} must be an integer of at least {least}, got {value!r}")
    choices, numbers = _factors(given, experiment)
    grid = numbers[0] if len(numbers) == 1 else Product(*numbers)
    names = tuple(name for rows in choices for name in rows[0]) + grid.names
    twice = sorted(set(names) & set(model))
    if twice:
        raise ValueError(f"axes: {', '.join(twice)} is already in [model]")
    blocks = []
    for rows in itertools.product(*choices):
        chosen = {name: value for row in rows for name, value in row.items()}
        blocks.append(Block(chosen, grid, chunk))
    plan = Plan(experiment.spec() | {"seed": seed}, tuple(blocks))
    # One block of each program: tracing it takes seconds.
    for block in dict(zip(compiled_choices(plan, experiment), blocks, strict=True)).values():
        experiment.check(block.choices, _first(block.grid))
    return Spec(experiment, plan, store, seed, names)


def _first(grid: Grid) -> dict[str, Any]:
    return grid.at(np.arange(min(2, len(grid))))


def _factors(
    given: Mapping[str, Any], experiment: Experiment
) -> tuple[list[list[dict[str, Any]]], list[Grid]]:
    """Rows of choices, and grids of numbers, in the order of the file."""
    axes = {name: _axis(name, value) for name, value in _table(given, "axes").items()}
    for name, axis in axes.items():
        experiment.require_value("axes", name, axis.values.tolist())
    groups = _zipped(given.get("zip", []), axes)
    choices, numbers = [], []
    for names in groups:
        kinds = {name in experiment.choices for name in names}
        if len(kinds) != 1:
            raise ValueError(f"zip: {', '.join(names)} mixes choices and numbers")
        try:
            grid = axes[names[0]] if len(names) == 1 else Zip(*(axes[name] for name in names))
        except ValueError as error:
            raise ValueError(f"zip: {error}") from error
        if kinds == {True}:
            columns = [axes[name].values.tolist() for name in names]
            choices.append(
                [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            )
        else:
            numbers.append(grid)
    for label, table in _table(given, "designs").items():
        numbers.append(_design(label, table, experiment))
    if not numbers:
        raise ValueError("axes must hold at least one axis of numbers")
    return choices, numbers


def _axis(name: str, value: Any) -> Values:
    """An axis from a list, or from a table with linspace, logspace or values."""
    kinds = {"values": None, "linspace": even, "logspace": even_in_logarithm}
    if isinstance(value, list):
        value = {"values": value}
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in kinds:
        raise ValueError(
            f"axes: {name} must be a list, or one of {{values = […]}}, {{linspace = [start, "
            f"stop, num]}} and {{logspace = [start, stop, num]}}, got {value!r}"
        )
    ((kind, inside),) = value.items()
    try:
        if kind == "values":
            return Values(name, inside)
        if not isinstance(inside, list) or len(inside) != 3:
            raise ValueError(f"axis {name!r} must have {kind} = [start, stop, num], got {inside!r}")
        return kinds[kind](name, *inside)
    except (TypeError, ValueError) as error:
        raise ValueError(f"axes: {error}") from error


def _design(label: str, table: Any, experiment: Experiment) -> Grid:
    """A Sobol or random design from its table."""
    kinds = {"sobol": Sobol, "random": Random}
    found = [kind for kind in kinds if isinstance(table, dict) and kind in table]
    if len(found) != 1:
        raise ValueError(f"designs: {label} must hold sobol = number or random = number of points")
    ranges = {name: value for name, value in table.items() if name not in (*kinds, "seed")}
    for name, value in ranges.items():
        if not isinstance(value, list) or len(value) not in (2, 3):
            raise ValueError(f"designs: {label}: {name} must be [low, high] or [low, high, 'log']")
        if name in experiment.choices:
            raise ValueError(f"designs: {label}: {name} is a choice, not a number; use [axes]")
        experiment.require_value(f"designs: {label}", name, value[:2])
    try:
        return kinds[found[0]](ranges, table[found[0]], table.get("seed", 0))
    except (TypeError, ValueError) as error:
        raise ValueError(f"designs: {label}: {error}") from error


def _zipped(given: Any, axes: Mapping[str, Values]) -> list[list[str]]:
    """Groups of axis names in the order of the axes; most groups contain a single axis."""
    if not isinstance(given, list) or not all(isinstance(group, list) for group in given):
        raise ValueError(f"zip must be a list of lists of axis names, got {given!r}")
    flat = [name for group in given for name in group]
    for name in flat:
        if name not in axes:
            raise ValueError(f"zip: {name!r} is not an axis; expected {', '.join(axes)}")
    if len(set(flat)) != len(flat):
        raise ValueError("zip: an axis can be in one group only")
    groups, seen = [], set()
    for name in axes:
        if name in seen:
            continue
        group = next((list(group) for group in given if name in group), [name])
        groups.append(group)
        seen.update(group)
    return groups


def _table(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = given.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be a table, got {value!r}")
    return value
