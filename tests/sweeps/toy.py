"""A sweep small and slow enough to be killed: run as a script by the fault tests.

python -m tests.sweeps.toy STORE [--seconds S] [--shard I/N] …
"""

import argparse
import json
import resource
import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax.sweeps import Block, Plan, Product, Store, Values, linspace, run_sweep, usable_devices
from nc_jax.sweeps.machines import share_of

CHUNK = 7


def plan(points=10):
    grid = Product(linspace("x", 0, 1, points), Values("y", np.arange(11.0)))
    return Plan({"what": "toy"}, tuple(Block({"k": k}, grid, CHUNK) for k in (1, 2)))


def build(choices, seconds=0.0, fail_at=None):
    def wait(x):
        time.sleep(seconds)
        if fail_at is not None and np.any(np.isclose(x, fail_at)):
            raise RuntimeError("this chunk is cursed")
        return x

    def function(columns, keys):
        kind = jax.ShapeDtypeStruct(columns["x"].shape, columns["x"].dtype)
        x = jax.pure_callback(wait, kind, columns["x"]) if seconds or fail_at else columns["x"]
        noise = jax.vmap(jax.random.normal)(keys)
        bad = jnp.where(columns["y"] == 5.0, jnp.nan, columns["y"])
        return {"z": choices["k"] * x**2 + bad, "noise": noise}

    return function


def build_plain(settings):
    """What a worker of a cluster imports."""
    return lambda choices: build(choices, seconds=settings.get("seconds", 0.0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--fail-at", type=float)
    parser.add_argument("--shard")
    parser.add_argument("--distributed", help="address of process 0, and this process's id")
    parser.add_argument("--largest-file", type=int, help="bytes; a larger one cannot be written")
    options = parser.parse_args()
    if options.largest_file:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.largest_file, resource.RLIM_INFINITY))
    if options.distributed:
        address, place = options.distributed.split(",")
        jax.distributed.initialize(address, 2, int(place))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = Store(options.store)
    prepared = store.prepare(plan())
    print("begun", flush=True)
    outcome = run_sweep(
        prepared,
        lambda choices: build(choices, options.seconds, options.fail_at),
        store,
        share=share_of(options.shard),
        stop=stop,
    )
    facts = {"chunks": outcome.chunks, "found": outcome.found, "damaged": outcome.damaged}
    print(json.dumps(facts | {"devices": len(usable_devices())}), flush=True)
    sys.exit(130 if outcome.interrupted else int(bool(outcome.failed)))


if __name__ == "__main__":
    main()
