"""Which chunks a process computes, and sweeps on many machines with Ray."""

import importlib
import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax

from nc_jax.sweeps.engine import (
    Outcome,
    chunk_solver,
    code_of,
    error_line,
    finished_table,
)
from nc_jax.sweeps.plan import Plan, compiled_choices, plan_from_spec
from nc_jax.sweeps.store import Store

# Tasks given to the cluster at a time, for each of its slots.
AHEAD = 3
RETRIES = 20


def share_of(text: str | None, environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """(i, n): this process computes every n-th chunk, starting with the i-th.

    Args:
        text: 'i/n' with 0 ≤ i < n; None to use ``jax.distributed``, and otherwise Slurm.
        environment: holds Slurm's variables; ``os.environ`` by default.

    Raises:
        ValueError: the text has another form.
    """
    if text is not None:
        index, slash, count = text.partition("/")
        if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
            raise ValueError(f"--shard must be i/n with 0 ≤ i < n, got {text!r}")
        return int(index), int(count)
    if jax.process_count() > 1:
        return jax.process_index(), jax.process_count()
    environment = os.environ if environment is None else environment
    try:
        index, count = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
    except (KeyError, ValueError):
        return 0, 1
    return (index, count) if 0 <= index < count else (0, 1)


@lru_cache(maxsize=4)
def _worker(maker: str, text: str, address: str) -> tuple[Any, Any, Any]:
    """The plan, store and function in a worker process."""
    about = json.loads(text)
    if about["x64"]:
        jax.config.update("jax_enable_x64", True)
    module, _, name = maker.partition(":")
    build = getattr(importlib.import_module(module), name)(about["build"])
    return plan_from_spec(about["plan"]), Store(address), build


def do_chunk(maker: str, text: str, address: str, place: int, chunk: int) -> tuple[int, str]:
    """Computes one chunk and writes its part; this is the task that a cluster runs.

    Returns:
        Number of stored points, and the error of the chunk's function if it raised one.
    """
    plan, store, build = _worker(maker, text, address)
    about = json.loads(text)
    try:
        if about.get("code") and about["code"] != code_of(build):
            raise ValueError("this worker has another version of the code")
        block = plan.blocks[place]
        length = min(block.chunk, len(block.grid))
        choices = compiled_choices(plan, build)[place]
        solver = chunk_solver(build, choices, length, about["seed"])
        columns = block.columns(chunk)
        table = finished_table(columns, solver(columns))
    except Exception as error:  # noqa: BLE001 (a user's function may raise anything)
        line = error_line(error)
        store.record_failure(plan, place, chunk, line)
        return 0, line
    store.write(plan, place, chunk, table)
    store.forget_failure(plan, place, chunk)
    return len(columns["point"]), ""


def require_ray() -> Any:
    """The package Ray, which is imported.

    Raises:
        ImportError: Ray is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install 'nc-jax[cluster]'") from error


def run_on_ray(
    todo: list[tuple[int, int]],
    maker: str,
    text: str,
    address: str,
    cluster: str,
    outcome: Outcome,
    stop: Any,
    progress: Callable[[int, int], None],
    cpus: float = 1.0,
    gpus: float = 0.0,
) -> None:
    """Computes chunks as tasks of a Ray cluster; a task is repeated if its worker dies.

    Args:
        todo: (block, chunk) pairs to compute.
        maker: 'module:function', which makes the build function from its JSON.
        text: JSON with plan, build, seed and x64, and as ``code`` the digest of the code that
            every worker must have; empty or absent for any.
        address: address of the store, which all workers must be able to reach.
        cluster: 'local', or the address of a cluster to join.
        outcome: is filled in.
        stop: an event; after it is set, no further tasks are started.
        progress: called with the numbers of new points and failed chunks.
        cpus: CPU cores that each task reserves.
        gpus: GPUs that each task reserves.

    Raises:
        ImportError: Ray is not installed.
        OSError: the store cannot be written.
    """
    ray = require_ray()
    joined = ray.is_initialized()
    if not joined:
        ray.init(address=None if cluster == "local" else cluster, log_to_driver=False)
    task = ray.remote(do_chunk).options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)
    try:
        slots = max(int(ray.cluster_resources().get("CPU", 1) / max(cpus, 1e-3)), 1)
        waiting, flying = list(reversed(todo)), {}
        while (waiting and not stop.is_set()) or flying:
            while waiting and not stop.is_set() and len(flying) < AHEAD * slots:
                key = waiting.pop()
                flying[task.remote(maker, text, address, *key)] = key
            ready, _ = ray.wait(list(flying), num_returns=1, timeout=0.5)
            for reference in ready:
                key = flying.pop(reference)
                points, error = ray.get(reference)
                if error:
                    outcome.failed.append(f"chunk {key[1]} of block {key[0]}: {error}")
                else:
                    outcome.points += points
                    outcome.chunks += 1
                progress(points, int(bool(error)))
    finally:
        if not joined:
            ray.shutdown()


def on_ray(
    plan: Plan,
    store: Store,
    maker: str,
    code: str,
    seed: int,
    x64: bool,
    cluster: str,
    cpus: float,
    gpus: float,
) -> Callable[..., None]:
    """What runs the chunks of a plan as Ray tasks, for ``run_sweep``.

    Args:
        plan: the plan, whose settings are those of its function.
        store: where the parts are written; all machines must reach it.
        maker: 'module:name' of what makes the function from these settings.
        code: the digest of the code that every worker must have; empty for any.
        seed: seed of the keys of the points.
        x64: whether the workers compute in float64.
        cluster: 'local' for a cluster on this machine, or the address of one.
        cpus: CPU cores that each task reserves.
        gpus: GPUs that each task reserves.
    """
    about = {"plan": plan.spec(), "build": plan.settings, "code": code, "seed": seed, "x64": x64}
    address = str(Path(store.root).resolve()) if store.local else store.address

    def elsewhere(todo: list, outcome: Outcome, stop: Any, progress: Any) -> None:
        work = todo, maker, json.dumps(about), address, cluster
        run_on_ray(*work, outcome, stop, progress, cpus, gpus)

    return elsewhere
