"""Thresholds of certified families: the exact ones, derivatives, other losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.design import find_threshold, separation


def peeled(ratio, budget):
    return nc.LayerPeeled(nc.two_groups(4, 3, ratio), budget, budget)


@jax.jit
def peeled_threshold(budget):
    return find_threshold(peeled, 1.0, 1e7, budget, logarithmic=True)


@settings(max_examples=10)
@given(budget=st.floats(1.2, 4))
def test_equals_the_exact_collapse_ratio_of_cross_entropy(budget):
    found = peeled_threshold(budget)
    exact = nc.theory.collapse_ratio(4, 3, budget)
    assert found.certified and found.at_low * found.at_high <= 0
    np.testing.assert_allclose(found.value, exact, rtol=1e-9)


def test_its_derivative_is_that_of_the_exact_ratio():
    own = jax.grad(lambda e: peeled_threshold(e).value)(2.0)
    exact = jax.grad(lambda e: nc.theory.collapse_ratio(4, 3, e))(2.0)
    np.testing.assert_allclose(own, exact, rtol=1e-8)


def test_unconstrained_features_merge_at_their_closed_threshold():
    """Of the weight decay; equal to the closed form for unconstrained features."""
    sizes = nc.two_groups(3, 2, 30.0)
    found = find_threshold(
        lambda decay: nc.UnconstrainedFeatures(sizes, decay, decay), 1e-5, 1.0, logarithmic=True
    )
    exact = nc.theory.unconstrained_collapse_penalty(sizes.group_sizes[sizes.membership, ...])
    np.testing.assert_allclose(found.value, jnp.min(exact), rtol=1e-6)


def weighted(power, ratio=60.0):
    sizes = nc.two_groups(3, 2, ratio)
    return nc.LayerPeeled(sizes, 2.0, 2.0, class_weights=nc.size_weights(sizes, power))


def test_class_weights_part_merged_classes_at_the_strength_that_proposition_1_gives():
    """Weights n^−s leave an effective ratio R^(1−s), which must be the exact collapse ratio."""
    found = find_threshold(weighted, 0.0, 1.0)
    exact = nc.theory.collapse_ratio(3, 2, 2.0)
    np.testing.assert_allclose(found.value, 1 - np.log(exact) / np.log(60.0), rtol=1e-7)
    assert found.certified and found.at_low < 0 < found.at_high
    assert nc.phase(nc.solve(weighted(0.98 * found.value))) == "collapsed"
    assert nc.phase(nc.solve(weighted(1.02 * found.value))) == "separated"


def adjusted(tau):
    sizes = nc.two_groups(3, 2, 60.0)
    return nc.LayerPeeled(sizes, 1.5, 1.5, loss=nc.logit_adjustment(sizes, tau))


def test_separation_changes_sign_where_a_direction_between_unlike_classes_is_lost():
    """Five sizes, none alike: no two classifiers coincide, but the logits lose rank."""
    sizes = jnp.asarray([500.0, 300.0, 120.0, 60.0, 5.0])

    def family(budget):
        return nc.LayerPeeled(sizes, budget, budget)

    found = find_threshold(family, 0.3, 6.0, logarithmic=True)
    assert found.certified
    for factor, rank in ((0.98, 3), (1.02, 4)):
        solution = nc.solve(family(factor * found.value))
        assert np.linalg.matrix_rank(np.asarray(solution.logits), tol=1e-6) == rank
        assert (separation(solution) > 0) == (rank == 4)


def test_no_change_of_phase_gives_nan_and_no_certificate_an_error():
    """No logit adjustment parts classes that have merged: it only adds to their margins."""
    found = find_threshold(adjusted, 0.0, 3.0)
    assert jnp.isnan(found.value) and found.at_low * found.at_high > 0
    with pytest.raises(TypeError, match="certified over group numbers"):
        find_threshold(lambda r: nc.LayerPeeled(nc.two_groups(2, 2, r), loss=nc.Focal()), 1.0, 2.0)
