"""Parts that are whole or not there, manifests, readers, and the engine in one process."""

import json
import os
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import polars
import pytest

from nc_jax.sweeps import Block, Plan, Product, Store, Values, code_of, measured_chunk, run_sweep
from nc_jax.sweeps.machines import do_chunk
from tests.sweeps import toy
from tests.test_source import loaded


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The toy sweep's store, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    store = Store(folder)
    outcome = run_sweep(store.prepare(toy.plan()), toy.build, store)
    assert (outcome.points, outcome.chunks, outcome.found) == (220, 32, 0)
    return folder


@pytest.fixture
def copy(undisturbed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed, folder)
    return folder


def table(folder):
    return Store(folder).to_pandas()


def test_the_table_is_the_function_of_the_grid(undisturbed):
    rows = table(undisturbed)
    assert list(rows) == ["point", "k", "x", "y", "z", "noise"]
    bad = np.where(rows["y"] == 5, np.nan, rows["y"])
    np.testing.assert_allclose(rows["z"], rows["k"] * rows["x"] ** 2 + bad)
    assert rows["noise"].nunique() == 220 and rows["point"].nunique() == 220
    # In the order of the plan.
    assert (np.diff(rows["k"]) >= 0).all() and rows["y"].tolist()[:11] == list(range(11))


def test_chunks_do_not_change_numbers(undisturbed, tmp_path):
    store = Store(tmp_path)
    blocks = [Block(b.choices, b.grid, 50) for b in toy.plan().blocks]
    run_sweep(store.prepare(Plan({"what": "toy"}, tuple(blocks))), toy.build, store)
    pd.testing.assert_frame_equal(table(tmp_path), table(undisturbed))


def test_metadata_names_spec_and_versions(undisturbed):
    metadata = Store(undisturbed).dataset().schema.metadata[b"nc_jax.sweep"]
    about = json.loads(metadata)
    assert about["settings"] == {"what": "toy"}
    assert about["block"]["choices"] == {"k": 1} and about["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "rename", "foreign", "junk", "remove"])
def test_harmed_parts_are_found_named_and_computed_again(undisturbed, copy, harm):
    parts = sorted((copy / "parts").iterdir())
    part = parts[5]
    raw = bytearray(part.read_bytes())
    named = part.name
    if harm == "cut":
        part.write_bytes(raw[:-20])
    elif harm == "empty":
        part.write_bytes(b"")
    elif harm == "flip":
        raw[len(raw) // 3] ^= 1
        part.write_bytes(raw)
    elif harm == "rename":
        named = parts[6].name.replace(parts[6].name[13:21], "00000004")
        parts[6].rename(copy / "parts" / named)
    elif harm == "foreign":
        named = "0123456789ab" + part.name[12:]
        part.rename(copy / "parts" / named)
    elif harm == "junk":
        named = "notes.txt"
        (copy / "parts" / named).write_text("mine")
    else:
        part.unlink()
    store = Store(copy)
    outcome = run_sweep(store.prepare(toy.plan()), toy.build, store)
    found = outcome.foreign if harm in ("foreign", "junk") else outcome.damaged
    assert found == ([] if harm == "remove" else [named])
    assert outcome.chunks == (0 if harm == "junk" else 1)
    pd.testing.assert_frame_equal(table(copy), table(undisturbed))
    # What is not ours is left where it was.
    assert (copy / "parts" / named).exists() == (harm not in ("rename",))


def test_appended_values_keep_what_is_there(undisturbed, copy):
    store = Store(copy)
    before = {p.name: p.stat().st_mtime_ns for p in (copy / "parts").iterdir()}
    x, y = toy.plan().blocks[0].grid.factors
    more = Product(Values("x", np.append(x.values, 2.0)), Values("y", np.append([-1.0], y.values)))
    blocks = tuple(Block({"k": k}, more, toy.CHUNK) for k in (1, 2, 3))
    plan = store.prepare(Plan({"what": "toy"}, blocks))
    outcome = run_sweep(plan, toy.build, store)
    assert outcome.points == 3 * 11 * 12 - 220
    after = {p.name: p.stat().st_mtime_ns for p in (copy / "parts").iterdir()}
    assert {name: after[name] for name in before} == before
    rows = table(copy)
    assert len(rows) == 396 and rows["point"].nunique() == 396
    old = rows.merge(table(undisturbed), on="point", suffixes=("", "_before"))
    np.testing.assert_array_equal(old["z"], old["z_before"])
    with pytest.raises(ValueError, match="another sweep"):
        store.prepare(toy.plan())


def test_another_sweep_is_refused_unless_asked_for(copy):
    store = Store(copy)
    other = Plan({"what": "else"}, toy.plan().blocks)
    with pytest.raises(ValueError, match=r"another sweep.*what was 'toy', is 'else'"):
        store.prepare(other)
    plan = store.prepare(other, replace=True)
    outcome = run_sweep(plan, toy.build, store)
    assert outcome.chunks == 32 and len(outcome.foreign) == 32
    assert len(table(copy)) == 220


CODE = """
def build(choices):
    return lambda columns, keys: {{"z": {factor} * columns["x"]}}
"""


def rows_with(store, build, points=4, **options):
    """The outcome of a sweep in which the settings name the code, as those of an experiment do."""
    blocks = (Block({}, Values("x", np.arange(1.0, 1 + points)), 2),)
    plan = store.prepare(Plan({"what": "line", "code": code_of(build)}, blocks), **options)
    return run_sweep(plan, build, store)


@pytest.fixture
def versions(tmp_path):
    """A store that was stopped half way, and the function in its two versions."""
    first, second = (
        loaded(tmp_path / "line.py", CODE.format(factor=1)).build,
        lambda: loaded(tmp_path / "line.py", CODE.format(factor=10)).build,
    )
    store = Store(tmp_path / "store")
    assert rows_with(store, first).chunks == 2
    next((tmp_path / "store" / "parts").glob("*-00000001-*")).unlink()
    return store, first, second


def test_the_same_code_resumes(versions):
    store, first, _ = versions
    outcome = rows_with(store, first)
    assert (outcome.found, outcome.chunks) == (1, 1)
    assert store.to_pandas()["z"].tolist() == [1, 2, 3, 4]


def test_rows_of_other_code_are_refused_and_unchanged(versions):
    store, _, second = versions
    before = {path: path.read_bytes() for path in Path(store.root).rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"rows of another version.*--replace.*--any-code"):
        rows_with(store, second())
    assert before == {path: path.read_bytes() for path in before}
    # A changed sweep is the first thing to know.
    with pytest.raises(ValueError, match="another sweep.*what was 'line', is 'curve'"):
        store.prepare(Plan({"what": "curve", "code": "0"}, store.plan().blocks))


def test_a_sweep_without_a_record_of_its_code_is_refused_too(tmp_path):
    store, blocks = Store(tmp_path), toy.plan().blocks
    plan = store.prepare(Plan({"what": "toy"}, blocks))
    run_sweep(plan, toy.build, store)
    named = Plan({"what": "toy", "code": code_of(toy.build)}, blocks)
    with pytest.raises(ValueError, match="another version of the code"):
        store.prepare(named)
    assert run_sweep(store.prepare(named, any_code=True), toy.build, store).chunks == 0


def test_all_is_computed_again_and_the_old_parts_are_kept(versions):
    store, _, second = versions
    old = {path.name for path in (Path(store.root) / "parts").iterdir()}
    outcome = rows_with(store, second(), replace=True)
    assert outcome.chunks == 2 and set(outcome.foreign) == old
    assert store.to_pandas()["z"].tolist() == [10, 20, 30, 40]


def test_a_sweep_is_continued_by_other_code_only_if_asked_for(versions):
    store, first, second = versions
    later = second()
    outcome = rows_with(store, later, any_code=True)
    assert (outcome.found, outcome.chunks) == (1, 1)
    assert store.to_pandas()["z"].tolist() == [1, 2, 30, 40]
    manifest = json.loads((Path(store.root) / "sweep.json").read_text())
    assert manifest["continued_by_code"] == [code_of(later)] != [manifest["settings"]["code"]]
    # That code is known from now on, also for more points; a third version is not.
    assert rows_with(store, later, points=6).points == 2
    assert rows_with(store, later, points=6).chunks == 0
    third = loaded(Path(store.root).parent / "line.py", CODE.format(factor=100)).build
    with pytest.raises(ValueError, match="another version"):
        rows_with(store, third, points=6)


def test_a_manifest_without_its_parts_stands_in_nobodys_way(versions):
    store, _, second = versions
    for part in (Path(store.root) / "parts").iterdir():
        part.unlink()
    later = second()
    assert rows_with(store, later).chunks == 2 and store.plan().code == code_of(later)
    assert rows_with(store, later).found == 2


def test_a_worker_with_other_code_computes_nothing(tmp_path):
    store, maker = Store(tmp_path), "tests.sweeps.toy:build_plain"
    plan = store.prepare(toy.plan())
    about = {"plan": plan.spec(), "build": {}, "seed": 0, "x64": False}
    for code, points in ((code_of(toy.build), 7), ("0" * 16, 0)):
        text = json.dumps(about | {"code": code})
        done, error = do_chunk(maker, text, str(tmp_path), 0, 0)
        assert done == points and ("another version of the code" in error) == (points == 0)
    assert [note["chunk"] for note in store.failures()] == [0]


def test_a_raising_chunk_is_recorded_and_the_others_go_on(undisturbed, tmp_path):
    store = Store(tmp_path)
    plan = store.prepare(toy.plan())
    x = toy.plan().blocks[0].grid.factors[0].values[3]
    outcome = run_sweep(plan, lambda c: toy.build(c, fail_at=x), store)
    assert 2 <= len(outcome.failed) <= 8 and outcome.chunks == 32 - len(outcome.failed)
    assert "cursed" in outcome.failed[0]
    assert [note["block"] for note in store.failures()].count(1) == len(outcome.failed) / 2
    again = run_sweep(plan, toy.build, store)
    assert again.chunks == len(outcome.failed) and not store.failures()
    pd.testing.assert_frame_equal(table(tmp_path), table(undisturbed))


def test_a_function_that_cannot_be_built_fails_its_block_alone(tmp_path):
    def build(choices):
        if choices["k"] == 1:
            raise ValueError("no such k")
        return toy.build(choices)

    store = Store(tmp_path)
    outcome = run_sweep(store.prepare(toy.plan()), build, store)
    assert outcome.chunks == 16 and len(outcome.failed) == 16
    assert "no such k" in outcome.failed[0]


def test_outputs_must_be_columns(tmp_path):
    store = Store(tmp_path)
    outcome = run_sweep(
        store.prepare(toy.plan()), lambda c: lambda cols, keys: {"z": cols["x"][:, None]}, store
    )
    assert outcome.chunks == 0 and "z" in outcome.failed[0]


def test_a_store_that_cannot_be_written_loses_nothing(undisturbed, tmp_path, monkeypatch):
    store = Store(tmp_path)
    plan = store.prepare(toy.plan())
    write, count = Store._put, iter(range(100))

    def full(self, path, raw, new=False):
        if next(count) == 5:
            raise OSError(28, "No space left on device")
        return write(self, path, raw, new)

    monkeypatch.setattr(Store, "_put", full)
    with pytest.raises(OSError, match="No space left"):
        run_sweep(plan, toy.build, store)
    monkeypatch.undo()
    assert not [p for p in (tmp_path / "parts").iterdir() if p.name.startswith(".")]
    outcome = run_sweep(plan, toy.build, store)
    assert outcome.found >= 5
    pd.testing.assert_frame_equal(table(tmp_path), table(undisturbed))


def test_in_memory_and_as_other_tables(undisturbed):
    store = Store("memory://toy")
    run_sweep(store.prepare(toy.plan()), toy.build, store)
    pd.testing.assert_frame_equal(store.to_pandas(), table(undisturbed))
    assert run_sweep(store.prepare(toy.plan()), toy.build, store).found == 32
    some = store.to_pandas(["z"])
    assert list(some) == ["z"]


def test_other_readers(undisturbed):
    store = Store(undisturbed)
    assert isinstance(store.to_polars(), polars.DataFrame) and store.to_polars().shape == (220, 6)
    array = store.to_xarray()
    assert dict(array.sizes) == {"k": 2, "x": 10, "y": 11}
    np.testing.assert_allclose(array["z"].sel(k=2, y=3.0), 2 * array["x"] ** 2 + 3)


def test_one_process_of_several_begins_a_store(tmp_path):
    found = []

    def begin(chunk):
        blocks = [Block(b.choices, b.grid, 0) for b in toy.plan().blocks]
        plan = Plan({"what": "toy"}, tuple(blocks))
        found.append(Store(tmp_path).prepare(plan, measure=lambda block: chunk))

    threads = [threading.Thread(target=begin, args=(chunk,)) for chunk in range(3, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({plan.fingerprints[0] for plan in found}) == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".writing")]


def test_chunks_are_measured_by_time_and_memory():
    block = toy.plan(points=1000).blocks[0]

    def columns(count):
        return Block(block.choices, block.grid, count).columns(0)

    size, seconds = measured_chunk(toy.build, {"k": 1}, columns, len(block.grid))
    assert size == 11_000 and 0 < seconds < 0.1
    small, _ = measured_chunk(toy.build, {"k": 1}, columns, len(block.grid), memory=2**14)
    assert small < 1000
    slow, _ = measured_chunk(
        lambda c: toy.build(c, seconds=0.02), {"k": 1}, columns, len(block.grid), seconds=0.01
    )
    assert slow <= 8


def test_long_blocks_have_at_least_sixteen_chunks():
    block = toy.plan(points=100_000).blocks[0]

    def columns(count):
        return Block(block.choices, block.grid, count).columns(0)

    devices = jax.local_devices()[:1]
    chunk, _ = measured_chunk(toy.build, {"k": 1}, columns, len(block.grid), devices)
    assert 16 <= len(block.grid) / chunk <= 17


def test_stop_ends_after_the_chunks_in_flight(tmp_path):
    store, stop = Store(tmp_path), threading.Event()
    outcome = run_sweep(
        store.prepare(toy.plan()), toy.build, store, stop=stop,
        progress=lambda points, failed: stop.set() if points else None,
    )  # fmt: skip
    assert outcome.interrupted and 1 <= outcome.chunks < 32
    assert len(store.scan(store.plan()).parts) == outcome.chunks


@pytest.mark.parametrize("address", ["nonsense://x"])
def test_bad_addresses_are_named(address):
    with pytest.raises(ValueError, match="store"):
        Store(address)


def test_a_broken_manifest_is_named(copy):
    (copy / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep\.json"):
        Store(copy).plan()
    with pytest.raises(FileNotFoundError, match="no part"):
        Store(copy / "elsewhere").to_pandas()
