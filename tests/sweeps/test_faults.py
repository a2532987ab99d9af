"""Processes that are killed, stopped, doubled or short of room: the table is the same after."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from nc_jax.sweeps import Store, run_sweep
from tests.sweeps import toy

ROOT = Path(__file__).resolve().parents[2]
CHUNKS = 32


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The table of an undisturbed run in one process, in single precision as below."""
    folder = tmp_path_factory.mktemp("expected")
    done = finish(folder)
    assert done["chunks"] == CHUNKS
    return Store(folder).to_pandas()


def begin(folder, *options, **environment):
    command = [sys.executable, "-m", "tests.sweeps.toy", str(folder), *map(str, options)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process, code=0):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    return json.loads(out.splitlines()[-1])


def finish(folder, *options, **environment):
    return end(begin(folder, *options, **environment))


def same(folder, expected):
    pd.testing.assert_frame_equal(Store(folder).to_pandas(), expected)
    return True


def parts(folder):
    names = (folder / "parts").iterdir() if (folder / "parts").exists() else []
    return [path for path in names if path.suffix == ".parquet" and path.name[0] != "."]


def test_killed_at_random_moments(tmp_path, expected):
    moments = random.Random(0)
    for _ in range(5):
        before = len(parts(tmp_path))
        process = begin(tmp_path, "--seconds", 0.15)
        while len(parts(tmp_path)) == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = len(parts(tmp_path))
    done = finish(tmp_path)
    assert done["found"] == left and not done["damaged"]
    assert 0 < left < CHUNKS
    assert same(tmp_path, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(tmp_path, expected, number):
    process = begin(tmp_path, "--seconds", 0.05)
    process.stdout.readline()
    while not parts(tmp_path):
        time.sleep(0.02)
    process.send_signal(number)
    done = end(process, code=130)
    assert 0 < done["chunks"] == len(parts(tmp_path)) < CHUNKS
    assert finish(tmp_path)["found"] == done["chunks"]
    assert same(tmp_path, expected)


def test_two_processes_on_one_store(tmp_path, expected):
    pair = [begin(tmp_path, "--seconds", 0.01) for _ in range(2)]
    for process in pair:
        end(process)
    assert len(parts(tmp_path)) == CHUNKS
    assert same(tmp_path, expected)


def test_shards_share_the_work(tmp_path, expected):
    pair = [begin(tmp_path, "--shard", f"{i}/3") for i in range(2)]
    pair.append(begin(tmp_path, SLURM_PROCID="2", SLURM_NTASKS="3"))
    assert sum(end(process)["chunks"] for process in pair) == CHUNKS
    assert same(tmp_path, expected)


def test_no_room_for_a_part(tmp_path, expected):
    finish(tmp_path, "--shard", "0/8")
    before = len(parts(tmp_path))
    # A part is about two kilobytes.
    process = begin(tmp_path, "--largest-file", 1200)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "File too large" in errors
    assert len(parts(tmp_path)) == before == len(list((tmp_path / "parts").iterdir()))
    finish(tmp_path)
    assert same(tmp_path, expected)


def test_eight_devices_and_two_processes_give_the_same_numbers(tmp_path, expected):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    assert finish(tmp_path / "eight", XLA_FLAGS=flags, NPROC="16")["devices"] == 8
    assert same(tmp_path / "eight", expected)
    assert finish(tmp_path / "few", XLA_FLAGS=flags, NPROC="2")["devices"] == 4
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    pair = [begin(tmp_path / "two", "--distributed", f"{address},{i}") for i in range(2)]
    assert sorted(end(process)["chunks"] for process in pair) == [CHUNKS // 2] * 2
    assert same(tmp_path / "two", expected)


@pytest.mark.parametrize("kill", ["worker", "node"])
def test_a_cluster_survives(tmp_path, expected, kill):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "tests.sweeps.cluster", str(tmp_path), kill]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"chunks": CHUNKS, "failed": []}
    assert same(tmp_path, expected)


def test_the_engine_agrees_in_this_process(tmp_path, expected):
    """The same sweep in double precision; ids are the same, numbers close."""
    store = Store(tmp_path)
    run_sweep(store.prepare(toy.plan()), toy.build, store)
    pd.testing.assert_frame_equal(
        store.to_pandas().drop(columns="noise"),
        expected.drop(columns="noise"),
        check_dtype=False,
        rtol=1e-6,
    )
