"""A small causal transformer for next-token prediction.

Blocks with layer normalisation before attention and before the dense layers, a final
layer normalisation, and a head without bias, whose rows are the classifiers of the
tokens: either a separate matrix, or the embedding (tied).
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nc_jax.networks.layers import EPSILON, Dense, keys_of

# Width of the hidden dense layer of a block, relative to the width of the network.
EXPANSION = 4
# Standard deviation of the initial entries of a separate head, as in GPT-2.
HEAD_DEVIATION = 0.02


class LayerNorm(nnx.Module):
    """Each sample's features centred and scaled to variance one, times a gain, plus an offset."""

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.offset = nnx.Param(jnp.zeros(width, jnp.float32))

    def __call__(self, x: Array) -> Array:
        """[..., p] to the same shape."""
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred**2, axis=-1, keepdims=True)
        scale, offset = self.scale[...].astype(x.dtype), self.offset[...].astype(x.dtype)
        return centred * jax.lax.rsqrt(variance + EPSILON) * scale + offset


class Attention(nnx.Module):
    """Causal self-attention with several heads; without biases."""

    def __init__(self, width: int, heads: int, key: Array):
        first, second = jax.random.split(key)
        self.inputs = Dense(width, 3 * width, first, bias=False)
        self.outputs = Dense(width, width, second, bias=False)
        self.heads = heads

    def __call__(self, x: Array) -> Array:
        """[B, L, p] to the same shape; each position sees itself and the positions before it."""
        batch, length, width = x.shape
        parts = self.inputs(x).reshape(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = (parts[:, :, part] for part in range(3))
        scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) / math.sqrt(width // self.heads)
        causal = jnp.tril(jnp.ones((length, length), bool))
        shares = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, values)
        return self.outputs(mixed.reshape(x.shape))


class Block(nnx.Module):
    """Attention and two dense layers, each after a normalisation and with a shortcut."""

    def __init__(self, width: int, heads: int, key: Array):
        keys = keys_of(key)
        self.first_norm, self.second_norm = LayerNorm(width), LayerNorm(width)
        self.attention = Attention(width, heads, next(keys))
        self.expand = Dense(width, EXPANSION * width, next(keys))
        self.contract = Dense(EXPANSION * width, width, next(keys))

    def __call__(self, x: Array) -> Array:
        """[B, L, p] to the same shape."""
        x = x + self.attention(self.first_norm(x))
        return x + self.contract(jax.nn.gelu(self.expand(self.second_norm(x))))


class Transformer(nnx.Module):
    """Embeddings of tokens and positions, blocks, a final normalisation, and a head.

    Args:
        vocabulary: V ≥ 2, number of tokens.
        width: p, a multiple of ``heads``.
        heads: number of attention heads.
        blocks: number of blocks, at least one.
        context: L, the largest length of the input.
        key: PRNG key of the initial weights.
        tied: whether the embedding is also the head.

    Raises:
        ValueError: naming the invalid argument.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        heads: int,
        blocks: int,
        context: int,
        key: Array,
        tied: bool = False,
    ):
        least = {"vocabulary": 2, "width": 1, "heads": 1, "blocks": 1, "context": 1}
        given = {"vocabulary": vocabulary, "width": width, "heads": heads, "blocks": blocks}
        for name, value in (given | {"context": context}).items():
            if value < least[name]:
                raise ValueError(f"{name} must be at least {least[name]}, got {value}")
        if width % heads:
            raise ValueError(f"width must be a multiple of heads = {heads}, got {width}")
        keys = keys_of(key)
        self.context, self.width = context, width
        self.embedding = nnx.Param(_normal(next(keys), (vocabulary, width)))
        self.places = nnx.Param(_normal(next(keys), (context, width)))
        self.blocks = nnx.List([Block(width, heads, next(keys)) for _ in range(blocks)])
        self.norm = LayerNorm(width)
        head = HEAD_DEVIATION * jax.random.normal(next(keys), (vocabulary, width), jnp.float32)
        self.classifier = None if tied else nnx.Param(head)

    def features(self, tokens: Array) -> Array:
        """The head's inputs [B, L, p] for tokens [B, L]; each depends on tokens up to its own.

        Raises:
            ValueError: more tokens than the context length.
        """
        length = tokens.shape[-1]
        if length > self.context:
            raise ValueError(f"tokens must have length at most {self.context}, got {length}")
        # Rows of the embedding have length about one, because they may also be the head's.
        inputs = self.embedding[...][tokens] + self.places[...][:length][None]
        x = math.sqrt(self.width) * inputs
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    @property
    def head(self) -> Array:
        """The rows w_k [V, p], one for each token."""
        return self.embedding[...] if self.classifier is None else self.classifier[...]

    def __call__(self, tokens: Array) -> tuple[Array, dict[str, Array]]:
        """Logits [B, L, V] of the next token at each position, and the head's inputs 'features'."""
        features = self.features(tokens)
        return features @ self.head.T, {"features": features}


def _normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Normal entries of variance 1/p, so that rows have length about one."""
    return jax.random.normal(key, shape, jnp.float32) / math.sqrt(shape[-1])
