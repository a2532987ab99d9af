"""What all surrogates make of their class sizes and their loss."""

from typing import Any

from nc_jax.geometry import ClassSizes, class_sizes
from nc_jax.losses import (
    ClassWeights,
    CrossEntropy,
    Loss,
    SoftTargets,
    SupervisedContrastive,
    class_numbers_of,
    require_classes,
    require_loss,
)


def sizes_and_loss(
    sizes: Any, loss: Loss | None, class_weights: Any = None
) -> tuple[ClassSizes, Loss]:
    """Checked sizes and loss; classes are alike if sizes and all of the loss's numbers are equal.

    Raises:
        TypeError, ValueError: naming the argument that is wrong.
    """
    loss = require_loss(CrossEntropy() if loss is None else loss)
    if class_weights is not None:
        loss = ClassWeights(class_weights, loss)
    sizes = class_sizes(sizes)
    require_classes(loss, sizes.num_classes)
    if isinstance(loss, SoftTargets) and loss.targets.shape[-2] != sizes.num_classes:
        raise ValueError(
            f"loss must have a row of targets for each of the {sizes.num_classes} sizes, got "
            f"{loss.targets.shape[-2]}"
        )
    numbers = class_numbers_of(loss)
    if numbers:
        sizes = sizes.split(*(own.membership for own in numbers))
    return sizes, loss


def num_outputs(loss: Loss, num_classes: int) -> int:
    """K, how many logits there are: the columns of soft targets, else the classes."""
    return loss.targets.shape[-1] if isinstance(loss, SoftTargets) else num_classes


def full_dimension(loss: Loss, num_classes: int) -> int:
    """The least p at which features of p dimensions leave the logits as free as they need be.

    Logits of J classes and K outputs have rank at most min(J, K); where the loss does not
    see a constant added to all of them, the optimum's rows sum to zero: min(J, K − 1).
    """
    outputs = num_outputs(loss, num_classes)
    return min(num_classes, outputs - 1 if loss.shift_invariant else outputs)


def require_labels(loss: Loss) -> None:
    """TypeError unless the loss is one of logits and label."""
    if isinstance(loss, SupervisedContrastive | SoftTargets):
        raise TypeError(f"loss must be of logits and label, got {type(loss).__name__}")
