"""Models of traced numbers of classes solve as those of given classes do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.immutable import immutable
from nc_jax.solvers import choose_solver
from nc_jax.surrogates import CountedLayerPeeled, CountedSizes, CountedUnconstrained
from nc_jax.surrogates.counted import counted


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


@immutable(static=("steps",))
class Recorded(nc.ReducedInteriorPoint):
    """Keeps a note of every model whose program is traced."""

    def __call__(self, model, key=None):
        TRACED.append(type(model))
        return super().__call__(model, key)


TRACED = []


@pytest.mark.parametrize("lanes", [None, 3])
def test_another_number_of_classes_compiles_nothing(lanes):
    TRACED.clear()
    for membership in ((0, 0, 1, 1, 1, 2), (0, 1, 0, 2, 0, 1, 0), (0, 1, 2, 1, 0)):
        sizes = nc.ClassSizes([50.0, 20.0, 3.0], membership)
        weight = 2.0 if lanes is None else np.linspace(1, 2, lanes)
        model = nc.LayerPeeled(sizes, weight, 3.0, loss=nc.logit_adjustment(sizes, 0.5))
        found = nc.solve(model, Recorded())
        assert found.model.sizes.membership == membership and (found.gap < 1e-9).all()
        for lane in range(lanes or 1):
            one = found if lanes is None else jax.tree.map(lambda a, lane=lane: a[lane], found)
            alone = nc.LayerPeeled(sizes, one.model.weight_energy, 3.0, loss=model.loss)
            np.testing.assert_allclose(alone.objective(one.logits), one.objective, rtol=1e-12)
            first = sizes.representatives
            between = nc.cosines(one.classifier_gram)[first[:, None], first]
            for found_cosines in (
                one.between_cosines,
                found.between_cosines.reshape(-1, 3, 3)[lane],
            ):
                apart = ~np.eye(3, dtype=bool)
                np.testing.assert_allclose(found_cosines[apart], between[apart], atol=1e-9)
            assert nc.phase(one) == np.atleast_1d(nc.phase(found))[lane]
    assert len(TRACED) == 1
    # Compiled together with the list of classes, as a part of another program.
    together = jax.jit(lambda own: nc.solve(own, Recorded()))(model)
    np.testing.assert_allclose(found.objective, together.objective, rtol=1e-12)
    np.testing.assert_allclose(found.logits, together.logits, atol=1e-7)
    # Here the first group has one class, which spares the program an unknown.
    sizes = nc.ClassSizes([50.0, 20.0, 3.0], (0, 1, 1, 2))
    nc.solve(nc.LayerPeeled(sizes, weight, 3.0, loss=nc.logit_adjustment(sizes, 0.5)), Recorded())
    assert len(TRACED) == 3


def test_a_loss_may_distinguish_classes_of_equal_size():
    sizes = nc.ClassSizes([50.0, 20.0, 3.0], (0, 2, 1, 1, 2, 0, 1))
    scales = nc.VectorScaling(scales=[1.0, 1.2, 1.5, 1.5, 2.0, 1.0, 1.5])
    loss = nc.ClassWeights(nc.size_weights(sizes, 0.5), scales)
    model = nc.UnconstrainedFeatures(sizes, 0.01, 0.02, 0.05, loss)
    assert model.sizes.num_groups == 4
    found = nc.solve(model)
    assert found.status == nc.Status.CONVERGED
    # The definition, of which the bias is no part.
    expected = model.objective(found.logits - found.bias, found.bias)
    np.testing.assert_allclose(found.objective, expected, rtol=1e-12)


def test_models_without_a_counted_form_stay_as_they_are():
    merged = nc.LayerPeeled(nc.merge_sizes([10.0, 9.9, 1.0], 0.1), 2.0, 2.0)
    deep = nc.DeepLayerPeeled([3.0, 2.0], 2)
    for model in (merged, deep):
        assert counted(model) is model
    kinds = []
    jax.jit(lambda own: kinds.append(counted(own)))(nc.LayerPeeled([3.0, 2.0], 1.0, 2.0))
    assert type(kinds[0]) is nc.LayerPeeled
