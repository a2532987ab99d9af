"""How programs of single models are compiled and run."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import nc_jax as nc
from nc_jax import xla
from nc_jax.datasets import gaussian_classes
from nc_jax.solvers import select
from nc_jax.solvers.programs import FEW_LANES, one_thread, quickly, widely


def threads():
    return {library["filepath"]: library["num_threads"] for library in threadpool_info()}


def test_options_that_xla_does_not_know_are_left_out():
    known = xla._known({xla._LEVEL: 0, "xla_no_such_option": True})
    assert known == {xla._LEVEL: 0}
    assert quickly(jnp.sin, optimised=False) is quickly(jnp.sin, optimised=False)
    np.testing.assert_allclose(quickly(jnp.sin, optimised=False)(0.5), np.sin(0.5))


def power(x, n):
    return x**n


def test_programs_of_batches_are_compiled_once_and_also_run_traced():
    compiled = widely(power, True, ("n",))
    assert compiled is widely(power, True, ("n",))
    np.testing.assert_allclose(compiled(np.arange(3.0), n=2), [0.0, 1.0, 4.0])
    # Options of XLA are refused inside another program, so that a traced batch has none.
    models = nc.UnconstrainedFeatures([5.0, 3.0, 1.0], np.full(3, 1e-2), 1e-3)
    for solver in (nc.ReducedInteriorPoint(), nc.FactoredMultiStart(restarts=2)):
        alone = nc.solve_batch(models, solver).objective
        traced = jax.jit(lambda own, solver=solver: nc.solve_batch(own, solver).objective)(models)
        np.testing.assert_allclose(alone, traced, rtol=1e-9)


def test_lapack_has_its_threads_back_after_a_solve():
    with threadpool_limits(2):
        before = threads()
        with one_thread():
            assert set(threads().values()) == {1}
        assert nc.solve(nc.LayerPeeled([5.0, 3.0, 1.0])).status == nc.Status.CONVERGED
        assert threads() == before


def test_lapack_has_its_threads_back_after_callers_that_overlap():
    with threadpool_limits(2):
        before, first, last = threads(), one_thread(), one_thread()
        first.__enter__()
        last.__enter__()
        first.__exit__(None, None, None)
        assert set(threads().values()) == {1}
        last.__exit__(None, None, None)
        assert threads() == before


def test_a_model_alone_equals_its_lane_and_its_traced_solve():
    sizes = nc.long_tailed(5, 100.0)
    models = nc.LayerPeeled(sizes, 1.0, np.array([0.5, 5.0]))
    batch = nc.solve_batch(models)
    for lane, budget in enumerate([0.5, 5.0]):
        model = nc.LayerPeeled(sizes, 1.0, budget)
        alone, traced = nc.solve(model), jax.jit(nc.solve)(model)
        for solution in (alone, traced):
            assert solution.status == nc.Status.CONVERGED
            np.testing.assert_allclose(solution.objective, batch.objective[lane], rtol=1e-9)


of_a_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="programs of a CPU")


@of_a_cpu
def test_only_small_models_with_random_starts_are_compiled_with_fewer_optimisations(monkeypatch):
    chosen = []

    def recorded(function, optimised, **options):
        chosen.append(optimised)
        return quickly(function, optimised, **options)

    monkeypatch.setattr(select, "quickly", recorded)
    inputs, labels = gaussian_classes(3, 4, 5, 0.5, 0)
    solver = nc.EliminatedMultiStart(restarts=2, max_iterations=20)
    for decays in (1e-2, np.full(400, 1e-2)):
        model = nc.MultilayerUnconstrainedFeatures(inputs, labels, decays, 1.0)
        nc.solve(model, solver)
    assert chosen == [False, True]


@of_a_cpu
def test_long_sums_in_float32_are_divided(monkeypatch):
    chosen = []

    def recorded(function, optimised, *, whole_sums):
        chosen.append(whole_sums)
        return lambda *given: None

    monkeypatch.setattr(select, "quickly", recorded)
    for dtype in (np.float64, np.float32):
        model = nc.LayerPeeled(np.arange(1, 31, dtype=dtype), dtype(2), dtype(2))
        nc.solve(model, nc.FactoredQuasiNewton())
    assert chosen == [True, False]


@of_a_cpu
def test_few_small_models_are_compiled_quickly_and_many_widely(monkeypatch):
    chosen = []

    def recorded(function, optimised, static=()):
        chosen.append("quickly")
        return quickly(function, optimised, static)

    def noted(function, library, static=()):
        chosen.append("widely with a library" if library else "widely")
        return widely(function, library, static)

    monkeypatch.setattr(select, "quickly", recorded)
    monkeypatch.setattr(select, "widely", noted)
    objectives = []
    for lanes in (FEW_LANES, FEW_LANES + 1):
        sizes = nc.two_groups(3, 2, np.linspace(1, 100, FEW_LANES + 1)[:lanes])
        objectives.append(nc.solve_batch(nc.LayerPeeled(sizes, 1.0, 2.0)).objective)
    assert set(chosen[:-1]) == {"quickly"} and chosen[-1] == "widely"
    np.testing.assert_allclose(objectives[0], objectives[1][:FEW_LANES], rtol=1e-12)
    few = nc.LayerPeeled([9.0, 5.0, 1.0], 1.0, np.array([1.0, 2.0]))
    nc.solve_batch(few, nc.FactoredQuasiNewton())
    assert chosen[-1] == "widely with a library"


def test_a_library_that_is_loaded_later_uses_one_thread_too():
    # In a process of its own: here SciPy is loaded already.
    program = """
from threadpoolctl import threadpool_info
from nc_jax.solvers.programs import one_thread

def threads():
    return {own["filepath"]: own["num_threads"] for own in threadpool_info()}

with one_thread():
    known = len(threads())
import scipy.linalg
before, outer, inner = threads(), one_thread(), one_thread()
outer.__enter__()
inner.__enter__()
outer.__exit__(None, None, None)
print(known, len(before), set(threads().values()))
inner.__exit__(None, None, None)
print(threads() == before)
"""
    options = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=options, check=True
    )
    known, loaded, *rest = run.stdout.split()
    assert int(known) < int(loaded) and rest == ["{1}", "True"]
