"""Checks of class sizes and loss that all surrogates share."""

from typing import Any

from jax import Array

from nc_jax.geometry import ClassSizes, class_sizes
from nc_jax.losses import (
    ClassWeights,
    CrossEntropy,
    Loss,
    acts_on,
    class_numbers_of,
    require_classes,
    require_loss,
)


def sizes_and_loss(
    sizes: Any, loss: Loss | None, class_weights: Any = None
) -> tuple[ClassSizes, Loss]:
    """Checked sizes and loss; equal classes agree in size and in all numbers of the loss.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    loss = require_loss(CrossEntropy() if loss is None else loss)
    if class_weights is not None:
        loss = ClassWeights(class_weights, loss)
    sizes = class_sizes(sizes)
    require_classes(loss, sizes.num_classes)
    if acts_on(loss) == "targets" and targets_of(loss).shape[-2] != sizes.num_classes:
        raise ValueError(
            f"loss must have a row of targets for each of the {sizes.num_classes} sizes, got "
            f"{targets_of(loss).shape[-2]}"
        )
    numbers = class_numbers_of(loss)
    if numbers:
        sizes = sizes.split(*(own.membership for own in numbers))
    return sizes, loss


def targets_of(loss: Any) -> Array:
    """The targets [..., J, K] of a loss that acts on them."""
    return loss.targets


def num_outputs(loss: Loss, num_classes: int) -> int:
    """Number of logits: the columns of soft targets, otherwise the number of classes."""
    return targets_of(loss).shape[-1] if acts_on(loss) == "targets" else num_classes


def full_dimension(loss: Loss, num_classes: int) -> int:
    """The smallest feature dimension p that does not restrict the logits.

    Logits of J classes and K outputs have rank at most min(J, K). If the loss does not
    change when a constant is added to all logits, the rows of the optimum sum to zero, and
    min(J, K − 1) dimensions are enough.
    """
    outputs = num_outputs(loss, num_classes)
    return min(num_classes, outputs - 1 if loss.shift_invariant else outputs)


def require_labels(loss: Loss) -> None:
    """TypeError unless the loss is a function of logits and label."""
    if acts_on(loss) != "logits":
        raise TypeError(f"loss must be a loss of logits and label, got {type(loss).__name__}")
