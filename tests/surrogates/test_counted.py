"""Models of traced numbers of classes solve as those of given classes do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.solvers import choose_solver
from nc_jax.surrogates import CountedLayerPeeled, CountedSizes, CountedUnconstrained


def make(kind, counts, sizes, strength):
    counted = CountedSizes(counts, sizes)
    if kind == "layer-peeled":
        return CountedLayerPeeled(counted, strength, nc.CrossEntropy())
    return CountedUnconstrained(counted, strength, nc.CrossEntropy(), jnp.zeros_like(strength))


def plain(kind, counts, sizes, strength):
    given = nc.class_sizes(np.repeat(sizes, counts))
    if kind == "layer-peeled":
        return nc.LayerPeeled(given, strength, strength)
    return nc.UnconstrainedFeatures(given, strength, strength, 0.0)


@pytest.mark.parametrize(("kind", "strength"), [("layer-peeled", 1.3), ("unconstrained", 0.01)])
def test_one_compiled_program_solves_every_number_of_classes(kind, strength):
    traces = []

    @jax.jit
    def solved(counts, sizes, strength):
        traces.append(kind)
        model = make(kind, counts, sizes, strength)
        solution = choose_solver(model)(model)
        bare = dataclasses.replace(solution, model=None)
        return bare, nc.phase_codes(solution), solution.within_cosines

    for counts in ((2, 3), (1, 4)):
        sizes = np.asarray([40.0, 7.0])
        own = np.asarray(counts), sizes, np.asarray(strength)
        bare, code, cosines = solved(*own)
        model = plain(kind, *own)
        expected = nc.solve(model)
        np.testing.assert_allclose(bare.objective, expected.objective, rtol=1e-12)
        np.testing.assert_allclose(cosines, expected.within_cosines, atol=1e-9)
        assert bare.gap < 1e-9
        assert code == nc.phase_codes(expected)
        placed = dataclasses.replace(bare, model=model)
        np.testing.assert_allclose(placed.logits, expected.logits, atol=1e-7)
    assert len(traces) == 1
