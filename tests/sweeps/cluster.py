"""A local Ray cluster of two nodes, one part of which is killed in the middle of a sweep.

python -m tests.sweeps.cluster STORE worker|node
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from nc_jax.sweeps import Store, run_sweep
from nc_jax.sweeps.machines import run_on_ray
from tests.sweeps import toy


def run_and_kill(folder, kill):
    """Runs the toy sweep on two nodes and kills a worker or a whole node on the way."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    environment = {"env_vars": {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"}}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=environment)
    store = Store(folder)
    plan = store.prepare(toy.plan())
    about = {"plan": plan.spec(), "build": {"seconds": 0.1}, "seed": 0, "x64": False}
    killed = []

    def harm(points, failed):
        if not points or killed:
            return
        if kill == "node":
            killed.append(node)
            threading.Thread(target=cluster.remove_node, args=(node, False)).start()
            return
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if b"do_chunk" in (process / "cmdline").read_bytes():
                    killed.append(int(process.name))
                    os.kill(int(process.name), signal.SIGKILL)
                    return

    def elsewhere(todo, outcome, stop, progress):
        run_on_ray(
            todo, "tests.sweeps.toy:build_plain", json.dumps(about), str(folder), cluster.address,
            outcome, stop, progress,
        )  # fmt: skip

    try:
        outcome = run_sweep(plan, toy.build, store, progress=harm, elsewhere=elsewhere)
    finally:
        ray.shutdown()
        time.sleep(0.5)
        cluster.shutdown()
    assert killed
    print(json.dumps({"chunks": outcome.chunks, "failed": outcome.failed}))


if __name__ == "__main__":
    run_and_kill(Path(sys.argv[1]), sys.argv[2])
