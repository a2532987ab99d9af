"""Which axes make a batch: read from what the classes declare, for any nesting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.batches import batch_shape, lanes_of
from nc_jax.immutable import immutable, set_fields

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


def broadcasting(shape, mask):
    """The shape with some axes of length one, and without some leading ones."""
    thinned = tuple(size if keep else 1 for size, keep in zip(shape, mask, strict=False))
    return thinned[len(thinned) - sum(mask[: len(shape)]) :] if mask[-1] else thinned


@given(SHAPES, st.lists(st.booleans(), min_size=4, max_size=4), st.integers(1, 3))
def test_trailing_axes_of_a_model_are_its_own(shape, mask, depth):
    sizes = jnp.ones((*broadcasting(shape, mask), 5))
    plain = nc.LayerPeeled(sizes, jnp.ones(shape), 2.0)
    assert batch_shape(plain) == plain.batch_shape == shape
    energies = jnp.ones((*shape, depth))
    deep = nc.DeepLayerPeeled(sizes, depth, layer_energies=energies)
    assert batch_shape(deep) == shape
    weighted = nc.ClassWeights(jnp.arange(1.0, 6.0) * jnp.ones((*shape, 1)), nc.CrossEntropy())
    assert batch_shape(nc.LayerPeeled(jnp.ones(5), loss=weighted)) == shape


@given(SHAPES)
def test_lanes_are_those_of_the_flattened_batch(shape):
    energies = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)
    model = nc.LayerPeeled(nc.two_groups(2, 3, 4.0), energies, 2.0, nc.PowerSoftmax(3.0))
    lanes = lanes_of(model)
    assert lanes.shape == shape
    whole = lanes.rebuild(lanes.numbers)
    np.testing.assert_array_equal(whole.weight_energy, energies.reshape(-1))
    last = lanes.rebuild([leaf[-1] for leaf in lanes.numbers])
    assert last.batch_shape == () and last.weight_energy == energies.size
    np.testing.assert_array_equal(last.sizes.group_sizes, model.sizes.group_sizes)


def test_shared_data_are_not_copied():
    inputs = np.random.default_rng(0).normal(size=(6, 2))
    labels = np.array([0, 0, 1, 1, 2, 2])
    model = nc.MultilayerUnconstrainedFeatures(inputs, labels, np.ones(3), np.ones((2, 1)))
    lanes = lanes_of(model)
    assert lanes.shape == (2, 3) == model.batch_shape
    assert all(leaf.shape == (6,) for leaf in lanes.numbers)
    assert lanes.rebuild([leaf[0] for leaf in lanes.numbers]).data.features is model.data.features


@immutable(axes={"matrix": 2})
class Inner:
    matrix: jax.Array


@immutable(shared=("table",))
class Outer:
    inner: tuple[Inner, dict[str, Inner]]
    number: jax.Array
    table: jax.Array

    def __init__(self, inner, number, table):
        set_fields(self, inner=inner, number=number, table=table)


@immutable(shared=("table",))
class Renamed(Outer):
    pass


@pytest.mark.parametrize("kind", [Outer, Renamed])
def test_classes_from_outside_declare_their_axes(kind):
    inner = Inner(jnp.ones((3, 2, 2))), {"other": Inner(jnp.ones((7, 1, 4, 5)))}
    made = kind(inner, jnp.ones(3), jnp.ones((9, 9)))
    assert type(made) is kind and batch_shape(made) == (7, 3)
