"""The transformer: its size, that it is causal, and what its head is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nc_jax.networks import Transformer
from nc_jax.networks.transformer import Attention, LayerNorm
from tests.networks.filled import filled
from tests.networks.test_networks import count

V, P, L = 11, 12, 6


def made(blocks=2, tied=False):
    return Transformer(V, P, 3, blocks, L, jax.random.key(0), tied)


@functools.cache
def called(tied=False):
    """The network as a compiled function, and its head."""
    state = filled(lambda: made(tied=tied))

    @jax.jit
    def run(tokens):
        network = nnx.merge(*state)
        logits, features = network(tokens)
        return logits, features["features"], network.head

    return lambda tokens: [np.asarray(array) for array in run(jnp.asarray(tokens, jnp.int32))]


@pytest.mark.parametrize(("blocks", "tied"), [(1, False), (2, False), (2, True)])
def test_parameter_counts(blocks, tied):
    # Per block: two norms, attention 4p², dense layers of 4p with biases.
    block = 4 * P + 4 * P**2 + (4 * P**2 + 4 * P) + (4 * P**2 + P)
    head = 0 if tied else V * P
    network = nnx.eval_shape(lambda: made(blocks, tied))
    assert count(network) == V * P + L * P + blocks * block + 2 * P + head


@pytest.mark.parametrize("tied", [False, True])
def test_a_later_token_changes_no_earlier_logits(tied):
    tokens = np.random.default_rng(0).integers(0, V, (3, L))
    known = called(tied)(tokens)[0]
    for place in range(1, L):
        changed = tokens.copy()
        changed[:, place] = (changed[:, place] + 1) % V
        logits = called(tied)(changed)[0]
        np.testing.assert_allclose(logits[:, :place], known[:, :place], atol=1e-6)
        assert np.abs(logits[:, place] - known[:, place]).max() > 1e-4


def test_an_earlier_token_and_its_place_matter():
    tokens = [[1, 2, 3, 4, 0, 0], [2, 1, 3, 4, 0, 0], [5] * 6]
    logits = called()(tokens)[0]
    assert np.abs(logits[0, 3] - logits[1, 3]).max() > 1e-5
    assert np.abs(logits[2, 0] - logits[2, 3]).max() > 1e-4


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_the_head_of_the_features(tied):
    logits, features, head = called(tied)(np.zeros((3, L)))
    assert logits.shape == (3, L, V) and features.shape == (3, L, P) and head.shape == (V, P)
    np.testing.assert_allclose(logits, features @ head.T, atol=1e-5)


def test_layer_normalisation_fixes_the_length_of_every_sample():
    state = filled(lambda: LayerNorm(P))
    x = np.random.default_rng(0).normal(2, 5, (4, 3, P)).astype(np.float32)
    y = np.asarray(jax.jit(lambda x: nnx.merge(*state)(x))(x))
    np.testing.assert_allclose(np.sum(y**2, axis=-1), P, rtol=1e-4)
    np.testing.assert_allclose(np.sum(y, axis=-1), 0, atol=1e-4)


def test_attention_of_one_head_by_hand():
    state = filled(lambda: Attention(4, 1, jax.random.key(1)))
    layer = nnx.merge(*state)
    x = np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32)
    queries, keys, values = np.split(x[0] @ np.asarray(layer.inputs.kernel[...]), 3, axis=1)
    scores = np.where(np.tril(np.ones((3, 3))) > 0, queries @ keys.T / 2, -np.inf)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    known = shares @ values @ np.asarray(layer.outputs.kernel[...])
    own = jax.jit(lambda x: nnx.merge(*state)(x))(x)
    np.testing.assert_allclose(own[0], known, atol=1e-5)


def test_bad_arguments_are_named():
    key = jax.random.key(0)
    for arguments, named in [
        ((1, 8, 2, 1, 4), "vocabulary"),
        ((5, 8, 3, 1, 4), "width"),
        ((5, 8, 2, 0, 4), "blocks"),
        ((5, 8, 0, 1, 4), "heads"),
        ((5, 8, 2, 1, 0), "context"),
    ]:
        with pytest.raises(ValueError, match=named):
            Transformer(*arguments, key)
    with pytest.raises(ValueError, match="tokens"):
        jax.eval_shape(lambda: made()(jnp.zeros((1, L + 1), jnp.int32)))
