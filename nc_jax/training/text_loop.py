"""Training of a language model: many steps in one compiled loop, and its outputs.

The numbers of a recipe (learning rate, weight decay, steps) are traced, so that all runs of
one network and optimiser share a program. A run ends if its loss is not finite.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from nc_jax.networks import Transformer
from nc_jax.training.text_recipe import TextRecipe

TRAINED, BROKEN = "trained", "broke down"


class TextState(NamedTuple):
    """The state of a run after some steps.

    Attributes:
        params: parameters of the network.
        memory: state of the optimiser.
        step: int32, number of steps taken.
        loss: float32, loss of the last step; not finite if the run broke down.
    """

    params: Any
    memory: Any
    step: Array
    loss: Array

    @property
    def status(self) -> str:
        """'trained', or 'broke down'."""
        return TRAINED if bool(jnp.isfinite(self.loss)) else BROKEN


class TextOutputs(NamedTuple):
    """The outputs of a network on a text.

    Attributes:
        features: [M, p] float32, the inputs of the head.
        losses: [M] float32, cross-entropy of the next token.
        right: [M] booleans, whether the next token has the largest logit.
        previous: [M] int32, the last token of the context.
        following: [M] int32, the next token.
    """

    features: np.ndarray
    losses: np.ndarray
    right: np.ndarray
    previous: np.ndarray
    following: np.ndarray


class TextTrainer:
    """A network's structure and a text that runs share; programs hold neither."""

    def __init__(
        self, build: Callable[[Array], Transformer], tokens: np.ndarray, recipe: TextRecipe
    ):
        """Nothing is compiled until the first step is taken.

        Args:
            build: a pure function from a key to a network.
            tokens: [T] int32 of the training text, longer than the network's context.
            recipe: the recipe of all runs, which may differ in learning rate, weight decay
                and steps.

        Raises:
            ValueError: the text is too short.
        """
        network = nnx.eval_shape(lambda: build(jax.random.key(0)))
        self.graph, _ = nnx.split(network, nnx.Param)
        self.context, self.recipe = network.context, recipe
        if len(tokens) <= self.context + 1:
            raise ValueError(f"tokens must be more than {self.context + 1}, got {len(tokens)}")
        self.tokens = jnp.asarray(tokens, jnp.int32)
        self._build = build

    def start(self, seed: int) -> TextState:
        """The state of a run with new random weights."""
        build = self._build

        @jax.jit
        def make(seed: Array) -> Any:
            network = build(jax.random.fold_in(jax.random.key(0), seed))
            return nnx.split(network, nnx.Param)[1]

        params = make(jnp.asarray(seed, jnp.uint32))
        memory = self.recipe.transform(jnp.zeros((), jnp.float32)).init(params)
        return TextState(params, memory, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))

    def train(self, recipe: TextRecipe, seed: int, moments: Sequence[int]) -> Iterator[TextState]:
        """Yields a run at its start, at each of the moments, and at its end or breakdown.

        Args:
            recipe: equal to the trainer's except for learning rate, weight decay and steps.
            seed: seed of the weights and of the windows.
            moments: increasing steps to stop at, from 1 on; those after the last are ignored.

        Raises:
            ValueError: the recipe differs in anything else.
        """
        own = {"learning_rate", "weight_decay", "steps"}
        for name in set(recipe.__dataclass_fields__) - own:
            if getattr(recipe, name) != getattr(self.recipe, name):
                raise ValueError(f"recipe must have the same {name} as that of the trainer")
        state = self.start(seed)
        yield state
        numbers = jnp.asarray([recipe.learning_rate, recipe.weight_decay], jnp.float32)
        total = jnp.asarray(recipe.steps, jnp.int32)
        stops = sorted({min(moment, recipe.steps) for moment in moments} | {recipe.steps})
        fixed, key = (self.graph, self.context, self.recipe.compiled), jnp.asarray(seed, jnp.uint32)
        for stop in stops:
            until = jnp.asarray(stop, jnp.int32)
            state = _advanced(*fixed, state, self.tokens, key, numbers, until, total)
            yield state
            if state.status == BROKEN:
                return

    def head(self, state: TextState) -> np.ndarray:
        """The rows w_k [V, p], float32."""
        return np.asarray(nnx.merge(self.graph, state.params).head)

    def gain(self, state: TextState) -> tuple[np.ndarray, np.ndarray]:
        """Gain γ [p] and offset β [p] of the last normalisation."""
        norm = nnx.merge(self.graph, state.params).norm
        return np.asarray(norm.scale[...]), np.asarray(norm.offset[...])

    def outputs(self, state: TextState, tokens: Any, most: int) -> TextOutputs:
        """Features and losses on windows spread evenly over a text, at most ``most`` positions.

        Raises:
            ValueError: the text is too short for one window.
        """
        tokens = np.asarray(tokens, np.int32)
        length = self.context
        windows = (len(tokens) - 1) // length
        if windows < 1:
            raise ValueError(f"tokens must be more than {length}, got {len(tokens)}")
        count = max(1, min(windows, most // length))
        first = np.unique(np.linspace(0, windows - 1, count).round().astype(int)) * length
        cut = tokens[first[:, None] + np.arange(length + 1)]
        parts = []
        for begin in range(0, len(cut), self.recipe.batch):
            own = cut[begin : begin + self.recipe.batch]
            # The last part is padded, so that all parts share a program.
            filled = np.resize(own, (self.recipe.batch, length + 1))
            made = _looked(self.graph, state.params, jnp.asarray(filled))
            parts.append([np.asarray(array)[: len(own)] for array in made])
        features, losses, right = (np.concatenate(part) for part in zip(*parts, strict=True))
        return TextOutputs(
            features.reshape(-1, features.shape[-1]),
            losses.reshape(-1),
            right.reshape(-1),
            cut[:, :-1].reshape(-1),
            cut[:, 1:].reshape(-1),
        )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _advanced(
    graph: Any,
    context: int,
    recipe: TextRecipe,
    state: TextState,
    tokens: Array,
    seed: Array,
    numbers: Array,
    until: Array,
    total: Array,
) -> TextState:
    """Takes steps up to ``until``, or up to one whose loss is not finite."""
    key = jax.random.fold_in(jax.random.key(1), seed)
    window = jnp.arange(context + 1, dtype=jnp.int32)

    def loss_of(params: Any, batch: Array) -> Array:
        logits, _ = nnx.merge(graph, params, copy=True)(batch[:, :-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:])
        return jnp.mean(losses)

    def body(state: TextState) -> TextState:
        last = tokens.shape[0] - context
        own = jax.random.fold_in(key, state.step)
        first = jax.random.randint(own, (recipe.batch,), 0, last, jnp.int32)
        batch = tokens[first[:, None] + window[None]]
        loss, slopes = jax.value_and_grad(loss_of)(state.params, batch)
        moves, memory = recipe.moves(slopes, state.memory, state.params, numbers[1])
        rate = recipe.rate_at(state.step, total, numbers[0])
        params = jax.tree.map(lambda p, m: p - rate * m, state.params, moves)
        return TextState(params, memory, state.step + 1, loss)

    def goes_on(state: TextState) -> Array:
        return (state.step < until) & jnp.isfinite(state.loss)

    return jax.lax.while_loop(goes_on, body, state)


@partial(jax.jit, static_argnums=0)
def _looked(graph: Any, params: Any, batch: Array) -> tuple[Array, Array, Array]:
    """Features, losses, and whether the next token has the largest logit."""
    logits, features = nnx.merge(graph, params, copy=True)(batch[:, :-1])
    following = batch[:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, following)
    largest = jnp.argmax(logits, axis=-1).astype(following.dtype)
    return features["features"], losses, largest == following
