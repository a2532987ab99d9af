"""Aggregates: those of pandas on the whole table, whatever the parts, the batches and the axes."""

import numpy as np
import pandas as pd
import pytest

from nc_jax import sweeps
from nc_jax.sweeps import Block, Cells, Plan, Product, Random, Store, Values, Zip
from nc_jax.sweeps.chunks import balanced

OUTPUTS = ["height", "kind"]


def outputs(columns):
    """A column with NaN and infinity, and one of small integers."""
    x = columns["x"]
    height = x * 10 - columns.get("k", 0)
    height = np.where(x > 0.9, np.nan, np.where(x < 0.05, np.inf, height))
    return {"height": height, "kind": (x * 100).astype(np.int8)}


def stored(folder, *blocks):
    store = Store(folder)
    plan = store.prepare(Plan({}, blocks))
    for place, chunk in plan.chunks():
        columns = plan.blocks[place].columns(chunk)
        store.write(plan, place, chunk, columns | outputs(columns))
    return store


def by_pandas(store, cells, output):
    """Count, number known, mean, least, largest by the edges of the cells."""
    table = store.to_pandas()
    table[output] = table[output].astype(float).where(np.isfinite(table[output]))
    places = [
        pd.cut(table[name], axis.edges, right=False, labels=False, include_lowest=True)
        for name, axis in cells.items()
    ]
    groups = table.groupby(places)[output]
    return groups.agg(["size", "count", "mean", "min", "max"])


@pytest.mark.parametrize("batch", [7, 10**6])
def test_cells_of_a_scattered_plane(tmp_path, batch):
    design = Random({"x": (0.0, 1.0), "y": (1.0, 1e4, "log")}, 3000, seed=3)
    store = stored(tmp_path, Block({"k": 1}, design, 700), Block({"k": 2}, design, 3000))
    cells = {"x": sweeps.cells_of(store.plan(), "x", 5), "y": sweeps.cells_of(store.plan(), "y", 4)}
    np.testing.assert_allclose(cells["x"].edges, np.linspace(0, 1, 6))
    np.testing.assert_allclose(cells["y"].edges, [1, 10, 100, 1e3, 1e4])
    np.testing.assert_allclose(cells["y"].centres, 10 ** np.array([0.5, 1.5, 2.5, 3.5]))
    found = sweeps.aggregate(store, cells, OUTPUTS, batch)
    assert len(found) == 20 and found["points"].sum() == 6000
    for output in OUTPUTS:
        known = by_pandas(store, cells, output)
        for name, column in (("known", "count"), ("mean", "mean"), ("min", "min"), ("max", "max")):
            np.testing.assert_allclose(found[f"{output}_{name}"], known[column], err_msg=name)
        np.testing.assert_array_equal(found["points"], known["size"])


def test_few_values_have_a_cell_each_and_the_last_edge_belongs_to_the_last_cell(tmp_path):
    grid = Product(Values("x", [0.5, 0.1, 0.2]), sweeps.linspace("y", 0, 1, 11))
    store = stored(tmp_path, Block({"k": 3}, grid, 4), Block({"k": 5}, grid, 4))
    plan = store.plan()
    cells = {"k": sweeps.cells_of(plan, "k", 10), "x": sweeps.cells_of(plan, "x", 3)}
    found = sweeps.aggregate(store, cells, ["height"])
    assert found["k"].tolist() == [3, 3, 3, 5, 5, 5]
    assert found["x"].tolist() == [0.1, 0.2, 0.5] * 2 and (found["points"] == 11).all()
    np.testing.assert_allclose(found["height_mean"], [-2, -1, 2, -4, -3, 0], atol=1e-12)
    cells = {"y": sweeps.cells_of(plan, "y", 2)}
    assert sweeps.aggregate(store, cells, ["kind"])["points"].tolist() == [30, 36]


def test_cells_without_a_finite_value_and_parts_that_are_missing(tmp_path):
    store = Store(tmp_path)
    plan = store.prepare(Plan({}, (Block({}, sweeps.linspace("x", 0, 1, 101), 10),)))
    with pytest.raises(FileNotFoundError, match="run the sweep first"):
        sweeps.aggregate(store, {"x": sweeps.cells_of(plan, "x", 10)}, ["height"])
    for chunk in (0, 10):
        columns = plan.blocks[0].columns(chunk)
        store.write(plan, 0, chunk, columns | outputs(columns))
    found = sweeps.aggregate(store, {"x": sweeps.cells_of(plan, "x", 10)}, ["height"])
    assert found["points"].tolist() == [10, *[0] * 8, 1]
    assert found["height_known"].tolist() == [5, *[0] * 9]
    assert np.isnan(found["height_min"][1:]).all() and found["height_max"][0] < 1


def test_values_outside_are_left_out(tmp_path):
    store = stored(tmp_path, Block({}, sweeps.linspace("x", 0.0, 1.0, 101), 30))
    found = sweeps.aggregate(store, {"x": sweeps.even_cells(0.205, 0.405, 2)}, ["kind"])
    assert found["points"].tolist() == [10, 10]
    inside = Cells(np.array([0.2, 0.3]), np.array([0.25]))
    places = inside.place(np.array([np.nan, 0.1, 0.2, 0.25, 0.3, 0.31, np.inf]))
    assert places.tolist() == [-1, -1, 0, 0, 0, -1, -1]


def test_bad_axes_and_outputs_are_named(tmp_path):
    grid = Zip(Values("x", [0.1, 0.2]), Values("z", ["a", "b"]))
    store = stored(tmp_path, Block({"s": "text"}, grid, 2))
    plan = store.plan()
    for name in ("z", "s"):
        with pytest.raises(ValueError, match="must be numbers"):
            sweeps.cells_of(plan, name, 5)
    with pytest.raises(ValueError, match="'w' is no axis"):
        sweeps.cells_of(plan, "w", 5)
    with pytest.raises(ValueError, match="at least one between low < high"):
        sweeps.cells_of(plan, "x", 0)
    with pytest.raises(ValueError, match="at least one between low < high"):
        sweeps.even_cells(0, 1, 3, logarithmic=True)
    with pytest.raises(ValueError, match=r"got \['depth'\]"):
        sweeps.aggregate(store, {"x": sweeps.cells_of(plan, "x", 2)}, ["depth"])


@pytest.mark.parametrize(
    ("size", "points", "devices"), [(65536, 10**6, 1), (65536, 10**6, 2), (64, 1000, 2), (8, 3, 2)]
)
def test_balanced_chunks_waste_little(size, points, devices):
    chunk = balanced(size, points, devices)
    chunks = -(-points // chunk)
    assert chunk <= size * devices and chunk % devices == 0
    assert chunks == -(-points // (size * devices))
    assert chunks * chunk - points < max(chunks * devices * (512 if size > 8191 else 1), 8)
