"""The training recipe of a language model: SGD as in PyTorch, or AdamW."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

OPTIMISERS = ("sgd", "adamw")
DECAYED = ("all", "head")
# AdamW's decay rates of the averages of gradients and of squared gradients.
BETAS = (0.9, 0.99)
# The parts of the network that the theory penalises: the head, and the normalisation before it.
PRICED = {"classifier", "norm"}


@dataclasses.dataclass(frozen=True)
class TextRecipe:
    """Steps on random windows of a text; the rate warms up, then falls to zero as a cosine.

    Attributes:
        optimiser: 'sgd', g ← ∇L + λp, v ← μv + g, p ← p − ηv, whose weight decay is the
            penalty (λ/2)‖p‖²; or 'adamw', whose decay p ← p − ηλp is separate from the
            gradient and is not a penalty on the loss.
        learning_rate: largest value of η.
        weight_decay: λ.
        decayed: 'all' parameters, or only the 'head' with the last normalisation.
        momentum: μ of SGD.
        steps: number of steps.
        warmup: share of the steps in which η increases.
        batch: number of windows in a step.
    """

    optimiser: str = "sgd"
    learning_rate: float = 0.5
    weight_decay: float = 1e-3
    decayed: str = "all"
    momentum: float = 0.9
    steps: int = 1000
    warmup: float = 0.05
    batch: int = 32

    def __post_init__(self):
        for name, known in (("optimiser", OPTIMISERS), ("decayed", DECAYED)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be zero or positive, got {self.weight_decay}")
        for name in ("momentum", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        if self.steps < 1 or self.batch < 1:
            raise ValueError("steps and batch must be at least 1")

    @property
    def compiled(self) -> "TextRecipe":
        """The recipe as far as compiled programs depend on it: other numbers are arguments."""
        traced = ("learning_rate", "weight_decay", "steps")
        return dataclasses.replace(self, **{name: getattr(TextRecipe, name) for name in traced})

    def transform(self, decay: Any) -> optax.GradientTransformation:
        """From gradients to the update at learning rate one; ``decay`` may be traced."""

        def mask(params: Any) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, _: self.decayed == "all" or _top_name(path) in PRICED, params
            )

        shrinking = optax.add_decayed_weights(decay, mask)
        if self.optimiser == "sgd":
            return optax.chain(shrinking, optax.trace(self.momentum))
        return optax.chain(optax.scale_by_adam(*BETAS), shrinking)

    def moves(self, slopes: Any, memory: Any, params: Any, decay: Any) -> tuple[Any, Any]:
        """The update at learning rate one, and the new state of the optimiser."""
        # Optax raises a float to the power of an integer step.
        with jax.numpy_dtype_promotion("standard"):
            return self.transform(decay).update(slopes, memory, params)

    def rate_at(self, step: Array, total: Array, rate: Array) -> Array:
        """η at a step, counted from 0, in float32; all arguments may be traced."""
        share = (step.astype(jnp.float32) + 1) / total.astype(jnp.float32)
        rising = share / max(self.warmup, 1e-9)
        falling = (share - self.warmup) / (1 - self.warmup)
        return rate * jnp.where(
            share < self.warmup, rising, 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(falling, 0, 1)))
        )


def _top_name(path: tuple[Any, ...]) -> str:
    """The network's attribute that a parameter belongs to."""
    return str(getattr(path[0], "key", getattr(path[0], "name", "")))
