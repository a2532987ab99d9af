"""The training recipe of a network: that of Fang et al. 2021, with every field adjustable."""

import dataclasses
import math

from nc_jax.losses import CrossEntropy, Loss, SupervisedContrastive, require_loss

PRECISIONS = ("float32", "bfloat16")
DECAYED = ("all", "kernels", "effective")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with momentum, as in PyTorch.

    g ← ∇L + λ p, v ← μ v + g, p ← p − η v: the weight decay λ enters through the
    gradient, so it corresponds to the penalty (λ/2)‖p‖².

    Attributes:
        learning_rate: η at the start of training.
        momentum: μ.
        weight_decay: λ.
        decayed: the parameters that λ acts on: 'all'; only 'kernels', which leaves out
            biases and batch normalisation; or 'effective', which leaves out the layers
            that a batch normalisation follows: their scale has no effect on the outputs, so
            their decay only changes the size of their steps, not the stationary points.
        epochs: number of passes over an epoch's list.
        milestones: epochs after which η is multiplied by ``factor``.
        factor: the factor of the milestones.
        batch_size: number of images in a step; the last batch of an epoch may be smaller.
        even_batches: use the same number of batches with almost equal sizes. The batch
            statistics of a last batch of few images can keep a network from
            learning classes with few samples.
        loss: a loss of logits and label.
        precision: precision of the computations; parameters and statistics are float32.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decayed: str = "all"
    epochs: int = 350
    milestones: tuple[int, ...] = (116, 233)
    factor: float = 0.1
    batch_size: int = 128
    even_batches: bool = False
    loss: Loss = CrossEntropy()
    precision: str = "float32"

    def __post_init__(self):
        for name in ("learning_rate", "factor"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {self.momentum}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be zero or positive, got {self.weight_decay}")
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("epochs and batch_size must be at least 1")
        if (
            list(self.milestones) != sorted(set(self.milestones))
            or min(self.milestones or (1,)) < 1
        ):
            raise ValueError(f"milestones must be increasing epochs, got {self.milestones}")
        for name, known in (("decayed", DECAYED), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}")
        require_loss(self.loss)
        if isinstance(self.loss, SupervisedContrastive):
            raise ValueError("loss must be a loss of logits, got SupervisedContrastive")

    @property
    def compiled(self) -> "Recipe":
        """The recipe as far as compiled programs depend on it, so that it compares equal.

        All other numbers are arguments of the programs.
        """
        fixed = ("momentum", "decayed", "even_batches", "precision")
        return Recipe(**{name: getattr(self, name) for name in fixed})

    def rate_at(self, epoch: int) -> float:
        """η in an epoch, counted from 0."""
        return self.learning_rate * self.factor ** sum(epoch >= m for m in self.milestones)

    def shortened(self, epochs: int) -> "Recipe":
        """The same recipe for another number of epochs, with milestones in proportion."""
        scaled = (max(1, round(m * epochs / self.epochs)) for m in self.milestones)
        milestones = tuple(sorted({m for m in scaled if m < epochs}))
        return dataclasses.replace(self, epochs=epochs, milestones=milestones)
